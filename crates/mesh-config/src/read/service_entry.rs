//! `networking.istio.io` ServiceEntry.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::service::narrow;
use super::workload::{entry_of, is_socket};
use super::{Reader, text_map};
use crate::model::{EntryPort, Location, Protocol, Resolution, ServiceEntry, WorkloadEntry};
use crate::rules::{self, is_partial_wildcard};
use crate::yaml::{Cursor, quoted};

/// Protocols by the names that Istio knows, whether they are HTTP or TLS, and what they are to proxies.
const PROTOCOLS: [(&str, Protocol); 13] = [
    ("HTTP", Protocol::Http),
    ("HTTP_PROXY", Protocol::Http),
    ("HTTP2", Protocol::Http2),
    ("GRPC", Protocol::Http2),
    ("GRPC-WEB", Protocol::Http2),
    ("HTTPS", Protocol::Opaque),
    ("TLS", Protocol::Opaque),
    ("TCP", Protocol::Opaque),
    ("MONGO", Protocol::Opaque),
    ("REDIS", Protocol::Opaque),
    ("MYSQL", Protocol::Opaque),
    ("HBONE", Protocol::Opaque),
    ("UDP", Protocol::Opaque),
];

impl Reader {
    /// `root` is the whole object: one of its labels does not go with some specs.
    pub(super) fn service_entry(&mut self, spec: &Cursor<'_>, root: &Cursor<'_>) -> ServiceEntry {
        let resolution = match spec.text("resolution") {
            "STATIC" => Resolution::Static,
            "DNS" => Resolution::Dns,
            "DNS_ROUND_ROBIN" => Resolution::DnsRoundRobin,
            "DYNAMIC_DNS" => Resolution::DynamicDns,
            _ => Resolution::None,
        };
        let hosts = self.entry_hosts(spec, resolution);
        self.entry_addresses(spec, resolution);
        let ports = self.entry_ports(spec, resolution);
        self.export_to(spec);
        if spec.get("workloadSelector").is_some() && spec.get("endpoints").is_some() {
            self.report.error(
                spec,
                "workloadSelector and endpoints exclude one another; keep one",
            );
        }
        self.entry_selector(spec, resolution);
        let endpoints = self.entry_endpoints(spec, resolution);
        let by_name_only = ports
            .iter()
            .any(|port| port.protocol == Protocol::Opaque && !port.is_tls)
            || spec
                .each("ports")
                .any(|port| port.text("protocol").is_empty());
        if resolution != Resolution::None && hosts.len() > 1 && by_name_only {
            let at = spec.get("hosts").unwrap_or_else(|| spec.clone());
            self.report.error(
                &at,
                "connections to a port that is neither HTTP nor TLS do not say which of several hosts they are \
                 for; name the port's protocol, or give each host a ServiceEntry of its own",
            );
        }
        let labels = root
            .get("metadata")
            .and_then(|metadata| metadata.get("labels"));
        if resolution == Resolution::DynamicDns
            && spec.text("location") == "MESH_INTERNAL"
            && let Some(at) = labels.and_then(|labels| labels.get("istio.io/use-waypoint"))
        {
            let message = "a waypoint takes no hosts that are resolved by request; remove the label, or use \
                           another resolution";
            self.report.error(&at, message);
        }
        ServiceEntry {
            hosts,
            addresses: texts(spec, "addresses"),
            ports,
            location: match spec.text("location") {
                "MESH_INTERNAL" => Location::Internal,
                _ => Location::External,
            },
            resolution,
            endpoints,
            selector: spec
                .get("workloadSelector")
                .map(|selector| text_map(&selector, "labels"))
                .unwrap_or_default(),
            export_to: texts(spec, "exportTo"),
            subject_alt_names: texts(spec, "subjectAltNames"),
        }
    }

    fn entry_hosts(&mut self, spec: &Cursor<'_>, resolution: Resolution) -> Vec<String> {
        const MOST: usize = 256;
        let count = spec.each("hosts").count();
        if count == 0 {
            self.report.missing(
                spec,
                "hosts",
                "a service entry needs at least one host; name those that callers ask for",
            );
        }
        if count > MOST
            && let Some(at) = spec.get("hosts")
        {
            self.report.error(
                &at,
                format!("{count} hosts are too many; at most {MOST} are taken"),
            );
        }
        let resolves_hosts = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin)
            && spec.each("endpoints").next().is_none();
        for at in spec.each("hosts") {
            let host = at.node.as_str().unwrap_or_default();
            let is_wildcard = host.starts_with('*');
            if host == "*" {
                let message = "* is no host of a service entry; name one, or a wildcard such as *.example.com";
                self.report.error(&at, message);
            } else if resolves_hosts && rules::domain(host).is_err() {
                let message = format!(
                    "{} is no name that can be resolved; write a full name, or give endpoints",
                    quoted(host)
                );
                self.report.error(&at, message);
            } else if resolution == Resolution::DynamicDns && !is_wildcard {
                let message =
                    "resolution DYNAMIC_DNS is for hosts with a wildcard; use DNS for this one";
                self.report.error(&at, message);
            } else {
                self.check(&at, rules::wildcard_domain(host));
            }
            if is_partial_wildcard(host) {
                let message = format!(
                    "{} covers a part of a label, which proxies match as the end of a text; *.example.com is \
                     the usual form",
                    quoted(host)
                );
                self.report.warn(&at, message);
            }
        }
        texts(spec, "hosts")
            .iter()
            .map(|host| host.to_ascii_lowercase())
            .collect()
    }

    fn entry_addresses(&mut self, spec: &Cursor<'_>, resolution: Resolution) {
        if matches!(resolution, Resolution::None | Resolution::Static) {
            return;
        }
        for at in spec.each("addresses") {
            if at.node.as_str().is_some_and(|text| text.contains('/')) {
                let message = "a subnet goes with resolution NONE or STATIC only; write an address";
                self.report.error(&at, message);
            }
        }
    }

    fn entry_ports(&mut self, spec: &Cursor<'_>, resolution: Resolution) -> Vec<EntryPort> {
        self.unique(spec.each("ports"), "name");
        let mut numbers = BTreeSet::new();
        let mut ports = Vec::new();
        for at in spec.each("ports") {
            let Some(port) = self.entry_port(&at, resolution) else {
                continue;
            };
            if !numbers.insert(port.number)
                && let Some(number) = at.get("number")
            {
                let message = format!("port {} is there already; remove one of them", port.number);
                self.report.error(&number, message);
            }
            ports.push(port);
        }
        ports
    }

    fn entry_port(&mut self, at: &Cursor<'_>, resolution: Resolution) -> Option<EntryPort> {
        if let Some(name) = at.get("name") {
            self.check(&name, rules::dns_label(at.text("name")));
        }
        let (protocol, is_tls) = self.protocol(at);
        if resolution == Resolution::DynamicDns && protocol == Protocol::Opaque && !is_tls {
            let place = at.get("protocol").unwrap_or_else(|| at.clone());
            let message = "with resolution DYNAMIC_DNS the host must be read from what callers send; use a port \
                           of HTTP or TLS";
            self.report.error(&place, message);
        }
        let target = at.get("targetPort");
        let target_port = target
            .as_ref()
            .and_then(|target| target.node.as_integer())
            .and_then(narrow);
        if target_port.is_some()
            && resolution == Resolution::None
            && let Some(target) = &target
        {
            let message = "targetPort has no effect with resolution NONE: requests go to the port that was asked \
                           for";
            self.report.warn(target, message);
        }
        Some(EntryPort {
            number: at.get("number")?.node.as_integer().and_then(narrow)?,
            name: at.text("name").to_owned(),
            protocol,
            is_tls,
            target_port,
        })
    }

    /// The `protocol` of a port, and whether it is TLS from the first byte. Not said is HTTP.
    pub(super) fn protocol(&mut self, port: &Cursor<'_>) -> (Protocol, bool) {
        let Some(at) = port.get("protocol") else {
            return (Protocol::Http, false);
        };
        let word = port.text("protocol").to_ascii_uppercase();
        if word.is_empty() {
            return (Protocol::Http, false);
        }
        let Some((_, protocol)) = PROTOCOLS.iter().find(|(name, _)| *name == word) else {
            let message = format!(
                "{} is not a protocol; use HTTP, HTTP2, GRPC, HTTPS, TLS, TCP, MONGO, MYSQL or REDIS",
                quoted(port.text("protocol"))
            );
            self.report.error(&at, message);
            return (Protocol::Http, false);
        };
        if word == "UDP" {
            self.report.warn(
                &at,
                "proxies carry TCP only, so nothing of UDP goes through the mesh",
            );
        }
        (*protocol, matches!(word.as_str(), "HTTPS" | "TLS"))
    }

    fn entry_selector(&mut self, spec: &Cursor<'_>, resolution: Resolution) {
        let Some(at) = spec.get("workloadSelector") else {
            return;
        };
        if text_map(&at, "labels").is_empty() {
            self.report
                .warn(&at, "a selector without labels selects nothing; name some");
        } else if resolution != Resolution::Static {
            let message = "a workloadSelector acts with resolution STATIC only; set it, or remove the selector";
            self.report.warn(&at, message);
        }
    }

    fn entry_endpoints(&mut self, spec: &Cursor<'_>, resolution: Resolution) -> Vec<WorkloadEntry> {
        let count = spec.each("endpoints").count();
        if let Some(at) = spec.get("endpoints")
            && count > 0
        {
            match resolution {
                Resolution::None => self.report.error(
                    &at,
                    "with resolution NONE requests go to the address that was asked for; remove the endpoints, or \
                     use STATIC or DNS",
                ),
                Resolution::DnsRoundRobin if count > 1 => self.report.error(
                    &at,
                    "resolution DNS_ROUND_ROBIN takes one endpoint; use DNS for several",
                ),
                Resolution::DynamicDns => self.report.error(
                    &at,
                    "with resolution DYNAMIC_DNS the host of each request is resolved; remove the endpoints",
                ),
                _ => {}
            }
        }
        let ports: BTreeSet<&str> = spec.each("ports").map(|port| port.text("name")).collect();
        spec.each("endpoints")
            .map(|at| {
                self.entry_endpoint(&at, resolution, &ports);
                entry_of(&at)
            })
            .collect()
    }

    fn entry_endpoint(&mut self, at: &Cursor<'_>, resolution: Resolution, ports: &BTreeSet<&str>) {
        self.workload_address(at);
        let text = at.text("address");
        if let Some(address) = at.get("address") {
            let is_ip = text.parse::<IpAddr>().is_ok();
            if is_socket(text) && resolution == Resolution::Static {
                if ports.len() != 1 {
                    let message =
                        "a Unix socket stands behind one port; give one port, or use an IP address";
                    self.report.error(&address, message);
                }
            } else if resolution == Resolution::Static && !is_ip && !text.is_empty() {
                let message = format!(
                    "{} is no IP address, which resolution STATIC needs; use resolution DNS for a name",
                    quoted(text)
                );
                self.report.error(&address, message);
            } else if resolution != Resolution::Static && is_socket(text) {
                let message = "a Unix socket goes with resolution STATIC only";
                self.report.error(&address, message);
            }
        } else if matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin) {
            self.report.missing(
                at,
                "address",
                "address is missing; give the name to resolve, or an IP address",
            );
        }
        for (entry, value) in at.each_entry("ports") {
            if !ports.contains(entry.key.as_str()) {
                let message = format!(
                    "{} is none of the service entry's ports; use the name of one",
                    quoted(&entry.key)
                );
                self.report.error(&value.at_key(entry), message);
            }
        }
    }
}

/// The texts of the list under `key`.
pub(super) fn texts(map: &Cursor<'_>, key: &str) -> Vec<String> {
    map.each(key)
        .filter_map(|item| item.node.as_str().map(str::to_owned))
        .collect()
}
