//! The whole configuration held against itself: what exists, what contradicts what, and what has no effect.
//!
//! [`analyze`] does it for everything, [`Analysis`] also for single objects, among them those of a write: some
//! findings refuse it ([`Analysis::refusals`]). One file per family of analyzers; each looks at one object and asks
//! an index for what it needs of the others, so that nothing is compared with everything. [`read`] gives objects
//! that were refused, too: a mistake in one place is no reason to be silent about the others. The codes, what they
//! mean and what to do are in [`CODES`].

mod bypass;
mod code;
mod condition;
mod deployment;
mod deprecated;
mod destination_rule;
mod gateway;
mod hosts;
mod index;
mod policy;
mod scoped;
mod secret;
mod service;
mod service_entry;
mod view;
mod virtual_service;
mod workloads;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

pub use code::*;
use index::Index;
use view::Found;

use crate::config::Config;
use crate::finding::Finding;
use crate::model::{Kind, Object};
use crate::parse::parse_loosely;

/// What is known beside the objects.
#[derive(Clone, Debug)]
pub struct Options {
    /// Gateways that run without being written.
    pub gateways: Vec<Gateway>,
    /// Whether what runs is all written, so that a selector that selects nothing is a mistake. Otherwise that is
    /// so only if some workload is written.
    pub complete: bool,
    /// The namespace whose policies hold for the whole mesh.
    pub root_namespace: String,
    /// When it is: certificates end.
    pub now: SystemTime,
}

/// A gateway that runs.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The ports of the Service in front of it; `None` if it can open any port by itself.
    pub ports: Option<Vec<u16>>,
}

impl Options {
    /// For files: they hold everything, but Istio's standard gateway and the Service in front of it are taken for
    /// granted.
    #[must_use]
    pub fn files() -> Self {
        Options {
            gateways: vec![Gateway {
                // Those of Istio's own Service, and those of its pod.
                ports: Some(vec![80, 443, 8080, 8443, 15443, 31400]),
                ..Gateway::standard()
            }],
            complete: true,
            ..Options::running()
        }
    }

    /// For a mesh that runs: it has the standard gateway, and workloads may come at any time.
    #[must_use]
    pub fn running() -> Self {
        Options {
            gateways: vec![Gateway::standard()],
            complete: false,
            root_namespace: "istio-system".to_owned(),
            now: SystemTime::now(),
        }
    }
}

impl Gateway {
    /// The gateway that every mesh has, under Istio's names.
    #[must_use]
    pub fn standard() -> Self {
        let labels = [("app", "istio-ingressgateway"), ("istio", "ingressgateway")];
        Gateway {
            namespace: "istio-system".to_owned(),
            name: "istio-ingressgateway".to_owned(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ports: None,
        }
    }
}

/// Everything that is found in a configuration, in the order of its objects.
pub fn analyze(config: &Config, options: &Options) -> Vec<Finding> {
    let analysis = Analysis::new(config, options);
    config
        .iter()
        .flat_map(|object| analysis.object(object))
        .collect()
}

/// All objects of a text, those that are refused, too, and what is wrong with each of them.
///
/// A finding without a code says that the text could not be read.
pub fn read(file: &Path, text: &str, namespace: &str) -> (Vec<Object>, Vec<Finding>) {
    parse_loosely(file, text, namespace)
}

/// The findings of reading and those of an analysis without what both say: the analysis knows more.
pub fn joined(read: Vec<Finding>, analysed: Vec<Finding>) -> Vec<Finding> {
    let mut all = read;
    all.retain(|one| {
        let said = |other: &Finding| {
            one.code.is_some() && one.code == other.code && one.object == other.object
        };
        one.code != Some(&PAST_THE_MESH) || !analysed.iter().any(said)
    });
    all.extend(analysed);
    all
}

/// A configuration under analysis. What it looks up is made when it is first needed, and once.
pub struct Analysis<'a> {
    index: Index<'a>,
}

impl<'a> Analysis<'a> {
    /// Looks at nothing yet.
    pub fn new(config: &'a Config, options: &'a Options) -> Self {
        Analysis {
            index: Index::new(config, options),
        }
    }

    /// What is found about an object of the configuration.
    pub fn object(&self, object: &Object) -> Vec<Finding> {
        let (mut refusals, others) = self.split(object);
        refusals.extend(others);
        refusals
    }

    /// What is found about an object, and whether it refuses a write: first what does, then the rest.
    ///
    /// A destination that nobody has, a port that its Service has not, and a subset that the DestinationRules of
    /// its host do not have refuse it. All else may still come.
    pub fn split(&self, object: &Object) -> (Vec<Finding>, Vec<Finding>) {
        let mut found = Found::new(object);
        self.look(&mut found);
        let (refusals, mut others) = found.split();
        let suppressed = suppressed(object);
        others.retain(|finding| {
            let code = finding.code.map_or("", |code| code.id);
            !suppressed.iter().any(|word| *word == "*" || *word == code)
        });
        (refusals, others)
    }

    /// Only what refuses a write of this object.
    pub fn refusals(&self, object: &Object) -> Vec<Finding> {
        let mut found = Found::new(object);
        if object.kind == Kind::VirtualService {
            virtual_service::destinations(&self.index, &mut found);
        }
        found.split().0
    }

    fn look(&self, found: &mut Found<'_>) {
        let index = &self.index;
        match found.object.kind {
            Kind::VirtualService => virtual_service::look(index, found),
            Kind::DestinationRule => destination_rule::look(index, found),
            Kind::Gateway => gateway::look(index, found),
            Kind::Service => service::look(index, found),
            kind => match (kind.group(), kind.kind()) {
                ("networking.istio.io", "ServiceEntry") => service_entry::look(index, found),
                ("networking.istio.io", "Sidecar") => scoped::sidecar(index, found),
                ("telemetry.istio.io", "Telemetry") => scoped::telemetry(index, found),
                ("security.istio.io", "AuthorizationPolicy") => policy::authorization(index, found),
                ("security.istio.io", "RequestAuthentication")
                | ("extensions.istio.io", "WasmPlugin") => policy::selector(index, found),
                ("apps", "Deployment") => deployment::look(index, found),
                ("", "Pod") => deployment::user(found, &["spec"]),
                _ => {}
            },
        }
        deprecated::look(found);
        condition::look(found);
    }
}

/// The codes that an object's author does not want to hear of; `*` is all of them.
fn suppressed(object: &Object) -> Vec<&str> {
    const SUPPRESS: &str = "galley.istio.io/analyze-suppress";
    let written = object.metadata.annotations.get(SUPPRESS);
    written
        .into_iter()
        .flat_map(|words| words.split(','))
        .map(str::trim)
        .collect()
}
