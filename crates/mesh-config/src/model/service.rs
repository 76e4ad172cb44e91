//! Core v1 Service.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A name under which workloads are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Labels that a workload must all carry; empty selects nothing.
    pub selector: BTreeMap<String, String>,
    /// The ports that clients use, without those of UDP and SCTP: the mesh carries TCP.
    pub ports: Vec<ServicePort>,
    /// `clusterIP`, if it is in 127.0.0.0/8: where sidecars listen for the service. Addresses of other
    /// networks mean nothing here.
    pub cluster_ip: Option<Ipv4Addr>,
    /// `externalName` of a Service of type ExternalName: what its name stands for.
    pub external_name: Option<String>,
    /// Namespaces that see it, from its annotation `networking.istio.io/exportTo`; empty is the mesh's default.
    pub export_to: Vec<String>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// May be empty for the only port of a service.
    pub name: String,
    /// What clients use.
    pub port: u16,
    /// What the workload listens on.
    pub target_port: TargetPort,
    /// `appProtocol`, if given; else the prefix of the name tells the protocol.
    pub app_protocol: Option<String>,
}

/// The workload's side of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// A number; the service port's own number where none is given.
    Number(u16),
    /// A name that the workload's `ports` resolve.
    Name(String),
}

/// What is spoken on a service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1, or not said.
    Http,
    /// HTTP/2 from the first byte, as gRPC is.
    Http2,
    /// Bytes that are no HTTP, or that nobody may look into: a database's protocol, TLS.
    Opaque,
}

impl ServicePort {
    /// What is spoken on it: from `appProtocol`, else from the port's name up to the first dash, as Istio
    /// reads them.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.word().as_str() {
            "http2" | "grpc" | "grpc-web" | "h2c" | "kubernetes.io/h2c" => Protocol::Http2,
            "tcp" | "tls" | "https" | "mongo" | "mysql" | "redis" => Protocol::Opaque,
            _ => Protocol::Http,
        }
    }

    /// Whether it is said to speak UDP, although its `protocol` is TCP. No port of a [`Service`] is.
    pub(crate) fn is_udp(&self) -> bool {
        self.word() == "udp"
    }

    /// Whether it speaks TLS that proxies do not end: the server name can be read, nothing else.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.word().as_str(), "tls" | "https")
    }

    fn word(&self) -> String {
        let prefix = self.name.split('-').next().unwrap_or_default();
        // `grpc-web` is the one name with a dash in it.
        let named = if self.name.to_ascii_lowercase().starts_with("grpc-web") {
            "grpc-web"
        } else {
            prefix
        };
        let word = self.app_protocol.as_deref().unwrap_or(named);
        word.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::{Protocol, ServicePort, TargetPort};

    #[test]
    fn the_protocol_comes_from_app_protocol_or_the_names_prefix() {
        for (app_protocol, name, expected) in [
            (None, "", Protocol::Http),
            (None, "http", Protocol::Http),
            (None, "web", Protocol::Http),
            (None, "grpc", Protocol::Http2),
            (None, "grpc-api", Protocol::Http2),
            (None, "grpc-web-api", Protocol::Http2),
            (None, "http2-api", Protocol::Http2),
            (None, "https", Protocol::Opaque),
            (None, "tls-db", Protocol::Opaque),
            (None, "tcp-postgres", Protocol::Opaque),
            (Some("mysql"), "http", Protocol::Opaque),
            (Some("kubernetes.io/h2c"), "http", Protocol::Http2),
            (Some("HTTP"), "grpc", Protocol::Http),
        ] {
            let port = ServicePort {
                name: name.into(),
                port: 80,
                target_port: TargetPort::Number(80),
                app_protocol: app_protocol.map(str::to_owned),
            };
            assert_eq!(port.protocol(), expected, "{app_protocol:?} {name:?}");
        }
    }
}
