//! What the control plane tells about itself.

use mesh_config::Kind;
use mesh_xds::ResourceType;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::store::View;

/// Handles to every metric of the process.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) connected_proxies: IntGauge,
    pub(crate) pushes: PerType,
    pub(crate) rejections: PerType,
    pub(crate) compile_duration: Histogram,
    pub(crate) registered_instances: IntGauge,
    pub(crate) reports_received: IntCounter,
    pub(crate) reports_repeated: IntCounter,
    pub(crate) edges_refused: IntCounter,
    pub(crate) config_dir_errors: IntGauge,
    pub(crate) requests_refused: IntCounterVec,
    objects: IntGaugeVec,
}

/// A counter for each type of xDS resource.
#[derive(Clone, Debug)]
pub(crate) struct PerType([IntCounter; ResourceType::COUNT]);

impl PerType {
    pub(crate) fn of(&self, resource_type: ResourceType) -> &IntCounter {
        &self.0[resource_type as usize]
    }
}

impl Metrics {
    /// Registers everything, each series at zero where its labels are known.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| add(registry, IntGauge::new(name, help)?);
        let counter = |name: &str, help: &str| add(registry, IntCounter::new(name, help)?);
        let per_type = |name: &str, help: &str| {
            let counters = add(
                registry,
                IntCounterVec::new(Opts::new(name, help), &["type"])?,
            )?;
            let of = |kind: ResourceType| counters.with_label_values(&[kind.abbreviation()]);
            Ok::<_, prometheus::Error>(PerType(ResourceType::ALL.map(of)))
        };
        let objects = Opts::new(
            "mesh_api_objects",
            "Objects of the configuration, by API group and kind.",
        );
        let refused = Opts::new(
            "mesh_api_http_requests_refused_total",
            "Requests to the config API from beyond loopback that did not show its token, by reason.",
        );
        let compile = HistogramOpts::new(
            "mesh_api_compile_duration_seconds",
            "Time to turn configuration and registry into the model that proxies are served from.",
        )
        .buckets(prometheus::exponential_buckets(0.0005, 2.5, 12)?);
        Ok(Self {
            connected_proxies: gauge(
                "mesh_api_connected_proxies",
                "Proxies with an open discovery stream.",
            )?,
            pushes: per_type(
                "mesh_api_xds_pushes_total",
                "Discovery responses sent to proxies, by resource type.",
            )?,
            rejections: per_type(
                "mesh_api_xds_rejections_total",
                "Discovery responses that a proxy rejected, by resource type.",
            )?,
            compile_duration: add(registry, Histogram::with_opts(compile)?)?,
            registered_instances: gauge(
                "mesh_api_registered_instances",
                "Workload instances with a living registration.",
            )?,
            reports_received: counter(
                "mesh_api_edge_reports_received_total",
                "Edge reports of proxies that were taken in.",
            )?,
            reports_repeated: counter(
                "mesh_api_edge_reports_repeated_total",
                "Edge reports that had been taken in before and were passed over.",
            )?,
            edges_refused: counter(
                "mesh_api_edges_refused_total",
                "Edges in reports that do not fit the certificate of the proxy that reported them.",
            )?,
            config_dir_errors: gauge(
                "mesh_api_config_dir_errors",
                "Errors in the configuration directory; while there are any, its last good state is in force.",
            )?,
            requests_refused: add(registry, IntCounterVec::new(refused, &["reason"])?)?,
            objects: add(registry, IntGaugeVec::new(objects, &["group", "kind"])?)?,
        })
    }

    /// Counts the objects of a view. Kinds that are not acted on have a series while there are any.
    pub(crate) fn count_objects(&self, view: &View) {
        for kind in Kind::all() {
            let count = view.config.of_kind(kind).count();
            // Several groups have a Gateway.
            let labels = [kind.group(), kind.kind()];
            if kind.is_acted() || count > 0 {
                let gauge = self.objects.with_label_values(&labels);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            } else {
                // There may be none.
                let _ = self.objects.remove_label_values(&labels);
            }
        }
    }
}

fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
