//! Where a sidecar listens for a Service on its own machine, for an app that reaches services by their names.
//!
//! Such an app has the service's name and this address in its `/etc/hosts`, written before any control plane
//! is asked; so the address follows from the name alone. Whoever wants another one writes it as `clusterIP`.
//! Which of several services has an address and port is in [`Config::service_addresses`](crate::Config).

use std::net::Ipv4Addr;

use crate::model::Service;

/// 127.128.0.0/9, the half of the loopback network in which nothing else lives: `127.0.0.1` and the addresses
/// that distributions take for themselves are in the other one.
const NETWORK: u32 = u32::from_be_bytes([127, 128, 0, 0]);
/// All addresses of it but the first and the last: 127.255.255.255 is loopback's broadcast address.
const ADDRESSES: u64 = (1 << 23) - 2;

/// The loopback address of the service with this host, `reviews.default.svc.cluster.local`, unless its
/// `clusterIP` says another one. Upper and lower case are the same.
///
/// It is `127.128.0.1` plus the remainder of the host's 64-bit FNV-1a hash by 8388606. This never changes:
/// `/etc/hosts` files that were written long ago must stay right.
///
/// ```
/// let address = mesh_config::service_address("reviews.default.svc.cluster.local");
/// assert_eq!(address.to_string(), "127.202.106.53");
/// ```
pub fn service_address(host: &str) -> Ipv4Addr {
    let hash = host.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    let [.., b3, b2, b1, b0] = (u64::from(NETWORK) + 1 + hash % ADDRESSES).to_be_bytes();
    Ipv4Addr::new(b3, b2, b1, b0)
}

impl Service {
    /// Where sidecars listen for the service with this host: its own loopback address if it has one, else
    /// [`service_address`].
    pub fn address(&self, host: &str) -> Ipv4Addr {
        self.cluster_ip.unwrap_or_else(|| service_address(host))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::service_address;

    #[test]
    fn addresses_never_change() {
        for (host, address) in [
            ("", "127.162.116.96"),
            ("a", "127.254.20.225"),
            ("reviews.default.svc.cluster.local", "127.202.106.53"),
            ("Reviews.Default.svc.cluster.local", "127.202.106.53"),
            ("db.default.svc.cluster.local", "127.134.21.30"),
            (
                "fleetman-webapp.default.svc.cluster.local",
                "127.181.247.98",
            ),
        ] {
            assert_eq!(service_address(host).to_string(), address, "{host}");
        }
    }

    proptest! {
        #[test]
        fn every_address_is_one_that_a_socket_can_have(host in ".*") {
            let address = service_address(&host);
            prop_assert!(address > Ipv4Addr::new(127, 128, 0, 0));
            prop_assert!(address < Ipv4Addr::new(127, 255, 255, 255));
        }
    }
}
