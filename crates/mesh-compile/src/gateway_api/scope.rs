//! Which Gateways are ours, and what their listeners are.

use std::collections::BTreeMap;

use mesh_config::model::gateway_api::{
    self as api, From, GROUP, Kind, Namespaces, ObjectRef, Spec, Validation,
};
use mesh_config::{Config, Kind as AnyKind, Object, SharedObject};

use super::{Reason, backend, objects};

/// The controller that GatewayClasses name for the mesh.
pub(crate) const CONTROLLER: &str = "mesh/gateway-controller";

/// The controllers whose GatewayClasses are ours: our own name, and Istio's.
const CONTROLLERS: [&str; 2] = [CONTROLLER, "istio.io/gateway-controller"];

/// The class that is ours even where nobody has made a GatewayClass, as Istio makes it itself.
const BUILT_IN_CLASS: &str = "istio";

/// The label by which a workload says that it serves one Gateway.
pub(crate) const SERVES: &str = "gateway.networking.k8s.io/gateway-name";

/// A Gateway that is ours.
#[derive(Debug)]
pub(crate) struct Gateway<'a> {
    pub(crate) object: &'a SharedObject,
    pub(crate) spec: &'a api::Gateway,
    /// The controller of its class.
    pub(crate) controller: &'static str,
    /// Its own, then those of its ListenerSets, oldest first: what comes first wins a conflict.
    pub(crate) listeners: Vec<Listener<'a>>,
    /// What is wrong with an address that it asks for.
    pub(crate) address: Option<Reason>,
}

/// A ListenerSet of a Gateway that is ours.
#[derive(Debug)]
pub(crate) struct Set<'a> {
    pub(crate) object: &'a SharedObject,
    /// The place of its Gateway.
    pub(crate) gateway: usize,
    /// Whether the Gateway takes its listeners.
    pub(crate) is_allowed: bool,
}

/// A listener of a Gateway.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    /// The Gateway or ListenerSet that it is written in.
    pub(crate) owner: &'a SharedObject,
    pub(crate) spec: &'a api::Listener,
    /// Nothing for a protocol that is not served.
    pub(crate) speaks: Option<Speaks>,
    /// Why an earlier listener leaves it no place.
    pub(crate) conflict: Option<Reason>,
    /// The kinds of routes that may attach.
    pub(crate) kinds: Vec<Kind>,
    /// What it refers to and what is wrong with that.
    pub(crate) unresolved: Option<Reason>,
    /// By what clients are verified; `None` if they need no certificate.
    pub(crate) clients: Option<Clients>,
}

/// How a listener verifies its clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    /// ConfigMaps `NAMESPACE/NAME` with the authorities; none if not one of those named can be used.
    pub(crate) authorities: Vec<String>,
    /// Whether a connection goes on whatever its client shows.
    pub(crate) is_insecure: bool,
    /// What is wrong with the first reference that leads nowhere.
    unresolved: Option<Reason>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Https,
    /// TLS that ends here, with bytes inside.
    Tls,
    /// TLS that goes through.
    Passthrough,
    Tcp,
}

impl Speaks {
    fn of(listener: &api::Listener) -> Option<Self> {
        let tls = listener.tls.as_ref();
        match listener.protocol.to_ascii_uppercase().as_str() {
            "HTTP" => Some(Self::Http),
            "HTTPS" => Some(Self::Https),
            "TLS" if tls.is_some_and(api::ListenerTls::is_passthrough) => Some(Self::Passthrough),
            "TLS" => Some(Self::Tls),
            "TCP" => Some(Self::Tcp),
            _ => None,
        }
    }

    fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Http | Self::Https => &[Kind::HttpRoute, Kind::GrpcRoute],
            Self::Tls => &[Kind::TlsRoute, Kind::TcpRoute],
            Self::Passthrough => &[Kind::TlsRoute],
            Self::Tcp => &[Kind::TcpRoute],
        }
    }

    /// Whether both may listen at one port, where the server name tells them apart.
    fn mixes_with(self, other: Self) -> bool {
        let is_tls = |one| matches!(one, Self::Https | Self::Tls | Self::Passthrough);
        self == other && self != Self::Tcp || is_tls(self) && is_tls(other)
    }
}

impl Listener<'_> {
    /// Whether requests can come in by it.
    pub(crate) fn is_served(&self) -> bool {
        self.is_accepted()
            && self
                .unresolved
                .as_ref()
                .is_none_or(|reason| reason.word == INVALID_KINDS)
            && self.knows_clients()
    }

    /// Whether there is something to verify clients by, if they are to be.
    fn knows_clients(&self) -> bool {
        let is_known = |clients: &Clients| clients.is_insecure || !clients.authorities.is_empty();
        self.clients.as_ref().is_none_or(is_known)
    }

    /// What the listener refers to and what is wrong with that, for its own sake or that of its clients.
    pub(crate) fn unresolved(&self) -> Option<&Reason> {
        let of_clients = self
            .clients
            .as_ref()
            .and_then(|one| one.unresolved.as_ref());
        self.unresolved.as_ref().or(of_clients)
    }

    /// Why there is nothing to verify clients by.
    pub(crate) fn unverifiable(&self) -> Option<Reason> {
        let text = "none of the caCertificateRefs for its clients can be used; see ResolvedRefs";
        (!self.knows_clients()).then(|| Reason::new("NoValidCACertificate", text))
    }

    /// Whether it has a place at its Gateway.
    pub(crate) fn is_accepted(&self) -> bool {
        self.speaks.is_some() && self.conflict.is_none()
    }
}

/// The reason of a listener that names kinds of routes that it cannot have: the others still attach.
const INVALID_KINDS: &str = "InvalidRouteKinds";

/// All Gateways that are ours, oldest first, and their ListenerSets.
pub(crate) fn build(config: &Config) -> (Vec<Gateway<'_>>, Vec<Set<'_>>) {
    let mut gateways: Vec<Gateway<'_>> = objects(config, Kind::Gateway)
        .filter_map(|(object, spec)| match spec {
            Spec::Gateway(spec) => {
                Some((object, spec, controller(config, &spec.gateway_class_name)?))
            }
            _ => None,
        })
        .map(|(object, spec, controller)| Gateway {
            object,
            spec,
            controller,
            listeners: listeners(config, object, &spec.listeners).collect(),
            address: address(spec),
        })
        .collect();
    let mut sets = Vec::new();
    for (object, spec) in objects(config, Kind::ListenerSet) {
        let Spec::ListenerSet(spec) = spec else {
            continue;
        };
        let parent = &spec.parent_ref;
        let own = &object.metadata.namespace;
        let namespace = parent.namespace.as_ref().unwrap_or(own);
        let is_parent = |gateway: &Gateway<'_>| {
            let metadata = &gateway.object.metadata;
            metadata.name == parent.name && metadata.namespace == *namespace
        };
        let Some(place) = gateways.iter().position(is_parent) else {
            continue;
        };
        let gateway = &mut gateways[place];
        let is_allowed = admits(
            config,
            &gateway.spec.allowed_listeners.namespaces,
            namespace,
            own,
        );
        if is_allowed {
            gateway
                .listeners
                .extend(listeners(config, object, &spec.listeners));
        }
        sets.push(Set {
            object,
            gateway: place,
            is_allowed,
        });
    }
    for gateway in &mut gateways {
        let (object, frontend) = (gateway.object, &gateway.spec.tls.frontend);
        for listener in &mut gateway.listeners {
            if listener.speaks == Some(Speaks::Https) {
                let validation = frontend.validation(listener.spec.port);
                listener.clients = validation.map(|one| clients(config, object, one));
            }
        }
        find_conflicts(&mut gateway.listeners);
    }
    (gateways, sets)
}

/// The controller of a class, if it is ours.
fn controller(config: &Config, class: &str) -> Option<&'static str> {
    let known = config.find(AnyKind::GatewayApi(Kind::GatewayClass), "", class);
    let name = match known.and_then(|object| object.as_gateway_api()) {
        Some(Spec::GatewayClass(spec)) => spec.controller_name.as_str(),
        _ if class == BUILT_IN_CLASS => CONTROLLER,
        _ => return None,
    };
    CONTROLLERS.into_iter().find(|known| *known == name)
}

/// Whether a GatewayClass is ours.
pub(crate) fn is_our_controller(class: &api::GatewayClass) -> bool {
    CONTROLLERS.contains(&class.controller_name.as_str())
}

/// Whether `namespaces`, written in an object of namespace `home`, admit objects of namespace `other`.
pub(crate) fn admits(config: &Config, namespaces: &Namespaces, home: &str, other: &str) -> bool {
    match namespaces.from {
        From::All => true,
        From::Same => home == other,
        From::None => false,
        From::Selector => {
            let mut labels = config.namespace_labels(other).cloned().unwrap_or_default();
            // Kubernetes puts this one on each.
            labels.insert("kubernetes.io/metadata.name".to_owned(), other.to_owned());
            namespaces.selector.matches(&labels)
        }
    }
}

/// Labels of the workloads that serve a Gateway; without any, every gateway does.
pub(crate) fn selector(config: &Config, gateway: &Gateway<'_>) -> BTreeMap<String, String> {
    if !gateway.spec.infrastructure.labels.is_empty() {
        return gateway.spec.infrastructure.labels.clone();
    }
    let metadata = &gateway.object.metadata;
    let serves_it = config.workload_groups().any(|(object, group)| {
        object.metadata.namespace == metadata.namespace
            && group.labels.get(SERVES) == Some(&metadata.name)
    });
    if serves_it {
        BTreeMap::from([(SERVES.to_owned(), metadata.name.clone())])
    } else {
        BTreeMap::new()
    }
}

fn listeners<'a>(
    config: &'a Config,
    owner: &'a SharedObject,
    listeners: &'a [api::Listener],
) -> impl Iterator<Item = Listener<'a>> {
    listeners.iter().map(move |spec| {
        let speaks = Speaks::of(spec);
        let (kinds, wrong_kinds) = kinds(speaks, spec);
        Listener {
            owner,
            spec,
            speaks,
            conflict: None,
            kinds,
            unresolved: certificates(config, owner, spec).or(wrong_kinds),
            clients: None,
        }
    })
}

/// The kinds that may attach, and the first one of those written that cannot.
fn kinds(speaks: Option<Speaks>, listener: &api::Listener) -> (Vec<Kind>, Option<Reason>) {
    let possible = speaks.map_or(&[][..], Speaks::kinds);
    let written = &listener.allowed_routes.kinds;
    if written.is_empty() {
        return (possible.to_vec(), None);
    }
    let mut wrong = None;
    let mut kinds = Vec::new();
    for kind in written {
        let known = possible
            .iter()
            .find(|known| kind.group == GROUP && known.name() == kind.kind);
        match known {
            Some(known) if !kinds.contains(known) => kinds.push(*known),
            Some(_) => {}
            None => {
                let text = format!(
                    "{} of {:?} cannot attach to a listener of {}",
                    kind.kind, kind.group, listener.protocol
                );
                wrong = Some(Reason::new(INVALID_KINDS, text));
            }
        }
    }
    (kinds, wrong)
}

/// What is wrong with the certificates of a listener that ends TLS.
fn certificates(config: &Config, owner: &Object, listener: &api::Listener) -> Option<Reason> {
    let tls = listener.tls.as_ref().filter(|tls| !tls.is_passthrough())?;
    if tls.certificate_refs.is_empty() {
        let text =
            "certificateRefs is empty, and there is nothing else that a certificate comes from";
        return Some(Reason::new("InvalidCertificateRef", text));
    }
    tls.certificate_refs
        .iter()
        .find_map(|reference| certificate(config, owner, reference).err())
}

fn certificate(config: &Config, owner: &Object, reference: &ObjectRef) -> Result<(), Reason> {
    let own = &owner.metadata.namespace;
    let namespace = reference.namespace.as_ref().unwrap_or(own);
    let name = &reference.name;
    let wrong = |text: String| Err(Reason::new("InvalidCertificateRef", text));
    if !reference.group.is_empty() || reference.kind != "Secret" {
        return wrong(format!("{} {name} is no Secret", reference.kind));
    }
    if !backend::is_granted(config, owner, "", "Secret", namespace, name) {
        let text = format!(
            "the Secret {namespace}/{name} may not be used from namespace {own}: no ReferenceGrant in {namespace} \
             says so"
        );
        return Err(Reason::new("RefNotPermitted", text));
    }
    let Some((_, secret)) = config.secret(namespace, name) else {
        return wrong(format!("there is no Secret {namespace}/{name}"));
    };
    let is_pem =
        |bytes: &[u8]| std::str::from_utf8(bytes).is_ok_and(|text| text.contains("-----BEGIN "));
    match secret.key_pair() {
        Some((chain, key)) if is_pem(chain.expose()) && is_pem(key.expose()) => Ok(()),
        _ => wrong(format!(
            "the Secret {namespace}/{name} has no certificate with its key in tls.crt and tls.key, as PEM"
        )),
    }
}

/// By what the clients of a Gateway's listener are verified.
fn clients(config: &Config, gateway: &Object, validation: &Validation) -> Clients {
    let mut clients = Clients {
        is_insecure: validation.is_insecure(),
        ..Clients::default()
    };
    for reference in &validation.ca_certificate_refs {
        match authority(config, gateway, reference) {
            Ok(name) => clients.authorities.push(name),
            Err(reason) => clients.unresolved = clients.unresolved.or(Some(reason)),
        }
    }
    clients
}

/// The ConfigMap with an authority, `NAMESPACE/NAME`.
pub(crate) fn authority(
    config: &Config,
    owner: &Object,
    reference: &ObjectRef,
) -> Result<String, Reason> {
    let own = &owner.metadata.namespace;
    let namespace = reference.namespace.as_ref().unwrap_or(own);
    let (kind, name) = (&reference.kind, &reference.name);
    if !reference.group.is_empty() || kind != "ConfigMap" {
        let text = format!("{kind} {name} is no ConfigMap");
        return Err(Reason::new("InvalidCACertificateKind", text));
    }
    if !backend::is_granted(config, owner, "", "ConfigMap", namespace, name) {
        let text = format!(
            "the ConfigMap {namespace}/{name} may not be used from namespace {own}: no ReferenceGrant in \
             {namespace} says so"
        );
        return Err(Reason::new("RefNotPermitted", text));
    }
    let content = config
        .config_map(namespace, name)
        .and_then(|found| found.data.get("ca.crt"));
    match content {
        Some(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
            Ok(format!("{namespace}/{name}"))
        }
        _ => {
            let text = format!(
                "there is no ConfigMap {namespace}/{name} with a certificate in ca.crt, as PEM"
            );
            Err(Reason::new("InvalidCACertificateRef", text))
        }
    }
}

/// What is wrong with the addresses that a Gateway asks for.
fn address(gateway: &api::Gateway) -> Option<Reason> {
    gateway.addresses.iter().find_map(|address| {
        let kind = address.kind.as_deref().unwrap_or("IPAddress");
        if matches!(kind, "IPAddress" | "Hostname") {
            return None;
        }
        let text =
            format!("addresses of type {kind} are not known here; use IPAddress or Hostname");
        Some(Reason::new("UnsupportedAddress", text))
    })
}

/// Marks listeners that find their place taken.
fn find_conflicts(listeners: &mut [Listener<'_>]) {
    for index in 1..listeners.len() {
        let (before, from_here) = listeners.split_at_mut(index);
        let this = &mut from_here[0];
        let at_port = before
            .iter()
            .filter(|other| other.is_accepted() && other.spec.port == this.spec.port);
        for other in at_port {
            let (Some(speaks), Some(others)) = (this.speaks, other.speaks) else {
                continue;
            };
            let port = this.spec.port;
            if !speaks.mixes_with(others) {
                let text = format!("another listener speaks another protocol at port {port}");
                this.conflict = Some(Reason::new("ProtocolConflict", text));
                break;
            }
            if this.spec.hostname == other.spec.hostname {
                let text = format!("another listener has the same host at port {port}");
                this.conflict = Some(Reason::new("HostnameConflict", text));
                break;
            }
        }
    }
}
