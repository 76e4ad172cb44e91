//! HTTP routes of VirtualServices as Envoy's, and the clusters that they lead to.

use std::collections::BTreeSet;

use mesh_config::model::{HttpDestination, HttpRoute};
use mesh_config::resolve_host;
use mesh_xds::envoy::core::{DataSource, data_source::Specifier};
use mesh_xds::envoy::protobuf::{Duration, UInt32Value};
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::route_action::ClusterSpecifier;
use mesh_xds::envoy::route::weighted_cluster::ClusterWeight;
use mesh_xds::envoy::route::{
    DirectResponseAction, Route, RouteAction, RouteMatch, WeightedCluster,
};
use mesh_xds::names;

use crate::client::Client;
use crate::mesh::Mesh;
use crate::service::{Port, Service};
use crate::virtual_service::VirtualService;
use crate::{matcher, resilience};

/// The route to a service that no VirtualService speaks for.
const DEFAULT: &str = "default";

/// A cluster that exists. The order is that of its parts, not of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterRef {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) subset: Option<String>,
}

/// Writes the routes of one client, and collects the clusters that they lead to.
pub(crate) struct Router<'a> {
    mesh: &'a Mesh,
    client: &'a Client,
    pub(crate) clusters: BTreeSet<ClusterRef>,
}

impl<'a> Router<'a> {
    pub(crate) fn new(mesh: &'a Mesh, client: &'a Client) -> Self {
        Self {
            mesh,
            client,
            clusters: BTreeSet::new(),
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
            for (name, matcher) in entries(virtual_service, http, gateway) {
                let catch_all = matcher::is_catch_all(&matcher);
                routes.push(Route {
                    name,
                    r#match: Some(matcher),
                    action: Some(self.action(virtual_service, http, port)),
                    ..Route::default()
                });
                if catch_all {
                    return routes;
                }
            }
        }
        routes
    }

    /// The route to a service by itself.
    pub(crate) fn default_route(&mut self, service: &Service, port: &Port) -> Route {
        let cluster = self.cluster(&service.host, port.number, None);
        Route {
            name: DEFAULT.to_owned(),
            r#match: Some(matcher::always()),
            action: Some(self.forward(ClusterSpecifier::Cluster(cluster), &HttpRoute::default())),
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
        let others = [
            ("redirect", http.redirect.is_some()),
            ("directResponse", http.direct_response.is_some()),
            ("delegate", http.delegate.is_some()),
        ];
        if let Some((field, _)) = others.into_iter().find(|(_, is_set)| *is_set) {
            return direct_response(
                501,
                &format!("{title}: this mesh does not support the route action {field} yet\n"),
            );
        }
        let mut target = |destination: &HttpDestination| {
            self.destination(virtual_service.namespace(), destination, listener_port)
        };
        // A destination that is alone takes everything, whatever its weight.
        if let [destination] = http.route.as_slice() {
            let cluster = target(destination);
            return self.forward(ClusterSpecifier::Cluster(cluster), http);
        }
        let weighted: Vec<(String, u32)> = http
            .route
            .iter()
            .filter(|destination| destination.weight > 0)
            .map(|destination| (target(destination), destination.weight))
            .collect();
        match weighted.as_slice() {
            [] => direct_response(503, &format!("{title}: no destination has a weight\n")),
            [(cluster, _)] => self.forward(ClusterSpecifier::Cluster(cluster.clone()), http),
            _ => self.forward(ClusterSpecifier::WeightedClusters(split(weighted)), http),
        }
    }

    /// Sends requests on, under the rules of their route.
    fn forward(&self, specifier: ClusterSpecifier, http: &HttpRoute) -> Action {
        let default = self.mesh.settings.default_retries.as_ref();
        let retries = http.retries.as_ref().or(default);
        let mut action = RouteAction {
            cluster_specifier: Some(specifier),
            retry_policy: resilience::retry_policy(retries, false),
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
        let host = resolve_host(&destination.host, namespace);
        let service = self.mesh.services.get(&host);
        let only_port = service.and_then(Service::only_port).map(|port| port.number);
        let port = destination.port.or(only_port).unwrap_or(listener_port);
        self.cluster(&host, port, destination.subset.as_deref())
    }

    /// A route may lead to a cluster that does not exist: the proxy answers it with 503 NC.
    fn cluster(&mut self, host: &str, port: u16, subset: Option<&str>) -> String {
        let subset = subset.filter(|subset| !subset.is_empty());
        if self.exists(host, port, subset) {
            self.clusters.insert(ClusterRef {
                host: host.to_owned(),
                port,
                subset: subset.map(str::to_owned),
            });
        }
        names::cluster(names::OUTBOUND, port, subset, host)
    }

    fn exists(&self, host: &str, port: u16, subset: Option<&str>) -> bool {
        let Some(service) = self.mesh.services.get(host) else {
            return false;
        };
        let root = &self.mesh.settings.root_namespace;
        let known = |subset| {
            let rule = self
                .mesh
                .destination_rules
                .choose(self.client, service, root);
            rule.is_some_and(|rule| rule.subsets.contains_key(subset))
        };
        service.port(port).is_some() && subset.is_none_or(known)
    }
}

/// The entries of a route that are meant for this gateway, each with the name that the route has by it. Entries
/// with a condition that is not supported are left out: without it they would take requests that are not meant.
fn entries(
    virtual_service: &VirtualService,
    http: &HttpRoute,
    gateway: &str,
) -> Vec<(String, RouteMatch)> {
    if http.matches.is_empty() {
        let always = (http.name.clone(), matcher::always());
        return virtual_service
            .binds_whole(gateway)
            .then_some(always)
            .into_iter()
            .collect();
    }
    http.matches
        .iter()
        .filter(|entry| entry.unsupported.is_empty() && virtual_service.binds(entry, gateway))
        .map(|entry| {
            (
                route_name(&http.name, &entry.name),
                matcher::route_match(entry),
            )
        })
        .collect()
}

/// `route.match`, as far as the user has named them.
fn route_name(route: &str, entry: &str) -> String {
    let parts = [route, entry].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(".")
}

/// The user's weights. Envoy adds them up in 32 bits, so larger ones are halved until they fit.
fn split(mut targets: Vec<(String, u32)>) -> WeightedCluster {
    let sum = |targets: &[(String, u32)]| -> u64 {
        targets.iter().map(|(_, weight)| u64::from(*weight)).sum()
    };
    while sum(&targets) > u64::from(u32::MAX) {
        for (_, weight) in &mut targets {
            *weight = (*weight / 2).max(1);
        }
    }
    let clusters = targets.into_iter().map(|(name, weight)| ClusterWeight {
        name,
        weight: Some(UInt32Value { value: weight }),
        ..ClusterWeight::default()
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
    let (last, mut routes): (Vec<_>, Vec<_>) = routes.into_iter().partition(is_catch_all);
    routes.extend(last.into_iter().next());
    routes
}
