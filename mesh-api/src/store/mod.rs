//! The mesh's objects: those that came over HTTP, kept on disk, and those of the configuration directory.
//!
//! Readers take a [`View`], an immutable picture of everything at one moment. Writers are serialised; each
//! write is checked against the others ([`mesh_config::analysis`]), put on disk and only then
//! shown. All of it is synchronous: call it from a blocking thread.
//!
//! [`disk`] is how it survives crashes, [`stamp`] what it adds to an object, [`rules`] when it says no and
//! [`refusal`] in which words.

mod disk;
mod files;
mod refusal;
mod rules;
mod stamp;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_config::model::{Object, ObjectKey, Origin, SharedObject};
use mesh_config::{Config, Finding};
use tokio::sync::watch;

pub(crate) use disk::DiskError;
use disk::{Disk, FileChange};
pub(crate) use disk::{read_json, write_json};
pub(crate) use refusal::Refusal;
pub(crate) use refusal::place;
use refusal::sentences;
use rules::{check_version, findings_of, newly_broken};
pub(crate) use stamp::Action;
use stamp::{Stamp, random_uid, stamp, uid_of};
pub(crate) use stamp::{shown_as, text};
pub(crate) use view::View;
use writer::Writer;

use crate::events::{EventKind, Events};

/// How events name where a change came from.
const FROM_API: &str = "over the config API";
const FROM_DIRECTORY: &str = "in the configuration directory";

/// A write that happened, or would have in a dry run.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The object as it is now.
    pub(crate) object: SharedObject,
    /// What became of it.
    pub(crate) action: Action,
    /// What the writer should know.
    pub(crate) warnings: Vec<Finding>,
}

/// What a deletion insists on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Precondition {
    /// Only if this is the object's uid.
    pub(crate) uid: Option<String>,
    /// Only if this is the object's resource version.
    pub(crate) resource_version: Option<String>,
}

/// Keeps the objects.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Mutex<Writer>,
    view: watch::Sender<Arc<View>>,
    events: Events,
}

impl Store {
    /// Opens the state directory and reads every object in it.
    ///
    /// # Errors
    ///
    /// [`DiskError`], also when another process has the directory or a file is damaged; nothing is then
    /// changed.
    pub(crate) fn open(state_dir: &Path, events: Events) -> Result<Self, DiskError> {
        let (disk, found, revision) = Disk::open(state_dir)?;
        let mut stored = Config::default();
        for (path, value) in found {
            let damaged = |reason: String| DiskError::Damaged {
                file: disk.full_path(&path),
                reason,
                way_out: disk::MOVE_AWAY,
            };
            let object = mesh_config::from_value(&value, "")
                .map_err(|findings| damaged(sentences(&findings)))?
                .object;
            let key = object.key();
            if files::path_of(&key) != path {
                return Err(damaged(format!("it holds {key}, which belongs elsewhere")));
            }
            stored.insert(object);
        }
        let writer = Writer {
            disk,
            revision,
            stored,
            directory: None,
        };
        let view = watch::Sender::new(Arc::new(writer.view()));
        Ok(Self {
            writer: Mutex::new(writer),
            view,
            events,
        })
    }

    /// Everything as it is now.
    #[must_use]
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Follows the changes.
    #[must_use]
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Adds an object that is not there yet.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing has changed then.
    pub(crate) fn create(&self, object: Object, dry_run: bool) -> Result<Written, Refusal> {
        let mut writer = self.lock();
        let key = object.key();
        if writer.holds(&key) {
            let file = writer.file_of(&key);
            return Err(Refusal::AlreadyExists { key, file });
        }
        self.put_one(&mut writer, object, dry_run)
    }

    /// Replaces an object that is there.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing has changed then.
    pub(crate) fn update(&self, object: Object, dry_run: bool) -> Result<Written, Refusal> {
        let mut writer = self.lock();
        let key = object.key();
        if !writer.holds(&key) {
            return Err(Refusal::NotFound(key));
        }
        self.put_one(&mut writer, object, dry_run)
    }

    /// Adds or replaces all of these, or none. They are checked together, so that their order does not
    /// matter.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing has changed then.
    pub(crate) fn apply(
        &self,
        objects: Vec<Object>,
        dry_run: bool,
    ) -> Result<Vec<Written>, Refusal> {
        self.put(&mut self.lock(), objects, dry_run)
    }

    /// Takes an object away. Answers what it was, and what others now lack.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing has changed then.
    pub(crate) fn delete(
        &self,
        key: &ObjectKey,
        precondition: &Precondition,
        dry_run: bool,
    ) -> Result<Written, Refusal> {
        let mut writer = self.lock();
        writer.check_not_in_a_file(key)?;
        let absent = || Refusal::NotFound(key.clone());
        let object = writer.stored.get(key).cloned().ok_or_else(absent)?;
        if let Some(uid) = &precondition.uid
            && text(&object, "uid") != Some(uid)
        {
            return Err(absent());
        }
        check_version(key, precondition.resource_version.as_deref(), Some(&object))?;

        let before = writer.config();
        let mut after = before.clone();
        after.remove(key);
        let in_directory = |finding: &Finding| {
            let holder = finding.object.as_ref();
            holder.is_some_and(|holder| writer.in_directory(holder).is_some())
        };
        let broken = newly_broken(&before, &after, &[key]);
        let (needed_by, warnings): (Vec<_>, Vec<_>) = broken.into_iter().partition(in_directory);
        if !needed_by.is_empty() {
            return Err(Refusal::Needed {
                key: key.clone(),
                needed_by,
            });
        }
        if !dry_run {
            let revision = writer.revision + 1;
            writer.disk.reserve(revision)?;
            writer.disk.commit(vec![FileChange {
                path: files::path_of(key),
                contents: None,
            }])?;
            writer.revision = revision;
            writer.stored.remove(key);
            tracing::info!(object = %key, "object deleted");
            self.show(&writer);
            self.events
                .objects(&[(key, EventKind::ObjectDeleted)], FROM_API);
        }
        Ok(Written {
            object,
            action: Action::Configured,
            warnings,
        })
    }

    /// Takes what the configuration directory holds now instead of what it held. Its objects hide those of
    /// the same name that came over HTTP. Answers with warnings.
    ///
    /// # Errors
    ///
    /// What is wrong with the directory's objects; the earlier ones stay then.
    pub(crate) fn replace_directory(&self, objects: Vec<Object>) -> Result<Vec<Finding>, Refusal> {
        let mut writer = self.lock();
        let next = writer.revision + 1;
        let mut changes: Vec<(ObjectKey, EventKind)> = Vec::new();
        let mut directory = Config::default();
        for object in objects {
            let key = object.key();
            let origin = object.origin.clone();
            let stamped = Stamp {
                uid: uid_of(&key),
                revision: next,
                created: None,
            };
            let (object, action) = stamp(object, writer.in_directory(&key), &stamped);
            changes.extend(EventKind::of(action).map(|kind| (key.clone(), kind)));
            if action != Action::Unchanged && writer.stored.get(&key).is_some() {
                tracing::warn!(object = %key, "the configuration directory hides the object of this name that came over HTTP");
            }
            directory.insert(placed(&object, origin));
        }
        let before = writer.directory.iter().flat_map(Config::iter);
        let removed = before.map(|object| object.key());
        let removed = removed.filter(|key| directory.get(key).is_none());
        changes.extend(removed.map(|key| (key, EventKind::ObjectDeleted)));

        let mut config = writer.stored.clone();
        config.extend(directory.iter().cloned());
        let (errors, warnings) = findings_of(&config, directory.iter());
        let mut warnings = warnings.concat();
        if !errors.is_empty() {
            return Err(Refusal::Invalid(errors));
        }
        // Files cannot be refused for the sake of what came over HTTP, but it must not break in silence.
        let before = writer.directory.iter().flat_map(Config::iter);
        let touched: Vec<ObjectKey> = (before.chain(directory.iter()))
            .map(|object| object.key())
            .collect();
        let touched: Vec<&ObjectKey> = touched.iter().collect();
        warnings.extend(newly_broken(&writer.config(), &config, &touched));
        if !changes.is_empty() {
            writer.disk.reserve(next)?;
            writer.revision = next;
        }
        // Shown even when nothing changed but the places: they are part of messages.
        let earlier = writer.directory.replace(directory);
        self.show(&writer);
        // What it holds at the start is no change.
        if earlier.is_some() {
            let changes: Vec<_> = changes.iter().map(|(key, kind)| (key, *kind)).collect();
            self.events.objects(&changes, FROM_DIRECTORY);
        }
        Ok(warnings)
    }

    fn put_one(
        &self,
        writer: &mut Writer,
        object: Object,
        dry_run: bool,
    ) -> Result<Written, Refusal> {
        let key = object.key();
        let mut written = self.put(writer, vec![object], dry_run)?;
        written.pop().ok_or(Refusal::NotFound(key))
    }

    fn put(
        &self,
        writer: &mut Writer,
        objects: Vec<Object>,
        dry_run: bool,
    ) -> Result<Vec<Written>, Refusal> {
        let before = writer.config();
        let mut after = before.clone();
        let mut revision = writer.revision;
        let mut written = Vec::with_capacity(objects.len());
        for object in objects {
            let key = object.key();
            writer.check_not_in_a_file(&key)?;
            let current = writer.stored.get(&key);
            check_version(&key, object.metadata.resource_version.as_deref(), current)?;
            let next = Stamp {
                uid: random_uid(),
                revision: revision + 1,
                created: Some(stamp::now()),
            };
            let (object, action) = stamp(object, current, &next);
            revision += u64::from(action != Action::Unchanged);
            after.insert(Arc::clone(&object));
            written.push(Written {
                object,
                action,
                warnings: Vec::new(),
            });
        }

        let (mut errors, warnings) = findings_of(&after, written.iter().map(|one| &one.object));
        for (one, warnings) in written.iter_mut().zip(warnings) {
            one.warnings = warnings;
        }
        let keys: Vec<ObjectKey> = written.iter().map(|one| one.object.key()).collect();
        let keys: Vec<&ObjectKey> = keys.iter().collect();
        errors.extend(newly_broken(&before, &after, &keys));
        if !errors.is_empty() {
            return Err(Refusal::Invalid(errors));
        }
        if !dry_run && revision != writer.revision {
            self.keep(writer, &written, revision)?;
        }
        Ok(written)
    }

    /// Puts what was written on disk, then shows it.
    fn keep(
        &self,
        writer: &mut Writer,
        written: &[Written],
        revision: u64,
    ) -> Result<(), DiskError> {
        let changed = || {
            let differs = |one: &&Written| one.action != Action::Unchanged;
            written.iter().filter(differs).map(|one| &one.object)
        };
        let changes = changed().map(|object| FileChange {
            path: files::path_of(&object.key()),
            contents: Some(object.raw.clone()),
        });
        writer.disk.reserve(revision)?;
        writer.disk.commit(changes.collect())?;
        writer.revision = revision;
        for one in written.iter().filter(|one| one.action != Action::Unchanged) {
            tracing::info!(object = %one.object.key(), action = one.action.as_str(), "object written");
        }
        // A place in a request's body means nothing once the request is over.
        writer
            .stored
            .extend(changed().map(|object| placed(object, None)));
        self.show(writer);
        let keys: Vec<(ObjectKey, Action)> = (written.iter())
            .map(|one| (one.object.key(), one.action))
            .collect();
        let changes: Vec<(&ObjectKey, EventKind)> = (keys.iter())
            .filter_map(|(key, action)| Some((key, EventKind::of(*action)?)))
            .collect();
        self.events.objects(&changes, FROM_API);
        Ok(())
    }

    fn show(&self, writer: &Writer) {
        self.view.send_replace(Arc::new(writer.view()));
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        // A write that panicked has not changed the sets: they are touched last.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object as one that was written at `origin`.
fn placed(object: &SharedObject, origin: Option<Origin>) -> SharedObject {
    if object.origin == origin {
        return Arc::clone(object);
    }
    let mut object = Object::clone(object);
    object.origin = origin;
    Arc::new(object)
}
