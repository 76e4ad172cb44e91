//! Istio's MeshConfig: the file of `--mesh-config`, followed while it changes, else the ConfigMap `istio` of the
//! root namespace, where Istio reads one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_config::model::{Kind, MeshConfig, Spec};
use mesh_config::{Config, Finding, mesh_config};
use mesh_process::Shutdown;
use tokio::sync::watch;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Where Istio has its MeshConfig.
const CONFIG_MAP: &str = "istio";
const KEY: &str = "mesh";

/// Why a file is no MeshConfig for this mesh.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MeshConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; correct --mesh-config", .file.display())]
    Read {
        file: PathBuf,
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Finding>),
    /// It is for another mesh.
    #[error(
        "{}: trustDomain is {theirs}, but this mesh's identities are of {ours}; correct it, or remove it",
        .file.display()
    )]
    TrustDomain {
        file: PathBuf,
        theirs: String,
        ours: String,
    },
}

/// The file, as it is in force.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    trust_domain: String,
    text: String,
    config: watch::Sender<MeshConfig>,
}

impl File {
    /// Reads it for the first time.
    pub(crate) fn open(path: &Path, trust_domain: &str) -> Result<Self, MeshConfigError> {
        let (text, config) = load(path, trust_domain)?;
        Ok(Self {
            path: path.to_owned(),
            trust_domain: trust_domain.to_owned(),
            text,
            config: watch::Sender::new(config),
        })
    }

    /// Follows what it says.
    pub(crate) fn subscribe(&self) -> watch::Receiver<MeshConfig> {
        self.config.subscribe()
    }

    /// Follows the file until the stop. A version with errors is told once, and the last good one stays.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = shutdown.wait() => return,
            }
            let Ok(text) = tokio::fs::read_to_string(&self.path).await else {
                continue;
            };
            if text == self.text {
                continue;
            }
            match parse(&self.path, &text, &self.trust_domain) {
                Ok(config) => {
                    tracing::info!(file = %self.path.display(), "the MeshConfig has changed");
                    self.config.send_replace(config);
                }
                Err(error) => {
                    tracing::error!(%error, "the MeshConfig has errors; the last good one stays");
                }
            }
            self.text = text;
        }
    }
}

fn load(path: &Path, trust_domain: &str) -> Result<(String, MeshConfig), MeshConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| MeshConfigError::Read {
        file: path.to_owned(),
        source,
    })?;
    let config = parse(path, &text, trust_domain)?;
    Ok((text, config))
}

fn parse(path: &Path, text: &str, trust_domain: &str) -> Result<MeshConfig, MeshConfigError> {
    let (config, warnings) = mesh_config(path, text).map_err(MeshConfigError::Invalid)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    match &config.trust_domain {
        Some(theirs) if theirs != trust_domain => Err(MeshConfigError::TrustDomain {
            file: path.to_owned(),
            theirs: theirs.clone(),
            ours: trust_domain.to_owned(),
        }),
        _ => Ok(config),
    }
}

/// What the ConfigMap of the root namespace says; one with errors says nothing.
pub(crate) fn of_config_map(config: &Config, root: &str, trust_domain: &str) -> Option<MeshConfig> {
    let object = config.find(Kind::ConfigMap, root, CONFIG_MAP)?;
    let Spec::ConfigMap(map) = &object.spec else {
        return None;
    };
    let place = format!("ConfigMap {root}/{CONFIG_MAP}");
    match parse(Path::new(&place), map.data.get(KEY)?, trust_domain) {
        Ok(config) => Some(config),
        Err(error) => {
            tracing::error!(%error, "the MeshConfig has errors; Istio's defaults hold");
            None
        }
    }
}
