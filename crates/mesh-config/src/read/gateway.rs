//! `networking.istio.io` Gateway.

use super::service::narrow;
use super::workload::is_socket;
use super::{Reader, is_set, text_map};
use crate::model::{Gateway, GatewayServer, ServerPort, ServerProtocol};
use crate::rules::{self, is_partial_wildcard};
use crate::yaml::{Cursor, quoted};

/// The protocols that a server can have.
const KNOWN: [(&str, ServerProtocol); 10] = [
    ("HTTP", ServerProtocol::Http),
    ("HTTP2", ServerProtocol::Http),
    ("GRPC", ServerProtocol::Http),
    ("GRPC-WEB", ServerProtocol::Http),
    ("HTTPS", ServerProtocol::Https),
    ("TLS", ServerProtocol::Tls),
    ("TCP", ServerProtocol::Tcp),
    ("MONGO", ServerProtocol::Tcp),
    ("MYSQL", ServerProtocol::Tcp),
    ("REDIS", ServerProtocol::Tcp),
];

impl Reader {
    pub(super) fn gateway(&mut self, spec: &Cursor<'_>) -> Gateway {
        if spec.each("servers").next().is_none() {
            self.report.missing(
                spec,
                "servers",
                "a gateway needs at least one server; say where it listens and for which hosts",
            );
        }
        let selector = text_map(spec, "selector");
        if selector.is_empty() {
            let at = spec.get("selector").unwrap_or_else(|| spec.clone());
            self.report.warn(
                &at,
                "the selector is empty, so every gateway listens as this says; name one, like \
                 istio: ingressgateway",
            );
        }
        self.unique(spec.each("servers"), "name");
        self.unique(
            spec.each("servers").filter_map(|server| server.get("port")),
            "name",
        );
        let servers = spec
            .each("servers")
            .filter_map(|server| self.server(&server))
            .collect();
        Gateway { selector, servers }
    }

    fn server(&mut self, server: &Cursor<'_>) -> Option<GatewayServer> {
        let written = server.get("port")?;
        let port = self.server_port(&written, server);
        let tls = server.get("tls").map(|tls| self.server_tls(&tls));
        let bind = server.text("bind");
        if let Some(at) = server.get("bind").filter(|_| !bind.is_empty()) {
            self.bind_address(&at);
        }
        if server.each("hosts").next().is_none() {
            self.report.missing(
                server,
                "hosts",
                "a server needs at least one host; use \"*\" for any",
            );
        }
        let hosts = server
            .each("hosts")
            .map(|host| {
                let text = host.node.as_str().unwrap_or_default();
                self.check(&host, server_host(text));
                text.to_ascii_lowercase()
            })
            .collect();
        Some(GatewayServer {
            port: port?,
            // All addresses of IPv4, which is what no address means.
            bind: Some(bind.to_owned()).filter(|bind| !["", "0.0.0.0"].contains(&bind.as_str())),
            hosts,
            tls,
        })
    }

    fn bind_address(&mut self, at: &Cursor<'_>) {
        let bind = at.node.as_str().unwrap_or_default();
        if is_socket(bind) {
            self.check(at, rules::socket_path(bind));
            let message = "gateways listen at IP addresses only: the server is not opened";
            self.report.warn(at, message);
        } else if bind.parse::<std::net::IpAddr>().is_err() {
            let message = format!(
                "{} is no IP address; write the address to listen at, or leave it out for all",
                quoted(bind)
            );
            self.report.error(at, message);
        }
    }

    fn server_port(&mut self, port: &Cursor<'_>, server: &Cursor<'_>) -> Option<ServerPort> {
        if let Some(target) = port.get("targetPort")
            && target.node.as_integer() != Some(0)
        {
            let message = "targetPort means nothing in a Gateway; remove it, and use number";
            self.report.error(&target, message);
        }
        if let Some(name) = port.get("name")
            && name.node.as_str() == Some("")
        {
            self.report
                .error(&name, "the port's name is empty; name it, like http");
        }
        let written = port.get("protocol")?;
        let text = written.node.as_str().unwrap_or_default();
        let upper = text.to_ascii_uppercase();
        let known = KNOWN.iter().find(|(name, _)| *name == upper);
        let protocol = known.map(|(_, protocol)| *protocol);
        match protocol {
            None => {
                let message = format!(
                    "{} is not a protocol; use {}",
                    quoted(text),
                    KNOWN.map(|(name, _)| name).join(", ")
                );
                self.report.error(&written, message);
            }
            Some(ServerProtocol::Https | ServerProtocol::Tls) if server.get("tls").is_none() => {
                let message =
                    format!("a server of {upper} needs tls; say where its certificate is");
                self.report.missing(server, "tls", message);
            }
            Some(plain @ (ServerProtocol::Http | ServerProtocol::Tcp))
                if server.get("tls").is_some() =>
            {
                if let Some(tls) = server.get("tls")
                    && (plain == ServerProtocol::Tcp || !may_redirect(&tls))
                {
                    let message = format!(
                        "a server of {upper} speaks no TLS; use protocol {}, or remove tls",
                        if plain == ServerProtocol::Tcp {
                            "TLS"
                        } else {
                            "HTTPS"
                        }
                    );
                    self.report.error(&tls, message);
                }
            }
            Some(ServerProtocol::Tcp) if upper != "TCP" => {
                let message = format!("{upper} is carried as TCP: nobody looks into its bytes");
                self.report.warn(&written, message);
            }
            Some(_) => {}
        }
        let number = port.get("number")?;
        let is_socket = server.text("bind").starts_with("unix://");
        if is_socket != (number.node.as_integer() == Some(0)) {
            let message = if is_socket {
                "a server at a Unix socket has no port; use 0"
            } else {
                "0 is no port; ports are 1 to 65535"
            };
            self.report.error(&number, message);
        }
        Some(ServerPort {
            number: number.node.as_integer().and_then(narrow)?,
            name: port.text("name").to_owned(),
            protocol: protocol?,
        })
    }
}

/// Whether a plain server's `tls` asks for no TLS, so that it can be there for `httpsRedirect`.
fn may_redirect(tls: &Cursor<'_>) -> bool {
    const FILES: [&str; 3] = ["serverCertificate", "privateKey", "caCertificates"];
    let ends_none = matches!(tls.text("mode"), "" | "PASSTHROUGH" | "AUTO_PASSTHROUGH");
    ends_none && !FILES.iter().any(|field| is_set(tls, field))
}

/// `[namespace/]dnsName`
fn server_host(text: &str) -> rules::Verdict {
    let (namespace, host) = match text.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, text),
    };
    match namespace {
        None | Some("*" | ".") => {}
        Some(namespace) => rules::dns_label(namespace)?,
    }
    if is_partial_wildcard(host) {
        return Err(format!(
            "{} is not a host of a gateway; a wildcard is * alone, or in front as in *.example.com",
            quoted(host)
        ));
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    rules::wildcard_domain(host)?;
    if host != "*" && !host.contains('.') {
        return Err(format!(
            "{} is a short name; a gateway's host is the full name that clients use, or \"*\"",
            quoted(host)
        ));
    }
    Ok(())
}
