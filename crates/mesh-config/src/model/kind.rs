//! The kinds of objects that the mesh knows, and how the API names them.

use std::fmt;

use super::gateway_api;
use super::inert::{self, INERT, INERT_GROUPS};
use crate::suggest::suggest;

/// A kind that the config API takes.
///
/// Those of [`Kind::TYPED`] have a meaning of their own, and most are acted on: [`Kind::note`] says of which
/// not. [`Kind::Inert`] names a well-known kind of Kubernetes or Istio that is accepted, kept and warned about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Core v1 Service.
    Service,
    /// `networking.istio.io` Gateway.
    Gateway,
    /// `networking.istio.io` VirtualService.
    VirtualService,
    /// `networking.istio.io` DestinationRule.
    DestinationRule,
    /// `networking.istio.io` WorkloadGroup.
    WorkloadGroup,
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry,
    /// `security.istio.io` PeerAuthentication.
    PeerAuthentication,
    /// `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy,
    /// `security.istio.io` RequestAuthentication.
    RequestAuthentication,
    /// `telemetry.istio.io` Telemetry.
    Telemetry,
    /// Core v1 Namespace.
    Namespace,
    /// Core v1 Secret.
    Secret,
    /// Core v1 ConfigMap.
    ConfigMap,
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry,
    /// `networking.istio.io` Sidecar.
    Sidecar,
    /// A kind of `gateway.networking.k8s.io`.
    GatewayApi(gateway_api::Kind),
    /// A row of the table of known kinds that are not acted on.
    Inert(&'static InertKind),
}

/// A known kind that is kept and not acted on.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InertKind {
    /// API group, empty for core.
    pub group: &'static str,
    /// Kind, for example `Deployment`.
    pub kind: &'static str,
    /// Plural resource name, for example `deployments`.
    pub plural: &'static str,
    /// Whether objects of the kind live in a namespace.
    pub namespaced: bool,
    /// What the user should know, as the end of `Deployment is kept but not acted on: …`.
    pub note: &'static str,
}

/// Why an `apiVersion` and `kind` name no kind. `Display` says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindError(String);

impl fmt::Display for KindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KindError {}

/// What the API calls a kind, and whether the mesh acts on it.
struct Names {
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    /// For kinds that are not acted on.
    note: Option<&'static str>,
}

const ISTIO: &str = "networking.istio.io";
/// The preferred version first.
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

impl Kind {
    /// The kinds that have a table of fields and a type in [`crate::Spec`].
    pub const TYPED: &[Kind] = &[
        Kind::Service,
        Kind::Gateway,
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::WorkloadGroup,
        Kind::WorkloadEntry,
        Kind::PeerAuthentication,
        Kind::AuthorizationPolicy,
        Kind::RequestAuthentication,
        Kind::Telemetry,
        Kind::Namespace,
        Kind::Secret,
        Kind::ConfigMap,
        Kind::ServiceEntry,
        Kind::Sidecar,
        Kind::GatewayApi(gateway_api::Kind::BackendTlsPolicy),
        Kind::GatewayApi(gateway_api::Kind::Gateway),
        Kind::GatewayApi(gateway_api::Kind::GatewayClass),
        Kind::GatewayApi(gateway_api::Kind::GrpcRoute),
        Kind::GatewayApi(gateway_api::Kind::HttpRoute),
        Kind::GatewayApi(gateway_api::Kind::ListenerSet),
        Kind::GatewayApi(gateway_api::Kind::ReferenceGrant),
        Kind::GatewayApi(gateway_api::Kind::TcpRoute),
        Kind::GatewayApi(gateway_api::Kind::TlsRoute),
        Kind::GatewayApi(gateway_api::Kind::UdpRoute),
    ];

    /// Every kind that the API takes, acted on or not.
    pub fn all() -> impl Iterator<Item = Kind> {
        let inert = INERT.iter().map(Kind::Inert);
        Kind::TYPED.iter().copied().chain(inert)
    }

    /// The kind of this group and version, if there is one.
    ///
    /// Kinds that are not acted on are taken in any version of their group.
    pub fn from_api(group: &str, version: &str, kind: &str) -> Option<Kind> {
        Kind::all().find(|known| {
            known.kind() == kind && known.group() == group && known.has_version(version)
        })
    }

    /// The kind by its resource name in a URL, `virtualservices`.
    pub fn from_plural(group: &str, version: &str, plural: &str) -> Option<Kind> {
        Kind::all().find(|known| {
            known.plural() == plural && known.group() == group && known.has_version(version)
        })
    }

    /// The kind that an object names by its `apiVersion` and `kind`.
    ///
    /// # Errors
    /// A sentence that names the version, group or kind that was probably meant.
    pub fn of_object(api_version: &str, kind: &str) -> Result<Kind, KindError> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Kind::from_api(group, version, kind)
            .ok_or_else(|| KindError(what_was_meant(api_version, group, kind)))
    }

    /// Whether a kind of this name exists in any group.
    pub fn is_known(kind: &str) -> bool {
        Kind::all().any(|known| known.kind() == kind)
    }

    /// API group, empty for core.
    pub fn group(&self) -> &'static str {
        self.names().group
    }

    /// The versions in which the kind is taken, the preferred one first.
    ///
    /// Kinds that are not acted on are taken in any version of their group; for them this is the
    /// usual one.
    pub fn versions(&self) -> &'static [&'static str] {
        self.names().versions
    }

    /// The kind's own name, `VirtualService`.
    pub fn kind(&self) -> &'static str {
        self.names().kind
    }

    /// Its name in URLs, `virtualservices`.
    pub fn plural(&self) -> &'static str {
        self.names().plural
    }

    /// Its name for one object in command lines, `virtualservice`.
    pub fn singular(&self) -> String {
        self.kind().to_ascii_lowercase()
    }

    /// Whether objects of the kind live in a namespace.
    pub fn namespaced(&self) -> bool {
        self.names().namespaced
    }

    /// Whether the mesh acts on objects of this kind.
    pub fn is_acted(&self) -> bool {
        self.note().is_none()
    }

    /// What the user should know about a kind that is not acted on, as the end of
    /// `Deployment is kept but not acted on: …`.
    pub fn note(&self) -> Option<&'static str> {
        self.names().note
    }

    /// `apiVersion` in the preferred version, `networking.istio.io/v1`.
    pub fn api_version(&self) -> String {
        api_version(self.group(), self.versions()[0])
    }

    fn has_version(&self, version: &str) -> bool {
        match self {
            Kind::Inert(_) => !version.is_empty(),
            typed => typed.versions().contains(&version),
        }
    }

    fn names(&self) -> Names {
        let core = |kind, plural| Names {
            group: "",
            versions: &["v1"],
            kind,
            plural,
            namespaced: true,
            note: None,
        };
        let istio = |kind, plural| Names {
            group: ISTIO,
            versions: ISTIO_VERSIONS,
            ..core(kind, plural)
        };
        let security = |kind, plural, note| Names {
            group: "security.istio.io",
            versions: &["v1", "v1beta1"],
            note: Some(note),
            ..core(kind, plural)
        };
        match self {
            Kind::Service => core("Service", "services"),
            Kind::Gateway => istio("Gateway", "gateways"),
            Kind::VirtualService => istio("VirtualService", "virtualservices"),
            Kind::DestinationRule => istio("DestinationRule", "destinationrules"),
            Kind::WorkloadGroup => istio("WorkloadGroup", "workloadgroups"),
            Kind::WorkloadEntry => istio("WorkloadEntry", "workloadentries"),
            Kind::PeerAuthentication => security(
                "PeerAuthentication",
                "peerauthentications",
                inert::PEERS_UNENFORCED,
            ),
            Kind::AuthorizationPolicy => security(
                "AuthorizationPolicy",
                "authorizationpolicies",
                inert::UNENFORCED,
            ),
            Kind::RequestAuthentication => security(
                "RequestAuthentication",
                "requestauthentications",
                inert::JWT_UNENFORCED,
            ),
            Kind::Telemetry => Names {
                group: "telemetry.istio.io",
                versions: &["v1", "v1alpha1"],
                note: Some(inert::TELEMETRY),
                ..core("Telemetry", "telemetries")
            },
            Kind::Namespace => Names {
                namespaced: false,
                ..core("Namespace", "namespaces")
            },
            Kind::Secret => core("Secret", "secrets"),
            Kind::ConfigMap => Names {
                note: Some(inert::DATA),
                ..core("ConfigMap", "configmaps")
            },
            Kind::ServiceEntry => istio("ServiceEntry", "serviceentries"),
            Kind::Sidecar => istio("Sidecar", "sidecars"),
            Kind::GatewayApi(kind) => Names {
                group: gateway_api::GROUP,
                versions: kind.versions(),
                kind: kind.name(),
                plural: kind.plural(),
                namespaced: *kind != gateway_api::Kind::GatewayClass,
                note: kind.note(),
            },
            Kind::Inert(inert) => Names {
                group: inert.group,
                versions: usual_versions(inert.group),
                kind: inert.kind,
                plural: inert.plural,
                namespaced: inert.namespaced,
                note: Some(inert.note),
            },
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

fn usual_versions(group: &str) -> &'static [&'static str] {
    INERT_GROUPS
        .iter()
        .find(|(known, _)| *known == group)
        .map_or(&["v1"], |(_, versions)| *versions)
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// The sentence for an `apiVersion` and `kind` that name nothing.
fn what_was_meant(written: &str, group: &str, kind: &str) -> String {
    if kind.is_empty() {
        return "kind is missing; name it, for example kind: VirtualService".to_owned();
    }
    let same_name: Vec<Kind> = Kind::all().filter(|known| known.kind() == kind).collect();
    if written.is_empty() {
        return match same_name.first() {
            Some(known) => format!(
                "apiVersion is missing; a {kind} takes apiVersion: {}",
                known.api_version()
            ),
            None => "apiVersion is missing; name it, for example apiVersion: v1".to_owned(),
        };
    }
    if let Some(known) = same_name.iter().find(|known| known.group() == group) {
        let versions: Vec<String> = known
            .versions()
            .iter()
            .map(|version| api_version(group, version))
            .collect();
        return format!(
            "there is no {kind} in apiVersion {written}; use {}",
            versions.join(", ")
        );
    }
    if !same_name.is_empty() {
        let groups: Vec<String> = same_name.iter().map(Kind::api_version).collect();
        return format!(
            "there is no {kind} in apiVersion {written}; use {}",
            groups.join(" or ")
        );
    }
    let similar = suggest(kind, Kind::all().map(|known| known.kind()));
    match similar {
        Some(similar) => {
            format!("the kind {kind} of {written} is not known; did you mean {similar}?")
        }
        None => format!(
            "the kind {kind} of {written} is not known to the mesh; remove the document, or check \
             apiVersion and kind"
        ),
    }
}
