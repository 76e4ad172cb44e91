//! `tls` and `tcp` routes of a VirtualService.

use super::service::narrow;
use super::{Reader, text_map};
use crate::model::{Layer4Match, RouteDestination, TcpRoute, TlsMatch, TlsRoute};
use crate::rules;
use crate::yaml::{Cursor, quoted};

impl Reader {
    /// The `tls` routes of a virtual service.
    pub(super) fn tls_routes(&mut self, spec: &Cursor<'_>) -> Vec<TlsRoute> {
        let hosts: Vec<String> = spec
            .each("hosts")
            .filter_map(|host| host.node.as_str().map(str::to_ascii_lowercase))
            .collect();
        let mut routes = Vec::new();
        for route in spec.each("tls") {
            if route.each("match").next().is_none() {
                self.report.missing(
                    &route,
                    "match",
                    "a tls route needs a match; name its sniHosts",
                );
            }
            let mut matches = Vec::new();
            for entry in route.each("match") {
                matches.push(TlsMatch {
                    sni_hosts: self.sni_hosts(&entry, &hosts),
                    layer4: self.layer4_match(&entry),
                });
            }
            let route = self.layer4_destinations(&route);
            routes.push(TlsRoute { matches, route });
        }
        routes
    }

    /// The `tcp` routes of a virtual service.
    pub(super) fn tcp_routes(&mut self, spec: &Cursor<'_>) -> Vec<TcpRoute> {
        let mut routes = Vec::new();
        for route in spec.each("tcp") {
            let entries = route.each("match");
            routes.push(TcpRoute {
                matches: entries.map(|entry| self.layer4_match(&entry)).collect(),
                route: self.layer4_destinations(&route),
            });
        }
        routes
    }

    fn layer4_match(&mut self, entry: &Cursor<'_>) -> Layer4Match {
        let text = |at: Cursor<'_>| at.node.as_str().unwrap_or_default().to_owned();
        Layer4Match {
            destination_subnets: entry.each("destinationSubnets").map(text).collect(),
            port: entry
                .get("port")
                .and_then(|port| port.node.as_integer())
                .and_then(narrow),
            source_labels: text_map(entry, "sourceLabels"),
            source_namespace: entry
                .get("sourceNamespace")
                .map(text)
                .filter(|namespace| !namespace.is_empty()),
            gateways: self.gateway_names(entry),
        }
    }

    fn layer4_destinations(&mut self, route: &Cursor<'_>) -> Vec<RouteDestination> {
        if route.each("route").next().is_none() {
            self.report.missing(
                route,
                "route",
                "the route leads nowhere; name a destination",
            );
        }
        self.some_weight(route);
        let mut destinations = Vec::new();
        for entry in route.each("route") {
            let Some(destination) = entry.get("destination") else {
                continue;
            };
            let Some(host) = destination.get("host") else {
                continue;
            };
            let subset = destination.get("subset");
            let port = destination.get("port").and_then(|port| port.get("number"));
            let weight = entry.get("weight").and_then(|at| at.node.as_integer());
            destinations.push(RouteDestination {
                host: host.node.as_str().unwrap_or_default().to_ascii_lowercase(),
                subset: subset
                    .map(|subset| subset.node.as_str().unwrap_or_default().to_owned())
                    .filter(|subset| !subset.is_empty()),
                port: port.and_then(|at| at.node.as_integer()).and_then(narrow),
                weight: weight
                    .and_then(|weight| u32::try_from(weight).ok())
                    .unwrap_or(0),
            });
        }
        destinations
    }

    /// A TLS route is only for hosts of its virtual service.
    fn sni_hosts(&mut self, entry: &Cursor<'_>, hosts: &[String]) -> Vec<String> {
        let mut names = Vec::new();
        if entry.each("sniHosts").next().is_none() {
            self.report.missing(
                entry,
                "sniHosts",
                "a tls route is chosen by the host that the client asks for; name at least one",
            );
        }
        for at in entry.each("sniHosts") {
            let host = at.node.as_str().unwrap_or_default().to_ascii_lowercase();
            if host.parse::<std::net::IpAddr>().is_ok() {
                let message = "clients do not ask for an address by SNI; name a host";
                self.report.warn(&at, message);
                names.push(host);
            } else if let Err(message) = rules::sni_domain(&host) {
                self.report.error(&at, message);
            } else if !hosts.iter().any(|wide| rules::covers(wide, &host)) {
                let message = format!(
                    "{} is none of this virtual service's hosts; add it to hosts, or remove it",
                    quoted(&host)
                );
                self.report.error(&at, message);
            } else {
                names.push(host);
            }
        }
        names
    }
}
