//! Why a write was refused, in words for whoever sent it.

use mesh_config::Finding;
use mesh_config::model::{ObjectKey, Origin};

use super::disk::DiskError;

/// A write that changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Create, and there is one.
    #[error("{key} already exists{}; update it (PUT), or POST it to /apply", held_by(file.as_ref()))]
    AlreadyExists {
        /// The object.
        key: ObjectKey,
        /// The file of the configuration directory that has it, if one does.
        file: Option<Origin>,
    },
    /// Update or delete, and there is none.
    #[error("{0} not found")]
    NotFound(ObjectKey),
    /// Based on a version that is no longer the current one.
    #[error(
        "{key} has changed: it is at resourceVersion {current}, the write was based on {given}; read it again and repeat the change"
    )]
    Conflict {
        /// The object.
        key: ObjectKey,
        /// What the writer knew.
        given: String,
        /// What is true.
        current: String,
    },
    /// The object belongs to a file of the configuration directory.
    #[error("{key} is written in {} and can be changed only there", place(file))]
    ReadOnly {
        /// The object.
        key: ObjectKey,
        /// Where it is written.
        file: Origin,
    },
    /// A file of the configuration directory cannot do without the object.
    #[error(
        "{key} cannot be deleted: the configuration directory would be in error, {}; change that file first",
        sentences(needed_by)
    )]
    Needed {
        /// The object.
        key: ObjectKey,
        /// What would be wrong.
        needed_by: Vec<Finding>,
    },
    /// The object does not fit the others.
    #[error("{}", sentences(.0))]
    Invalid(Vec<Finding>),
    /// The disk refused.
    #[error("the change could not be stored and did not happen: {0}")]
    Disk(#[from] DiskError),
}

/// `mesh.yaml:12`.
pub(crate) fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file.display(), origin.line)
}

/// Findings as one text.
pub(crate) fn sentences(findings: &[Finding]) -> String {
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn held_by(file: Option<&Origin>) -> String {
    file.map(|origin| format!(" (it is written in {})", place(origin)))
        .unwrap_or_default()
}
