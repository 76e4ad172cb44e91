//! Which servers of several Gateways a workload opens that all of them select.
//!
//! The rules are those of Istio's `mergeGateways`: the oldest server of an address decides what the address is,
//! and later ones either go with it or are passed over.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::model::{GatewayServer, ServerProtocol, ServerTls, TlsVersion};

/// An address at which a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// An IP address; `None` is all of them.
    pub bind: Option<String>,
    /// The port.
    pub port: u16,
}

/// A server by its place among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerRef<'a> {
    /// Which of the Gateways, in the order in which they were given.
    pub gateway: usize,
    /// Which of its servers.
    pub index: usize,
    /// What it says.
    pub server: &'a GatewayServer,
}

/// What an address is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened<'a> {
    /// Requests in plain text for all of these servers together.
    Http(Vec<ServerRef<'a>>),
    /// Bytes in plain text.
    Tcp(ServerRef<'a>),
    /// TLS, each server for its own hosts.
    Tls(Vec<ServerRef<'a>>),
}

/// A server that is passed over, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Which of the Gateways.
    pub gateway: usize,
    /// Which of its servers.
    pub index: usize,
    /// Gateway and server that stand in its way, if it is not at fault itself.
    pub by: Option<(usize, usize)>,
    /// Why, as the end of a sentence that begins with "this server is not opened: ".
    pub reason: String,
}

/// All servers of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged<'a> {
    /// What is listened for.
    pub opened: BTreeMap<ServerAddress, Opened<'a>>,
    /// What is not.
    pub skipped: Vec<Skipped>,
}

/// Merges the servers of Gateways, which come oldest first.
pub fn merge<'a>(gateways: impl IntoIterator<Item = &'a [GatewayServer]>) -> Merged<'a> {
    let mut merged = Merged::default();
    // Who has a host of TLS, by address.
    let mut hosts: HashMap<(ServerAddress, String), (usize, usize)> = HashMap::new();
    for (gateway, servers) in gateways.into_iter().enumerate() {
        for (index, server) in servers.iter().enumerate() {
            let this = ServerRef {
                gateway,
                index,
                server,
            };
            if let Err((by, reason)) = place(&mut merged.opened, &mut hosts, this) {
                merged.skipped.push(Skipped {
                    gateway,
                    index,
                    by,
                    reason,
                });
            }
        }
    }
    merged
}

/// A server's host without the namespace that may stand before it.
#[must_use]
pub fn bare_host(written: &str) -> &str {
    written.split_once('/').map_or(written, |(_, host)| host)
}

type Refused = (Option<(usize, usize)>, String);

fn place<'a>(
    opened: &mut BTreeMap<ServerAddress, Opened<'a>>,
    hosts: &mut HashMap<(ServerAddress, String), (usize, usize)>,
    this: ServerRef<'a>,
) -> Result<(), Refused> {
    let server = this.server;
    let port = server.port.number;
    if let Some(bind) = &server.bind
        && bind.parse::<IpAddr>().is_err()
    {
        return Err((None, format!("{bind} is no IP address to listen at")));
    }
    if server.tls.as_ref().is_some_and(has_no_version) {
        let reason = "its newest version of TLS is older than its oldest";
        return Err((None, reason.to_owned()));
    }
    let address = ServerAddress {
        bind: server.bind.clone(),
        port,
    };
    let is_tls = matches!(
        server.port.protocol,
        ServerProtocol::Https | ServerProtocol::Tls
    );
    if is_tls {
        for host in &server.hosts {
            let key = (address.clone(), bare_host(host).to_owned());
            if let Some(other) = hosts
                .get(&key)
                .filter(|other| **other != (this.gateway, this.index))
            {
                return Err((
                    Some(*other),
                    format!("port {port} has a server for {} already", key.1),
                ));
            }
        }
    }
    let taken = |other: &ServerRef<'_>, what: &str| {
        let other = (other.gateway, other.index);
        Err((Some(other), format!("port {port} speaks {what} already")))
    };
    match (opened.get_mut(&address), server.port.protocol) {
        (None, ServerProtocol::Http) => {
            opened.insert(address, Opened::Http(vec![this]));
            return Ok(());
        }
        (None, ServerProtocol::Tcp) => {
            opened.insert(address, Opened::Tcp(this));
            return Ok(());
        }
        (None, ServerProtocol::Https | ServerProtocol::Tls) => {
            opened.insert(address.clone(), Opened::Tls(vec![this]));
        }
        (Some(Opened::Http(servers)), ServerProtocol::Http) => {
            servers.push(this);
            return Ok(());
        }
        (Some(Opened::Tls(servers)), ServerProtocol::Https | ServerProtocol::Tls) => {
            servers.push(this);
        }
        (Some(Opened::Http(servers)), _) => return taken(&servers[0], "plain HTTP"),
        (Some(Opened::Tls(servers)), _) => return taken(&servers[0], "TLS"),
        (Some(Opened::Tcp(other)), _) => return taken(other, "TCP"),
    }
    for host in &server.hosts {
        let key = (address.clone(), bare_host(host).to_owned());
        hosts.insert(key, (this.gateway, this.index));
    }
    Ok(())
}

fn has_no_version(tls: &ServerTls) -> bool {
    tls.max_version != TlsVersion::Auto && tls.max_version < tls.min_version
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServerPort;

    fn server(port: u16, protocol: ServerProtocol, hosts: &[&str]) -> GatewayServer {
        GatewayServer {
            port: ServerPort {
                number: port,
                name: format!("p{port}"),
                protocol,
            },
            bind: None,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            tls: (protocol != ServerProtocol::Http).then(ServerTls::default),
        }
    }

    fn skipped(gateways: &[Vec<GatewayServer>]) -> Vec<(usize, usize, String)> {
        let merged = merge(gateways.iter().map(Vec::as_slice));
        let skipped = merged.skipped.into_iter();
        skipped
            .map(|skipped| (skipped.gateway, skipped.index, skipped.reason))
            .collect()
    }

    #[test]
    fn the_oldest_server_decides_what_a_port_is() {
        use ServerProtocol::{Http, Https, Tcp, Tls};
        let plain = vec![server(80, Http, &["*"]), server(443, Https, &["a.com"])];
        let later = vec![
            server(80, Http, &["*"]),
            server(80, Https, &["b.com"]),
            server(443, Http, &["*"]),
            server(443, Tls, &["ns/a.com"]),
            server(443, Tls, &["b.com"]),
            server(9000, Tcp, &["*"]),
            server(9000, Tcp, &["*"]),
        ];
        assert_eq!(
            skipped(&[plain, later]),
            [
                (1, 1, "port 80 speaks plain HTTP already".to_owned()),
                (1, 2, "port 443 speaks TLS already".to_owned()),
                (1, 3, "port 443 has a server for a.com already".to_owned()),
                (1, 6, "port 9000 speaks TCP already".to_owned()),
            ]
        );
    }

    #[test]
    fn another_address_is_another_port() {
        let mut bound = server(443, ServerProtocol::Https, &["a.com"]);
        bound.bind = Some("127.0.0.2".to_owned());
        let wide = server(443, ServerProtocol::Https, &["a.com"]);
        assert!(skipped(&[vec![wide, bound.clone()]]).is_empty());
        bound.bind = Some("eth0".to_owned());
        assert_eq!(
            skipped(&[vec![bound]])[0].2,
            "eth0 is no IP address to listen at"
        );
    }

    #[test]
    fn a_server_without_a_version_of_tls_is_not_opened() {
        let mut none = server(443, ServerProtocol::Https, &["a.com"]);
        none.tls = Some(ServerTls {
            min_version: TlsVersion::V1_3,
            max_version: TlsVersion::V1_2,
            ..ServerTls::default()
        });
        assert_eq!(skipped(&[vec![none]]).len(), 1);
    }
}
