//! The kinds of objects that the mesh knows.

/// A kind that the config API takes.
///
/// The first six are acted on. [`Kind::Inert`] names a well-known kind of Kubernetes or Istio that is
/// accepted, kept and warned about.
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
}
