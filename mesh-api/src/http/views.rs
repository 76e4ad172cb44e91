//! What the mesh looks like right now, as JSON for people and scripts: `/api/mesh/…`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use mesh_compile::{EndpointView, ServiceView};
use mesh_process::Shutdown;
use mesh_xds::ResourceType;
use mesh_xds::node::ProxyKind;
use mesh_xds::server::{Mark, TypeStatus};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use super::status::{ApiError, Reason};
use crate::ads::{Proxies, Proxy};
use crate::events::{Event, Events};
use crate::publish::Published;

/// What the views show.
#[derive(Clone, Debug)]
pub(crate) struct Views {
    pub(crate) published: watch::Receiver<Arc<Published>>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) events: Events,
    pub(crate) shutdown: Shutdown,
}

/// The longest that a request may wait for an event, in seconds.
const LONGEST_WAIT: u64 = 60;

/// The views' routes.
pub(crate) fn views(views: Views) -> Router {
    Router::new()
        .route("/api/mesh/proxies", get(proxies))
        .route("/api/mesh/services", get(services))
        .route("/api/mesh/events", get(events))
        .with_state(views)
}

/// The connected proxies: who they are, and how far they are with each type of resource. A proxy has a revision of
/// the configuration when it was told of it and each type is in sync.
async fn proxies(State(views): State<Views>) -> Json<Value> {
    let all = views.proxies.all();
    let all: Vec<Value> = all.iter().map(describe_proxy).collect();
    let revision = views.published.borrow().revision;
    Json(json!({ "revision": revision, "proxies": all }))
}

/// The services, and the workloads behind each.
async fn services(State(views): State<Views>) -> Json<Value> {
    let published = Arc::clone(&views.published.borrow());
    let services: Vec<Value> = published
        .model
        .services()
        .iter()
        .map(|service| describe_service(&published, service))
        .collect();
    Json(json!({ "services": services }))
}

/// What an events request may ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Only what is newer than the event of this id.
    #[serde(default)]
    after: u64,
    /// If there is nothing yet, wait for it this many seconds.
    #[serde(default)]
    wait: u64,
}

/// What happened, oldest first.
async fn events(
    State(views): State<Views>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|error| {
        let message = format!(
            "{}; the parameters are after=ID, the id of an event, and wait=SECONDS",
            error.body_text()
        );
        ApiError::new(Reason::BadRequest, message)
    })?;
    let mut last = views.events.last();
    let news = last.wait_for(|id| *id > query.after);
    tokio::select! {
        // There are news, or it is not worth waiting for them any more.
        _ = tokio::time::timeout(Duration::from_secs(query.wait.min(LONGEST_WAIT)), news) => {}
        () = views.shutdown.wait() => {}
    }
    let events: Vec<Value> = views
        .events
        .since(query.after)
        .iter()
        .map(describe_event)
        .collect();
    Ok(Json(json!({ "events": events })))
}

/// An event as JSON.
pub(crate) fn describe_event(event: &Event) -> Value {
    let level = if event.kind.is_warning() {
        "warning"
    } else {
        "info"
    };
    json!({
        "id": event.id,
        "time": rfc3339(event.time),
        "kind": event.kind.as_str(),
        "level": level,
        "subject": event.subject,
        "message": event.message,
        "count": event.count,
        "firstTime": rfc3339(event.first),
    })
}

fn describe_proxy(proxy: &Proxy) -> Value {
    let node = &proxy.node;
    let kind = match node.kind {
        ProxyKind::Sidecar => "sidecar",
        ProxyKind::Gateway => "gateway",
    };
    let types: Map<String, Value> = proxy
        .types
        .iter()
        .map(|(resource_type, status)| (name_of(*resource_type), describe_type(status)))
        .collect();
    json!({
        "id": proxy.id,
        "identity": proxy.identity.to_string(),
        "kind": kind,
        "namespace": node.namespace,
        "workload": node.workload_name,
        "workloadGroup": node.workload_group,
        "address": node.address,
        "version": node.version,
        "connectedSince": rfc3339(proxy.since),
        "revision": proxy.revision,
        "types": types,
    })
}

fn name_of(resource_type: ResourceType) -> String {
    resource_type.abbreviation().to_owned()
}

fn describe_type(status: &TypeStatus) -> Value {
    let mark = |mark: &Mark| json!({ "version": mark.version, "nonce": mark.nonce, "at": rfc3339(mark.at) });
    let rejection = status.rejection.as_ref().map(|rejection| {
        json!({
            "reason": rejection.message,
            "resources": rejection.names,
            "version": rejection.mark.version,
            "at": rfc3339(rejection.mark.at),
        })
    });
    json!({
        "status": status.sync.as_str(),
        "sent": status.sent.as_ref().map(mark),
        "acknowledged": status.acked.as_ref().map(mark),
        "rejected": status.rejected,
        "lastRejection": rejection,
    })
}

fn describe_service(published: &Published, service: &ServiceView) -> Value {
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| {
            json!({
                "name": port.name,
                "number": port.number,
                "protocol": format!("{:?}", port.protocol).to_lowercase(),
            })
        })
        .collect();
    // A workload is behind the service once, however many ports it has.
    let mut endpoints: BTreeMap<&str, &EndpointView> = BTreeMap::new();
    for endpoint in service.ports.iter().flat_map(|port| &port.endpoints) {
        endpoints.entry(&endpoint.name).or_insert(endpoint);
    }
    let endpoints: Vec<Value> = endpoints
        .values()
        .map(|endpoint| describe_endpoint(published, &service.namespace, endpoint))
        .collect();
    json!({
        "namespace": service.namespace,
        "name": service.name,
        "host": service.host,
        "address": service.address,
        "ports": ports,
        "endpoints": endpoints,
    })
}

fn describe_endpoint(published: &Published, namespace: &str, endpoint: &EndpointView) -> Value {
    let (host, port) = &endpoint.address;
    let address = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    json!({
        "workload": endpoint.name,
        "address": address,
        "plainAddress": endpoint.plain_address,
        "mutualTls": endpoint.mutual_tls,
        "labels": labels_of(published, namespace, &endpoint.name),
    })
}

/// The labels of an instance are those of its group; a WorkloadEntry has its own.
fn labels_of(published: &Published, namespace: &str, workload: &str) -> BTreeMap<String, String> {
    let config = &published.config;
    let instance = published
        .instances
        .iter()
        .find(|instance| instance.namespace == namespace && instance.name == workload);
    if let Some(instance) = instance {
        return config
            .workload_group(namespace, &instance.group)
            .map(|(_, group)| group.labels.clone())
            .unwrap_or_default();
    }
    config
        .find(mesh_config::Kind::WorkloadEntry, namespace, workload)
        .and_then(|object| object.as_workload_entry())
        .map(|entry| entry.labels.clone())
        .unwrap_or_default()
}

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}
