//! Whether a proxy is who it says it is.

use mesh_config::Config;
use mesh_identity::SpiffeId;
use mesh_xds::envoy::core::Node;
use mesh_xds::node::{NodeMetadata, ProxyKind};
use tonic::Status;

use crate::registry::may_speak_for;

/// The service account of a gateway, from the name of its workload.
pub(crate) fn gateway_service_account(workload: &str) -> String {
    format!("{workload}-service-account")
}

/// Reads a proxy's introduction and holds it against the certificate.
///
/// # Errors
///
/// `INVALID_ARGUMENT` for what cannot be read, `NOT_FOUND` while the WorkloadGroup is not there,
/// `PERMISSION_DENIED` for somebody else's node.
pub(crate) fn identify(
    config: &Config,
    peer: &SpiffeId,
    node: Option<&Node>,
) -> Result<NodeMetadata, Status> {
    let node = node.ok_or_else(|| {
        Status::invalid_argument("the first request of a discovery stream must name the node")
    })?;
    let node = NodeMetadata::from_node(node)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    match node.kind {
        ProxyKind::Sidecar => {
            if node.workload_group.is_empty() {
                return Err(Status::invalid_argument(
                    "the node's metadata has no WORKLOAD_GROUP; name the WorkloadGroup of the workload in the proxy's bootstrap",
                ));
            }
            may_speak_for(config, peer, &node.namespace, &node.workload_group)?;
        }
        ProxyKind::Gateway => {
            // A gateway may be written down as a WorkloadGroup, whose labels it then has: only if they are its own.
            let name = &node.workload_name;
            let group = match node.workload_group.as_str() {
                "" => config.workload_group(&node.namespace, name).map(|_| name),
                _ => Some(&node.workload_group),
            };
            if let Some(group) = group {
                may_speak_for(config, peer, &node.namespace, group)?;
                return Ok(node);
            }
            let account = gateway_service_account(name);
            if peer.namespace() != node.namespace || peer.service_account() != account {
                return Err(Status::permission_denied(format!(
                    "gateway {}/{name} has service account {account}, the certificate is for {peer}; join with a token for the former",
                    node.namespace
                )));
            }
        }
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use mesh_identity::TrustDomain;
    use tonic::Code;

    use super::*;

    const GROUP: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web-v1, namespace: shop}
spec: {template: {serviceAccount: web}}
";

    fn code(namespace: &str, account: &str, node: &NodeMetadata) -> Result<(), Code> {
        let objects = mesh_config::parse(Path::new("test.yaml"), GROUP).unwrap();
        let config: Config = objects.into_iter().map(|one| one.object).collect();
        let domain = TrustDomain::new("cluster.local").unwrap();
        let peer = SpiffeId::workload(&domain, namespace, account).unwrap();
        identify(&config, &peer, Some(&node.to_node()))
            .map(|_| ())
            .map_err(|status| status.code())
    }

    fn node(kind: ProxyKind, namespace: &str, group: &str, name: &str) -> NodeMetadata {
        NodeMetadata {
            kind,
            address: "127.0.0.1".to_owned(),
            namespace: namespace.to_owned(),
            workload_group: group.to_owned(),
            workload_name: name.to_owned(),
            app_ports: BTreeMap::new(),
            plain_listener: false,
            listen_services: false,
            metrics_address: String::new(),
            locality: mesh_xds::Locality::default(),
            version: String::new(),
        }
    }

    #[test]
    fn a_sidecar_has_its_groups_service_account() {
        let sidecar = node(ProxyKind::Sidecar, "shop", "web-v1", "web-1");
        assert_eq!(code("shop", "web", &sidecar), Ok(()));
        assert_eq!(code("shop", "other", &sidecar), Err(Code::PermissionDenied));
        assert_eq!(
            code("default", "web", &sidecar),
            Err(Code::PermissionDenied)
        );
        let unknown = node(ProxyKind::Sidecar, "shop", "web-v2", "web-1");
        assert_eq!(code("shop", "web", &unknown), Err(Code::NotFound));
        let without = node(ProxyKind::Sidecar, "shop", "", "web-1");
        assert_eq!(code("shop", "web", &without), Err(Code::InvalidArgument));
    }

    #[test]
    fn a_gateway_has_its_own_service_account() {
        let gateway = node(
            ProxyKind::Gateway,
            "istio-system",
            "",
            "istio-ingressgateway",
        );
        let account = "istio-ingressgateway-service-account";
        assert_eq!(code("istio-system", account, &gateway), Ok(()));
        assert_eq!(
            code("default", account, &gateway),
            Err(Code::PermissionDenied)
        );
        assert_eq!(
            code("istio-system", "web", &gateway),
            Err(Code::PermissionDenied)
        );
    }

    #[test]
    fn a_gateway_has_no_labels_of_a_group_that_is_not_its_own() {
        let by_group = node(ProxyKind::Gateway, "shop", "web-v1", "edge");
        let by_name = node(ProxyKind::Gateway, "shop", "", "web-v1");
        for gateway in [&by_group, &by_name] {
            assert_eq!(code("shop", "web", gateway), Ok(()));
            for stranger in ["edge-service-account", "web-v1-service-account"] {
                assert_eq!(code("shop", stranger, gateway), Err(Code::PermissionDenied));
            }
        }
    }
}
