//! What the control plane tells about itself.

use mesh_config::Kind;
use prometheus::core::Collector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::store::View;

/// Handles to every metric of the process.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) config_dir_errors: IntGauge,
    objects: IntGaugeVec,
}

impl Metrics {
    /// Registers everything.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| add(registry, IntGauge::new(name, help)?);
        let objects = Opts::new("mesh_api_objects", "Objects of the configuration, by kind.");
        Ok(Self {
            config_dir_errors: gauge(
                "mesh_api_config_dir_errors",
                "Errors in the configuration directory; while there are any, its last good state is in force.",
            )?,
            objects: add(registry, IntGaugeVec::new(objects, &["kind"])?)?,
        })
    }

    /// Counts the objects of a view.
    pub(crate) fn count_objects(&self, view: &View) {
        for kind in Kind::all() {
            let count = view.config.of_kind(kind).count();
            // Kinds that are not acted on appear once there is one; they then fall back to zero.
            if kind.is_acted() || count > 0 || self.has_series(kind) {
                let gauge = self.objects.with_label_values(&[kind.kind()]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }

    fn has_series(&self, kind: Kind) -> bool {
        self.objects.collect().iter().any(|family| {
            family.get_metric().iter().any(|metric| {
                metric
                    .get_label()
                    .iter()
                    .any(|label| label.value() == kind.kind())
            })
        })
    }
}

fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
