//! Names by which clusters and TLS server names carry direction, port, subset and host, after Istio's
//! convention: `outbound|80|v1|reviews.default.svc.cluster.local` and
//! `outbound_.80_.v1_.reviews.default.svc.cluster.local`.

use std::fmt;
use std::str::FromStr;

/// The direction of traffic towards other workloads.
pub const OUTBOUND: &str = "outbound";
/// The direction of traffic towards the workload beside the proxy.
pub const INBOUND: &str = "inbound";

/// The sidecar's listener for TLS from the mesh.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";
/// The sidecar's listener for plain text from outside the mesh.
pub const INBOUND_PLAIN: &str = "inboundPlain";
/// The sidecar's listener for the traffic of its application.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// The route configuration of [`VIRTUAL_OUTBOUND`].
pub const OUTBOUND_ROUTES: &str = "http_proxy";

/// The sidecar's listener at the address of a service: `127.129.1.2_80`.
#[must_use]
pub fn service_listener(address: &str, port: u16) -> String {
    format!("{address}_{port}")
}

/// The gateway's listener for a port: `0.0.0.0_80`.
#[must_use]
pub fn gateway_listener(port: u16) -> String {
    format!("0.0.0.0_{port}")
}

/// The route configuration of a gateway's port: `http.80`.
#[must_use]
pub fn gateway_routes(port: u16) -> String {
    format!("http.{port}")
}

/// A cluster name: `cluster("outbound", 80, Some("v1"), host)` is `outbound|80|v1|host`.
#[must_use]
pub fn cluster(direction: &str, port: u16, subset: Option<&str>, host: &str) -> String {
    format!("{direction}|{port}|{}|{host}", subset.unwrap_or_default())
}

/// The TLS server name under which a subset of a service is asked for: `outbound_.80_.v1_.host`.
#[must_use]
pub fn sni(port: u16, subset: Option<&str>, host: &str) -> String {
    format!("{OUTBOUND}_.{port}_.{}_.{host}", subset.unwrap_or_default())
}

/// The parts of a cluster name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName {
    /// [`OUTBOUND`] or [`INBOUND`].
    pub direction: String,
    /// The service's port, or the application's for inbound ones.
    pub port: u16,
    /// The subset, if any.
    pub subset: Option<String>,
    /// The service's fully qualified name; empty for inbound ones.
    pub host: String,
}

/// The text is no cluster name of this form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form DIRECTION|PORT|SUBSET|HOST")]
pub struct InvalidClusterName(String);

impl FromStr for ClusterName {
    type Err = InvalidClusterName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidClusterName(text.to_owned());
        let mut parts = text.splitn(4, '|');
        let mut next = || parts.next().ok_or_else(invalid);
        let (direction, port, subset, host) = (next()?, next()?, next()?, next()?);
        if ![OUTBOUND, INBOUND].contains(&direction) || host.contains('|') {
            return Err(invalid());
        }
        Ok(Self {
            direction: direction.to_owned(),
            port: port.parse().map_err(|_| invalid())?,
            subset: Some(subset.to_owned()).filter(|subset| !subset.is_empty()),
            host: host.to_owned(),
        })
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&cluster(
            &self.direction,
            self.port,
            self.subset.as_deref(),
            &self.host,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterName, cluster, sni};

    const HOST: &str = "reviews.default.svc.cluster.local";

    #[test]
    fn names_are_istios() {
        assert_eq!(
            cluster("outbound", 80, Some("v1"), HOST),
            "outbound|80|v1|reviews.default.svc.cluster.local"
        );
        assert_eq!(cluster("inbound", 8080, None, ""), "inbound|8080||");
        assert_eq!(
            sni(80, None, HOST),
            "outbound_.80_._.reviews.default.svc.cluster.local"
        );
    }

    #[test]
    fn parsing_gives_the_parts_back() {
        for name in ["outbound|80|v1|a.b", "outbound|1||a", "inbound|65535||"] {
            let parsed: ClusterName = name.parse().expect("a cluster name");
            assert_eq!(parsed.to_string(), name);
        }
        for name in [
            "",
            "outbound",
            "outbound|80|v1",
            "outbound|x||a",
            "outbound|65536||a",
            "sideways|80||a",
            "outbound|80||a|b",
            "PassthroughCluster",
        ] {
            assert!(name.parse::<ClusterName>().is_err(), "{name}");
        }
    }
}
