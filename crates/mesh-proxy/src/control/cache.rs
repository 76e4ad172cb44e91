//! The last accepted configuration on disk, from which a proxy starts while the control plane is away.
//!
//! The file is `STATE/resources.pb`: one line of header, a SHA-256 of what follows, and then an Envoy
//! `DeltaDiscoveryResponse` with every resource. It belongs to one node: a state directory that was moved
//! to another workload does not bring that one the wrong configuration. A file that cannot be used is set
//! aside and never a reason not to start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use mesh_identity::disk;
use mesh_xds::envoy::discovery::{DeltaDiscoveryResponse, Resource as Stored};
use mesh_xds::{Resource, ResourceSet, ResourceType};
use prost::Message;

const FILE: &str = "resources.pb";
const SET_ASIDE: &str = "resources.pb.corrupt";
/// Names the format and its version.
const HEADER: &[u8] = b"mesh-proxy resources 1\n";

/// Where it is kept, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    node: String,
}

/// What was kept.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Everything that had been accepted.
    pub(crate) resources: ResourceSet,
    /// When the control plane had last said so.
    pub(crate) confirmed: SystemTime,
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Corrupt(&'static str),
    #[error("it belongs to {0:?}")]
    Foreign(String),
}

impl Cache {
    /// For the node with this id, in this directory.
    pub(crate) fn new(directory: &Path, node: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            node: node.to_owned(),
        }
    }

    /// What was kept, if anything usable was.
    pub(crate) fn load(&self) -> Option<Kept> {
        let path = self.directory.join(FILE);
        match self.read(&path) {
            Ok(kept) => Some(kept),
            Err(LoadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(LoadError::Io(error)) => {
                tracing::warn!(
                    file = %path.display(), %error,
                    "cannot read the configuration that was kept; waiting for the control plane"
                );
                None
            }
            Err(error @ LoadError::Foreign(_)) => {
                tracing::warn!(
                    file = %path.display(), reason = %error, node = self.node,
                    "the configuration that was kept is another proxy's and is not used; give each proxy its \
                     own --state-dir"
                );
                None
            }
            Err(error @ LoadError::Corrupt(_)) => {
                let aside = self.directory.join(SET_ASIDE);
                let moved = std::fs::rename(&path, &aside);
                tracing::warn!(
                    file = %path.display(), reason = %error, aside = %aside.display(), ?moved,
                    "the configuration that was kept is damaged and is set aside; waiting for the control plane"
                );
                None
            }
        }
    }

    /// Keeps these resources in place of those before.
    pub(crate) fn save(&self, resources: &ResourceSet, confirmed: SystemTime) -> io::Result<()> {
        let stored = ResourceType::ALL
            .into_iter()
            .flat_map(|kind| resources.iter(kind));
        let seconds = confirmed
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let message = DeltaDiscoveryResponse {
            resources: stored
                .map(|resource| Stored {
                    name: resource.name.clone(),
                    version: resource.version.clone(),
                    resource: Some(resource.any.clone()),
                    ..Stored::default()
                })
                .collect(),
            system_version_info: self.node.clone(),
            nonce: seconds.to_string(),
            ..DeltaDiscoveryResponse::default()
        };
        let body = message.encode_to_vec();
        let checksum = digest(&SHA256, &body);
        let bytes = [HEADER, checksum.as_ref(), &body].concat();
        disk::write_private(&self.directory.join(FILE), &bytes)
    }

    fn read(&self, path: &Path) -> Result<Kept, LoadError> {
        let bytes = std::fs::read(path)?;
        let rest = bytes
            .strip_prefix(HEADER)
            .ok_or(LoadError::Corrupt("its header is unknown"))?;
        let (checksum, body) = rest
            .split_at_checked(SHA256_OUTPUT_LEN)
            .ok_or(LoadError::Corrupt("it ends too early"))?;
        if digest(&SHA256, body).as_ref() != checksum {
            return Err(LoadError::Corrupt("its checksum is wrong"));
        }
        let message = DeltaDiscoveryResponse::decode(body)
            .map_err(|_| LoadError::Corrupt("it is no protobuf message"))?;
        if message.system_version_info != self.node {
            return Err(LoadError::Foreign(message.system_version_info));
        }
        let seconds: u64 = message
            .nonce
            .parse()
            .map_err(|_| LoadError::Corrupt("its time is no number"))?;
        let mut resources = ResourceSet::new();
        for Stored {
            name,
            version,
            resource,
            ..
        } in message.resources
        {
            let any = resource.ok_or(LoadError::Corrupt("a resource is empty"))?;
            let kind = ResourceType::from_type_url(&any.type_url)
                .ok_or(LoadError::Corrupt("a resource has an unknown type"))?;
            resources.insert_resource(kind, Arc::new(Resource { name, version, any }));
        }
        let confirmed = UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .ok_or(LoadError::Corrupt("its time is out of range"))?;
        Ok(Kept {
            resources,
            confirmed,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::snapshot::samples::{assignment, eds_cluster, endpoint, routes};

    const NODE: &str = "sidecar~10.0.0.1~a.default~default.svc.cluster.local";

    fn some() -> ResourceSet {
        let mut resources = ResourceSet::new();
        resources.insert(&eds_cluster("a"));
        resources.insert(&assignment("a", vec![endpoint("10.0.0.1", 80)]));
        resources.insert(&routes("r", &[("a", 1)]));
        resources
    }

    fn time() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn what_was_kept_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path(), NODE);
        assert!(cache.load().is_none());
        cache.save(&some(), time()).unwrap();
        let kept = cache.load().unwrap();
        assert_eq!(kept.resources, some());
        assert_eq!(kept.confirmed, time());
        let mode = std::fs::metadata(directory.path().join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        cache.save(&ResourceSet::new(), time()).unwrap();
        assert!(cache.load().unwrap().resources.is_empty());
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path(), NODE);
        let file = directory.path().join(FILE);
        cache.save(&some(), time()).unwrap();
        let good = std::fs::read(&file).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [
            flipped,
            good[..good.len() - 1].to_vec(),
            good[..30].to_vec(),
            b"x".to_vec(),
            vec![],
        ] {
            std::fs::write(&file, &bad).unwrap();
            assert!(cache.load().is_none());
            assert!(!file.exists());
            assert_eq!(
                std::fs::read(directory.path().join(SET_ASIDE)).unwrap(),
                bad
            );
        }
        cache.save(&some(), time()).unwrap();
        assert!(cache.load().is_some());
    }

    #[test]
    fn another_proxys_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        Cache::new(directory.path(), NODE)
            .save(&some(), time())
            .unwrap();
        assert!(
            Cache::new(directory.path(), "router~~b.c~")
                .load()
                .is_none()
        );
        assert!(Cache::new(directory.path(), NODE).load().is_some());
    }
}
