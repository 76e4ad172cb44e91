//! What the mesh writes into `filter_metadata`, the free-form part of listeners, clusters and endpoints.
//!
//! | on | key | content |
//! | --- | --- | --- |
//! | cluster | `istio` | `services: [{host, name, namespace}]`, as Istio writes it |
//! | endpoint | `envoy.transport_socket_match` | `tlsMode: istio` where an agent takes mutual TLS |
//! | endpoint, listener | `mesh.workload` | the [`Workload`] behind the endpoint, or the listener's own |
//! | inbound listener | `mesh.peers` | `workloads: […]`: all that a verified principal may stand for |
//!
//! A stock Envoy acts on the second and keeps the others unread.

use crate::Workload;
use crate::envoy::core::Metadata;
use crate::envoy::protobuf::Struct;
use crate::structs::{get_objects, get_string, list, nested, object, strings};

/// The key under which Istio names a cluster's services.
pub const ISTIO: &str = "istio";
/// The key that Envoy compares with a cluster's `transport_socket_matches`.
pub const TRANSPORT_SOCKET_MATCH: &str = "envoy.transport_socket_match";
/// The key of a [`Workload`].
pub const WORKLOAD: &str = "mesh.workload";
/// The key of the list of possible callers.
pub const PEERS: &str = "mesh.peers";
/// The field in [`TRANSPORT_SOCKET_MATCH`] that tells how an endpoint takes TLS.
pub const TLS_MODE: &str = "tlsMode";
/// The value of [`TLS_MODE`] for mutual TLS between agents.
pub const TLS_MODE_ISTIO: &str = "istio";

/// A service as the metric labels name it: `destination_service`, `_name` and `_namespace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceRef {
    /// `reviews.default.svc.cluster.local`.
    pub host: String,
    /// `reviews`.
    pub name: String,
    /// `default`.
    pub namespace: String,
}

/// Names the service that a cluster belongs to.
pub fn set_service(metadata: &mut Metadata, service: &ServiceRef) {
    let service = strings([
        ("host", service.host.as_str()),
        ("name", &service.name),
        ("namespace", &service.namespace),
    ]);
    let services = object([("services", list([nested(service)]))]);
    metadata.filter_metadata.insert(ISTIO.to_owned(), services);
}

/// The first service that a cluster names.
#[must_use]
pub fn service(metadata: &Metadata) -> Option<ServiceRef> {
    let services = get_objects(metadata.filter_metadata.get(ISTIO)?, "services");
    services.first().map(|service| ServiceRef {
        host: get_string(service, "host"),
        name: get_string(service, "name"),
        namespace: get_string(service, "namespace"),
    })
}

/// Names the workload behind an endpoint, or the one that a listener belongs to.
pub fn set_workload(metadata: &mut Metadata, workload: &Workload) {
    metadata
        .filter_metadata
        .insert(WORKLOAD.to_owned(), workload.to_struct());
}

/// The workload behind an endpoint, or the one that a listener belongs to.
#[must_use]
pub fn workload(metadata: &Metadata) -> Option<Workload> {
    metadata
        .filter_metadata
        .get(WORKLOAD)
        .map(Workload::from_struct)
}

/// Lists all workloads that may call.
pub fn set_peers<'a>(metadata: &mut Metadata, peers: impl IntoIterator<Item = &'a Workload>) {
    let workloads = list(peers.into_iter().map(|peer| nested(peer.to_struct())));
    metadata
        .filter_metadata
        .insert(PEERS.to_owned(), object([("workloads", workloads)]));
}

/// All workloads that may call; empty where none are listed.
#[must_use]
pub fn peers(metadata: &Metadata) -> Vec<Workload> {
    metadata
        .filter_metadata
        .get(PEERS)
        .map(|peers| get_objects(peers, "workloads"))
        .unwrap_or_default()
        .into_iter()
        .map(Workload::from_struct)
        .collect()
}

/// Says that an agent takes mutual TLS at an endpoint.
pub fn set_tls_mode(metadata: &mut Metadata) {
    metadata
        .filter_metadata
        .insert(TRANSPORT_SOCKET_MATCH.to_owned(), tls_mode_match());
}

/// Whether an agent takes mutual TLS at an endpoint.
#[must_use]
pub fn has_tls_mode(metadata: &Metadata) -> bool {
    metadata
        .filter_metadata
        .get(TRANSPORT_SOCKET_MATCH)
        .is_some_and(|fields| get_string(fields, TLS_MODE) == TLS_MODE_ISTIO)
}

/// What a cluster's `transport_socket_matches` asks of an endpoint that takes mutual TLS.
#[must_use]
pub fn tls_mode_match() -> Struct {
    strings([(TLS_MODE, TLS_MODE_ISTIO)])
}

/// Whether an endpoint's metadata has every field of a transport socket match; an empty match takes all.
#[must_use]
pub fn matches_transport_socket(metadata: Option<&Metadata>, condition: &Struct) -> bool {
    let fields = metadata.and_then(|metadata| metadata.filter_metadata.get(TRANSPORT_SOCKET_MATCH));
    condition
        .fields
        .iter()
        .all(|(key, value)| fields.is_some_and(|fields| fields.fields.get(key) == Some(value)))
}

#[cfg(test)]
mod tests {
    use super::{
        ServiceRef, has_tls_mode, matches_transport_socket, peers, service, set_peers, set_service,
        set_tls_mode, set_workload, tls_mode_match, workload,
    };
    use crate::Workload;
    use crate::envoy::core::Metadata;
    use crate::envoy::protobuf::Struct;

    #[test]
    fn readers_read_what_writers_write() {
        let mut metadata = Metadata::default();
        assert_eq!(service(&metadata), None);
        assert_eq!(workload(&metadata), None);
        assert!(peers(&metadata).is_empty());

        let reviews = ServiceRef {
            host: "reviews.default.svc.cluster.local".into(),
            name: "reviews".into(),
            namespace: "default".into(),
        };
        let named = |name: &str| Workload {
            name: name.into(),
            ..Workload::default()
        };
        set_service(&mut metadata, &reviews);
        set_workload(&mut metadata, &named("own"));
        set_peers(&mut metadata, &[named("a"), named("b")]);
        assert_eq!(service(&metadata), Some(reviews));
        assert_eq!(workload(&metadata), Some(named("own")));
        assert_eq!(peers(&metadata), [named("a"), named("b")]);
    }

    #[test]
    fn transport_sockets_are_chosen_by_the_fields_of_the_match() {
        let mut agent = Metadata::default();
        assert!(!has_tls_mode(&agent));
        assert!(!matches_transport_socket(Some(&agent), &tls_mode_match()));
        set_tls_mode(&mut agent);
        assert!(has_tls_mode(&agent));
        assert!(matches_transport_socket(Some(&agent), &tls_mode_match()));
        assert!(!matches_transport_socket(None, &tls_mode_match()));
        assert!(matches_transport_socket(None, &Struct::default()));
    }
}
