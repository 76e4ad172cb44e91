//! How a proxy introduces itself: Envoy's `Node`, with Istio's form of the id and its upper-case metadata keys.

use std::collections::BTreeMap;

use crate::Locality;
use crate::envoy::core::{Node, node::UserAgentVersionType};
use crate::envoy::protobuf::value::Kind;
use crate::structs::{get, get_string, kind, nested, object, string};

/// What kind of proxy asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    /// Beside one workload.
    Sidecar,
    /// At the edge.
    Gateway,
}

impl ProxyKind {
    /// Istio's word for it, with which the node's id begins.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Gateway => "router",
        }
    }
}

/// What the control plane must know of a proxy to compile its resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeMetadata {
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// IP address or name at which other proxies reach it; may be empty for a gateway.
    pub address: String,
    /// The workload's namespace.
    pub namespace: String,
    /// The WorkloadGroup that the workload belongs to; may be empty for a gateway.
    pub workload_group: String,
    /// The workload's name, unique in its namespace.
    pub workload_name: String,
    /// The application's ports by name or by number in decimal, as the agent was told; they win over those of
    /// the WorkloadGroup.
    pub app_ports: BTreeMap<String, u16>,
    /// Whether the agent takes plain-text traffic from outside the mesh.
    pub plain_listener: bool,
    /// Whether the agent listens at the loopback address of each service, for an app that reaches services by
    /// their names.
    pub listen_services: bool,
    /// Where Prometheus scrapes the proxy, `IP:PORT`; empty if only its own machine could.
    pub metrics_address: String,
    /// Where it runs.
    pub locality: Locality,
    /// The version of the proxy's program.
    pub version: String,
}

/// Why a node was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The id has another form.
    #[error(
        "node id {0:?} is not of the form sidecar~ADDRESS~NAME.NAMESPACE~DOMAIN (or router~…); set the node's id in the proxy's bootstrap"
    )]
    Id(String),
    /// A port is not a number from 1 to 65535.
    #[error("node metadata APP_PORTS: {0:?} has no port number from 1 to 65535")]
    Port(String),
}

impl NodeMetadata {
    /// The form in which it is sent. The id is `sidecar~ADDRESS~NAME.NS~NS.svc.cluster.local`.
    #[must_use]
    pub fn to_node(&self) -> Node {
        let ports = object(self.app_ports.iter().map(|(name, port)| {
            let port = kind(Kind::NumberValue(f64::from(*port)));
            (name.as_str(), port)
        }));
        let metadata = object([
            ("NAMESPACE", string(&self.namespace)),
            ("WORKLOAD_GROUP", string(&self.workload_group)),
            ("WORKLOAD_NAME", string(&self.workload_name)),
            ("APP_PORTS", nested(ports)),
            ("PLAIN_LISTENER", kind(Kind::BoolValue(self.plain_listener))),
            (
                "LISTEN_SERVICES",
                kind(Kind::BoolValue(self.listen_services)),
            ),
            ("METRICS_ADDRESS", string(&self.metrics_address)),
            ("MESH_VERSION", string(&self.version)),
        ]);
        Node {
            id: format!(
                "{}~{}~{}.{}~{}.svc.cluster.local",
                self.kind.as_str(),
                self.address,
                self.workload_name,
                self.namespace,
                self.namespace
            ),
            cluster: format!("{}.{}", self.workload_name, self.namespace),
            metadata: Some(metadata),
            locality: (!self.locality.is_empty()).then(|| self.locality.to_message()),
            user_agent_name: "mesh".to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
                self.version.clone(),
            )),
            ..Node::default()
        }
    }

    /// Reads a node. A stock Envoy may give the id alone: name and namespace are in it.
    ///
    /// # Errors
    /// If the id has another form or a port is out of range.
    pub fn from_node(node: &Node) -> Result<Self, NodeError> {
        let invalid = || NodeError::Id(node.id.clone());
        let parts: Vec<&str> = node.id.split('~').collect();
        let [kind, address, name, _domain] = parts.as_slice() else {
            return Err(invalid());
        };
        let kind = [ProxyKind::Sidecar, ProxyKind::Gateway]
            .into_iter()
            .find(|known| known.as_str() == *kind)
            .ok_or_else(invalid)?;
        // A namespace has no dots, a workload's name may.
        let (name, namespace) = name.rsplit_once('.').ok_or_else(invalid)?;
        if name.is_empty() || namespace.is_empty() {
            return Err(invalid());
        }
        let empty = crate::envoy::protobuf::Struct::default();
        let metadata = node.metadata.as_ref().unwrap_or(&empty);
        let text = |key: &str, default: &str| match get_string(metadata, key) {
            value if value.is_empty() => default.to_owned(),
            value => value,
        };
        let is_true = |key: &str| matches!(get(metadata, key), Some(Kind::BoolValue(true)));
        Ok(Self {
            kind,
            address: (*address).to_owned(),
            namespace: text("NAMESPACE", namespace),
            workload_group: text("WORKLOAD_GROUP", ""),
            workload_name: text("WORKLOAD_NAME", name),
            app_ports: app_ports(get(metadata, "APP_PORTS"))?,
            plain_listener: is_true("PLAIN_LISTENER"),
            listen_services: is_true("LISTEN_SERVICES"),
            metrics_address: text("METRICS_ADDRESS", ""),
            locality: node
                .locality
                .as_ref()
                .map(Locality::from_message)
                .unwrap_or_default(),
            version: text("MESH_VERSION", ""),
        })
    }
}

/// Reads `APP_PORTS`: numbers, or numbers as text.
fn app_ports(value: Option<&Kind>) -> Result<BTreeMap<String, u16>, NodeError> {
    let Some(Kind::StructValue(ports)) = value else {
        return Ok(BTreeMap::new());
    };
    ports
        .fields
        .iter()
        .map(|(name, value)| {
            let port = match &value.kind {
                Some(Kind::NumberValue(number)) => number.to_string().parse::<u16>().ok(),
                Some(Kind::StringValue(text)) => text.parse().ok(),
                _ => None,
            };
            match port {
                Some(port) if port > 0 => Ok((name.clone(), port)),
                _ => Err(NodeError::Port(name.clone())),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{NodeError, NodeMetadata, ProxyKind};
    use crate::envoy::core::Node;
    use crate::envoy::protobuf::value::Kind;
    use crate::structs::{kind, nested, object};

    fn sidecar() -> NodeMetadata {
        NodeMetadata {
            kind: ProxyKind::Sidecar,
            address: "10.0.0.7".into(),
            namespace: "default".into(),
            workload_group: "webapp-original".into(),
            workload_name: "webapp.original".into(),
            app_ports: [("http".to_owned(), 8080), ("9090".to_owned(), 9091)].into(),
            plain_listener: true,
            listen_services: false,
            metrics_address: String::new(),
            locality: "eu/a".parse().expect("a locality"),
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn a_node_is_read_back_as_it_was() {
        let node = sidecar().to_node();
        assert_eq!(
            node.id,
            "sidecar~10.0.0.7~webapp.original.default~default.svc.cluster.local"
        );
        assert_eq!(NodeMetadata::from_node(&node), Ok(sidecar()));
        let gateway = NodeMetadata {
            kind: ProxyKind::Gateway,
            workload_group: String::new(),
            app_ports: [].into(),
            plain_listener: false,
            listen_services: false,
            metrics_address: String::new(),
            ..sidecar()
        };
        assert_eq!(NodeMetadata::from_node(&gateway.to_node()), Ok(gateway));
    }

    #[test]
    fn the_id_alone_is_enough() {
        let node = Node {
            id: "router~~istio-ingressgateway.istio-system~istio-system.svc.cluster.local".into(),
            ..Node::default()
        };
        let read = NodeMetadata::from_node(&node).expect("an id of the right form");
        assert_eq!(read.kind, ProxyKind::Gateway);
        assert_eq!(read.workload_name, "istio-ingressgateway");
        assert_eq!(read.namespace, "istio-system");
        assert!(!read.plain_listener);
    }

    #[test]
    fn other_ids_are_refused_by_name() {
        for id in [
            "",
            "envoy",
            "sidecar~1.2.3.4~name~domain",
            "ztunnel~1.2.3.4~a.b~c",
            "sidecar~1.2.3.4~.b~c",
            "sidecar~1.2.3.4~a.b",
        ] {
            let node = Node {
                id: id.into(),
                ..Node::default()
            };
            assert_eq!(
                NodeMetadata::from_node(&node),
                Err(NodeError::Id(id.to_owned()))
            );
        }
    }

    #[test]
    fn ports_out_of_range_are_refused() {
        for port in [0.0, -1.0, 1.5, 65_536.0, f64::NAN] {
            let mut node = sidecar().to_node();
            let ports = object([("http", kind(Kind::NumberValue(port)))]);
            node.metadata
                .as_mut()
                .expect("to_node writes metadata")
                .fields
                .insert("APP_PORTS".into(), nested(ports));
            assert_eq!(
                NodeMetadata::from_node(&node),
                Err(NodeError::Port("http".into()))
            );
        }
    }
}
