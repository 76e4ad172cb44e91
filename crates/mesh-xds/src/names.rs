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

/// A gateway's listener: `0.0.0.0_80`.
#[must_use]
pub fn gateway_listener(bind: Option<&str>, port: u16) -> String {
    format!("{}_{port}", bind.unwrap_or("0.0.0.0"))
}

/// The route configuration of a gateway's port in plain text: `http.80`, and with an address of its own
/// `http.80.127.0.0.1`.
#[must_use]
pub fn gateway_routes(bind: Option<&str>, port: u16) -> String {
    match bind {
        Some(bind) => format!("http.{port}.{bind}"),
        None => format!("http.{port}"),
    }
}

/// The route configuration of a gateway's server behind TLS: `https.443.PORT_NAME.GATEWAY.NAMESPACE`.
#[must_use]
pub fn gateway_tls_routes(
    bind: Option<&str>,
    (port, port_name): (u16, &str),
    gateway: &str,
    namespace: &str,
) -> String {
    let name = format!("https.{port}.{port_name}.{gateway}.{namespace}");
    match bind {
        Some(bind) => format!("{name}.{bind}"),
        None => name,
    }
}

/// The secret with the certificate of a workload, which its proxy has by itself.
pub const OWN_CERTIFICATE: &str = "default";
/// The secret with the roots of the mesh, which each proxy has by itself.
pub const MESH_ROOTS: &str = "ROOTCA";

/// The secret with a certificate that is kept as an object of this name, or `NAMESPACE/NAME`.
#[must_use]
pub fn credential(name: &str) -> String {
    format!("kubernetes://{name}")
}

/// The secret with a certificate that is kept as `NAMESPACE/NAME`, for a Gateway of the Gateway API:
/// `kubernetes-gateway://NAMESPACE/NAME`.
#[must_use]
pub fn granted_credential(name: &str) -> String {
    format!("kubernetes-gateway://{name}")
}

/// The secret with the authorities in some ConfigMaps `NAMESPACE/NAME`: `configmap://NAMESPACE/NAME`, further ones
/// after a comma each.
#[must_use]
pub fn config_map_roots(config_maps: &[String]) -> String {
    format!("configmap://{}", config_maps.join(","))
}

/// The secret with the authorities of clients that belong to a credential: `kubernetes://NAME-cacert`.
#[must_use]
pub fn credential_roots(name: &str) -> String {
    format!("{}-cacert", credential(name))
}

/// The secret with a certificate that is in files of the proxy's machine: `file-cert:CERTIFICATE~KEY`.
#[must_use]
pub fn file_certificate(certificate: &str, key: &str) -> String {
    format!("file-cert:{certificate}~{key}")
}

/// The secret with authorities, and revoked certificates, that are in files of the proxy's machine:
/// `file-root:AUTHORITIES`, or `file-root:AUTHORITIES~REVOKED`.
#[must_use]
pub fn file_roots(authorities: &str, revoked: Option<&str>) -> String {
    match revoked {
        Some(revoked) => format!("file-root:{authorities}~{revoked}"),
        None => format!("file-root:{authorities}"),
    }
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
