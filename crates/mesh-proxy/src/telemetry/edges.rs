//! Edges: what changed in each series since it was last reported to the control plane.

use std::collections::HashMap;

use mesh_xds::Workload;
use mesh_xds::mesh::{self, EdgeDelta, edge_delta::Reporter};

use super::{Carried, Labels, Series, lock};
use crate::snapshot::Direction;

/// What the series carried since the last call; `None` without traffic.
pub(super) fn take(series: &Series) -> Option<EdgeDelta> {
    let totals = series.totals();
    let mut reported = lock(&series.reported);
    let duration = totals.duration.since(&reported.duration);
    let requests = duration.count();
    let numbers = match series.labels.carried {
        Carried::Http | Carried::Grpc => EdgeDelta {
            requests,
            duration_ms_sum: duration.sum,
            request_bytes: totals.request_bytes.sum - reported.request_bytes.sum,
            response_bytes: totals.response_bytes.sum - reported.response_bytes.sum,
            duration_buckets: duration.buckets.to_vec(),
            ..EdgeDelta::default()
        },
        Carried::Tcp => EdgeDelta {
            request_bytes: totals.received - reported.received,
            response_bytes: totals.sent - reported.sent,
            connections_opened: totals.opened - reported.opened,
            connections_closed: totals.closed - reported.closed,
            ..EdgeDelta::default()
        },
    };
    let anything = numbers.requests
        + numbers.request_bytes
        + numbers.response_bytes
        + numbers.connections_opened
        + numbers.connections_closed;
    if anything == 0 {
        return None;
    }
    *reported = totals;
    Some(named(numbers, &series.labels))
}

/// Numbers and whose they are.
fn named(numbers: EdgeDelta, labels: &Labels) -> EdgeDelta {
    let service = labels.service();
    let reporter = match labels.direction {
        Direction::Outbound => Reporter::Source,
        Direction::Inbound => Reporter::Destination,
    };
    EdgeDelta {
        reporter: reporter.into(),
        source: Some(workload(&labels.source, labels.source_principal.as_deref())),
        destination: Some(workload(
            &labels.destination,
            labels.destination_principal.as_deref(),
        )),
        service_host: service.host,
        service_name: service.name,
        service_namespace: service.namespace,
        protocol: labels.carried.label().into(),
        response_code: labels.code.into(),
        grpc_status: labels.grpc_status(),
        response_flags: labels.flags.label().into_owned(),
        security_policy: labels.security.label().into(),
        ..numbers
    }
}

/// The workload with the identity that this connection proved, not with the one it should have.
fn workload(workload: &Workload, principal: Option<&str>) -> mesh::Workload {
    mesh::Workload {
        name: workload.name.clone(),
        namespace: workload.namespace.clone(),
        app: workload.app.clone(),
        version: workload.version.clone(),
        canonical_service: workload.canonical_service.clone(),
        canonical_revision: workload.canonical_revision.clone(),
        cluster: workload.cluster.clone(),
        principal: principal.unwrap_or_default().to_owned(),
    }
}

/// One delta for each edge: its series may have gone and come again since the last report.
pub(super) fn merged(deltas: Vec<EdgeDelta>) -> Vec<EdgeDelta> {
    let mut order = Vec::new();
    let mut sums: HashMap<String, EdgeDelta> = HashMap::new();
    for delta in deltas {
        let key = key(&delta);
        match sums.get_mut(&key) {
            Some(sum) => add(sum, &delta),
            None => {
                order.push(key.clone());
                sums.insert(key, delta);
            }
        }
    }
    order.iter().filter_map(|key| sums.remove(key)).collect()
}

/// Everything but the numbers.
fn key(delta: &EdgeDelta) -> String {
    let names = EdgeDelta {
        requests: 0,
        duration_ms_sum: 0,
        request_bytes: 0,
        response_bytes: 0,
        duration_buckets: Vec::new(),
        connections_opened: 0,
        connections_closed: 0,
        ..delta.clone()
    };
    format!("{names:?}")
}

fn add(sum: &mut EdgeDelta, delta: &EdgeDelta) {
    sum.requests += delta.requests;
    sum.duration_ms_sum += delta.duration_ms_sum;
    sum.request_bytes += delta.request_bytes;
    sum.response_bytes += delta.response_bytes;
    sum.connections_opened += delta.connections_opened;
    sum.connections_closed += delta.connections_closed;
    let longer = sum.duration_buckets.len().max(delta.duration_buckets.len());
    sum.duration_buckets.resize(longer, 0);
    for (bucket, more) in sum.duration_buckets.iter_mut().zip(&delta.duration_buckets) {
        *bucket += more;
    }
}
