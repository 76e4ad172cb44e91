//! A proxy's metrics about itself; those about requests are in [`crate::telemetry`].

use std::sync::Arc;
use std::time::SystemTime;

use mesh_identity::Identity;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use crate::control::Freshness;
use crate::snapshot::Snapshot;

/// What the control loop counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By `type`: CDS, EDS, LDS, RDS.
    pub(crate) rejections: IntCounterVec,
    snapshots: IntCounter,
    version: IntGauge,
    listeners: IntGauge,
    clusters: IntGauge,
}

impl Metrics {
    /// Registers them, with those that are computed when somebody looks.
    pub(crate) fn register(
        registry: &Registry,
        identity: Arc<Identity>,
        freshness: watch::Receiver<Freshness>,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let metrics = Self {
            rejections: IntCounterVec::new(
                Opts::new(
                    "mesh_proxy_xds_rejections_total",
                    "Resources from the control plane that were refused.",
                ),
                &["type"],
            )?,
            snapshots: IntCounter::new(
                "mesh_proxy_snapshots_published_total",
                "Configurations that were handed to the workers.",
            )?,
            version: IntGauge::new(
                "mesh_proxy_config_version",
                "Number of the configuration in force, counted from the start of the process.",
            )?,
            listeners: IntGauge::new("mesh_proxy_listeners", "Listeners that are served.")?,
            clusters: IntGauge::new("mesh_proxy_clusters", "Clusters that are known.")?,
        };
        for kind in mesh_xds::ResourceType::ALL {
            metrics.rejections.with_label_values(&[kind.abbreviation()]);
        }
        registry.register(Box::new(metrics.rejections.clone()))?;
        registry.register(Box::new(metrics.snapshots.clone()))?;
        registry.register(Box::new(metrics.version.clone()))?;
        registry.register(Box::new(metrics.listeners.clone()))?;
        registry.register(Box::new(metrics.clusters.clone()))?;
        registry.register(Box::new(Momentary::new(identity, freshness)?))?;
        registry.register(Box::new(Ejected::new(snapshots)?))?;
        Ok(Arc::new(metrics))
    }

    /// Notes that a snapshot went to the workers.
    pub(crate) fn published(&self, snapshot: &Snapshot) {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.snapshots.inc();
        self.version
            .set(i64::try_from(snapshot.version).unwrap_or(i64::MAX));
        self.listeners.set(count(snapshot.listeners.len()));
        self.clusters.set(count(snapshot.clusters.len()));
    }
}

/// What changes by itself as time goes by.
struct Momentary {
    identity: Arc<Identity>,
    freshness: watch::Receiver<Freshness>,
    expiry: Gauge,
    connected: Gauge,
    age: Gauge,
}

impl Momentary {
    fn new(
        identity: Arc<Identity>,
        freshness: watch::Receiver<Freshness>,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            identity,
            freshness,
            expiry: Gauge::new(
                "mesh_cert_expiry_seconds",
                "Seconds until the workload's certificate expires; negative once it has.",
            )?,
            connected: Gauge::new(
                "mesh_proxy_xds_connected",
                "1 while the stream to the control plane is up, else 0.",
            )?,
            age: Gauge::new(
                "mesh_proxy_config_age_seconds",
                "Seconds since the control plane last confirmed the configuration in force; 0 while the \
                 stream is up, and before there is one.",
            )?,
        })
    }
}

impl Collector for Momentary {
    fn desc(&self) -> Vec<&Desc> {
        [&self.expiry, &self.connected, &self.age]
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let now = SystemTime::now();
        self.expiry
            .set(seconds_between(now, self.identity.not_after()));
        let freshness = self.freshness.borrow().clone();
        self.connected
            .set(f64::from(u8::from(freshness == Freshness::Following)));
        self.age.set(match freshness {
            Freshness::AwaySince(since) => seconds_between(since, now).max(0.0),
            Freshness::Never | Freshness::Following => 0.0,
        });
        [&self.expiry, &self.connected, &self.age]
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// Endpoints that are left alone for their errors, of clusters with outlier detection.
struct Ejected {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    now: IntGaugeVec,
    total: IntGaugeVec,
}

impl Ejected {
    fn new(snapshots: watch::Receiver<Arc<Snapshot>>) -> Result<Self, prometheus::Error> {
        let by_cluster =
            |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["cluster"]);
        Ok(Self {
            snapshots,
            now: by_cluster(
                "mesh_endpoints_ejected",
                "Endpoints that get no requests at the moment because they failed several times in a row.",
            )?,
            total: by_cluster(
                "mesh_endpoint_ejections",
                "How often endpoints of the cluster were ejected, since the proxy knows the cluster.",
            )?,
        })
    }
}

impl Collector for Ejected {
    fn desc(&self) -> Vec<&Desc> {
        [&self.now, &self.total]
            .into_iter()
            .flat_map(Collector::desc)
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Clusters that are gone leave no series behind.
        self.now.reset();
        self.total.reset();
        let snapshot = self.snapshots.borrow().clone();
        let clusters = snapshot.clusters.values();
        for cluster in clusters.filter(|cluster| cluster.outlier.is_some()) {
            let labels = [&*cluster.name];
            let now = self.now.with_label_values(&labels);
            now.set(i64::from(cluster.state.ejected()));
            let total = i64::try_from(cluster.state.ejections()).unwrap_or(i64::MAX);
            self.total.with_label_values(&labels).set(total);
        }
        [&self.now, &self.total]
            .into_iter()
            .flat_map(Collector::collect)
            .collect()
    }
}

/// Negative if `to` is before `from`.
fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::snapshot::samples::AUTHORITY;

    fn value(registry: &Registry, name: &str) -> f64 {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family.unwrap_or_else(|| panic!("no {name}")).get_metric()[0]
            .get_gauge()
            .get_value()
    }

    #[test]
    fn age_and_expiry_are_those_of_the_moment() {
        let registry = Registry::new();
        let freshness = watch::Sender::new(Freshness::Never);
        let identity = AUTHORITY.identity("default", "a");
        let snapshots = watch::Sender::new(Arc::new(Snapshot::default()));
        let snapshots = snapshots.subscribe();
        Metrics::register(&registry, identity, freshness.subscribe(), snapshots).unwrap();
        assert!((3500.0..=3600.0).contains(&value(&registry, "mesh_cert_expiry_seconds")));
        let state = || {
            let age = value(&registry, "mesh_proxy_config_age_seconds");
            (value(&registry, "mesh_proxy_xds_connected"), age)
        };
        assert_eq!(state(), (0.0, 0.0));
        freshness.send_replace(Freshness::Following);
        assert_eq!(state(), (1.0, 0.0));
        let since = SystemTime::now() - Duration::from_secs(60);
        freshness.send_replace(Freshness::AwaySince(since));
        let (connected, age) = state();
        assert!(connected == 0.0 && (60.0..70.0).contains(&age), "{age}");
    }
}
