//! Where the load balancer sends to: upstreams that it was told, or the published plain addresses of one
//! Service's workloads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use http::uri::Authority;
use serde::Deserialize;

/// After so many listings without it an endpoint is gone. One alone may be taken while the config API
/// restarts and the workloads have not all registered again.
const MISSED_LISTINGS: u32 = 5;

/// The endpoints and whose turn it is. Clones share both.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoints {
    current: Arc<RwLock<Arc<[Authority]>>>,
    turn: Arc<AtomicUsize>,
}

impl Endpoints {
    /// All endpoints, beginning with the one whose turn it is. The turn passes on by one with each call, so
    /// the endpoints alternate strictly, whoever asks.
    pub(crate) fn next_round(&self) -> Vec<Authority> {
        let current = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if current.is_empty() {
            return Vec::new();
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % current.len();
        let mut round = Vec::with_capacity(current.len());
        round.extend_from_slice(&current[first..]);
        round.extend_from_slice(&current[..first]);
        round
    }

    /// Takes the endpoints that are in the round from now on. A name is looked up at each connection.
    pub(crate) fn replace(&self, endpoints: impl IntoIterator<Item = Authority>) {
        let endpoints = endpoints.into_iter().collect();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }
}

/// Remembers what was published lately, so that one incomplete listing takes nobody out of the round.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    missed: BTreeMap<SocketAddr, u32>,
}

impl Memory {
    /// Takes a listing and says who is in the round.
    pub(crate) fn seen(&mut self, listed: &[SocketAddr]) -> Vec<SocketAddr> {
        for missed in self.missed.values_mut() {
            *missed += 1;
        }
        for address in listed {
            self.missed.insert(*address, 0);
        }
        self.missed.retain(|_, missed| *missed < MISSED_LISTINGS);
        self.missed.keys().copied().collect()
    }
}

/// An upstream as it is typed: `HOST:PORT`.
pub(crate) fn upstream(text: &str) -> Result<Authority, String> {
    let wrong = || format!("{text:?} is no HOST:PORT; write for example webapp-original:15005");
    let authority: Authority = text.parse().map_err(|_| wrong())?;
    let whole = authority.port_u16().is_some() && !authority.host().is_empty();
    if whole && !text.contains('@') {
        Ok(authority)
    } else {
        Err(wrong())
    }
}

/// A published address as an endpoint.
pub(crate) fn at(address: SocketAddr) -> Authority {
    let text = address.to_string();
    text.parse()
        .expect("an IP address with its port is an authority")
}

#[derive(Deserialize)]
struct Listing {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    namespace: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    plain_address: Option<String>,
}

/// The published addresses of one Service in the config API's answer to `GET /api/mesh/services`, sorted.
pub(crate) fn published(
    listing: &str,
    namespace: &str,
    service: &str,
) -> anyhow::Result<Vec<SocketAddr>> {
    let listing: Listing =
        serde_json::from_str(listing).context("the list of services is not understood")?;
    let mut addresses = listing
        .services
        .into_iter()
        .filter(|listed| listed.name == service && listed.namespace == namespace)
        .flat_map(|listed| listed.endpoints)
        .filter_map(|endpoint| endpoint.plain_address)
        .filter(|address| !address.is_empty())
        .map(|address| {
            address
                .parse()
                .with_context(|| format!("the published address {address:?} is no IP:PORT"))
        })
        .collect::<anyhow::Result<Vec<SocketAddr>>>()?;
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn alternates_strictly() {
        let endpoints = Endpoints::default();
        assert!(endpoints.next_round().is_empty());
        endpoints.replace(["a:1", "b:2"].map(|text| upstream(text).unwrap()));
        let firsts: Vec<u16> = (0..6)
            .filter_map(|_| endpoints.next_round()[0].port_u16())
            .collect();
        assert!(firsts == [1, 2, 1, 2, 1, 2] || firsts == [2, 1, 2, 1, 2, 1]);
        assert_eq!(endpoints.next_round().len(), 2);
    }

    #[test]
    fn an_upstream_is_a_host_with_a_port() {
        for good in ["webapp-original:15005", "10.0.0.7:80", "[::1]:80"] {
            assert_eq!(upstream(good).unwrap().as_str(), good);
        }
        for bad in [
            "webapp-original",
            ":80",
            "me@webapp:80",
            "http://webapp:80",
            "a b:80",
        ] {
            let error = upstream(bad).unwrap_err();
            assert!(error.contains("HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn one_incomplete_listing_takes_nobody_out() {
        let mut memory = Memory::default();
        let both = [address(1), address(2)];
        assert_eq!(memory.seen(&both), both);
        for _ in 1..MISSED_LISTINGS {
            assert_eq!(memory.seen(&[address(2)]), both);
        }
        assert_eq!(memory.seen(&[address(2)]), [address(2)]);
        assert_eq!(memory.seen(&both), both);
    }

    #[test]
    fn finds_the_published_addresses_of_its_service_only() {
        let listing = r#"{"services":[
            {"name":"fleetman-webapp","namespace":"default","endpoints":[
                {"name":"webapp-original","plainAddress":"127.0.0.1:20002"},
                {"name":"webapp-experimental","plainAddress":"127.0.0.1:20001"},
                {"name":"by-hand"}, {"name":"private","plainAddress":""}]},
            {"name":"fleetman-webapp","namespace":"other","endpoints":[{"plainAddress":"127.0.0.1:1"}]},
            {"name":"fleetman-staff-service","namespace":"default"}]}"#;
        let published_ = published(listing, "default", "fleetman-webapp").unwrap();
        assert_eq!(published_, [address(20001), address(20002)]);
        let none = published(listing, "default", "fleetman-staff-service").unwrap();
        assert!(none.is_empty());
        assert!(published("[]", "default", "x").is_err());
    }
}
