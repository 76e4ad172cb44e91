//! What a running daemon carries around.

use prometheus::{IntGaugeVec, Opts, Registry};

use crate::{Readiness, Shutdown};

/// The context of one daemon. Clones share it; tests make several in one operating-system process.
#[derive(Clone, Debug)]
pub struct Process {
    /// The program's name, for example `mesh-ca`.
    pub name: &'static str,
    /// Where its metrics are registered.
    pub registry: Registry,
    /// Its stop.
    pub shutdown: Shutdown,
    /// Its readiness.
    pub readiness: Readiness,
}

impl Process {
    /// A daemon that has just started, with `mesh_build_info` as its only metric.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let registry = Registry::new();
        let build = IntGaugeVec::new(
            Opts::new(
                "mesh_build_info",
                "1, labelled with the program and its version.",
            ),
            &["component", "version"],
        )
        .expect("the name and the labels are constants that Prometheus accepts");
        build
            .with_label_values(&[name, env!("CARGO_PKG_VERSION")])
            .set(1);
        registry
            .register(Box::new(build))
            .expect("a new registry holds nothing that this could clash with");
        Self {
            name,
            registry,
            shutdown: Shutdown::new(),
            readiness: Readiness::new(),
        }
    }
}
