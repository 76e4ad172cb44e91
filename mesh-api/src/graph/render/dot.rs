//! The graph in Graphviz' language, for `dot -Tsvg` and everything else that reads it.

use std::fmt::Write;

use super::words::{self, Lock, OUTSIDE, Tone};
use crate::graph::model::{Edge, Graph, Node, NodeType};

/// The graph as a DOT document.
#[must_use]
pub fn dot(graph: &Graph) -> String {
    let mut out = String::from("digraph mesh {\n  rankdir=LR;\n  newrank=true;\n");
    let _ = writeln!(
        out,
        "  graph [label={}, labelloc=t, fontname=\"sans-serif\"];",
        quoted(&format!(
            "{}\n{}",
            words::title(graph),
            words::subtitle(graph)
        ))
    );
    out.push_str("  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n");
    out.push_str("  edge [fontname=\"sans-serif\", fontsize=10];\n");
    if graph.nodes.is_empty() {
        let text = words::nothing(graph).join("\n");
        let _ = writeln!(out, "  nothing [shape=plaintext, label={}];", quoted(&text));
    }
    nodes(&mut out, graph, None, 1);
    for edge in &graph.edges {
        let _ = writeln!(out, "  {};", edge_statement(graph, edge));
    }
    out.push_str("}\n");
    out
}

/// The nodes within a box, or those in none, boxes as clusters.
fn nodes(out: &mut String, graph: &Graph, parent: Option<usize>, depth: usize) {
    let indent = "  ".repeat(depth);
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.parent != parent {
            continue;
        }
        if node.box_kind.is_some() {
            let _ = writeln!(out, "{indent}subgraph cluster_{index} {{");
            let (name, _) = words::node(graph, node);
            let _ = writeln!(out, "{indent}  label={}; style=rounded;", quoted(&name));
            nodes(out, graph, Some(index), depth + 1);
            let _ = writeln!(out, "{indent}}}");
        } else {
            let _ = writeln!(out, "{indent}n{index} [{}];", node_attributes(graph, node));
        }
    }
}

fn node_attributes(graph: &Graph, node: &Node) -> String {
    let (name, below) = words::node(graph, node);
    let mut lines = vec![name];
    if !below.is_empty() {
        lines.push(below);
    }
    let badges = words::badges(node);
    if !badges.is_empty() {
        lines.push(format!("[{}]", badges.join(", ")));
    }
    let shape = match node.node_type {
        NodeType::Service => ", shape=diamond, style=solid",
        NodeType::Unknown => ", shape=ellipse, style=dashed",
        _ => "",
    };
    let color = color(Tone::of_node(node));
    format!(
        "label={}{shape}, color=\"{color}\"",
        quoted(&lines.join("\n"))
    )
}

fn edge_statement(graph: &Graph, edge: &Edge) -> String {
    let style = if words::is_bypass(graph, edge) {
        "dotted"
    } else {
        match Tone::of_edge(edge) {
            Tone::Degraded | Tone::Failing => "dashed",
            _ => "solid",
        }
    };
    format!(
        "n{} -> n{} [label={}, color=\"{}\", style={style}]",
        edge.source,
        edge.target,
        quoted(&label(graph, edge, "\n")),
        color(Tone::of_edge(edge))
    )
}

/// What an edge says, in lines.
pub(super) fn label(graph: &Graph, edge: &Edge, newline: &str) -> String {
    let mut lines = vec![words::share_and_rate(edge)];
    lines.extend(words::response_time(graph, edge));
    lines.extend(words::errors(edge));
    lines.extend(words::lock(edge).map(|lock| {
        match lock {
            Lock::Closed => "mutual TLS",
            Lock::Open => "plain text",
        }
        .to_owned()
    }));
    if words::is_bypass(graph, edge) {
        lines.push(OUTSIDE.to_owned());
    }
    lines.join(newline)
}

fn color(tone: Tone) -> &'static str {
    match tone {
        Tone::Fine => "#2c9b5a",
        Tone::Degraded => "#d17a00",
        Tone::Failing => "#d1293d",
        Tone::Tcp => "#2f6fd6",
        Tone::Idle => "#9aa5b1",
    }
}

/// A DOT string: quotes and backslashes are escaped, lines end with `\n`, nothing else is special.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push('\u{fffd}'),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
