//! Core v1 Service.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{Reader, text_map};
use crate::model::{Service, ServicePort, TargetPort};
use crate::rules;
use crate::yaml::Cursor;

impl Reader {
    /// `root` is the whole object: an annotation says who sees it.
    pub(super) fn service(&mut self, spec: &Cursor<'_>, root: &Cursor<'_>) -> Service {
        let selector = text_map(spec, "selector");
        let ports: Vec<ServicePort> = spec
            .each("ports")
            .filter_map(|port| self.service_port(&port))
            .collect();
        self.unique_ports(spec);
        let is_external = spec.text("type") == "ExternalName";
        if spec.each("ports").next().is_none() && !is_external && spec.text("clusterIP") != "None" {
            self.report.missing(
                spec,
                "ports",
                "a service needs at least one port; list the ports that clients use",
            );
        }
        Service {
            selector,
            ports,
            cluster_ip: self.cluster_ip(spec),
            external_name: Some(spec.text("externalName"))
                .filter(|name| is_external && !name.is_empty())
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase()),
            export_to: exported_to(root),
        }
    }

    /// The loopback address that the user chose, if any. An address that a cluster gave its service is for that
    /// cluster, and no news here.
    fn cluster_ip(&mut self, spec: &Cursor<'_>) -> Option<Ipv4Addr> {
        let given = spec.get("clusterIP").filter(|one| !is_empty(one));
        // Kubernetes writes the address into both fields, and takes it from either.
        let given = given.or_else(|| spec.each("clusterIPs").next())?;
        let text = given.node.as_str().unwrap_or_default();
        if text == "None" {
            let message = "there are no headless services in the mesh: it is balanced like any other, and its \
                           name stands for all of its endpoints";
            self.report.warn(&given, message);
        }
        text.parse().ok().filter(Ipv4Addr::is_loopback)
    }

    /// One port; nothing for those that the mesh cannot carry.
    fn service_port(&mut self, port: &Cursor<'_>) -> Option<ServicePort> {
        let number = port.get("port")?.node.as_integer().and_then(narrow)?;
        if let Some(name) = port.get("name") {
            let text = name.node.as_str().unwrap_or_default();
            if !text.is_empty() {
                self.check(&name, rules::dns_label(text));
            }
        }
        let target_port = match port.get("targetPort") {
            None => TargetPort::Number(number),
            Some(target) => self.target_port(&target)?,
        };
        if !matches!(port.text("protocol"), "" | "TCP") {
            return None; // The table's warning says so.
        }
        let app_protocol = port.text("appProtocol");
        let means = ServicePort {
            name: port.text("name").to_owned(),
            port: number,
            target_port,
            app_protocol: (!app_protocol.is_empty()).then(|| app_protocol.to_owned()),
        };
        if !means.is_udp() {
            return Some(means);
        }
        let field = match means.app_protocol {
            Some(_) => "appProtocol",
            None => "name",
        };
        if let Some(said) = port.get(field) {
            let message = "proxies carry TCP only, and this says UDP, so the port is not served; if it is a port \
                           of TCP, begin with tcp instead";
            self.report.warn(&said, message);
        }
        None
    }

    fn target_port(&mut self, target: &Cursor<'_>) -> Option<TargetPort> {
        if let Some(number) = target.node.as_integer() {
            let port = narrow(number);
            if port.is_none() {
                let message = format!("{number} is no port; ports are 1 to 65535");
                self.report.error(target, message);
            }
            return port.map(TargetPort::Number);
        }
        let name = target.node.as_str().unwrap_or_default();
        self.check(target, rules::port_name(name));
        Some(TargetPort::Name(name.to_owned()))
    }

    /// Every port has its own name and its own number.
    fn unique_ports(&mut self, spec: &Cursor<'_>) {
        self.unique(spec.each("ports"), "name");
        let several = spec.each("ports").count() > 1;
        let mut numbers = BTreeMap::new();
        for port in spec.each("ports") {
            if several && port.text("name").is_empty() {
                self.report.missing(
                    &port,
                    "name",
                    "name is missing; a service with several ports needs a name for each",
                );
            }
            let protocol = match port.text("protocol") {
                "" => "TCP",
                given => given,
            };
            if let Some(number) = port.get("port") {
                let key = (number.node.as_integer(), protocol);
                if let Some(first) = numbers.insert(key, number.path()) {
                    let message = format!("{first} is the same port; remove one of them");
                    self.report.error(&number, message);
                }
            }
        }
    }
}

/// The annotation that is a Service's `exportTo`: namespaces with commas between them.
fn exported_to(root: &Cursor<'_>) -> Vec<String> {
    let annotations = root
        .get("metadata")
        .and_then(|metadata| metadata.get("annotations"));
    let said = annotations.map_or("", |annotations| {
        annotations.text("networking.istio.io/exportTo")
    });
    let names = said.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn is_empty(at: &Cursor<'_>) -> bool {
    at.node.as_str().is_none_or(str::is_empty)
}

/// A port number, where it is one.
pub(super) fn narrow(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}
