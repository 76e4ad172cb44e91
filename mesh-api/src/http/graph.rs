//! The service graph over HTTP: Kiali's JSON, and pictures. [`super::page`] shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header;
use mesh_config::{Config, Kind, resolve_host, split_host};
use mesh_xds::node::{NodeMetadata, ProxyKind};
use tokio::sync::{Semaphore, watch};

use super::status::{ApiError, Reason};
use crate::ads::Proxies;
use crate::graph::params::NodeScope;
use crate::graph::{self, Annotations, Graph, GraphQuery, ServiceNotes, Window, kiali, render};
use crate::publish::Published;
use crate::store::Store;

/// What graphs are made of.
#[derive(Clone, Debug)]
pub(crate) struct Graphs {
    window: Arc<Window>,
    store: Arc<Store>,
    published: watch::Receiver<Arc<Published>>,
    proxies: Arc<Proxies>,
    /// The places for drawing.
    places: Arc<Semaphore>,
}

/// Graphs that are drawn at once. More wait, however many ask, so that drawing leaves time for the mesh.
const AT_ONCE: usize = 2;

/// The name and value pairs of a query.
pub(super) type Pairs = Query<Vec<(String, String)>>;

/// The graph's routes.
pub(crate) fn graphs(graphs: Graphs) -> Router {
    Router::new()
        .route("/graph.svg", get(svg))
        .route("/graph.dot", get(dot))
        .route("/graph.mmd", get(mermaid))
        .route("/api/namespaces/graph", get(namespaces))
        .route(
            "/api/namespaces/{namespace}/workloads/{name}/graph",
            get(workload),
        )
        .route(
            "/api/namespaces/{namespace}/applications/{name}/graph",
            get(application),
        )
        .route(
            "/api/namespaces/{namespace}/applications/{name}/versions/{version}/graph",
            get(version),
        )
        .route(
            "/api/namespaces/{namespace}/services/{name}/graph",
            get(service),
        )
        .with_state(graphs)
}

/// What pictures show unless they are asked for something else. Of TCP both directions, and connections that
/// are open though nothing flows.
pub(super) const PICTURED: [(&str, &str); 4] = [
    ("graphType", "versionedApp"),
    ("duration", "60s"),
    ("rateTcp", "total"),
    ("includeIdleEdges", "true"),
];

/// A picture loads nothing and runs nothing.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

async fn namespaces(
    State(graphs): State<Graphs>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let query = graphs.of_namespaces(&[], &pairs)?;
    graphs.json(query).await
}

async fn workload(
    State(graphs): State<Graphs>,
    Path((namespace, name)): Path<(String, String)>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    graphs
        .of_node(&namespace, NodeScope::Workload(name), &pairs)
        .await
}

async fn application(
    State(graphs): State<Graphs>,
    Path((namespace, name)): Path<(String, String)>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    graphs
        .of_node(&namespace, NodeScope::App(name, None), &pairs)
        .await
}

async fn version(
    State(graphs): State<Graphs>,
    Path((namespace, name, version)): Path<(String, String, String)>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    graphs
        .of_node(&namespace, NodeScope::App(name, Some(version)), &pairs)
        .await
}

async fn service(
    State(graphs): State<Graphs>,
    Path((namespace, name)): Path<(String, String)>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    graphs
        .of_node(&namespace, NodeScope::Service(name), &pairs)
        .await
}

async fn svg(State(graphs): State<Graphs>, Query(pairs): Pairs) -> Result<Response, ApiError> {
    graphs.picture(&pairs, "image/svg+xml", render::svg).await
}

async fn dot(State(graphs): State<Graphs>, Query(pairs): Pairs) -> Result<Response, ApiError> {
    graphs
        .picture(&pairs, "text/vnd.graphviz; charset=utf-8", render::dot)
        .await
}

async fn mermaid(State(graphs): State<Graphs>, Query(pairs): Pairs) -> Result<Response, ApiError> {
    graphs
        .picture(&pairs, "text/plain; charset=utf-8", render::mermaid)
        .await
}

impl Graphs {
    /// Graphs of what was reported and of what is known.
    pub(crate) fn new(
        window: Arc<Window>,
        store: Arc<Store>,
        published: watch::Receiver<Arc<Published>>,
        proxies: Arc<Proxies>,
    ) -> Self {
        Self {
            window,
            store,
            published,
            proxies,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// What is asked of whole namespaces; of all, if none is named. `defaults` go before what was typed.
    pub(super) fn of_namespaces(
        &self,
        defaults: &[(&str, &str)],
        typed: &[(String, String)],
    ) -> Result<GraphQuery, ApiError> {
        let all: Vec<String> = self.known_namespaces().into_iter().collect();
        let all = all.join(",");
        let mut pairs = vec![("namespaces", all.as_str())];
        pairs.extend(defaults);
        pairs.extend(
            typed
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        GraphQuery::namespaces(pairs, SystemTime::now()).map_err(|error| bad(&error))
    }

    async fn of_node(
        &self,
        namespace: &str,
        node: NodeScope,
        typed: &[(String, String)],
    ) -> Result<Response, ApiError> {
        let pairs = typed
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let query = GraphQuery::node(namespace, node, pairs, SystemTime::now())
            .map_err(|error| bad(&error))?;
        self.json(query).await
    }

    async fn json(&self, query: GraphQuery) -> Result<Response, ApiError> {
        let json = self.blocking(query, |graph| kiali::to_json(&graph)).await?;
        Ok(Json(json).into_response())
    }

    async fn picture(
        &self,
        typed: &[(String, String)],
        content_type: &'static str,
        draw: fn(&Graph) -> String,
    ) -> Result<Response, ApiError> {
        let query = self.of_namespaces(&PICTURED, typed)?;
        let picture = self.blocking(query, move |graph| draw(&graph)).await?;
        let headers = [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, PICTURE_POLICY),
        ];
        Ok((headers, picture).into_response())
    }

    /// Computes a graph, which takes a while for a large mesh, where it delays nobody.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        query: GraphQuery,
        finish: impl FnOnce(Graph) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let graphs = self.clone();
        // Never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let work = move || {
            // Held to the end, also when whoever asked is gone.
            let _place = place;
            let annotations = graphs.annotations();
            finish(graph::query(&graphs.window, &query, &annotations))
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            ApiError::new(
                Reason::InternalError,
                format!("drawing the graph broke off: {error}"),
            )
        })
    }

    /// The namespaces of objects and proxies.
    fn known_namespaces(&self) -> BTreeSet<String> {
        let view = self.store.view();
        let objects = view
            .config
            .iter()
            .map(|object| object.metadata.namespace.clone());
        let proxies = self
            .proxies
            .all()
            .into_iter()
            .map(|proxy| proxy.node.namespace);
        let mut namespaces: BTreeSet<String> = objects.chain(proxies).collect();
        // Of kinds that live in none.
        namespaces.remove("");
        if namespaces.is_empty() {
            namespaces.insert(mesh_config::DEFAULT_NAMESPACE.to_owned());
        }
        namespaces
    }

    /// What configuration and registry know about the nodes.
    fn annotations(&self) -> Annotations {
        let view = self.store.view();
        let mut annotations = Annotations {
            gateways: self.gateways(&view.config),
            services: services(&view.config),
            ..Annotations::default()
        };
        // A group that nobody is of is gone, and not only silent.
        for group in view.config.of_kind(Kind::WorkloadGroup) {
            let metadata = &group.metadata;
            let workload = (metadata.namespace.clone(), metadata.name.clone());
            annotations.instances.insert(workload, 0);
        }
        for instance in &self.published.borrow().instances {
            let workload = (instance.namespace.clone(), instance.group.clone());
            *annotations.instances.entry(workload).or_default() += 1;
        }
        // Who only calls others does not register.
        for proxy in self.proxies.all() {
            let workload = (proxy.node.namespace, proxy.node.workload_group);
            if let Some(instances) = annotations.instances.get_mut(&workload) {
                *instances = (*instances).max(1);
            }
        }
        annotations
    }

    /// The hosts that each gateway serves: those of the Gateways that select its labels.
    fn gateways(&self, config: &Config) -> BTreeMap<(String, String), Vec<String>> {
        let mut gateways = BTreeMap::new();
        for proxy in self.proxies.all() {
            if proxy.node.kind != ProxyKind::Gateway {
                continue;
            }
            let labels = gateway_labels(config, &proxy.node);
            let selects = |selector: &BTreeMap<String, String>| {
                let carries = |(name, value)| labels.get(name) == Some(value);
                selector.iter().all(carries)
            };
            let hosts: BTreeSet<String> = config
                .gateways()
                .filter(|(_, gateway)| selects(&gateway.selector))
                .flat_map(|(_, gateway)| gateway.servers.iter().flat_map(|server| &server.hosts))
                .cloned()
                .collect();
            let name = (proxy.node.namespace, proxy.node.workload_name);
            gateways.insert(name, hosts.into_iter().collect());
        }
        gateways
    }
}

/// A gateway's labels: those of its WorkloadGroup, or Istio's for a gateway of this name.
fn gateway_labels(config: &Config, node: &NodeMetadata) -> BTreeMap<String, String> {
    let name = &node.workload_name;
    if let Some((_, group)) = config.workload_group(&node.namespace, name) {
        return group.labels.clone();
    }
    let istio = name.strip_prefix("istio-").unwrap_or(name);
    BTreeMap::from([
        ("app".to_owned(), name.clone()),
        ("istio".to_owned(), istio.to_owned()),
    ])
}

/// What VirtualServices do with each service.
fn services(config: &Config) -> BTreeMap<(String, String), ServiceNotes> {
    let mut notes: BTreeMap<(String, String), ServiceNotes> = BTreeMap::new();
    for (object, rule) in config.virtual_services() {
        for route in &rule.http {
            for destination in &route.route {
                let host = resolve_host(&destination.host, &object.metadata.namespace);
                let Some((name, namespace)) = split_host(&host) else {
                    continue;
                };
                let service = (namespace.to_owned(), name.to_owned());
                let note = notes.entry(service).or_default();
                let hosts = note.virtual_service.get_or_insert_default();
                for host in &rule.hosts {
                    if !hosts.contains(host) {
                        hosts.push(host.clone());
                    }
                }
                note.traffic_shifting |= route.route.len() > 1;
                note.request_routing |= !route.matches.is_empty();
            }
        }
    }
    notes
}

fn bad(error: &graph::ParamError) -> ApiError {
    ApiError::new(Reason::BadRequest, error.to_string())
}
