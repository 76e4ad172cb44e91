//! Gateways and VirtualServices that say what the Gateway API's objects say.
//!
//! Each listener becomes a Gateway of its own, so that routes bind to it and to no other one. Each of its hosts
//! becomes a VirtualService with the routes of all HTTPRoutes and GRPCRoutes there, in the API's order of
//! precedence; routes for a wildcard follow those for the host itself. The names have a `~`, which no object of a
//! user can have.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::model::{
    self, DirectResponse, GatewayServer, HttpDestination, HttpMatch, HttpRoute, Metadata,
    ServerPort, ServerProtocol, VirtualService,
};
use mesh_config::{Kind as AnyKind, Object, Spec};

use super::attach::{Api, Place, Route};
use super::order::precedence;
use super::rule::{self, Entry};
use super::scope::{self, Listener, Speaks};
use crate::host::{covers, specificity};
use crate::virtual_service::MESH;

/// All of them.
pub(crate) fn objects(api: &Api<'_>) -> Vec<Object> {
    let mut objects = Vec::new();
    for (place, gateway) in api.gateways.iter().enumerate() {
        let selector = scope::selector(api.config, gateway);
        for (index, listener) in gateway.listeners.iter().enumerate() {
            if !listener.is_served() {
                continue;
            }
            let Some(server) = server(listener) else {
                continue;
            };
            let name = format!(
                "{}~{}~{}",
                gateway.object.metadata.name, listener.owner.metadata.name, listener.spec.name
            );
            let written = metadata(gateway.object, &name);
            let bound = format!("{}/{name}", written.namespace);
            let spec = model::Gateway {
                selector: selector.clone(),
                servers: vec![server],
            };
            objects.push(object(
                AnyKind::Gateway,
                written.clone(),
                Spec::Gateway(spec),
            ));
            for (host, http) in hosts(api, place, index) {
                let spec = VirtualService {
                    hosts: vec![host.clone()],
                    gateways: vec![bound.clone()],
                    http,
                    ..VirtualService::default()
                };
                let metadata = Metadata {
                    name: format!("{name}~{host}"),
                    ..written.clone()
                };
                objects.push(object(
                    AnyKind::VirtualService,
                    metadata,
                    Spec::VirtualService(spec),
                ));
            }
        }
    }
    objects.extend(inside(api));
    objects
}

fn object(kind: AnyKind, metadata: Metadata, spec: Spec) -> Object {
    Object {
        api_version: kind.api_version(),
        kind,
        metadata,
        spec,
        raw: serde_json::Value::Null,
        origin: None,
    }
}

/// Of the same namespace and age.
fn metadata(of: &Object, name: &str) -> Metadata {
    Metadata {
        name: name.to_owned(),
        namespace: of.metadata.namespace.clone(),
        creation_timestamp: of.metadata.creation_timestamp.clone(),
        ..Metadata::default()
    }
}

/// What a listener is to Istio; nothing if it is not served yet.
fn server(listener: &Listener<'_>) -> Option<GatewayServer> {
    let protocol = match listener.speaks? {
        Speaks::Http => ServerProtocol::Http,
        Speaks::Https | Speaks::Tls | Speaks::Passthrough | Speaks::Tcp => return None,
    };
    let host = listener.spec.hostname.as_deref().unwrap_or("*");
    Some(GatewayServer {
        port: ServerPort {
            number: listener.spec.port,
            name: listener.spec.name.clone(),
            protocol,
        },
        bind: None,
        tls: None,
        // Who may attach has been judged; nobody else can name this Gateway.
        hosts: vec![format!("*/{host}")],
    })
}

/// The routes of each host of a listener.
fn hosts(api: &Api<'_>, gateway: usize, index: usize) -> BTreeMap<String, Vec<HttpRoute>> {
    let all = &api.gateways[gateway].listeners;
    let listener = &all[index];
    let entry = Entry {
        port: listener.spec.port,
        is_tls: listener.speaks != Some(Speaks::Http),
    };
    let mut own: BTreeMap<String, Vec<HttpRoute>> = BTreeMap::new();
    for (route, hosts) in api.attached(gateway, index) {
        let routes = rule::routes(api, route, Some(entry));
        for host in hosts
            .into_iter()
            .filter(|host| !is_anothers(all, listener, host))
        {
            own.entry(host).or_default().extend(routes.iter().cloned());
        }
    }
    for routes in own.values_mut() {
        routes.sort_by_key(|route| route.matches.first().map(precedence));
    }
    let mut complete: BTreeMap<String, Vec<HttpRoute>> = own
        .keys()
        .map(|host| {
            let mut wider: Vec<&String> = own.keys().filter(|wide| covers(wide, host)).collect();
            wider.sort_by(|one, other| specificity(one).cmp(&specificity(other)));
            let routes = wider.into_iter().flat_map(|host| &own[host]).cloned();
            (host.clone(), routes.collect())
        })
        .collect();
    // What belongs to this listener does not fall to another one at its port.
    let shares = |other: &Listener<'_>| {
        other.spec.port == listener.spec.port && !std::ptr::eq(other, listener)
    };
    if all.iter().any(shares) {
        let host = listener
            .spec
            .hostname
            .clone()
            .unwrap_or_else(|| "*".to_owned());
        complete.entry(host).or_insert_with(|| vec![not_found()]);
    }
    complete
}

/// Whether a host belongs to a listener at the same port that names it more closely.
fn is_anothers(all: &[Listener<'_>], listener: &Listener<'_>, host: &str) -> bool {
    let own = listener.spec.hostname.as_deref().unwrap_or("*");
    all.iter().any(|other| {
        let closer = other.spec.hostname.as_deref().unwrap_or("*");
        other.is_served()
            && other.spec.port == listener.spec.port
            && closer != own
            && covers(own, closer)
            && covers(closer, host)
    })
}

fn not_found() -> HttpRoute {
    HttpRoute {
        direct_response: Some(DirectResponse {
            status: 404,
            body: Vec::new(),
        }),
        ..HttpRoute::default()
    }
}

/// A route of a service, and the only port that it is for, if it names one.
type Bound<'a> = (&'a Route<'a>, Option<u16>);

/// Routes between workloads: those of a service's own namespace are for all callers, those of another one are for
/// the callers there, who follow them instead.
fn inside(api: &Api<'_>) -> Vec<Object> {
    let mut by_service: BTreeMap<_, Vec<Bound<'_>>> = BTreeMap::new();
    for route in &api.routes {
        for parent in &route.parents {
            let Ok(places) = &parent.outcome else {
                continue;
            };
            for place in places {
                if let Place::Service(namespace, host) = place {
                    let key = (
                        host.as_str(),
                        namespace.as_str(),
                        route.object.metadata.namespace.as_str(),
                    );
                    by_service
                        .entry(key)
                        .or_default()
                        .push((route, parent.reference.port));
                }
            }
        }
    }
    by_service
        .into_iter()
        .map(|((host, namespace, of), bound)| {
            let is_producer = namespace == of;
            let oldest = bound
                .first()
                .and_then(|(route, _)| route.object.metadata.creation_timestamp.clone());
            let metadata = Metadata {
                name: format!("{namespace}~{host}"),
                namespace: of.to_owned(),
                // Sidecars follow the oldest VirtualService of a host, so that of their own namespace.
                creation_timestamp: if is_producer {
                    oldest
                } else {
                    Some(String::new())
                },
                ..Metadata::default()
            };
            let spec = VirtualService {
                hosts: vec![host.to_owned()],
                gateways: vec![MESH.to_owned()],
                http: service_routes(api, host, &bound),
                export_to: vec![if is_producer { "*" } else { "." }.to_owned()],
                ..VirtualService::default()
            };
            object(
                AnyKind::VirtualService,
                metadata,
                Spec::VirtualService(spec),
            )
        })
        .collect()
}

/// The routes of a service in their order, each for the ports that it names, and the plain way to every port that
/// none of them is for.
fn service_routes(api: &Api<'_>, host: &str, bound: &[Bound<'_>]) -> Vec<HttpRoute> {
    let mut routes = Vec::new();
    for (route, port) in bound {
        for mut written in rule::routes(api, route, None) {
            for entry in &mut written.matches {
                entry.port = *port;
            }
            routes.push(written);
        }
    }
    routes.sort_by_key(|route| route.matches.first().map(precedence));
    let named: BTreeSet<Option<u16>> = bound.iter().map(|(_, port)| *port).collect();
    if named.contains(&None) {
        return routes;
    }
    let ports = api
        .config
        .service(host)
        .map_or(&[][..], |(_, service)| &service.ports);
    let others = ports
        .iter()
        .map(|port| port.port)
        .filter(|port| !named.contains(&Some(*port)));
    routes.extend(others.map(|port| HttpRoute {
        matches: vec![HttpMatch {
            port: Some(port),
            ..HttpMatch::default()
        }],
        route: vec![HttpDestination {
            host: host.to_owned(),
            subset: None,
            port: Some(port),
            weight: 1,
            headers: Default::default(),
        }],
        ..HttpRoute::default()
    }));
    routes
}
