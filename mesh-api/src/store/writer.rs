//! What only one writer at a time may touch: the disk, and the two sets of objects.

use mesh_config::Config;
use mesh_config::model::{ObjectKey, Origin, SharedObject};

use super::disk::Disk;
use super::{Refusal, View};

/// Everything that a write reads and changes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) disk: Disk,
    pub(super) revision: u64,
    /// What came over HTTP.
    pub(super) stored: Config,
    /// What the configuration directory holds; nothing before it was read.
    pub(super) directory: Option<Config>,
}

impl Writer {
    pub(super) fn holds(&self, key: &ObjectKey) -> bool {
        self.in_directory(key).is_some() || self.stored.get(key).is_some()
    }

    pub(super) fn in_directory(&self, key: &ObjectKey) -> Option<&SharedObject> {
        self.directory.as_ref()?.get(key)
    }

    pub(super) fn file_of(&self, key: &ObjectKey) -> Option<Origin> {
        self.in_directory(key)?.origin.clone()
    }

    pub(super) fn check_not_in_a_file(&self, key: &ObjectKey) -> Result<(), Refusal> {
        match self.file_of(key) {
            Some(file) => Err(Refusal::ReadOnly {
                key: key.clone(),
                file,
            }),
            None => Ok(()),
        }
    }

    /// The directory's objects hide stored ones of the same name.
    pub(super) fn config(&self) -> Config {
        let mut config = self.stored.clone();
        config.extend(self.directory.iter().flat_map(Config::iter).cloned());
        config
    }

    pub(super) fn view(&self) -> View {
        View::new(self.revision, self.config())
    }
}
