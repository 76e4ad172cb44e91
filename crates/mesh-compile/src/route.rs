//! HTTP routes of VirtualServices as Envoy's, and the clusters that they lead to.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mesh_config::model::{HashKey, HttpDestination, HttpMatch, HttpRoute};
use mesh_config::resolve_host;
use mesh_xds::envoy::core::{DataSource, data_source::Specifier};
use mesh_xds::envoy::listener::FilterChain;
use mesh_xds::envoy::protobuf::{Duration, UInt32Value};
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::route_action::{
    ClusterNotFoundResponseCode, ClusterSpecifier, HashPolicy,
};
use mesh_xds::envoy::route::weighted_cluster::ClusterWeight;
use mesh_xds::envoy::route::weighted_cluster::cluster_weight::HostRewriteSpecifier;
use mesh_xds::envoy::route::{DirectResponseAction, Route, RouteAction, WeightedCluster};
use mesh_xds::envoy::tcp_proxy::tcp_proxy::ClusterSpecifier as Target;
use mesh_xds::names;

use crate::action::{self, Headers};
use crate::client::Client;
use crate::destination_rule::Rule;
use crate::listener::tcp_chain_to;
use crate::mesh::Mesh;
use crate::service::{Port, Service};
use crate::virtual_service::VirtualService;
use crate::{hash, matcher, resilience, sticky};

/// The route to a service that no VirtualService speaks for.
const DEFAULT: &str = "default";

/// A cluster that exists. The order is that of its parts, not of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClusterRef {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) subset: Option<String>,
}

/// Writes the routes of one client, and collects the clusters that they lead to.
pub(crate) struct Router<'a> {
    mesh: &'a Mesh,
    pub(crate) client: &'a Client,
    /// Its clients speak TLS.
    pub(crate) tls: bool,
    pub(crate) clusters: BTreeSet<ClusterRef>,
    /// The names of clusters that choose endpoints by the address of a session's client.
    by_source: BTreeSet<String>,
    /// The services that were looked up, with the rule that this client follows for each, by host.
    found: HashMap<&'a str, Found<'a>>,
}

/// A service, and the rule that a client follows for it.
type Found<'a> = (&'a Arc<Service>, Option<&'a Arc<Rule>>);

impl<'a> Router<'a> {
    pub(crate) fn new(mesh: &'a Mesh, client: &'a Client) -> Self {
        Self {
            mesh,
            client,
            tls: false,
            clusters: BTreeSet::new(),
            by_source: BTreeSet::new(),
            found: HashMap::new(),
        }
    }

    /// The routes of a VirtualService for what binds as `gateway` (`namespace/name` or `mesh`), on a listener
    /// or service port. What follows an entry that always matches is unreachable and left out.
    pub(crate) fn routes(
        &mut self,
        virtual_service: &VirtualService,
        gateway: &str,
        port: u16,
    ) -> Vec<Route> {
        let mut routes = Vec::new();
        for http in virtual_service.http() {
            for (name, entry) in entries(virtual_service, http, gateway, self.client, port) {
                let matcher = entry.map_or_else(matcher::always, matcher::route_match);
                let catch_all = matcher::is_catch_all(&matcher);
                let route = Route {
                    name,
                    r#match: Some(matcher),
                    ..self.route(virtual_service, http, entry, port)
                };
                let route = self.resilient(route, virtual_service.namespace(), http, port);
                match virtual_service.sticky() {
                    Some(cookie) => routes.extend(sticky::routes(route, cookie, self.tls)),
                    None => routes.push(route),
                }
                if catch_all {
                    return routes;
                }
            }
        }
        routes
    }

    /// What a route does with what one of its entries matches.
    fn route(
        &mut self,
        virtual_service: &VirtualService,
        http: &HttpRoute,
        entry: Option<&HttpMatch>,
        port: u16,
    ) -> Route {
        let mut route = Route::default();
        let mut headers = Headers::of(&http.headers);
        let authority = headers.authority.take();
        headers.add_to(&mut route);
        let mut action = if let Some(redirect) = &http.redirect {
            action::redirect(redirect, entry, port, self.tls)
        } else if let Some(answer) = &http.direct_response {
            action::answer(answer)
        } else {
            self.action(virtual_service, http, port)
        };
        if let Action::Route(forward) = &mut action {
            if let Some(authority) = &authority {
                action::for_host(forward, authority);
            }
            if let Some(rewrite) = &http.rewrite {
                action::rewrite(forward, rewrite, entry);
            }
            // A destination that is alone has no place of its own for its headers.
            if let Some(ClusterSpecifier::Cluster(_)) = &forward.cluster_specifier
                && let Some(alone) = alone(&http.route)
            {
                let mut headers = Headers::of(&alone.headers);
                let authority = headers.authority.take();
                headers.add_to(&mut route);
                if let Some(authority) = authority
                    && forward.host_rewrite_specifier.is_none()
                {
                    action::for_host(forward, &authority);
                }
            }
        }
        if let Some(policy) = &http.cors {
            let policy = action::cors(policy);
            route
                .typed_per_filter_config
                .insert(action::CORS.to_owned(), policy);
        }
        route.action = Some(action);
        route
    }

    /// Failures on purpose and mirrors, of a route that sends requests on.
    fn resilient(
        &mut self,
        mut route: Route,
        namespace: &str,
        http: &HttpRoute,
        port: u16,
    ) -> Route {
        if let Some(Action::Route(action)) = &mut route.action {
            for mirror in &http.mirrors {
                let cluster = self.destination(namespace, &mirror.destination, port);
                let policy = resilience::mirror(cluster, mirror.share);
                action.request_mirror_policies.push(policy);
            }
            if let Some(fault) = &http.fault {
                let filters = &mut route.typed_per_filter_config;
                filters.insert(resilience::FAULT.to_owned(), resilience::fault(fault));
            }
        }
        route
    }

    /// The route to a service by itself.
    pub(crate) fn default_route(&mut self, service: &Service, port: &Port) -> Route {
        let to = ClusterRef {
            host: service.host.clone(),
            port: port.number,
            subset: None,
        };
        let hashed = self.hash_key(&to);
        let cluster = self.cluster(&to);
        Route {
            name: DEFAULT.to_owned(),
            r#match: Some(matcher::always()),
            action: Some(self.forward(
                ClusterSpecifier::Cluster(cluster),
                &HttpRoute::default(),
                hashed.map(hash::of_requests).into_iter().collect(),
            )),
            ..Route::default()
        }
    }

    fn action(
        &mut self,
        virtual_service: &VirtualService,
        http: &HttpRoute,
        listener_port: u16,
    ) -> Action {
        let title = virtual_service.title();
        let mut hash_policy = Vec::new();
        let mut target = |destination: &HttpDestination| {
            let namespace = virtual_service.namespace();
            let to = self.place(namespace, parts(destination), listener_port);
            hash_policy.extend(self.hash_key(&to).map(hash::of_requests));
            self.cluster(&to)
        };
        if let Some(destination) = alone(&http.route) {
            let cluster = target(destination);
            return self.forward(ClusterSpecifier::Cluster(cluster), http, hash_policy);
        }
        let weighted: Vec<(String, &HttpDestination)> = http
            .route
            .iter()
            .filter(|destination| destination.weight > 0)
            .map(|destination| (target(destination), destination))
            .collect();
        if weighted.is_empty() {
            return direct_response(503, &format!("{title}: no destination has a weight\n"));
        }
        let split = ClusterSpecifier::WeightedClusters(split(&weighted));
        self.forward(split, http, hash_policy)
    }

    /// Sends requests on, under the rules of their route.
    fn forward(
        &self,
        specifier: ClusterSpecifier,
        http: &HttpRoute,
        hash_policy: Vec<HashPolicy>,
    ) -> Action {
        let default = self.mesh.settings.mesh.default_retries.as_ref();
        let retries = http.retries.as_ref().or(default);
        let mut action = RouteAction {
            cluster_specifier: Some(specifier),
            retry_policy: resilience::retry_policy(retries, !hash_policy.is_empty()),
            hash_policy,
            cluster_not_found_response_code: if http.missing_is_500 {
                ClusterNotFoundResponseCode::InternalServerError as i32
            } else {
                ClusterNotFoundResponseCode::ServiceUnavailable as i32
            },
            ..RouteAction::default()
        };
        resilience::limit_time(&mut action, http.timeout);
        Action::Route(action)
    }

    /// The name of the cluster that a destination means, whether there is one or not.
    fn destination(
        &mut self,
        namespace: &str,
        destination: &HttpDestination,
        listener_port: u16,
    ) -> String {
        let to = self.place(namespace, parts(destination), listener_port);
        self.cluster(&to)
    }

    /// The name of the cluster for the sessions to a host, a subset and a port as a rule of `namespace` writes
    /// them.
    pub(crate) fn target(
        &mut self,
        namespace: &str,
        parts: (&str, Option<&str>, Option<u16>),
        listener_port: u16,
    ) -> String {
        let to = self.place(namespace, parts, listener_port);
        let name = self.cluster(&to);
        if self.hash_key(&to) == Some(HashKey::SourceIp) {
            self.by_source.insert(name.clone());
        }
        name
    }

    /// A chain that passes the bytes of every connection on.
    pub(crate) fn tcp_chain(&self, name: &str, to: Target) -> FilterChain {
        let is_by_source = |name: &String| self.by_source.contains(name);
        let by_source = match &to {
            Target::Cluster(name) => is_by_source(name),
            Target::WeightedClusters(split) => {
                split.clusters.iter().any(|one| is_by_source(&one.name))
            }
        };
        tcp_chain_to(name, to, by_source)
    }

    /// What a host, a subset and a port mean as a rule of `namespace` writes them.
    fn place(
        &mut self,
        namespace: &str,
        (host, subset, port): (&str, Option<&str>, Option<u16>),
        listener_port: u16,
    ) -> ClusterRef {
        let host = resolve_host(host, namespace);
        let only_port = self
            .find(&host)
            .and_then(|(service, _)| service.only_port())
            .map(|port| port.number);
        let subset = subset.filter(|subset| !subset.is_empty());
        ClusterRef {
            port: port.or(only_port).unwrap_or(listener_port),
            subset: subset.map(str::to_owned),
            host,
        }
    }

    /// What decides on the endpoint of what is sent there, if its rule asks for consistent hashing.
    fn hash_key(&mut self, to: &ClusterRef) -> Option<HashKey> {
        let (_, rule) = self.find(&to.host)?;
        rule?.hash_key(to.port, to.subset.as_deref())
    }

    fn find(&mut self, host: &str) -> Option<Found<'a>> {
        if let Some(found) = self.found.get(host) {
            return Some(*found);
        }
        let (mesh, client) = (self.mesh, self.client);
        let service = mesh.services.get(host)?;
        let root = &mesh.settings.root_namespace;
        let rule = mesh.destination_rules.choose(client, service, root);
        self.found.insert(&service.host, (service, rule));
        Some((service, rule))
    }

    /// A route may lead to a cluster that does not exist: the proxy answers it with 503 NC.
    fn cluster(&mut self, to: &ClusterRef) -> String {
        let subset = to.subset.as_deref();
        if self.exists(&to.host, to.port, subset) {
            self.clusters.insert(to.clone());
        }
        names::cluster(names::OUTBOUND, to.port, subset, &to.host)
    }

    fn exists(&mut self, host: &str, port: u16, subset: Option<&str>) -> bool {
        let Some((service, rule)) = self.find(host) else {
            return false;
        };
        let known = |subset| rule.is_some_and(|rule| rule.subsets.contains_key(subset));
        service.port(port).is_some() && subset.is_none_or(known)
    }
}

/// Host, subset and port as they are written.
fn parts(destination: &HttpDestination) -> (&str, Option<&str>, Option<u16>) {
    (
        &destination.host,
        destination.subset.as_deref(),
        destination.port,
    )
}

/// The destination that takes everything: the only one, whatever its weight, or the only one with a weight.
fn alone(destinations: &[HttpDestination]) -> Option<&HttpDestination> {
    if let [destination] = destinations {
        return Some(destination);
    }
    let mut weighted = destinations
        .iter()
        .filter(|destination| destination.weight > 0);
    let first = weighted.next()?;
    weighted.next().is_none().then_some(first)
}

/// The entries of a route that are meant for this client at this gateway and port, each with the name that the route
/// has by it; `None` is a route without entries. Entries with a condition that is not supported are left out:
/// without it they would take requests that are not meant.
fn entries<'h>(
    virtual_service: &VirtualService,
    http: &'h HttpRoute,
    gateway: &str,
    client: &Client,
    port: u16,
) -> Vec<(String, Option<&'h HttpMatch>)> {
    if http.matches.is_empty() {
        let always = (http.name.clone(), None);
        return virtual_service
            .binds_whole(gateway)
            .then_some(always)
            .into_iter()
            .collect();
    }
    http.matches
        .iter()
        .filter(|entry| {
            entry.unsupported.is_empty() && virtual_service.binds(entry, gateway, client, port)
        })
        .map(|entry| (route_name(&http.name, &entry.name), Some(entry)))
        .collect()
}

/// `route.match`, as far as the user has named them.
fn route_name(route: &str, entry: &str) -> String {
    let parts = [route, entry].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(".")
}

/// Weights in the same proportion: Envoy adds them up in 32 bits, so larger ones are halved until they fit.
pub(crate) fn fitting(weights: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut weights: Vec<u32> = weights.collect();
    while weights.iter().map(|weight| u64::from(*weight)).sum::<u64>() > u64::from(u32::MAX) {
        for weight in &mut weights {
            *weight = (*weight / 2).max(1);
        }
    }
    weights
}

/// The user's weights.
fn split(targets: &[(String, &HttpDestination)]) -> WeightedCluster {
    let weights = fitting(targets.iter().map(|(_, target)| target.weight));
    let clusters = targets.iter().zip(weights).map(|((name, target), weight)| {
        let headers = Headers::of(&target.headers);
        ClusterWeight {
            name: name.clone(),
            weight: Some(UInt32Value { value: weight }),
            request_headers_to_add: headers.request_add,
            request_headers_to_remove: headers.request_remove,
            response_headers_to_add: headers.response_add,
            response_headers_to_remove: headers.response_remove,
            host_rewrite_specifier: headers
                .authority
                .map(HostRewriteSpecifier::HostRewriteLiteral),
            ..ClusterWeight::default()
        }
    });
    WeightedCluster {
        clusters: clusters.collect(),
        ..WeightedCluster::default()
    }
}

/// Sends requests to a cluster that is local to the proxy: no retries, its failures are the caller's to judge.
pub(crate) fn local(cluster: &str) -> Route {
    Route {
        name: DEFAULT.to_owned(),
        r#match: Some(matcher::always()),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            timeout: Some(Duration::default()),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

/// An answer without any upstream.
pub(crate) fn direct_response(status: u32, body: &str) -> Action {
    Action::DirectResponse(DirectResponseAction {
        status,
        body: Some(DataSource {
            specifier: Some(Specifier::InlineString(body.to_owned())),
            ..DataSource::default()
        }),
        ..DirectResponseAction::default()
    })
}

/// Moves routes that always match to the end; only the first of them can be reached. For the joined routes of
/// several VirtualServices.
pub(crate) fn catch_all_last(routes: Vec<Route>) -> Vec<Route> {
    let is_catch_all = |route: &Route| route.r#match.as_ref().is_some_and(matcher::is_catch_all);
    let is_last = |route: &Route| is_catch_all(route) || sticky::is_pinned_catch_all(route);
    let (last, mut routes): (Vec<_>, Vec<_>) = routes.into_iter().partition(is_last);
    let reached = last.iter().position(is_catch_all);
    let reached = reached.map_or(last.len(), |first| first + 1);
    routes.extend(last.into_iter().take(reached));
    routes
}
