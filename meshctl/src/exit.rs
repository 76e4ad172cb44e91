//! Exit codes, the same as those of the daemons; after BSD's `sysexits.h` where it has one.

/// Done.
pub(crate) const DONE: u8 = 0;
/// Failed for a reason that the message names.
pub(crate) const FAILED: u8 = 1;
/// The command line or the environment is wrong (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// Input data is wrong (`EX_DATAERR`).
pub(crate) const DATA: u8 = 65;
/// There are findings.
pub(crate) const FINDINGS: u8 = 79;
/// The config API is out of reach (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
