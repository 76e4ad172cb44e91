//! Where connections go that nobody looks into: TLSRoute and TCPRoute as `tls` and `tcp` routes.
//!
//! Only a server name tells such connections apart, so of the routes for one name the oldest has all of them, and
//! of a route only the first rule counts.

use std::collections::BTreeMap;

use mesh_config::model::gateway_api::{BytesRoute, Spec};
use mesh_config::model::{RouteDestination, TcpRoute, TlsMatch, TlsRoute, VirtualService};

use super::attach::{Api, Route};
use super::convert::is_anothers;
use super::scope::Speaks;

/// The routes of each host of a listener of TLS or TCP.
pub(crate) fn hosts(
    api: &Api<'_>,
    gateway: usize,
    index: usize,
    speaks: Speaks,
) -> BTreeMap<String, VirtualService> {
    let all = &api.gateways[gateway].listeners;
    let listener = &all[index];
    let mut complete = BTreeMap::new();
    for (route, hosts) in api.attached(gateway, index) {
        let to = destinations(api, route);
        // A rule whose backends have no weight takes connections only to close them, as if there were none.
        if to.is_empty() {
            continue;
        }
        for host in hosts {
            if speaks != Speaks::Tcp && is_anothers(all, listener, &host) {
                continue;
            }
            complete
                .entry(host)
                .or_insert_with_key(|host| written(speaks, host, to.clone()));
        }
    }
    complete
}

fn written(speaks: Speaks, host: &str, route: Vec<RouteDestination>) -> VirtualService {
    let mut written = VirtualService::default();
    if speaks == Speaks::Passthrough {
        written.tls.push(TlsRoute {
            matches: vec![TlsMatch {
                sni_hosts: vec![host.to_owned()],
                ..TlsMatch::default()
            }],
            route,
        });
    } else {
        written.tcp.push(TcpRoute {
            matches: Vec::new(),
            route,
        });
    }
    written
}

/// Where a route sends connections. What leads nowhere keeps its share of them, and they are closed.
fn destinations(api: &Api<'_>, route: &Route<'_>) -> Vec<RouteDestination> {
    let rule = bytes(route.spec).and_then(|route| route.rules.first());
    let backends = rule.into_iter().flat_map(|rule| &rule.backend_refs);
    backends
        .filter(|backend| backend.weight > 0)
        .map(|backend| {
            let target = api.target(route, backend);
            RouteDestination {
                host: target.host,
                subset: None,
                port: target.port,
                weight: backend.weight,
            }
        })
        .collect()
}

fn bytes(spec: &Spec) -> Option<&BytesRoute> {
    match spec {
        Spec::TlsRoute(route) | Spec::TcpRoute(route) => Some(route),
        _ => None,
    }
}
