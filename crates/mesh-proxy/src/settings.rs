//! What a proxy is told: the flags that agent and gateway share, and what all flags mean.
//!
//! [`ProxyArgs`] is what was typed, [`Settings`] what is meant. `mesh-agent` and `mesh-gateway` turn the
//! one into the other and call [`crate::start`].

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use mesh_xds::Locality;
use mesh_xds::node::{NodeMetadata, ProxyKind};

use crate::control::sockets;

/// Flags that every proxy has; flatten them into the program's own.
#[derive(clap::Args, Clone, Debug)]
pub struct ProxyArgs {
    /// The control plane, mesh-api's --listen-xds
    #[arg(long, env = "MESH_XDS_ADDRESS", value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:15012")]
    pub xds_address: String,

    /// Admin interface: /config_dump, /clusters, /certs, /logging, /drain; loopback only
    #[arg(long, env = "MESH_LISTEN_ADMIN", value_name = "IP:PORT", value_parser = admin, default_value = "127.0.0.1:15000")]
    pub listen_admin: SocketAddr,

    /// Metrics: /stats/prometheus and /metrics
    #[arg(
        long,
        env = "MESH_LISTEN_METRICS",
        value_name = "IP:PORT",
        default_value = "127.0.0.1:15020"
    )]
    pub listen_metrics: SocketAddr,

    /// Readiness: /healthz/ready and /healthz/live
    #[arg(
        long,
        env = "MESH_LISTEN_READY",
        value_name = "IP:PORT",
        default_value = "0.0.0.0:15021"
    )]
    pub listen_ready: SocketAddr,

    /// Where the proxy runs, for rules that prefer what is near
    #[arg(
        long,
        env = "MESH_LOCALITY",
        value_name = "REGION/ZONE/SUBZONE",
        default_value = ""
    )]
    pub locality: Locality,

    /// Threads that serve requests [default: one a core]
    #[arg(long, env = "MESH_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,

    /// Share of the traces begun here that are kept, with --otlp-endpoint; a caller's decision is respected
    #[arg(long, env = "MESH_TRACE_SAMPLING", value_name = "PERCENT", value_parser = percent, default_value = "1")]
    pub trace_sampling: f64,
}

impl ProxyArgs {
    /// How many threads serve requests.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(cores, usize::from)
    }

    /// How requests are traced, if there is a collector.
    #[must_use]
    pub fn tracing(&self, otlp_endpoint: Option<&str>) -> Option<Tracing> {
        otlp_endpoint.map(|endpoint| Tracing {
            endpoint: endpoint.to_owned(),
            sampling: self.trace_sampling,
        })
    }
}

/// What a proxy needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sidecar or gateway.
    pub role: Role,
    /// The workload's namespace, which its certificate must name too.
    pub namespace: String,
    /// The workload's name, unique in its namespace.
    pub workload_name: String,
    /// IP address or name under which others reach this proxy: other proxies a sidecar, Prometheus either. Empty
    /// for the IP on the route to the control plane, which [`crate::serve()`] finds out.
    pub advertise_address: String,
    /// Where the proxy runs.
    pub locality: Locality,
    /// The control plane, `host:port`.
    pub xds_address: String,
    /// Where the last accepted configuration is kept.
    pub state_dir: PathBuf,
    /// Threads that serve requests, at least one.
    pub workers: usize,
    /// How long requests under way may take to end when the proxy stops.
    pub drain_timeout: Duration,
    /// Admin interface, on loopback.
    pub listen_admin: SocketAddr,
    /// Metrics.
    pub listen_metrics: SocketAddr,
    /// Readiness.
    pub listen_ready: SocketAddr,
    /// How requests are traced; not at all without.
    pub tracing: Option<Tracing>,
}

/// How requests are traced.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// URL of the OTLP/gRPC collector.
    pub endpoint: String,
    /// How many of a hundred traces that begin here are kept.
    pub sampling: f64,
}

/// What a proxy is for.
#[derive(Clone, Debug)]
pub enum Role {
    /// It stands beside one workload.
    Sidecar(Sidecar),
    /// It stands at the edge.
    Gateway(Gateway),
}

/// What a sidecar needs to know.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// The WorkloadGroup that the workload is a member of.
    pub workload_group: String,
    /// The application's ports on loopback, by name or number of the port that they serve.
    pub app_ports: BTreeMap<String, u16>,
    /// Where the application's own requests are taken.
    pub listen_outbound: SocketAddr,
    /// Where requests from the mesh are taken.
    pub listen_inbound: SocketAddr,
    /// Where requests from outside the mesh are taken, in plain text; nowhere without.
    pub listen_plain: Option<SocketAddr>,
    /// Whether each service is listened for at its loopback address, for an application that reaches services
    /// by their names.
    pub listen_services: bool,
}

/// What a gateway needs to know.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Where its listeners are bound.
    pub port_map: PortMap,
}

impl Settings {
    /// How the proxy introduces itself to the control plane.
    #[must_use]
    pub fn node(&self) -> NodeMetadata {
        let sidecar = match &self.role {
            Role::Sidecar(sidecar) => Some(sidecar),
            Role::Gateway(_) => None,
        };
        NodeMetadata {
            kind: sidecar.map_or(ProxyKind::Gateway, |_| ProxyKind::Sidecar),
            address: sidecar.map_or_else(String::new, |_| self.advertise_address.clone()),
            namespace: self.namespace.clone(),
            workload_group: sidecar.map_or_else(String::new, |own| own.workload_group.clone()),
            workload_name: self.workload_name.clone(),
            app_ports: sidecar.map_or_else(BTreeMap::new, |own| own.app_ports.clone()),
            plain_listener: sidecar.is_some_and(|own| own.listen_plain.is_some()),
            listen_services: sidecar.is_some_and(|own| own.listen_services),
            metrics_address: self.metrics_address(),
            locality: self.locality.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Where Prometheus scrapes this proxy; empty if only this machine can, or nobody knows where it is.
    fn metrics_address(&self) -> String {
        let listen = self.listen_metrics;
        let is_known = !listen.ip().is_unspecified() || !self.advertise_address.is_empty();
        if listen.ip().is_loopback() || !is_known {
            return String::new();
        }
        sockets::reachable(listen, &self.advertise_address)
    }

    /// Whether the proxy must find out under which address others reach it.
    pub(crate) fn needs_own_address(&self) -> bool {
        let listens = match &self.role {
            Role::Sidecar(sidecar) => sidecar.listen_inbound,
            Role::Gateway(_) => self.listen_metrics,
        };
        self.advertise_address.is_empty() && listens.ip().is_unspecified()
    }
}

/// Ports that are not bound as a listener asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMap(pub(crate) BTreeMap<u16, Place>);

/// Where a port goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The listener's own without.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: u16,
}

impl PortMap {
    /// Where a listener that asks for `asked` is bound.
    pub(crate) fn place(&self, asked: SocketAddr) -> SocketAddr {
        match self.0.get(&asked.port()) {
            Some(place) => SocketAddr::new(place.ip.unwrap_or(asked.ip()), place.port),
            None => asked,
        }
    }
}

/// One entry of a [`PortMap`], as in `--port-map 80=8080` or `80=127.0.0.1:8080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    port: u16,
    place: Place,
}

impl FromIterator<PortMapping> for PortMap {
    fn from_iter<I: IntoIterator<Item = PortMapping>>(mappings: I) -> Self {
        Self(
            mappings
                .into_iter()
                .map(|mapping| (mapping.port, mapping.place))
                .collect(),
        )
    }
}

impl FromStr for PortMapping {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSetting {
            given: text.to_owned(),
            expected: "write PORT=PORT or PORT=IP:PORT, for example 80=8080 or 80=127.0.0.1:8080",
        };
        let (port, place) = text.split_once('=').ok_or_else(invalid)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(invalid)?;
        let place = match place.parse::<SocketAddr>() {
            Ok(address) => Place {
                ip: Some(address.ip()),
                port: address.port(),
            },
            Err(_) => Place {
                ip: None,
                port: place.parse().map_err(|_| invalid())?,
            },
        };
        Ok(Self { port, place })
    }
}

/// One port of the application, as in `--app-port 8080` or `--app-port http=8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPort {
    /// The name or number by which the mesh calls it.
    pub name: String,
    /// Where the application listens.
    pub port: u16,
}

impl FromStr for AppPort {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSetting {
            given: text.to_owned(),
            expected: "write PORT or NAME=PORT, for example 8080 or http=8080",
        };
        let (name, port) = text.split_once('=').unwrap_or((text, text));
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(invalid)?;
        if name.is_empty() || !name.chars().all(valid) {
            return Err(invalid());
        }
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

/// A setting that cannot be understood, and how it should look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    given: String,
    expected: &'static str,
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not understood; {}", self.given, self.expected)
    }
}

impl std::error::Error for InvalidSetting {}

/// Reads `host:port`.
fn host_and_port(text: &str) -> Result<String, InvalidSetting> {
    let parts = text.rsplit_once(':');
    let is_valid = parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    let expected = "write HOST:PORT, for example mesh-api:15012";
    is_valid
        .then(|| text.to_owned())
        .ok_or_else(|| InvalidSetting {
            given: text.to_owned(),
            expected,
        })
}

/// Reads a share of a hundred.
fn percent(text: &str) -> Result<f64, InvalidSetting> {
    let number = text.parse().ok();
    number
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| InvalidSetting {
            given: text.to_owned(),
            expected: "write a number from 0 to 100, for example 0.1",
        })
}

/// Reads where the admin interface listens.
fn admin(text: &str) -> Result<SocketAddr, InvalidSetting> {
    let expected = "the admin interface asks nobody who they are: give a loopback address, for example \
                    127.0.0.1:15000";
    loopback(text, expected)
}

/// Reads where an application's own requests are taken, as in `--listen-outbound 127.0.0.1:15001`.
///
/// # Errors
///
/// If others could reach it: they would speak with the application's identity.
pub fn outbound(text: &str) -> Result<SocketAddr, InvalidSetting> {
    let expected = "whoever reaches the outbound port speaks with the workload's identity: give a loopback \
                    address, for example 127.0.0.1:15001";
    loopback(text, expected)
}

/// Reads an address of this machine that nobody else can reach.
fn loopback(text: &str, expected: &'static str) -> Result<SocketAddr, InvalidSetting> {
    let address = text
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.ip().is_loopback());
    address.ok_or_else(|| InvalidSetting {
        given: text.to_owned(),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_mapped_with_and_without_an_address() {
        let map: PortMap = ["80=8080", "443=127.0.0.1:0", "8443=[::1]:1"]
            .iter()
            .map(|text| text.parse::<PortMapping>().unwrap())
            .collect();
        let place = |text: &str| map.place(text.parse().unwrap()).to_string();
        assert_eq!(place("0.0.0.0:80"), "0.0.0.0:8080");
        assert_eq!(place("0.0.0.0:443"), "127.0.0.1:0");
        assert_eq!(place("0.0.0.0:8443"), "[::1]:1");
        assert_eq!(place("10.0.0.1:9000"), "10.0.0.1:9000");
    }

    #[test]
    fn mappings_that_are_none_are_refused_with_the_right_form() {
        for text in [
            "",
            "80",
            "80=",
            "=80",
            "0=80",
            "80=x",
            "80=host:80",
            "80=70000",
            "80:8080",
        ] {
            let error = text.parse::<PortMapping>().unwrap_err().to_string();
            assert!(error.contains("80=8080") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn application_ports_have_a_name_or_are_called_by_number() {
        let parse = |text: &str| text.parse::<AppPort>().map(|own| (own.name, own.port));
        assert_eq!(parse("8080"), Ok(("8080".into(), 8080)));
        assert_eq!(parse("http=9090"), Ok(("http".into(), 9090)));
        assert_eq!(parse("8080=41001"), Ok(("8080".into(), 41001)));
        for text in [
            "", "http", "http=", "=80", "http=0", "0", "ht tp=80", "a=b=80", "70000",
        ] {
            let error = text.parse::<AppPort>().unwrap_err().to_string();
            assert!(error.contains("http=8080"), "{error}");
        }
    }

    #[test]
    fn the_admin_interface_and_the_outbound_port_are_for_this_machine_only() {
        for text in ["127.0.0.1:0", "[::1]:15000"] {
            assert!(admin(text).is_ok() && outbound(text).is_ok(), "{text}");
        }
        for text in [
            "0.0.0.0:15000",
            "10.0.0.1:15000",
            "localhost:15000",
            "15000",
        ] {
            for error in [admin(text), outbound(text)].map(Result::unwrap_err) {
                assert!(error.to_string().contains("loopback"), "{error}");
            }
        }
    }

    #[test]
    fn prometheus_is_told_what_it_can_reach() {
        let metrics = |listen: &str, advertised: &str| {
            let settings = Settings {
                role: Role::Gateway(Gateway {
                    port_map: PortMap::default(),
                }),
                namespace: "istio-system".into(),
                workload_name: "istio-ingressgateway".into(),
                advertise_address: advertised.into(),
                locality: Locality::default(),
                xds_address: "mesh-api:15012".into(),
                state_dir: PathBuf::new(),
                workers: 1,
                drain_timeout: Duration::ZERO,
                listen_admin: ([127, 0, 0, 1], 15000).into(),
                listen_metrics: listen.parse().unwrap(),
                listen_ready: ([0, 0, 0, 0], 15021).into(),
                tracing: None,
            };
            settings.node().metrics_address
        };
        for (listen, advertised, expected) in [
            ("127.0.0.1:15020", "10.0.0.7", ""),
            ("0.0.0.0:15020", "10.0.0.7", "10.0.0.7:15020"),
            ("[::]:15020", "fd00::7", "[fd00::7]:15020"),
            ("0.0.0.0:15020", "billing", "billing:15020"),
            ("0.0.0.0:15020", "", ""),
            ("10.0.0.8:15020", "", "10.0.0.8:15020"),
        ] {
            assert_eq!(
                metrics(listen, advertised),
                expected,
                "{listen} {advertised}"
            );
        }
    }

    #[test]
    fn a_share_is_one_of_a_hundred() {
        assert_eq!(percent("0.5"), Ok(0.5));
        assert_eq!([percent("0"), percent("100")], [Ok(0.0), Ok(100.0)]);
        for text in ["", "-1", "100.1", "NaN", "inf", "1%"] {
            let error = percent(text).unwrap_err().to_string();
            assert!(error.contains("from 0 to 100"), "{error}");
        }
    }

    #[test]
    fn the_control_plane_has_a_host_and_a_port() {
        assert!(host_and_port("mesh-api:15012").is_ok());
        assert!(host_and_port("[::1]:15012").is_ok());
        for text in [
            "mesh-api",
            ":15012",
            "mesh-api:",
            "mesh-api:0",
            "mesh-api:x",
        ] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }
}
