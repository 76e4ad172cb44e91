//! `networking.istio.io` Sidecar.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::service::narrow;
use super::workload::is_socket;
use super::{Reader, is_set, text_map};
use crate::model::{
    EgressHost, EgressListener, EgressNamespace, IngressListener, OutboundPolicy, Sidecar,
};
use crate::rules::{self, is_partial_wildcard};
use crate::yaml::{Cursor, Value, quoted};

impl Reader {
    pub(super) fn sidecar(&mut self, spec: &Cursor<'_>) -> Sidecar {
        const PARTS: [&str; 4] = [
            "egress",
            "ingress",
            "outboundTrafficPolicy",
            "inboundConnectionPool",
        ];
        self.needs_one_of(spec, &PARTS);
        let selector = spec.get("workloadSelector");
        if let Some(at) = &selector
            && text_map(at, "labels").is_empty()
        {
            self.report.warn(
                at,
                "the selector has no labels, so this holds for every workload of the namespace",
            );
        }
        if let Some(pool) = spec.get("inboundConnectionPool") {
            self.connection_pool(&pool);
        }
        Sidecar {
            selector: selector
                .map(|selector| text_map(&selector, "labels"))
                .unwrap_or_default(),
            ingress: self.ingress(spec),
            egress: self.egress(spec),
            outbound: spec
                .get("outboundTrafficPolicy")
                .map(|policy| self.outbound_policy(&policy)),
        }
    }

    /// `outboundTrafficPolicy` of a Sidecar or of the whole mesh.
    pub(super) fn outbound_policy(&mut self, policy: &Cursor<'_>) -> OutboundPolicy {
        let mode = policy.text("mode");
        if let Some(proxy) = policy.get("egressProxy") {
            if mode != "ALLOW_ANY" {
                let message =
                    "an egressProxy goes with mode ALLOW_ANY only; set it, or remove the proxy";
                self.report.error(&proxy, message);
            }
            if let Some(host) = proxy.get("host") {
                self.check(&host, rules::domain(proxy.text("host")));
            }
            if proxy.get("port").is_none() {
                self.report.missing(
                    &proxy,
                    "port",
                    "port is missing; give the proxy's port number",
                );
            }
        }
        match mode {
            "ALLOW_ANY" => OutboundPolicy::AllowAny,
            // A policy that says no mode has the enumeration's first one.
            _ => OutboundPolicy::RegistryOnly,
        }
    }

    fn ingress(&mut self, spec: &Cursor<'_>) -> Vec<IngressListener> {
        let mut numbers = BTreeSet::new();
        let mut listeners = Vec::new();
        for at in spec.each("ingress") {
            let Some(port) = at.get("port") else { continue };
            let (protocol, is_tls) = self.sidecar_port(&port);
            self.bind(&at);
            let number = port
                .get("number")
                .and_then(|number| number.node.as_integer());
            let Some(number) = number.and_then(narrow) else {
                self.report
                    .error(&port, "0 is no port; ports are 1 to 65535");
                continue;
            };
            if !numbers.insert(number) {
                let message = format!("port {number} is there already; remove one of them");
                self.report.error(&port, message);
            }
            let app_port = at
                .get("defaultEndpoint")
                .filter(|_| !at.text("defaultEndpoint").is_empty())
                .and_then(|endpoint| self.default_endpoint(&endpoint));
            if let Some(tls) = at.get("tls") {
                self.ingress_tls(&tls);
            }
            if let Some(pool) = at.get("connectionPool") {
                self.connection_pool(&pool);
            }
            listeners.push(IngressListener {
                port: number,
                protocol: if is_tls {
                    crate::model::Protocol::Opaque
                } else {
                    protocol
                },
                app_port,
            });
        }
        listeners
    }

    /// Where the application listens: its port on this machine.
    fn default_endpoint(&mut self, at: &Cursor<'_>) -> Option<u16> {
        let text = at.node.as_str().unwrap_or_default();
        if is_socket(text) {
            self.check(at, rules::socket_path(text));
            self.report.warn(
                at,
                "applications at Unix sockets are not called: requests go to the listener's own port",
            );
            return None;
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let is_here = matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]");
        let port = port.parse().ok().and_then(narrow);
        if !is_here || port.is_none() {
            let message = format!(
                "{} is no endpoint of this machine; write 127.0.0.1:PORT or unix:///path",
                quoted(text)
            );
            self.report.error(at, message);
            return None;
        }
        port
    }

    fn ingress_tls(&mut self, tls: &Cursor<'_>) {
        const UNFIT: [&str; 4] = [
            "subjectAltNames",
            "credentialName",
            "credentialNames",
            "tlsCertificates",
        ];
        for field in UNFIT {
            if is_set(tls, field)
                && let Some(at) = tls.get(field)
            {
                let message = format!("{field} does not go with a sidecar's own TLS; remove it");
                self.report.error(&at, message);
            }
        }
        if let Some(at) = tls.get("httpsRedirect")
            && matches!(at.node.value, Value::Bool(true, _))
        {
            self.report.error(
                &at,
                "httpsRedirect does not go with a sidecar's own TLS; remove it",
            );
        }
        let mode = tls.text("mode");
        if matches!(mode, "ISTIO_MUTUAL" | "AUTO_PASSTHROUGH")
            && let Some(at) = tls.get("mode")
        {
            let message = format!("{mode} is not for a sidecar's own TLS; use SIMPLE or MUTUAL");
            self.report.error(&at, message);
        }
        self.server_tls(tls);
    }

    fn egress(&mut self, spec: &Cursor<'_>) -> Vec<EgressListener> {
        let count = spec.each("egress").count();
        let mut numbers = BTreeSet::new();
        let mut sockets = BTreeSet::new();
        let mut listeners = Vec::new();
        for (index, at) in spec.each("egress").enumerate() {
            let port = at.get("port");
            let number = port.as_ref().map(|port| self.egress_port(&at, port));
            match number {
                None if index + 1 < count => self.report.error(
                    &at,
                    "a listener without port is for all that no other names; let it be the last",
                ),
                Some(0) if !sockets.insert(at.text("bind").to_owned()) => self.report.error(
                    &at,
                    "another listener has this socket already; remove one of them",
                ),
                Some(number) if number > 0 && !numbers.insert(number) => {
                    let message = format!("port {number} is there already; remove one of them");
                    self.report.error(&at, message);
                }
                _ => {}
            }
            if at.each("hosts").next().is_none() {
                self.report.missing(
                    &at,
                    "hosts",
                    "a listener needs at least one host; write \"./*\" for all of the namespace",
                );
            }
            listeners.push(EgressListener {
                port: number.filter(|number| *number > 0),
                hosts: at
                    .each("hosts")
                    .filter_map(|host| self.egress_host(&host))
                    .collect(),
            });
        }
        listeners
    }

    /// The number of an egress listener's port, 0 for one at a Unix socket.
    fn egress_port(&mut self, listener: &Cursor<'_>, port: &Cursor<'_>) -> u16 {
        self.sidecar_port(port);
        let number = port
            .get("number")
            .and_then(|number| number.node.as_integer())
            .and_then(narrow);
        let bind = listener.text("bind");
        let Some(number) = number else {
            let path = bind.strip_prefix("unix://").unwrap_or_default();
            if path.len() < 2 || !path.starts_with(['/', '@']) {
                let at = listener.get("bind").unwrap_or_else(|| port.clone());
                let message = "a listener without port number needs bind: unix:///path";
                self.report.error(&at, message);
            }
            if listener.text("captureMode") == "IPTABLES"
                && let Some(at) = listener.get("captureMode")
            {
                self.report
                    .error(&at, "nothing is captured into a Unix socket; use NONE");
            }
            return 0;
        };
        self.bind(listener);
        number
    }

    fn bind(&mut self, listener: &Cursor<'_>) {
        let text = listener.text("bind");
        if !text.is_empty()
            && text.parse::<IpAddr>().is_err()
            && let Some(at) = listener.get("bind")
        {
            let message = format!("{} is no IP address; write one", quoted(text));
            self.report.error(&at, message);
        }
    }

    /// What the ports of both directions have in common.
    fn sidecar_port(&mut self, port: &Cursor<'_>) -> (crate::model::Protocol, bool) {
        if let Some(name) = port.get("name")
            && !port.text("name").is_empty()
        {
            self.check(&name, rules::dns_label(port.text("name")));
        }
        if let Some(target) = port.get("targetPort")
            && target.node.as_integer() != Some(0)
        {
            self.report.error(
                &target,
                "targetPort means nothing in a Sidecar; remove it, and use defaultEndpoint",
            );
        }
        self.protocol(port)
    }

    /// `namespace/host`
    fn egress_host(&mut self, at: &Cursor<'_>) -> Option<EgressHost> {
        let text = at.node.as_str().unwrap_or_default();
        let parts = text
            .split_once('/')
            .filter(|(namespace, host)| !namespace.is_empty() && !host.is_empty());
        let Some((namespace, host)) = parts else {
            let message = format!(
                "{} does not say whose host it is; write NAMESPACE/HOST, such as ./* or */*",
                quoted(text)
            );
            self.report.error(at, message);
            return None;
        };
        let namespace = match namespace {
            "*" => EgressNamespace::Any,
            "." => EgressNamespace::Own,
            "~" => EgressNamespace::None,
            name => match name.strip_prefix('~') {
                Some(name) => {
                    self.check(at, rules::dns_label(name));
                    EgressNamespace::Not(name.to_owned())
                }
                None => {
                    self.check(at, rules::dns_label(name));
                    EgressNamespace::Named(name.to_owned())
                }
            },
        };
        if is_partial_wildcard(host) {
            let message = format!(
                "{} covers a part of a label; a wildcard is * alone, or in front as in *.example.com",
                quoted(host)
            );
            self.report.error(at, message);
        } else {
            self.check(at, rules::wildcard_domain(host));
        }
        if namespace == EgressNamespace::None && host != "*" {
            self.report.error(
                at,
                "~ means no namespace at all; write ~/* to know no service",
            );
        }
        Some(EgressHost {
            namespace,
            host: host.to_ascii_lowercase(),
        })
    }
}
