//! A picture of a thousand nodes shows nothing: only the busiest are drawn, and the picture says so.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::graph::model::Graph;
use crate::graph::traffic::Protocol;

/// Most nodes that are drawn.
const MOST: usize = 300;
/// Most edges that are drawn.
const MOST_EDGES: usize = 900;

/// The graph with its busiest nodes and edges, and how many nodes were left out.
pub(super) fn busiest(graph: &Graph) -> (Cow<'_, Graph>, usize) {
    busiest_of(graph, MOST, MOST_EDGES)
}

fn busiest_of(graph: &Graph, most: usize, most_edges: usize) -> (Cow<'_, Graph>, usize) {
    if graph.nodes.len() <= most && graph.edges.len() <= most_edges {
        return (Cow::Borrowed(graph), 0);
    }
    let mut by_rate: Vec<usize> = (0..graph.nodes.len())
        .filter(|index| graph.nodes[*index].box_kind.is_none())
        .collect();
    let rate = |index: usize| -> f64 {
        // Bytes and requests do not compare; a node that does both is listed by its requests.
        let requests = [Protocol::Http, Protocol::Grpc].into_iter();
        let rates = requests.map(|protocol| {
            let rates = graph.nodes[index].traffic.get(protocol);
            rates.inbound.total + rates.outbound
        });
        rates.sum()
    };
    by_rate.sort_by(|a, b| rate(*b).total_cmp(&rate(*a)).then(a.cmp(b)));
    let kept: HashSet<usize> = by_rate.iter().copied().take(most).collect();
    let mut places = vec![None; graph.nodes.len()];
    let mut smaller = Graph {
        nodes: Vec::with_capacity(kept.len()),
        edges: Vec::new(),
        ..graph.clone()
    };
    for (index, node) in graph.nodes.iter().enumerate() {
        if kept.contains(&index) {
            places[index] = Some(smaller.nodes.len());
            let mut node = node.clone();
            node.parent = None;
            smaller.nodes.push(node);
        }
    }
    let mut edges: Vec<_> = graph
        .edges
        .iter()
        .filter_map(|edge| {
            let mut edge = edge.clone();
            edge.source = places[edge.source]?;
            edge.target = places[edge.target]?;
            Some(edge)
        })
        .collect();
    edges.sort_by(|a, b| {
        let rate = |edge: &crate::graph::model::Edge| edge.traffic.rates.total;
        rate(b).total_cmp(&rate(a))
    });
    edges.truncate(most_edges);
    edges.sort_by_key(|edge| (edge.source, edge.target, edge.protocol));
    smaller.edges = edges;
    (Cow::Owned(smaller), by_rate.len() - kept.len())
}
