//! `GET /api/prometheus/sd`: where Prometheus scrapes the mesh, in the form of its HTTP service discovery.
//!
//! The targets are the connected proxies that can be scraped, and this program. Their labels say which
//! workload it is, under names that no metric of the mesh has, so that none of those is renamed. The routes are
//! served by the config API, and by the port of this program's own metrics, which asks for no token.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::uri::Authority;
use http::{HeaderMap, Uri, header};
use mesh_config::Config;
use mesh_xds::node::{NodeMetadata, ProxyKind};
use serde_json::{Value, json};

use crate::ads::Proxies;
use crate::store::Store;

/// What is scraped.
#[derive(Clone, Debug)]
pub(crate) struct Scraping {
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) store: Arc<Store>,
    /// Where this program's own metrics are served.
    pub(crate) own: SocketAddr,
}

/// The route.
pub(crate) fn scraping(scraping: Scraping) -> Router {
    Router::new()
        .route("/api/prometheus/sd", get(targets))
        .with_state(scraping)
}

async fn targets(State(scraping): State<Scraping>, uri: Uri, headers: HeaderMap) -> Json<Value> {
    let view = scraping.store.view();
    let proxies = scraping.proxies.all();
    let mut groups: Vec<Value> = proxies
        .iter()
        .filter(|proxy| can_be_scraped(&proxy.node.metrics_address))
        .map(|proxy| {
            group(
                &proxy.node.metrics_address,
                &labels(&view.config, &proxy.node),
            )
        })
        .collect();
    if let Some(address) = own_address(scraping.own, &uri, &headers) {
        // Its metrics have a `kind`.
        let labels = BTreeMap::from([("workload", "mesh-api".to_owned())]);
        groups.push(group(&address, &labels));
    }
    Json(Value::Array(groups))
}

fn group(target: &str, labels: &BTreeMap<&str, String>) -> Value {
    json!({ "targets": [target], "labels": labels })
}

fn labels(config: &Config, node: &NodeMetadata) -> BTreeMap<&'static str, String> {
    let (kind, group) = match node.kind {
        ProxyKind::Sidecar => ("sidecar", &node.workload_group),
        ProxyKind::Gateway if node.workload_group.is_empty() => ("gateway", &node.workload_name),
        ProxyKind::Gateway => ("gateway", &node.workload_group),
    };
    let mut labels = BTreeMap::from([
        ("kind", kind.to_owned()),
        ("namespace", node.namespace.clone()),
        ("workload", node.workload_name.clone()),
    ]);
    if let Some((_, known)) = config.workload_group(&node.namespace, group) {
        labels.insert("workload_group", group.clone());
        // `version` is a label of mesh_build_info.
        for (label, name) in [("app", "app"), ("app_version", "version")] {
            if let Some(value) = known.labels.get(name) {
                labels.insert(label, value.clone());
            }
        }
    }
    labels
}

/// Whether what a proxy says is an address that somebody else could mean. One that is none would make
/// Prometheus refuse the whole list.
fn can_be_scraped(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        let ip = address.ip().to_canonical();
        return address.port() != 0 && !ip.is_unspecified() && !ip.is_loopback();
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = !host.is_empty() && host.len() <= 253 && host.chars().all(of_a_name);
    is_name && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Where whoever asks reaches this program's metrics; `None` if they are for this machine only. If they are
/// served on every address, the one that the request was sent to is known to work for its sender.
fn own_address(own: SocketAddr, uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let ip = own.ip().to_canonical();
    if ip.is_loopback() {
        return None;
    }
    if !ip.is_unspecified() {
        return Some(own.to_string());
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority: Authority = match host {
        Some(host) => host.parse().ok()?,
        None => uri.authority()?.clone(),
    };
    let host = authority.host();
    let address = format!("{host}:{}", own.port());
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_own = bare.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified());
    (is_own || can_be_scraped(&address)).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_prometheus_could_reach_is_a_target() {
        for address in [
            "10.0.0.1:15020",
            "[fd00::1]:15020",
            "web-1.shop:15020",
            "web_1:1",
        ] {
            assert!(can_be_scraped(address), "{address}");
        }
        for address in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "0.0.0.0:15020",
            "127.0.0.1:15020",
            "[::1]:15020",
            "web-1:99999",
            "web-1:http",
            ":15020",
            "web/metrics?x=:15020",
            "user@web:15020",
            "[::1:15020",
        ] {
            assert!(!can_be_scraped(address), "{address}");
        }
    }

    #[test]
    fn the_own_address_is_one_that_works_for_whoever_asks() {
        let asked = |own: &str, host: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(header::HOST, host.parse().unwrap());
            }
            own_address(own.parse().unwrap(), &Uri::from_static("/"), &headers)
        };
        assert_eq!(asked("127.0.0.1:15014", Some("mesh-api:15080")), None);
        assert_eq!(
            asked("10.0.0.1:15014", Some("mesh-api")).as_deref(),
            Some("10.0.0.1:15014")
        );
        for (host, expected) in [
            ("mesh-api:15080", "mesh-api:15014"),
            ("mesh-api", "mesh-api:15014"),
            ("10.0.0.1:15014", "10.0.0.1:15014"),
            ("[fd00::1]:15014", "[fd00::1]:15014"),
            ("localhost:15014", "localhost:15014"),
            ("127.0.0.1:15014", "127.0.0.1:15014"),
        ] {
            assert_eq!(
                asked("0.0.0.0:15014", Some(host)).as_deref(),
                Some(expected)
            );
            assert_eq!(asked("[::]:15014", Some(host)).as_deref(), Some(expected));
        }
        for host in [None, Some("a b"), Some("0.0.0.0:1"), Some("a,b")] {
            assert_eq!(asked("0.0.0.0:15014", host), None, "{host:?}");
        }
    }
}
