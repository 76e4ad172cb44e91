//! Gateways and VirtualServices that say what the Gateway API's objects say.
//!
//! Each listener becomes a Gateway of its own, so that routes bind to it and to no other one. Each of its hosts
//! becomes a VirtualService with the routes of all HTTPRoutes and GRPCRoutes there, in the API's order of
//! precedence; routes for a wildcard follow those for the host itself. Where bytes are carried that nobody looks
//! into, the oldest route of a host has all of its connections (`bytes`). The names have a `~`, which no object of
//! a user can have.

use std::collections::{BTreeMap, BTreeSet};

use mesh_config::model::{
    self, DirectResponse, GatewayServer, HttpDestination, HttpMatch, HttpRoute, Metadata,
    ServerPort, ServerProtocol, ServerTls, ServerTlsMode, VirtualService,
};
use mesh_config::{Kind as AnyKind, Object, Spec};

use super::attach::{Api, Place, Route};
use super::bytes;
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
            let Some(speaks) = listener.speaks.filter(|_| listener.is_served()) else {
                continue;
            };
            let name = format!(
                "{}~{}~{}",
                gateway.object.metadata.name, listener.owner.metadata.name, listener.spec.name
            );
            let written = metadata(gateway.object, &name);
            let bound = format!("{}/{name}", written.namespace);
            let routes = match speaks {
                Speaks::Http | Speaks::Https => requests(api, place, index),
                Speaks::Tls | Speaks::Passthrough | Speaks::Tcp => {
                    bytes::hosts(api, place, index, speaks)
                }
            };
            let hosts = match speaks {
                // Each host that is routed has its own connections, told by their server name.
                Speaks::Tls => routes.keys().cloned().collect(),
                _ => vec![host_of(listener)],
            };
            let spec = model::Gateway {
                selector: selector.clone(),
                servers: hosts
                    .into_iter()
                    .map(|host| server(&gateway.listeners, listener, speaks, &host))
                    .collect(),
            };
            objects.push(object(
                AnyKind::Gateway,
                written.clone(),
                Spec::Gateway(spec),
            ));
            for (host, routes) in routes {
                let spec = VirtualService {
                    hosts: vec![host.clone()],
                    gateways: vec![bound.clone()],
                    ..routes
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

/// The host of a listener, `*` for any.
fn host_of(listener: &Listener<'_>) -> String {
    let host = listener.spec.hostname.clone();
    host.unwrap_or_else(|| "*".to_owned())
}

/// What a listener is to Istio, for one of its hosts.
fn server(
    all: &[Listener<'_>],
    listener: &Listener<'_>,
    speaks: Speaks,
    host: &str,
) -> GatewayServer {
    let protocol = match speaks {
        Speaks::Http => ServerProtocol::Http,
        Speaks::Https => ServerProtocol::Https,
        Speaks::Tls | Speaks::Passthrough => ServerProtocol::Tls,
        Speaks::Tcp => ServerProtocol::Tcp,
    };
    let tls = match speaks {
        Speaks::Http | Speaks::Tcp => None,
        Speaks::Passthrough => Some(ServerTls {
            mode: ServerTlsMode::Passthrough,
            ..ServerTls::default()
        }),
        Speaks::Https | Speaks::Tls => Some(terminated(all, listener)),
    };
    GatewayServer {
        port: ServerPort {
            number: listener.spec.port,
            name: listener.spec.name.clone(),
            protocol,
        },
        bind: None,
        tls,
        // Who may attach has been judged; nobody else can name this Gateway.
        hosts: vec![format!("*/{host}")],
    }
}

/// With which certificates a listener ends TLS, and how it judges those of clients.
fn terminated(all: &[Listener<'_>], listener: &Listener<'_>) -> ServerTls {
    let own = &listener.owner.metadata.namespace;
    let references = listener
        .spec
        .tls
        .iter()
        .flat_map(|tls| &tls.certificate_refs);
    let credentials = references.map(|reference| {
        let namespace = reference.namespace.as_ref().unwrap_or(own);
        format!("{namespace}/{}", reference.name)
    });
    // A connection may carry requests for any host: those for the host of another listener must not come by this one.
    let host = host_of(listener);
    let others = all.iter().filter(|other| {
        other.is_served()
            && other.speaks == Some(Speaks::Https)
            && other.spec.port == listener.spec.port
    });
    let misdirected = others.map(host_of).filter(|other| *other != host);
    let clients = listener
        .clients
        .as_ref()
        .filter(|clients| !clients.is_insecure);
    let authorities = clients.map(|clients| clients.authorities.clone());
    ServerTls {
        mode: if authorities.is_some() {
            ServerTlsMode::Mutual
        } else {
            ServerTlsMode::Simple
        },
        credentials: credentials.collect(),
        are_granted: true,
        misdirected: if listener.speaks == Some(Speaks::Https) {
            misdirected.collect()
        } else {
            Vec::new()
        },
        ca_config_maps: authorities.unwrap_or_default(),
        ..ServerTls::default()
    }
}

/// The routes of each host of a listener that speaks HTTP.
fn requests(api: &Api<'_>, gateway: usize, index: usize) -> BTreeMap<String, VirtualService> {
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
        let host = host_of(listener);
        complete.entry(host).or_insert_with(|| vec![not_found()]);
    }
    let with = |http| VirtualService {
        http,
        ..VirtualService::default()
    };
    complete
        .into_iter()
        .map(|(host, http)| (host, with(http)))
        .collect()
}

/// Whether a host belongs to a listener at the same port that names it more closely.
pub(super) fn is_anothers(all: &[Listener<'_>], listener: &Listener<'_>, host: &str) -> bool {
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
