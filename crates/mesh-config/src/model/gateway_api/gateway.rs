//! What listens: GatewayClass, Gateway, ListenerSet.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{GROUP, ObjectRef, ParentRef};

/// A GatewayClass: who looks after its Gateways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GatewayClass {
    /// `domain/path`.
    pub controller_name: String,
}

/// A Gateway: listeners that routes attach to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Gateway {
    /// The name of its GatewayClass.
    pub gateway_class_name: String,
    /// Where it is to be reached; empty leaves that to the mesh.
    pub addresses: Vec<Address>,
    /// Its own listeners.
    pub listeners: Vec<Listener>,
    /// Which ListenerSets may add some.
    pub allowed_listeners: AllowedListeners,
    /// What the programs that serve it are like.
    pub infrastructure: Infrastructure,
    /// What holds for TLS at all of its listeners.
    pub tls: GatewayTls,
}

/// TLS of a Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GatewayTls {
    /// Towards clients.
    pub frontend: FrontendTls,
}

/// How the clients of a Gateway's listeners are verified, those of `HTTPS`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct FrontendTls {
    /// At every port that is not in `per_port`.
    pub default: PortTls,
    /// At single ports, instead of `default`.
    pub per_port: Vec<FrontendPort>,
}

impl FrontendTls {
    /// How clients are verified at a port; `None` if they need no certificate.
    #[must_use]
    pub fn validation(&self, port: u16) -> Option<&Validation> {
        let own = self.per_port.iter().find(|entry| entry.port == port);
        own.map_or(&self.default, |entry| &entry.tls)
            .validation
            .as_ref()
    }
}

/// TLS towards the clients of one port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FrontendPort {
    /// The port.
    pub port: u16,
    /// How its clients are verified.
    pub tls: PortTls,
}

/// TLS towards the clients of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PortTls {
    /// How clients are verified; `None` if they need no certificate.
    pub validation: Option<Validation>,
}

/// How clients are verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Validation {
    /// Who signs their certificates: ConfigMaps with a `ca.crt`.
    pub ca_certificate_refs: Vec<ObjectRef>,
    /// `AllowValidOnly` (also where it is left out), or `AllowInsecureFallback` for those who show none as well.
    pub mode: Option<String>,
}

impl Validation {
    /// Whether a connection goes on whatever its client shows.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.mode.as_deref() == Some("AllowInsecureFallback")
    }
}

/// An address that a Gateway asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Address {
    /// `IPAddress` (also where it is left out), `Hostname`, or another controller's own type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// May be empty.
    pub value: String,
}

/// What the programs that serve a Gateway are like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Infrastructure {
    /// Labels that they carry.
    pub labels: BTreeMap<String, String>,
}

/// Which ListenerSets may attach.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AllowedListeners {
    /// Those of these namespaces; of none unless the Gateway says more.
    pub namespaces: Namespaces,
}

impl Default for AllowedListeners {
    fn default() -> Self {
        AllowedListeners {
            namespaces: Namespaces {
                from: From::None,
                selector: LabelSelector::default(),
            },
        }
    }
}

/// A ListenerSet: more listeners for a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSet {
    /// The Gateway.
    pub parent_ref: ParentRef,
    /// The listeners.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Its name in the Gateway or ListenerSet.
    pub name: String,
    /// The only host that it serves, `a.example.com` or `*.example.com`; `None` for any.
    pub hostname: Option<String>,
    /// 1 to 65535.
    pub port: u16,
    /// As written: `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP`, or another controller's own.
    pub protocol: String,
    /// How TLS is spoken, if it is.
    pub tls: Option<ListenerTls>,
    /// Which routes may attach.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerTls {
    /// `Terminate` (also where it is left out) or `Passthrough`.
    pub mode: Option<String>,
    /// The certificates to show.
    pub certificate_refs: Vec<ObjectRef>,
    /// Controllers' own options.
    pub options: BTreeMap<String, String>,
}

impl ListenerTls {
    /// Whether bytes go through unread.
    #[must_use]
    pub fn is_passthrough(&self) -> bool {
        self.mode.as_deref() == Some("Passthrough")
    }
}

/// Which routes may attach to a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AllowedRoutes {
    /// Those of these namespaces.
    pub namespaces: Namespaces,
    /// Those of these kinds; empty for all that fit the protocol.
    pub kinds: Vec<RouteKind>,
}

/// A choice of namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    /// How they are chosen.
    pub from: From,
    /// The labels of those of [`From::Selector`].
    pub selector: LabelSelector,
}

/// How namespaces are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum From {
    /// Every namespace.
    All,
    /// The Gateway's own.
    #[default]
    Same,
    /// Those with the labels of the selector.
    Selector,
    /// None at all.
    None,
}

/// Kubernetes' selector by labels: all of its conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with their values.
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels.
    pub match_expressions: Vec<Requirement>,
}

/// A condition on a label.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values of the first two.
    #[serde(default)]
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether these labels meet all conditions. Without a condition, any do.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let wanted = &self.match_labels;
        wanted
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|one| one.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let is_listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator.as_str() {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

/// A kind of routes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RouteKind {
    /// API group; that of the Gateway API where it is left out.
    #[serde(default = "own_group")]
    pub group: String,
    /// Kind.
    pub kind: String,
}

pub(super) fn own_group() -> String {
    GROUP.to_owned()
}
