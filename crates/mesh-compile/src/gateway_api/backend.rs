//! Where rules send requests: the services that they name, and whether they may.

use mesh_config::model::gateway_api::{BackendRef, GROUP, Kind, Spec};
use mesh_config::{Config, Kind as AnyKind, Object, service_host};

use super::Reason;

/// The host of what may not be called or is nothing that can be: there is no such service, so requests for it are
/// answered with 500.
const NOWHERE: &str = "invalid.backend";

/// A destination: a service's host, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Target {
    /// Where requests go that cannot go where they should.
    pub(crate) fn nowhere() -> Self {
        Self {
            host: NOWHERE.to_owned(),
            port: None,
        }
    }
}

/// The service that a route's reference means.
pub(crate) fn resolve(
    config: &Config,
    route: &Object,
    reference: &BackendRef,
) -> Result<Target, Reason> {
    let own = &route.metadata.namespace;
    let namespace = reference.namespace.as_ref().unwrap_or(own);
    let (group, kind, name) = (
        reference.group.as_str(),
        reference.kind.as_str(),
        &reference.name,
    );
    if !matches!(
        (group, kind),
        ("", "Service") | ("networking.istio.io", "Hostname")
    ) {
        let text =
            format!("{kind} of {group:?} is nothing that requests can be sent to; name a Service");
        return Err(Reason::new("InvalidKind", text));
    }
    if !is_granted(config, route, group, kind, namespace, name) {
        let text = format!(
            "the {kind} {namespace}/{name} may not be used from namespace {own}: no ReferenceGrant in {namespace} \
             says so"
        );
        return Err(Reason::new("RefNotPermitted", text));
    }
    if kind == "Hostname" {
        return Ok(Target {
            host: name.to_ascii_lowercase(),
            port: reference.port,
        });
    }
    let missing = |text: String| Err(Reason::new("BackendNotFound", text));
    let service = config.find(AnyKind::Service, namespace, name);
    let Some(service) = service.and_then(|object| object.as_service()) else {
        return missing(format!("there is no Service {namespace}/{name}"));
    };
    if let Some(port) = reference.port
        && !service.ports.iter().any(|known| known.port == port)
    {
        return missing(format!("the Service {namespace}/{name} has no port {port}"));
    }
    Ok(Target {
        host: service_host(name, namespace),
        port: reference.port,
    })
}

/// Whether an object of the Gateway API may refer to another: in its own namespace always, elsewhere if a
/// ReferenceGrant there says so.
pub(crate) fn is_granted(
    config: &Config,
    from: &Object,
    group: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let own = &from.metadata.namespace;
    if own == namespace {
        return true;
    }
    config
        .in_namespace(AnyKind::GatewayApi(Kind::ReferenceGrant), namespace)
        .filter_map(|object| match object.as_gateway_api()? {
            Spec::ReferenceGrant(grant) => Some(grant),
            _ => None,
        })
        .any(|grant| {
            let is_from = grant.from.iter().any(|one| {
                one.group == GROUP && one.kind == from.kind.kind() && one.namespace == *own
            });
            is_from
                && grant.to.iter().any(|one| {
                    one.group == group
                        && one.kind == kind
                        && one.name.as_ref().is_none_or(|only| only == name)
                })
        })
}
