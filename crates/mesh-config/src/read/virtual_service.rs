//! `networking.istio.io` VirtualService.

use super::Reader;
use super::service::narrow;
use crate::model::{HeaderOperations, HttpDestination, HttpRoute, VirtualService};
use crate::rules::{self, is_partial_wildcard};
use crate::yaml::{Cursor, quoted};

/// The gateway name that stands for all sidecars.
const MESH: &str = "mesh";

impl Reader {
    pub(super) fn virtual_service(
        &mut self,
        root: &Cursor<'_>,
        spec: &Cursor<'_>,
    ) -> VirtualService {
        let has_routes = ["http", "tls", "tcp"]
            .iter()
            .any(|kind| spec.each(kind).next().is_some());
        if !has_routes {
            self.report.missing(
                spec,
                "http",
                "a virtual service needs routes; give http, tls or tcp",
            );
        }
        let mut gateways = self.gateway_names(spec);
        let is_delegate = spec.each("hosts").next().is_none();
        if is_delegate {
            self.delegate(spec);
        }
        if gateways.is_empty() {
            gateways.push(MESH.to_owned());
        }
        self.export_to(spec);
        let tls = self.tls_routes(spec);
        let tcp = self.tcp_routes(spec);
        let bound_to_mesh = gateways.iter().any(|gateway| gateway == MESH);
        let hosts = self.hosts(spec, bound_to_mesh);
        VirtualService {
            hosts,
            gateways,
            sticky: self.sticky(root),
            export_to: spec
                .each("exportTo")
                .filter_map(|at| at.node.as_str().map(str::to_owned))
                .collect(),
            http: spec
                .each("http")
                .map(|route| self.http_route(&route, is_delegate, bound_to_mesh))
                .collect(),
            tls,
            tcp,
        }
    }

    /// A virtual service without hosts is there for others to delegate to.
    fn delegate(&mut self, spec: &Cursor<'_>) {
        if let Some(gateways) = spec.get("gateways")
            && gateways.items().next().is_some()
        {
            self.report.error(
                &gateways,
                "a virtual service without hosts has no gateways; give it hosts, or remove them",
            );
        }
        for kind in ["tls", "tcp"] {
            if let Some(routes) = spec.get(kind) {
                self.report.error(
                    &routes,
                    "a virtual service without hosts can only have http routes; give it hosts",
                );
            }
        }
    }

    fn hosts(&mut self, spec: &Cursor<'_>, bound_to_mesh: bool) -> Vec<String> {
        let mut hosts: Vec<String> = Vec::new();
        let mut distinct = rules::DistinctHosts::default();
        let asks_for_sni = spec
            .each("tls")
            .flat_map(|route| route.each("match"))
            .any(|entry| entry.each("sniHosts").next().is_some());
        for at in spec.each("hosts") {
            let host = at.node.as_str().unwrap_or_default().to_ascii_lowercase();
            let verdict = if asks_for_sni && !bound_to_mesh {
                rules::virtual_host(&host)
            } else if host.parse::<std::net::IpAddr>().is_ok() {
                Ok(())
            } else {
                rules::wildcard_domain(&host)
            };
            if let Err(message) = verdict {
                self.report.error(&at, message);
                continue;
            }
            if host == "*" && bound_to_mesh {
                self.report.error(
                    &at,
                    "* takes every request of every sidecar; name the hosts, or bind it to gateways \
                     only",
                );
                continue;
            }
            if let Err(other) = distinct.insert(&host) {
                let message =
                    format!("{host} overlaps with {other}; a request could match both, keep one");
                self.report.error(&at, message);
                continue;
            }
            if is_partial_wildcard(&host) {
                let message = format!(
                    "{host} is accepted but not acted on by this version: a wildcard stands for whole \
                     parts of a name, as in *.example.com"
                );
                self.report.warn(&at, message);
                continue;
            }
            hosts.push(host);
        }
        hosts
    }

    /// The list `gateways` of a virtual service or of a match.
    pub(super) fn gateway_names(&mut self, parent: &Cursor<'_>) -> Vec<String> {
        parent
            .each("gateways")
            .map(|at| {
                let name = at.node.as_str().unwrap_or_default();
                self.check(&at, gateway_name(name));
                modern_gateway_name(name)
            })
            .collect()
    }

    fn http_route(&mut self, at: &Cursor<'_>, is_delegate: bool, bound_to_mesh: bool) -> HttpRoute {
        let action = ["redirect", "directResponse", "delegate"]
            .into_iter()
            .find(|action| at.get(action).is_some());
        let has_route = at.each("route").next().is_some();
        self.actions(at, has_route);
        if is_delegate && let Some(delegate) = at.get("delegate") {
            self.report.error(
                &delegate,
                "a virtual service that others delegate to cannot delegate further; give a route",
            );
        }
        if !has_route && action.is_none() {
            self.report.missing(
                at,
                "route",
                "a route must send requests somewhere; give route, redirect or directResponse",
            );
        }
        let mut route = HttpRoute {
            name: at.text("name").to_owned(),
            matches: at
                .each("match")
                .map(|entry| self.http_match(&entry, bound_to_mesh))
                .collect(),
            route: self.destinations(at),
            ..self.actions_of(at)
        };
        self.resilience_of(at, &mut route);
        self.route_policies(at, &route);
        route
    }

    /// A route does one thing only.
    fn actions(&mut self, at: &Cursor<'_>, has_route: bool) {
        const EXCLUSIVE: [(&str, &[&str]); 4] = [
            ("redirect", &["route", "directResponse", "rewrite", "fault"]),
            ("directResponse", &["route", "rewrite", "fault"]),
            ("delegate", &["route", "redirect"]),
            ("mirror", &["mirrors"]),
        ];
        // What else stands beside a delegate holds for those of its routes that do not say it.
        let delegates = at.get("delegate").is_some();
        for (action, excluded) in EXCLUSIVE {
            if delegates && action != "delegate" {
                continue;
            }
            let Some(at_action) = at.get(action) else {
                continue;
            };
            for other in excluded {
                let is_set = match *other {
                    "route" => has_route,
                    "mirrors" => at.each("mirrors").next().is_some(),
                    other => at.get(other).is_some(),
                };
                if is_set {
                    let message = format!("{action} and {other} exclude one another; keep one");
                    self.report.error(&at_action, message);
                }
            }
        }
    }

    fn destinations(&mut self, route: &Cursor<'_>) -> Vec<HttpDestination> {
        self.some_weight(route);
        route
            .each("route")
            .filter_map(|entry| self.http_destination(&entry))
            .collect()
    }

    /// Of several destinations at least one gets something.
    pub(super) fn some_weight(&mut self, route: &Cursor<'_>) {
        let weights: Vec<i64> = route
            .each("route")
            .map(|entry| {
                entry
                    .get("weight")
                    .and_then(|weight| weight.node.as_integer())
            })
            .map(Option::unwrap_or_default)
            .collect();
        if weights.len() > 1
            && weights.iter().all(|weight| *weight == 0)
            && let Some(at) = route.get("route")
        {
            self.report.error(
                &at,
                "all weights are 0, so no destination gets anything; give one of them a share",
            );
        }
    }

    fn http_destination(&mut self, at: &Cursor<'_>) -> Option<HttpDestination> {
        let weight = match at.get("weight") {
            None => 0,
            Some(weight) => {
                let number = weight.node.as_integer().unwrap_or_default();
                u32::try_from(number).unwrap_or_else(|_| {
                    let message = format!("{number} is below 0; weights are shares, use 0 or more");
                    self.report.error(&weight, message);
                    0
                })
            }
        };
        Some(HttpDestination {
            weight,
            headers: self.header_operations(at),
            ..Self::destination_of(at, "destination")?
        })
    }

    /// Host, subset and port under `key`.
    pub(super) fn destination_of(at: &Cursor<'_>, key: &str) -> Option<HttpDestination> {
        let destination = at.get(key)?;
        let host = destination.get("host")?;
        let subset = destination.get("subset");
        let port = destination.get("port").and_then(|port| port.get("number"));
        let text = host.node.as_str().unwrap_or_default();
        Some(HttpDestination {
            host: text.to_ascii_lowercase(),
            subset: subset.map(|subset| subset.node.as_str().unwrap_or_default().to_owned()),
            port: port
                .and_then(|port| port.node.as_integer())
                .and_then(narrow),
            weight: 0,
            headers: HeaderOperations::default(),
        })
    }
}

/// Istio's first way to name a gateway of a namespace, `name.namespace.svc.cluster.local`, as
/// `namespace/name`.
pub(crate) fn modern_gateway_name(gateway: &str) -> String {
    let mut parts = gateway.split('.');
    match (parts.next(), parts.next()) {
        (Some(name), Some(namespace)) if !gateway.contains('/') => format!("{namespace}/{name}"),
        _ => gateway.to_owned(),
    }
}

/// `mesh`, `name` or `namespace/name`
fn gateway_name(text: &str) -> rules::Verdict {
    match text.split_once('/') {
        Some((namespace, name)) => {
            let parts = rules::dns_label(namespace).and_then(|()| rules::dns_label(name));
            parts.map_err(|_| {
                format!(
                    "{} is not a gateway; write its name, or namespace/name",
                    quoted(text)
                )
            })
        }
        None => rules::domain(text).map_err(|_| {
            format!(
                "{} is not a gateway; write its name, namespace/name, or mesh for all sidecars",
                quoted(text)
            )
        }),
    }
}
