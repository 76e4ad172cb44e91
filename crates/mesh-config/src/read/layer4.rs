//! `tls` and `tcp` routes of a VirtualService. They are not acted on yet, but what Istio refuses is
//! refused here too.

use super::Reader;
use crate::rules;
use crate::yaml::{Cursor, quoted};

impl Reader {
    pub(super) fn layer4_routes(&mut self, spec: &Cursor<'_>) {
        let hosts: Vec<String> = spec
            .each("hosts")
            .filter_map(|host| host.node.as_str().map(str::to_ascii_lowercase))
            .collect();
        for route in spec.each("tls") {
            self.layer4_route(&route);
            if route.each("match").next().is_none() {
                self.report.missing(
                    &route,
                    "match",
                    "a tls route needs a match; name its sniHosts",
                );
            }
            for entry in route.each("match") {
                self.sni_hosts(&entry, &hosts);
            }
        }
        for route in spec.each("tcp") {
            self.layer4_route(&route);
        }
    }

    fn layer4_route(&mut self, route: &Cursor<'_>) {
        if route.each("route").next().is_none() {
            self.report.missing(
                route,
                "route",
                "the route leads nowhere; name a destination",
            );
        }
        self.some_weight(route);
        for entry in route.each("match") {
            self.gateway_names(&entry);
        }
    }

    /// A TLS route is only for hosts of its virtual service.
    fn sni_hosts(&mut self, entry: &Cursor<'_>, hosts: &[String]) {
        if entry.each("sniHosts").next().is_none() {
            self.report.missing(
                entry,
                "sniHosts",
                "a tls route is chosen by the host that the client asks for; name at least one",
            );
        }
        for at in entry.each("sniHosts") {
            let host = at.node.as_str().unwrap_or_default().to_ascii_lowercase();
            if let Err(message) = rules::sni_domain(&host) {
                self.report.error(&at, message);
            } else if !hosts.iter().any(|wide| rules::covers(wide, &host)) {
                let message = format!(
                    "{} is none of this virtual service's hosts; add it to hosts, or remove it",
                    quoted(&host)
                );
                self.report.error(&at, message);
            }
        }
    }
}
