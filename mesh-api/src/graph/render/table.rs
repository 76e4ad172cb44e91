//! The graph as a table in HTML: for screen readers, and for who looks for a number.

use std::fmt::Write as _;

use super::shapes::short_edge_id;
use super::svg::escaped;
use super::words;
use crate::graph::model::{Edge, Graph};

/// Most edges that are listed.
const MOST: usize = 200;

/// The edges as the rows of a table's body, each with a stable id.
#[must_use]
pub fn table(graph: &Graph) -> String {
    let mut rows = String::new();
    for edge in graph.edges.iter().take(MOST) {
        row(&mut rows, graph, edge);
    }
    let left_out = graph.edges.len().saturating_sub(MOST);
    if left_out > 0 {
        // Writing to a string cannot fail.
        let _ = write!(
            rows,
            "<tr id=\"t-rest\"><td colspan=\"7\">and {left_out} more</td></tr>"
        );
    }
    if graph.edges.is_empty() {
        rows.push_str("<tr id=\"t-none\"><td colspan=\"7\">no traffic</td></tr>");
    }
    rows
}

fn row(rows: &mut String, graph: &Graph, edge: &Edge) {
    let _ = write!(rows, "<tr id=\"t-{}\">", short_edge_id(graph, edge));
    let cells = [
        words::full_name(graph, edge.source),
        words::full_name(graph, edge.target),
        edge.protocol.as_str().to_owned(),
        words::share_and_rate(edge),
        words::response_time(graph, edge).unwrap_or_default(),
        words::errors(edge).unwrap_or_default(),
        words::security(edge).unwrap_or_default(),
    ];
    for cell in cells {
        let _ = write!(rows, "<td>{}</td>", escaped(&cell));
    }
    rows.push_str("</tr>\n");
}
