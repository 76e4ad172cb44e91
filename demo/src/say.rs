//! What the demo says, and where: the play on standard output, or on standard error when standard output
//! belongs to JSON.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints lines. A reader who has gone away is no reason to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Say {
    /// To standard output.
    Aloud,
    /// To standard error.
    Aside,
}

impl Say {
    /// One line.
    pub(crate) fn line(self, line: impl Display) {
        let _ = match self {
            Self::Aloud => writeln!(io::stdout().lock(), "{line}"),
            Self::Aside => writeln!(io::stderr().lock(), "{line}"),
        };
    }
}
