//! One series read as a call: who called whom, and whether the telemetry can be believed.

use crate::graph::labels::{Label, Labels};
use crate::graph::params::GraphType;

/// What stands for something that was not reported.
pub(super) const UNKNOWN: &str = "unknown";
/// The short names that proxies give to traffic past the known services.
pub(super) const EGRESS: [&str; 2] = ["PassthroughCluster", "BlackHoleCluster"];

/// Neither empty nor `unknown`.
pub(super) fn known(value: &str) -> bool {
    !value.is_empty() && value != UNKNOWN
}

fn known_version(version: &str) -> bool {
    known(version) && version != "latest"
}

/// One end of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Party<'a> {
    pub(super) cluster: &'a str,
    pub(super) service_namespace: &'a str,
    pub(super) service: &'a str,
    pub(super) namespace: &'a str,
    pub(super) workload: &'a str,
    pub(super) app: &'a str,
    pub(super) version: &'a str,
}

/// What kind of node a party becomes, and its identity string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    UnknownSource,
    App,
    Service,
    Workload,
}

impl Party<'_> {
    /// The workload's namespace, else the service's.
    pub(super) fn home(&self) -> &str {
        if known(self.namespace) || self.service_namespace.is_empty() {
            self.namespace
        } else {
            self.service_namespace
        }
    }

    /// The identity of the node that stands for this party in a graph of that type.
    pub(super) fn identify(&self, graph_type: GraphType) -> (Kind, String) {
        let (cluster, home) = (self.cluster, self.home());
        let nameless = self.workload == UNKNOWN && self.app == UNKNOWN;
        if nameless && home == UNKNOWN && self.service.is_empty() {
            return (Kind::UnknownSource, format!("{cluster}_unknown_source"));
        }
        let service = || {
            let name = if known(self.service) {
                self.service
            } else {
                UNKNOWN
            };
            (Kind::Service, format!("svc_{cluster}_{home}_{name}"))
        };
        if nameless && self.service == UNKNOWN {
            return service();
        }
        let apps = matches!(graph_type, GraphType::App | GraphType::VersionedApp);
        if apps && known(self.app) {
            let key = if graph_type == GraphType::App {
                format!("app_{cluster}_{home}_{}", self.app)
            } else if known(self.workload) {
                format!("vapp_{cluster}_{home}_{}", self.workload)
            } else if known_version(self.version) {
                format!("vapp_{cluster}_{home}_{}_{}", self.app, self.version)
            } else {
                format!("app_{cluster}_{home}_{}", self.app)
            };
            return (Kind::App, key);
        }
        if known(self.workload) {
            let key = format!("wl_{cluster}_{home}_{}", self.workload);
            return (Kind::Workload, key);
        }
        service()
    }

    /// Only the service of a destination, as an injected service node has it.
    pub(super) fn service_only(&self) -> Self {
        Party {
            namespace: "",
            workload: "",
            app: "",
            version: "",
            ..*self
        }
    }
}

/// Source, destination and called host of a series; `None` if it lacks a label or is known to be bad
/// telemetry.
pub(super) fn parties(labels: &Labels) -> Option<(Party<'_>, Party<'_>)> {
    let source_cluster = labels.get(Label::SourceCluster);
    let destination_cluster = labels.get(Label::DestinationCluster);
    let source = Party {
        cluster: source_cluster.unwrap_or(UNKNOWN),
        service_namespace: "",
        service: "",
        namespace: labels.get(Label::SourceWorkloadNamespace)?,
        workload: labels.get(Label::SourceWorkload)?,
        app: labels.get(Label::SourceCanonicalService)?,
        version: labels.get(Label::SourceCanonicalRevision)?,
    };
    let mut destination = Party {
        cluster: destination_cluster.unwrap_or(UNKNOWN),
        service_namespace: labels.get(Label::DestinationServiceNamespace)?,
        service: labels.get(Label::DestinationServiceName)?,
        namespace: labels.get(Label::DestinationWorkloadNamespace)?,
        workload: labels.get(Label::DestinationWorkload)?,
        app: labels.get(Label::DestinationCanonicalService)?,
        version: labels.get(Label::DestinationCanonicalRevision)?,
    };
    if known(source.namespace) {
        let nobody = !known(source.workload) && !known(source.app);
        let nowhere = source_cluster.is_some() && source.cluster == UNKNOWN;
        if nobody || nowhere {
            return None;
        }
    }
    // A request that reached no workload still was for a service of the caller's cluster.
    if destination.cluster == UNKNOWN
        && known(source.cluster)
        && known(destination.service_namespace)
    {
        destination.cluster = source.cluster;
    }
    if known(destination.service_namespace)
        && destination_cluster.is_some()
        && destination.cluster == UNKNOWN
    {
        return None;
    }
    let host = labels.get(Label::DestinationService);
    if !known(destination.workload)
        && host == Some(destination.service)
        && is_ip_address(destination.service)
    {
        return None;
    }
    Some((source, destination))
}

/// An IPv4 address with or without a port.
fn is_ip_address(host: &str) -> bool {
    let address = host.split_once(':').map_or(host, |(address, _)| address);
    address.parse::<std::net::Ipv4Addr>().is_ok()
}

/// The response code of a series: the gRPC status where one was given and HTTP did not fail.
pub(super) fn response_code<'a>(
    protocol: &str,
    code: &'a str,
    grpc_status: Option<&'a str>,
) -> &'a str {
    if code == "0" {
        return "-";
    }
    let http_error = code.len() == 3 && code.starts_with(['4', '5']);
    match grpc_status {
        Some(status) if protocol != "http" && !http_error && !status.is_empty() => status,
        _ => code,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Party, UNKNOWN, parties, response_code};
    use crate::graph::labels::{Label, Labels};
    use crate::graph::params::GraphType;

    fn labels(changes: &[(Label, &str)]) -> Labels {
        let mut labels = Labels::from_iter([
            (Label::SourceCluster, "mesh"),
            (Label::SourceWorkloadNamespace, "shop"),
            (Label::SourceWorkload, "web-v1"),
            (Label::SourceCanonicalService, "web"),
            (Label::SourceCanonicalRevision, "v1"),
            (Label::DestinationCluster, "mesh"),
            (Label::DestinationServiceNamespace, "shop"),
            (Label::DestinationService, "cart.shop.svc.cluster.local"),
            (Label::DestinationServiceName, "cart"),
            (Label::DestinationWorkloadNamespace, "shop"),
            (Label::DestinationWorkload, "cart-v1"),
            (Label::DestinationCanonicalService, "cart"),
            (Label::DestinationCanonicalRevision, "v1"),
        ]);
        for (label, value) in changes {
            labels.set(*label, *value);
        }
        labels
    }

    #[test]
    fn a_series_without_a_label_is_skipped_clusters_excepted() {
        let full = labels(&[]);
        assert!(parties(&full).is_some());
        for &missing in Label::ALL {
            let kept: Vec<Label> = Label::ALL
                .iter()
                .copied()
                .filter(|label| *label != missing)
                .collect();
            let optional = full.get(missing).is_none()
                || matches!(
                    missing,
                    Label::SourceCluster | Label::DestinationCluster | Label::DestinationService
                );
            assert_eq!(
                parties(&full.project(&kept)).is_some(),
                optional,
                "{missing:?}"
            );
        }
    }

    #[test]
    fn bad_telemetry_is_dropped() {
        let nobody = [
            (Label::SourceWorkload, UNKNOWN),
            (Label::SourceCanonicalService, UNKNOWN),
        ];
        assert!(parties(&labels(&nobody)).is_none());
        assert!(parties(&labels(&[(Label::SourceCluster, UNKNOWN)])).is_none());
        let address = [
            (Label::DestinationWorkload, UNKNOWN),
            (Label::DestinationService, "10.1.2.3:80"),
            (Label::DestinationServiceName, "10.1.2.3:80"),
        ];
        assert!(parties(&labels(&address)).is_none());
        let nowhere = [
            (Label::SourceCluster, UNKNOWN),
            (Label::SourceWorkloadNamespace, UNKNOWN),
            (Label::DestinationCluster, UNKNOWN),
        ];
        assert!(parties(&labels(&nowhere)).is_none());
    }

    #[test]
    fn a_destination_without_cluster_is_in_its_callers() {
        let labels = labels(&[(Label::DestinationCluster, UNKNOWN)]);
        let (_, destination) = parties(&labels).expect("believed");
        assert_eq!(destination.cluster, "mesh");
    }

    #[test]
    fn identities_follow_the_graph_type() {
        let labels = labels(&[]);
        let (_, cart) = parties(&labels).expect("believed");
        let key = |graph_type| cart.identify(graph_type).1;
        assert_eq!(key(GraphType::Workload), "wl_mesh_shop_cart-v1");
        assert_eq!(key(GraphType::Service), "wl_mesh_shop_cart-v1");
        assert_eq!(key(GraphType::App), "app_mesh_shop_cart");
        assert_eq!(key(GraphType::VersionedApp), "vapp_mesh_shop_cart-v1");
        let unserved = Party {
            workload: UNKNOWN,
            namespace: UNKNOWN,
            app: UNKNOWN,
            version: UNKNOWN,
            ..cart
        };
        for graph_type in [GraphType::Workload, GraphType::App] {
            let found = unserved.identify(graph_type);
            assert_eq!(found, (Kind::Service, "svc_mesh_shop_cart".to_owned()));
        }
        let without_workload = Party {
            workload: UNKNOWN,
            ..cart
        };
        let versioned = without_workload.identify(GraphType::VersionedApp);
        assert_eq!(versioned, (Kind::App, "vapp_mesh_shop_cart_v1".to_owned()));
        let latest = Party {
            version: "latest",
            ..without_workload
        };
        let unversioned = latest.identify(GraphType::VersionedApp);
        assert_eq!(unversioned, (Kind::App, "app_mesh_shop_cart".to_owned()));
    }

    #[test]
    fn nobody_is_the_world_outside_or_a_service_that_is_not_there() {
        let nobody = Party {
            cluster: UNKNOWN,
            namespace: UNKNOWN,
            workload: UNKNOWN,
            app: UNKNOWN,
            version: "latest",
            ..Party::default()
        };
        let source = nobody.identify(GraphType::Workload);
        assert_eq!(
            source,
            (Kind::UnknownSource, "unknown_unknown_source".to_owned())
        );
        let service = Party {
            service: UNKNOWN,
            service_namespace: UNKNOWN,
            ..nobody
        };
        assert_eq!(
            service.identify(GraphType::Workload),
            (Kind::Service, "svc_unknown_unknown_unknown".to_owned())
        );
    }

    #[test]
    fn the_code_is_the_grpc_status_where_there_is_one() {
        assert_eq!(response_code("http", "200", Some("0")), "200");
        assert_eq!(response_code("grpc", "200", Some("14")), "14");
        assert_eq!(response_code("grpc", "503", Some("14")), "503");
        assert_eq!(response_code("grpc", "200", Some("")), "200");
        assert_eq!(response_code("grpc", "200", None), "200");
        assert_eq!(response_code("http", "0", None), "-");
        assert_eq!(response_code("grpc", "0", Some("1")), "-");
    }
}
