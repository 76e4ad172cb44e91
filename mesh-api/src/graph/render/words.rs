//! What is written on nodes and edges, the same in every format.

use super::numbers::{milliseconds, percent, rate, time, window};
use crate::graph::model::{BoxKind, Edge, Graph, LastReport, Node, NodeType, Status};
use crate::graph::params::{GraphType, ResponseTime};
use crate::graph::traffic::Protocol;

/// What traffic without a client proxy is called.
pub(super) const OUTSIDE: &str = "outside the mesh";

/// How an edge is doing, as colour and dashes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Tone {
    Fine,
    Degraded,
    Failing,
    /// Connections, which know no errors.
    Tcp,
    /// No traffic, or nobody asked for health.
    Idle,
}

impl Tone {
    pub(super) const ALL: [Tone; 5] = [
        Tone::Fine,
        Tone::Degraded,
        Tone::Failing,
        Tone::Tcp,
        Tone::Idle,
    ];

    /// Its name in class names.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Tone::Fine => "fine",
            Tone::Degraded => "degraded",
            Tone::Failing => "failing",
            Tone::Tcp => "tcp",
            Tone::Idle => "idle",
        }
    }

    pub(super) fn of_edge(edge: &Edge) -> Tone {
        if edge.traffic.rates.total <= 0.0 {
            Tone::Idle
        } else if edge.protocol == Protocol::Tcp {
            Tone::Tcp
        } else {
            edge.health.map_or(Tone::Fine, Tone::of_status)
        }
    }

    pub(super) fn of_node(node: &Node) -> Tone {
        let health = node.health.as_ref();
        health.map_or(Tone::Idle, |health| Tone::of_status(health.status))
    }

    fn of_status(status: Status) -> Tone {
        match status {
            Status::Healthy => Tone::Fine,
            Status::Degraded => Tone::Degraded,
            Status::Failure => Tone::Failing,
            Status::NotAvailable | Status::NotReady => Tone::Idle,
        }
    }
}

/// Whether an edge comes past the mesh: from a client without a proxy.
pub(super) fn is_bypass(graph: &Graph, edge: &Edge) -> bool {
    graph.nodes[edge.source].node_type == NodeType::Unknown
}

/// The padlock of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// All of it under mutual TLS.
    Closed,
    /// Some or all of it in plain text.
    Open,
}

/// `None` where no server reported how it was called.
pub(super) fn lock(edge: &Edge) -> Option<Lock> {
    let security = &edge.security;
    if security.mutual > 0.0 && security.plain <= 0.0 {
        Some(Lock::Closed)
    } else if security.plain > 0.0 {
        Some(Lock::Open)
    } else {
        None
    }
}

/// Whether namespaces must be told apart.
pub(super) fn shows_namespaces(graph: &Graph) -> bool {
    graph.namespaces.len() > 1
}

/// The name of a node, and a line below it, which may be empty.
pub(super) fn node(graph: &Graph, node: &Node) -> (String, String) {
    if node.node_type == NodeType::Unknown {
        return (OUTSIDE.to_owned(), "no proxy, no identity".to_owned());
    }
    let boxed_by_app = node
        .parent
        .is_some_and(|parent| graph.nodes[parent].box_kind == Some(BoxKind::App));
    let versioned = !node.version.is_empty() && node.version != "unknown";
    let version = if versioned && node.version != "latest" {
        node.version.as_str()
    } else {
        ""
    };
    let (name, mut below) = match node.node_type {
        NodeType::Service => (node.service.as_str(), vec!["service"]),
        NodeType::Workload => (node.workload.as_str(), vec![]),
        // The box tells the app already.
        NodeType::App if boxed_by_app && !version.is_empty() => (version, vec![]),
        NodeType::App => (node.app.as_str(), vec![version]),
        NodeType::Box | NodeType::Unknown => (box_name(node), vec![]),
    };
    if node.is_outside || shows_namespaces(graph) {
        below.push(&node.namespace);
    }
    below.retain(|part| !part.is_empty());
    let name = if name.is_empty() { "unknown" } else { name };
    (name.to_owned(), below.join(" · "))
}

fn box_name(node: &Node) -> &str {
    [&node.app, &node.namespace, &node.cluster]
        .into_iter()
        .find(|name| !name.is_empty())
        .map_or("", String::as_str)
}

/// Whether nothing runs any more of what a node stands for.
fn is_gone(node: &Node) -> bool {
    let workloads = node.health.iter().flat_map(|health| &health.workloads);
    let mut running = workloads.map(|workload| workload.instances > 0).peekable();
    running.peek().is_some() && !running.any(|running| running)
}

/// The badges of a node.
pub(super) fn badges(node: &Node) -> Vec<&'static str> {
    let notes = &node.notes;
    let mut badges = Vec::new();
    if is_gone(node) {
        badges.push("gone");
    }
    if node.gateway.is_some() {
        badges.push("gateway");
    }
    if notes.traffic_shifting {
        badges.push("weighted");
    } else if notes.virtual_service.is_some() {
        badges.push("routed");
    }
    if notes.fault_injection {
        badges.push("faults");
    }
    if notes.mirroring {
        badges.push("mirrored");
    }
    if notes.circuit_breaker {
        badges.push("breaker");
    }
    badges
}

/// `90% · 4.5 rps`; the share is left out where there is nothing to share with. An edge without traffic is
/// one of connections that are open.
pub(super) fn share_and_rate(edge: &Edge) -> String {
    if edge.traffic.rates.total <= 0.0 {
        return "open, idle".to_owned();
    }
    let rate = rate(edge.protocol, edge.traffic.rates.total);
    if edge.protocol == Protocol::Tcp || edge.percent_of_source <= 0.0 {
        rate
    } else {
        format!("{} · {rate}", percent(edge.percent_of_source))
    }
}

/// `p95 12 ms`, if it was measured.
pub(super) fn response_time(graph: &Graph, edge: &Edge) -> Option<String> {
    let time = edge.response_time?;
    let what = match graph.response_time {
        ResponseTime::Average => "avg".to_owned(),
        ResponseTime::Quantile(q) => format!("p{:.0}", q * 100.0),
    };
    Some(format!("{what} {}", milliseconds(time)))
}

/// `2.5% errors`, if there were any.
pub(super) fn errors(edge: &Edge) -> Option<String> {
    let percent_errors = edge.traffic.rates.percent_errors();
    (percent_errors > 0.0).then(|| format!("{} errors", percent(percent_errors)))
}

/// The name of a node where no box tells the rest of it.
pub(super) fn full_name(graph: &Graph, index: usize) -> String {
    let (name, below) = node(graph, &graph.nodes[index]);
    let Node { app, node_type, .. } = &graph.nodes[index];
    let boxed = *node_type == NodeType::App && !app.is_empty() && *app != name;
    let name = if boxed { format!("{app} {name}") } else { name };
    if below.is_empty() {
        name
    } else {
        format!("{name} ({below})")
    }
}

/// How an edge's connections were secured.
pub(super) fn security(edge: &Edge) -> Option<String> {
    Some(match (lock(edge)?, edge.security.percent_mutual()) {
        (Lock::Closed, _) => "mutual TLS".to_owned(),
        (Lock::Open, Some(share)) => {
            format!(
                "{} under mutual TLS, the rest in plain text",
                percent(share)
            )
        }
        (Lock::Open, None) => "plain text".to_owned(),
    })
}

/// Everything about an edge, for a tooltip.
pub(super) fn edge_details(graph: &Graph, edge: &Edge) -> String {
    let mut lines = vec![format!(
        "{} → {}, {}",
        full_name(graph, edge.source),
        full_name(graph, edge.target),
        edge.protocol.as_str()
    )];
    lines.push(share_and_rate(edge));
    lines.extend(response_time(graph, edge));
    lines.extend(errors(edge));
    for (code, responses) in &edge.traffic.responses {
        let share = responses.rate / edge.traffic.rates.total * 100.0;
        let flags: Vec<&str> = responses
            .flags
            .keys()
            .map(String::as_str)
            .filter(|flags| *flags != "-")
            .collect();
        if code != "-" || !flags.is_empty() {
            let flags = flags.join(" ");
            lines.push(format!("{code} {flags}: {}", percent(share)).replace(" :", ":"));
        }
    }
    lines.extend(security(edge));
    let principals = [
        ("from", &edge.security.source_principal),
        ("to", &edge.security.destination_principal),
    ];
    for (word, principal) in principals {
        lines.extend(principal.as_ref().map(|id| format!("{word} {id}")));
    }
    lines.join("\n")
}

/// How the graph is doing, in one or two sentences.
#[must_use]
pub fn summary(graph: &Graph) -> String {
    if graph.edges.is_empty() {
        return format!("No traffic in the last {}.", window(graph.duration));
    }
    let mut troubled: Vec<&Edge> = graph
        .edges
        .iter()
        .filter(|edge| matches!(Tone::of_edge(edge), Tone::Degraded | Tone::Failing))
        .collect();
    troubled.sort_by(|a, b| {
        let errors = |edge: &Edge| edge.traffic.rates.percent_errors();
        errors(b).total_cmp(&errors(a))
    });
    let mut text = match troubled.as_slice() {
        [] => "No edge is in trouble.".to_owned(),
        [worst, others @ ..] => {
            let (from, to) = (
                full_name(graph, worst.source),
                full_name(graph, worst.target),
            );
            let share = percent(worst.traffic.rates.percent_errors());
            let mut text = format!("{share} of the requests from {from} to {to} fail");
            match others.len() {
                0 => {}
                1 => text.push_str(", and one more edge is in trouble"),
                more => text.push_str(&format!(", and {more} more edges are in trouble")),
            }
            text.push('.');
            text
        }
    };
    let locked = |wanted| {
        let edges = graph.edges.iter();
        edges.filter(|edge| lock(edge) == Some(wanted)).count()
    };
    match locked(Lock::Open) {
        0 if locked(Lock::Closed) == graph.edges.len() => {
            text.push_str(" All traffic is under mutual TLS.");
        }
        0 => text.push_str(" No server reports traffic in plain text."),
        1 => text.push_str(" One edge has traffic in plain text."),
        some => text.push_str(&format!(" {some} edges have traffic in plain text.")),
    }
    text
}

/// `Traffic in shop, edge`
#[must_use]
pub fn title(graph: &Graph) -> String {
    const SHOWN: usize = 4;
    let names = graph.namespaces.iter().take(SHOWN);
    let mut list = names.map(String::as_str).collect::<Vec<_>>().join(", ");
    if graph.namespaces.len() > SHOWN {
        list.push_str(&format!(" and {} more", graph.namespaces.len() - SHOWN));
    }
    format!("Traffic in {list}")
}

/// `the 60 s until 2026-11-24 12:00:00 UTC, by app and version`
pub(super) fn subtitle(graph: &Graph) -> String {
    let by = match graph.graph_type {
        GraphType::App => "app",
        GraphType::VersionedApp => "app and version",
        GraphType::Workload => "workload",
        GraphType::Service => "service",
    };
    let (window, end) = (window(graph.duration), time(graph.timestamp));
    format!("the {window} until {end}, by {by}")
}

/// What to do about an empty graph, in lines.
pub(super) fn nothing(graph: &Graph) -> [String; 5] {
    let last = match &graph.last_report {
        None => "No proxy has reported traffic to this mesh-api so far.".to_owned(),
        Some(LastReport {
            at,
            namespace,
            workload,
        }) => format!(
            "The last report came from {workload} in {namespace} at {}.",
            time(*at)
        ),
    };
    [
        format!(
            "No traffic was reported in {} in the last {}.",
            graph.namespaces.join(", "),
            window(graph.duration)
        ),
        last,
        "Send some through the gateway:  curl http://GATEWAY-ADDRESS/".to_owned(),
        "or from beside an agent:  curl -x http://127.0.0.1:15001 http://SERVICE.NAMESPACE/"
            .to_owned(),
        "It shows here when the proxies report it, some seconds later.".to_owned(),
    ]
}
