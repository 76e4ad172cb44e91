//! The objects on disk: one JSON file each, changed so that a crash at any moment loses nothing that was
//! confirmed and shows nothing that was not.
//!
//! A single change is one atomic replacement of one file. Several changes that belong together go into a
//! journal first, which is itself written atomically: from then on they count as done, and whoever starts
//! next finishes them. The counter behind `metadata.resourceVersion` is kept as a reserved upper limit, so
//! that it grows across restarts and deletions without a write of its own for each change.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use mesh_identity::disk::{create_private_dir, write_private};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The way out of a damaged object's file.
pub(super) const MOVE_AWAY: &str = "move it away and apply the object again";

/// How many resource versions one write of the counter's file reserves.
const REVISIONS_AT_ONCE: u64 = 1000;

/// What goes wrong with the state directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// Another process has the directory.
    #[error(
        "the state directory {0} is in use by another process; stop it, or give this one its own --state-dir"
    )]
    InUse(PathBuf),
    /// A file does not hold what it should.
    #[error(
        "{file} is damaged: {reason}; restore it from a backup, or {way_out} (nothing was changed)"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do where there is no backup.
        way_out: &'static str,
    },
    /// The system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// One file to be written or removed, relative to the objects' directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FileChange {
    pub(super) path: PathBuf,
    /// The new contents; none removes the file.
    pub(super) contents: Option<Value>,
}

/// What [`Disk::open`] found: the objects by their relative path.
pub(super) type Found = BTreeMap<PathBuf, Value>;

/// An open state directory. Its lock is held until it is dropped.
#[derive(Debug)]
pub(super) struct Disk {
    objects: PathBuf,
    journal: PathBuf,
    revisions: PathBuf,
    /// The highest revision that the counter's file allows to hand out.
    reserved: u64,
    /// Changes in the journal that are not in their files yet.
    pending: Vec<FileChange>,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Revisions {
    reserved: u64,
}

impl Disk {
    /// Opens (creating what is missing) and reads everything. Returns the revision to go on from.
    pub(super) fn open(state_dir: &Path) -> Result<(Self, Found, u64), DiskError> {
        let objects = state_dir.join("objects");
        for directory in [state_dir, &objects] {
            create_private_dir(directory).map_err(io_error("create", directory))?;
        }
        let lock = lock(state_dir)?;
        let mut disk = Self {
            objects,
            journal: state_dir.join("journal.json"),
            revisions: state_dir.join("revisions.json"),
            reserved: 0,
            pending: Vec::new(),
            _lock: lock,
        };
        if let Some(revisions) = read_json::<Revisions>(
            &disk.revisions,
            "write {\"reserved\": N} into it, N above every resourceVersion that was handed out",
        )? {
            disk.reserved = revisions.reserved;
        }
        if let Some(journal) = read_json::<Vec<FileChange>>(
            &disk.journal,
            "move it away and apply again what was being written",
        )? {
            tracing::info!(
                changes = journal.len(),
                "finishing a write that was interrupted"
            );
            disk.pending = journal;
            disk.settle()?;
        }
        let mut found = Found::new();
        disk.read_below(Path::new(""), &mut found)?;
        let revision = disk.reserved;
        Ok((disk, found, revision))
    }

    /// Makes sure that `revision` may be handed out.
    pub(super) fn reserve(&mut self, revision: u64) -> Result<(), DiskError> {
        if revision <= self.reserved {
            return Ok(());
        }
        let reserved = revision + REVISIONS_AT_ONCE;
        write_json(&self.revisions, &Revisions { reserved })?;
        self.reserved = reserved;
        Ok(())
    }

    /// Makes the changes all at once: after an error none of them has happened.
    pub(super) fn commit(&mut self, mut changes: Vec<FileChange>) -> Result<(), DiskError> {
        // What an earlier call could not finish comes first, or it would overwrite this one at the next start.
        self.settle()?;
        match changes.len() {
            0 => Ok(()),
            1 => {
                let change = changes.remove(0);
                self.write(&change)
            }
            _ => {
                write_json(&self.journal, &changes)?;
                self.pending = changes;
                // The journal holds the changes now: they have happened, whatever becomes of the files.
                if let Err(error) = self.settle() {
                    tracing::error!(%error, "the change is safe in the journal, but not in its files yet");
                }
                Ok(())
            }
        }
    }

    /// Brings what the journal holds into the files.
    fn settle(&mut self) -> Result<(), DiskError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        for change in &self.pending {
            self.write(change)?;
        }
        remove(&self.journal)?;
        self.pending.clear();
        Ok(())
    }

    fn write(&self, change: &FileChange) -> Result<(), DiskError> {
        let path = self.objects.join(&change.path);
        let Some(contents) = &change.contents else {
            return remove(&path);
        };
        if let Some(parent) = path.parent() {
            create_private_dir(parent).map_err(io_error("create", parent))?;
        }
        write_json(&path, contents)
    }

    fn read_below(&self, relative: &Path, found: &mut Found) -> Result<(), DiskError> {
        let directory = self.objects.join(relative);
        let entries = fs::read_dir(&directory).map_err(io_error("read", &directory))?;
        for entry in entries {
            let entry = entry.map_err(io_error("read", &directory))?;
            let path = entry.path();
            let relative = relative.join(entry.file_name());
            let kind = entry.file_type().map_err(io_error("read", &path))?;
            if kind.is_dir() {
                self.read_below(&relative, found)?;
            } else if entry.file_name().to_string_lossy().starts_with('.') {
                tracing::info!(file = %path.display(), "removing what an interrupted write left behind");
                remove(&path)?;
            } else if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                if let Some(value) = read_json(&path, MOVE_AWAY)? {
                    found.insert(relative, value);
                }
            } else {
                tracing::warn!(file = %path.display(), "this file is not an object and is left alone");
            }
        }
        Ok(())
    }

    /// The whole path of an object's file, for messages.
    pub(super) fn full_path(&self, relative: &Path) -> PathBuf {
        self.objects.join(relative)
    }
}

fn lock(state_dir: &Path) -> Result<File, DiskError> {
    let path = state_dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DiskError::InUse(state_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error("lock", &path)(source)),
    }
}

/// Reads a JSON file; none if there is no such file. `way_out` is for the one whose file is damaged.
pub(crate) fn read_json<T: for<'a> Deserialize<'a>>(
    path: &Path,
    way_out: &'static str,
) -> Result<Option<T>, DiskError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", path)(source)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| DiskError::Damaged {
            file: path.to_owned(),
            reason: error.to_string(),
            way_out,
        })
}

/// Replaces a file by the JSON of `value` in one step.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), DiskError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| io_error("write", path)(io::Error::other(error)))?;
    text.push(b'\n');
    write_private(path, &text).map_err(io_error("write", path))
}

/// Removes a file durably; it may be gone already.
fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error("remove", path)(source)),
    }
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("write", parent))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io {
        action,
        path,
        source,
    }
}
