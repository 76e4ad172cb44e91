//! Which routes attach to which listeners, and under which hosts.

use std::collections::BTreeSet;

use mesh_config::model::gateway_api::{BackendRef, Filter, GROUP, Kind, ParentRef, Spec};
use mesh_config::{Config, Kind as AnyKind, SharedObject, service_host};

use super::backend::{self, Target};
use super::scope::{self, Gateway, Listener, Set};
use super::{Reason, objects};
use crate::host::intersection;

/// Everything of the Gateway API, judged.
#[derive(Debug)]
pub(crate) struct Api<'a> {
    pub(crate) config: &'a Config,
    pub(crate) gateways: Vec<Gateway<'a>>,
    pub(crate) sets: Vec<Set<'a>>,
    /// All kinds of them, oldest first.
    pub(crate) routes: Vec<Route<'a>>,
}

/// A route.
#[derive(Debug)]
pub(crate) struct Route<'a> {
    pub(crate) object: &'a SharedObject,
    pub(crate) spec: &'a Spec,
    /// What came of each of its parents that is ours.
    pub(crate) parents: Vec<Parent<'a>>,
    /// The first reference that does not lead anywhere.
    pub(crate) unresolved: Option<Reason>,
}

/// What came of one parent of a route.
#[derive(Debug)]
pub(crate) struct Parent<'a> {
    pub(crate) reference: &'a ParentRef,
    /// Its place among the route's parents.
    pub(crate) index: usize,
    /// The place of the Gateway that it leads to, if it is no service.
    pub(crate) gateway: Option<usize>,
    /// Where the route is attached, or why it is not.
    pub(crate) outcome: Result<Vec<Place>, Reason>,
}

/// Where a route is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A listener, by the places of its Gateway and in it, under these hosts; `*` for all.
    Listener(usize, usize, BTreeSet<String>),
    /// All callers of a service in the mesh, by its namespace and host.
    Service(String, String),
}

impl<'a> Api<'a> {
    pub(crate) fn build(config: &'a Config) -> Self {
        let (gateways, sets) = scope::build(config);
        let mut routes: Vec<Route<'a>> = Kind::ROUTES
            .into_iter()
            .flat_map(|kind| objects(config, kind).map(move |found| (kind, found)))
            .map(|(kind, (object, spec))| {
                let (parents, hostnames) = parents_of(spec);
                let attach = Attach {
                    config,
                    gateways: &gateways,
                    sets: &sets,
                    route: object,
                    kind,
                    hostnames,
                };
                Route {
                    object,
                    spec,
                    parents: parents
                        .iter()
                        .enumerate()
                        .filter_map(|(index, reference)| attach.parent(index, reference))
                        .collect(),
                    unresolved: references(spec)
                        .find_map(|one| backend::resolve(config, object, one).err()),
                }
            })
            .collect();
        routes.sort_by(|one, other| {
            let age = |route: &Route<'a>| {
                let metadata = &route.object.metadata;
                let time = metadata.creation_timestamp.clone();
                (
                    time.is_none(),
                    time,
                    metadata.namespace.clone(),
                    metadata.name.clone(),
                )
            };
            age(one).cmp(&age(other))
        });
        Self {
            config,
            gateways,
            sets,
            routes,
        }
    }

    /// Where a reference of a route leads; nowhere if it may not.
    pub(crate) fn target(&self, route: &Route<'_>, reference: &BackendRef) -> Target {
        backend::resolve(self.config, route.object, reference).unwrap_or_else(|_| Target::nowhere())
    }

    /// The routes that are attached to a listener, oldest first, each with the hosts that it has there.
    pub(crate) fn attached(
        &self,
        gateway: usize,
        listener: usize,
    ) -> impl Iterator<Item = (&Route<'a>, BTreeSet<String>)> {
        self.routes.iter().filter_map(move |route| {
            let mut hosts = BTreeSet::new();
            for place in route.places() {
                if let Place::Listener(g, l, its) = place
                    && (*g, *l) == (gateway, listener)
                {
                    hosts.extend(its.iter().cloned());
                }
            }
            (!hosts.is_empty()).then_some((route, hosts))
        })
    }
}

impl Route<'_> {
    /// Everywhere it is attached.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.parents
            .iter()
            .filter_map(|parent| parent.outcome.as_ref().ok())
            .flatten()
    }
}

/// One route that looks for its places.
struct Attach<'a, 'b> {
    config: &'a Config,
    gateways: &'b [Gateway<'a>],
    sets: &'b [Set<'a>],
    route: &'a SharedObject,
    kind: Kind,
    hostnames: &'a [String],
}

impl<'a> Attach<'a, '_> {
    /// `None` for a parent that somebody else looks after.
    fn parent(&self, index: usize, reference: &'a ParentRef) -> Option<Parent<'a>> {
        let own = &self.route.metadata.namespace;
        let namespace = reference.namespace.as_ref().unwrap_or(own);
        let (gateway, outcome) = match (reference.group.as_str(), reference.kind.as_str()) {
            (GROUP, "Gateway") => {
                let place = self
                    .gateways
                    .iter()
                    .position(|gateway| is_named(gateway.object, namespace, &reference.name))?;
                (
                    Some(place),
                    self.listeners(reference, place, self.gateways[place].object),
                )
            }
            (GROUP, "ListenerSet") => {
                let set = self
                    .sets
                    .iter()
                    .find(|set| is_named(set.object, namespace, &reference.name))?;
                let outcome = if set.is_allowed {
                    self.listeners(reference, set.gateway, set.object)
                } else {
                    let text = format!(
                        "the Gateway does not take the listeners of {}",
                        reference.name
                    );
                    Err(Reason::new("NoMatchingParent", text))
                };
                (Some(set.gateway), outcome)
            }
            ("", "Service") => (None, self.service(reference, namespace)),
            _ => return None,
        };
        Some(Parent {
            reference,
            index,
            gateway,
            outcome,
        })
    }

    /// The listeners of one Gateway or ListenerSet that take the route. The reason of the listener that came
    /// nearest to it says why none does.
    fn listeners(
        &self,
        reference: &ParentRef,
        place: usize,
        owner: &SharedObject,
    ) -> Result<Vec<Place>, Reason> {
        let mut places = Vec::new();
        let mut nearest = (
            0,
            Reason::new(
                "NoMatchingParent",
                "no listener has this sectionName and port",
            ),
        );
        for (index, listener) in self.gateways[place].listeners.iter().enumerate() {
            let is_meant = listener.owner.key() == owner.key()
                && reference
                    .section_name
                    .as_ref()
                    .is_none_or(|name| *name == listener.spec.name)
                && reference.port.is_none_or(|port| port == listener.spec.port);
            if !is_meant {
                continue;
            }
            match self.listener(listener) {
                Ok(hosts) => places.push(Place::Listener(place, index, hosts)),
                Err((distance, reason)) if distance > nearest.0 => nearest = (distance, reason),
                Err(_) => {}
            }
        }
        if places.is_empty() {
            return Err(nearest.1);
        }
        Ok(places)
    }

    fn listener(&self, listener: &Listener<'_>) -> Result<BTreeSet<String>, (u8, Reason)> {
        let refused = |text: String| (1, Reason::new("NotAllowedByListeners", text));
        let name = &listener.spec.name;
        if !listener.kinds.contains(&self.kind) {
            let kind = self.kind.name();
            return Err(refused(format!("the listener {name} takes no {kind}")));
        }
        let home = &listener.owner.metadata.namespace;
        let own = &self.route.metadata.namespace;
        if !scope::admits(
            self.config,
            &listener.spec.allowed_routes.namespaces,
            home,
            own,
        ) {
            return Err(refused(format!(
                "the listener {name} takes no routes of namespace {own}"
            )));
        }
        let host = listener.spec.hostname.as_deref().unwrap_or("*");
        if self.hostnames.is_empty() || matches!(self.kind, Kind::TcpRoute | Kind::UdpRoute) {
            return Ok(BTreeSet::from([host.to_owned()]));
        }
        let hosts: BTreeSet<String> = self
            .hostnames
            .iter()
            .filter_map(|own| intersection(host, own))
            .map(str::to_owned)
            .collect();
        if hosts.is_empty() {
            let text = format!("none of the route's hostnames is one of the listener {name}");
            return Err((2, Reason::new("NoMatchingListenerHostname", text)));
        }
        Ok(hosts)
    }

    /// A route between workloads of the mesh.
    fn service(&self, reference: &ParentRef, namespace: &str) -> Result<Vec<Place>, Reason> {
        let name = &reference.name;
        let Some(service) = self
            .config
            .find(AnyKind::Service, namespace, name)
            .and_then(|object| object.as_service())
        else {
            let text = format!("there is no Service {namespace}/{name}");
            return Err(Reason::new("NoMatchingParent", text));
        };
        if let Some(port) = reference.port
            && !service.ports.iter().any(|known| known.port == port)
        {
            let text = format!("the Service {namespace}/{name} has no port {port}");
            return Err(Reason::new("NoMatchingParent", text));
        }
        if !matches!(self.kind, Kind::HttpRoute | Kind::GrpcRoute) {
            let text = format!("{} is served at gateways only", self.kind.name());
            return Err(Reason::new("UnsupportedValue", text));
        }
        Ok(vec![Place::Service(
            namespace.to_owned(),
            service_host(name, namespace),
        )])
    }
}

fn is_named(object: &SharedObject, namespace: &str, name: &str) -> bool {
    object.metadata.namespace == namespace && object.metadata.name == name
}

/// The parents and the hosts of a route.
fn parents_of(spec: &Spec) -> (&[ParentRef], &[String]) {
    match spec {
        Spec::HttpRoute(route) => (&route.parent_refs, &route.hostnames),
        Spec::GrpcRoute(route) => (&route.parent_refs, &route.hostnames),
        Spec::TcpRoute(route) | Spec::TlsRoute(route) | Spec::UdpRoute(route) => {
            (&route.parent_refs, &route.hostnames)
        }
        _ => (&[], &[]),
    }
}

/// All references of a route to what it sends requests to.
fn references(spec: &Spec) -> Box<dyn Iterator<Item = &BackendRef> + '_> {
    fn mirrors(filters: &[Filter]) -> impl Iterator<Item = &BackendRef> {
        filters.iter().filter_map(|filter| match filter {
            Filter::RequestMirror { request_mirror } => Some(&request_mirror.backend_ref),
            _ => None,
        })
    }
    fn all<'a>(
        backends: &'a [BackendRef],
        filters: &'a [Filter],
    ) -> impl Iterator<Item = &'a BackendRef> {
        backends
            .iter()
            .flat_map(|one| std::iter::once(one).chain(mirrors(&one.filters)))
            .chain(mirrors(filters))
    }
    match spec {
        Spec::HttpRoute(route) => Box::new(
            route
                .rules
                .iter()
                .flat_map(|rule| all(&rule.backend_refs, &rule.filters)),
        ),
        Spec::GrpcRoute(route) => Box::new(
            route
                .rules
                .iter()
                .flat_map(|rule| all(&rule.backend_refs, &rule.filters)),
        ),
        Spec::TcpRoute(route) | Spec::TlsRoute(route) | Spec::UdpRoute(route) => {
            Box::new(route.rules.iter().flat_map(|rule| &rule.backend_refs))
        }
        _ => Box::new(std::iter::empty()),
    }
}
