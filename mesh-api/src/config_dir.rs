//! The configuration directory: YAML and JSON files that are the configuration, followed while they change.
//!
//! The directory is taken as a whole. At the start anything wrong with it ends the program; later it leaves
//! the last good state in force, is logged and counted, and is looked at again until it is mended.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mesh_config::analysis::{WRITTEN_TWICE, joined};
use mesh_config::model::{Object, ObjectKey};
use mesh_config::{DEFAULT_NAMESPACE, Finding};
use mesh_process::Shutdown;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::events::Events;
use crate::store::{Refusal, Store, place};

/// An editor writes a file in several steps: this long nothing must happen before we look.
const QUIET: Duration = Duration::from_millis(100);

/// However busy the directory is, we look after this.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How often a directory in error is looked at again: what it lacks may also come over HTTP.
const RETRY: Duration = Duration::from_secs(2);

/// Directories inside one another; more is a loop of links.
const DEEPEST: usize = 16;

/// What is wrong with the directory, a sentence each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct ConfigDirError(Vec<String>);

impl ConfigDirError {
    /// How many errors there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl From<Refusal> for ConfigDirError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(findings) => Self(findings.iter().map(ToString::to_string).collect()),
            other => Self(vec![other.to_string()]),
        }
    }
}

/// A directory that is in force and followed.
#[derive(Debug)]
pub(crate) struct ConfigDir {
    path: PathBuf,
    store: Arc<Store>,
    events: Events,
    /// How many there are.
    errors: watch::Sender<usize>,
    watcher: RecommendedWatcher,
    /// Something in the directory was touched.
    touched: mpsc::Receiver<()>,
}

impl ConfigDir {
    /// Puts the directory's objects into the store.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it; the store is then as before.
    pub(crate) fn open(
        path: &Path,
        store: Arc<Store>,
        events: Events,
    ) -> Result<Self, ConfigDirError> {
        // One pending message says everything: look again.
        let (sender, touched) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_err() || event.is_ok_and(|event| is_change(event.kind)) {
                // Full means that we shall look anyway.
                let _ = sender.try_send(());
            }
        });
        let mut directory = Self {
            path: path.to_owned(),
            store,
            events,
            errors: watch::Sender::new(0),
            watcher: watcher.map_err(|error| unwatched(path, &error))?,
            touched,
        };
        // Watched first: what changes while we read is seen afterwards.
        directory.watch().map_err(|error| unwatched(path, &error))?;
        directory.load()?;
        Ok(directory)
    }

    /// Follows how many errors there are.
    pub(crate) fn errors(&self) -> watch::Receiver<usize> {
        self.errors.subscribe()
    }

    /// Follows the directory until the stop.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let following = self.follow();
        tokio::select! {
            () = following => {}
            () = shutdown.wait() => {}
        }
    }

    async fn follow(mut self) {
        let mut complaint: Option<String> = None;
        loop {
            let touched = async {
                // The sender lives in the watcher.
                self.touched.recv().await;
                let quiet = async { while timeout(QUIET, self.touched.recv()).await.is_ok() {} };
                // Impatience is no error.
                let _ = timeout(IMPATIENCE, quiet).await;
            };
            if complaint.is_none() {
                touched.await;
            } else {
                // Whether it is time or something was touched: look again.
                let _ = timeout(RETRY, touched).await;
            }
            // The directory may have been replaced by another one of its name. If it cannot be watched, it
            // cannot be read either, and that is told.
            let _ = self.watch();
            let (back, result) = match tokio::task::spawn_blocking(move || {
                let result = self.load();
                (self, result)
            })
            .await
            {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::error!(%error, "the configuration directory is not followed any more");
                    return;
                }
            };
            self = back;
            complaint = match result {
                Ok(()) => {
                    if complaint.is_some() {
                        tracing::info!("the configuration directory is right again");
                        self.events.directory_mended(&self.path);
                    }
                    None
                }
                Err(error) => {
                    let text = error.to_string();
                    if complaint.as_ref() != Some(&text) {
                        tracing::error!(
                            error = text,
                            "the configuration directory is in error; its last good state stays in force"
                        );
                        self.events.directory_refused(&self.path, &error.0);
                    }
                    Some(text)
                }
            };
        }
    }

    fn watch(&mut self) -> notify::Result<()> {
        self.watcher.watch(&self.path, RecursiveMode::Recursive)
    }

    fn load(&self) -> Result<(), ConfigDirError> {
        let loaded = read(&self.path).and_then(|(objects, warnings)| {
            Ok(joined(warnings, self.store.replace_directory(objects)?))
        });
        let count = loaded.as_ref().map_or_else(ConfigDirError::count, |_| 0);
        self.errors.send_replace(count);
        for warning in loaded? {
            tracing::warn!("{warning}");
        }
        Ok(())
    }
}

/// All objects below a directory, and warnings about them.
fn read(directory: &Path) -> Result<(Vec<Object>, Vec<Finding>), ConfigDirError> {
    let mut files = Vec::new();
    find_files(directory, 0, &mut files).map_err(|error| ConfigDirError(vec![error]))?;
    files.sort();
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut objects: BTreeMap<ObjectKey, Object> = BTreeMap::new();
    for file in files {
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) => {
                errors.push(format!("cannot read {}: {error}", file.display()));
                continue;
            }
        };
        match mesh_config::parse_bytes(&file, &bytes, DEFAULT_NAMESPACE) {
            Err(findings) => errors.extend(findings.iter().map(ToString::to_string)),
            Ok(parsed) => {
                for one in parsed {
                    warnings.extend(one.warnings);
                    add(&mut objects, one.object, &mut errors, &mut warnings);
                }
            }
        }
    }
    if errors.is_empty() {
        Ok((objects.into_values().collect(), warnings))
    } else {
        Err(ConfigDirError(errors))
    }
}

/// The same object may be written twice as long as both say the same: which one counts would otherwise
/// depend on the files' names.
fn add(
    objects: &mut BTreeMap<ObjectKey, Object>,
    object: Object,
    errors: &mut Vec<String>,
    warnings: &mut Vec<Finding>,
) {
    let key = object.key();
    let Some(first) = objects.get(&key) else {
        objects.insert(key, object);
        return;
    };
    let at = |object: &Object| object.origin.as_ref().map(place).unwrap_or_default();
    if first.same_content(&object) {
        let message = format!(
            "it is written twice, in {} and {}; remove one",
            at(first),
            at(&object)
        );
        warnings.push(Finding::of(&WRITTEN_TWICE, key, message));
    } else {
        errors.push(format!(
            "{}: {key} is written differently in {}; remove one of them",
            at(&object),
            at(first)
        ));
    }
}

fn find_files(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!(
            "{} is too deep a directory; is a link in it a loop?",
            directory.display()
        ));
    }
    let unreadable = |error| format!("cannot read the directory {}: {error}", directory.display());
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        // Through links: that is how directories are mounted into containers.
        let Ok(metadata) = fs::metadata(&path) else {
            // It vanished meanwhile, or is a link to nowhere.
            continue;
        };
        let known = |extension: &std::ffi::OsStr| {
            ["yaml", "yml", "json"]
                .iter()
                .any(|known| extension == *known)
        };
        if metadata.is_dir() {
            find_files(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(known) {
            files.push(path);
        }
    }
    Ok(())
}

/// Reading the directory is no change of it.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn unwatched(path: &Path, error: &notify::Error) -> ConfigDirError {
    ConfigDirError(vec![format!(
        "cannot follow the configuration directory {} (--config-dir): {error}; check that it exists and may be read",
        path.display()
    )])
}
