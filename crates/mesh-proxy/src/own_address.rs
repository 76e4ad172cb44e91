//! Finds out under which IP address others reach this machine, for those who are not told.
//!
//! A machine with several networks has several addresses; the right one is on the way to the control plane,
//! because that is where the other proxies are as well. The kernel knows it: connecting a UDP socket looks up the
//! route and picks the source address, and sends nothing. It is asked once, at the start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use crate::control::stream::backoff;

/// Why this machine's own address cannot be told.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no route to the control plane at {destination} ({reason}), and so no telling under which address \
     others reach this proxy; connect this machine to its network, or give the address with --advertise-address"
)]
pub(crate) struct NoRoute {
    destination: String,
    reason: io::Error,
}

/// This machine's own IP address on the route to `destination`, a `host:port`. `inbound` is where the proxy listens:
/// at 0.0.0.0, only an IPv4 address will do.
///
/// A name that is not known yet is tried again for as long as it takes: where everything starts at once, the
/// control plane gets its name when it starts.
pub(crate) async fn towards(destination: &str, inbound: IpAddr) -> Result<IpAddr, NoRoute> {
    let no_route = |reason| NoRoute {
        destination: destination.to_owned(),
        reason,
    };
    let candidates = resolve(destination).await;
    let fits = |candidate: &SocketAddr| candidate.is_ipv4() || inbound.is_ipv6();
    let mut reason =
        io::Error::other("its name has no address of the family that --listen-inbound has");
    for candidate in candidates.into_iter().filter(fits) {
        match source(candidate).await {
            Ok(ip) => return Ok(ip),
            Err(error) => reason = error,
        }
    }
    Err(no_route(reason))
}

async fn resolve(destination: &str) -> Vec<SocketAddr> {
    let mut backoff = backoff();
    let mut told = String::new();
    loop {
        let reason = match tokio::net::lookup_host(destination).await {
            Ok(addresses) => return addresses.collect(),
            Err(error) => error.to_string(),
        };
        if reason != told {
            tracing::warn!(
                destination,
                reason,
                "the control plane's name is not known yet; trying again"
            );
            told = reason;
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Which address packets to `destination` would come from.
async fn source(destination: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match destination {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(destination).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WILDCARD: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    #[tokio::test]
    async fn the_route_decides() {
        let own = towards("127.0.0.1:15012", WILDCARD).await.unwrap();
        assert_eq!(own, Ipv4Addr::LOCALHOST);
        let own = towards("localhost:15012", WILDCARD).await.unwrap();
        assert!(own.is_ipv4() && own.is_loopback(), "{own}");
    }

    #[tokio::test]
    async fn an_address_that_others_could_not_reach_is_not_taken() {
        // Inbound listens on IPv4 only, the control plane has IPv6 only.
        let error = towards("[::1]:15012", WILDCARD).await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("[::1]:15012") && error.contains("--advertise-address"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn without_a_route_the_way_out_is_named() {
        // A destination that the kernel refuses whatever networks the machine has.
        let error = towards("255.255.255.255:1", WILDCARD).await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("no route") && error.contains("--advertise-address"),
            "{error}"
        );
    }
}
