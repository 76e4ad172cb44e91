//! The graph as a Mermaid flowchart, which code forges and wikis draw.

use std::fmt::Write;

use super::dot::label;
use super::words::{self, Tone};
use crate::graph::model::{Graph, Node, NodeType};

/// The graph as a Mermaid document.
#[must_use]
pub fn mermaid(graph: &Graph) -> String {
    let mut out = String::new();
    let title = format!("{}: {}", words::title(graph), words::subtitle(graph));
    // The title is YAML: a quoted string of it escapes as JSON does.
    let _ = writeln!(out, "---\ntitle: {}\n---", serde_json::Value::from(title));
    out.push_str("flowchart LR\n");
    if graph.nodes.is_empty() {
        let text = words::nothing(graph).join("\n");
        let _ = writeln!(out, "  nothing[{}]", quoted(&text));
    }
    nodes(&mut out, graph, None, 1);
    let mut styles = Vec::new();
    for (index, edge) in graph.edges.iter().enumerate() {
        let arrow = if words::is_bypass(graph, edge) {
            "-.->"
        } else {
            "-->"
        };
        let text = quoted(&label(graph, edge, "\n"));
        let _ = writeln!(out, "  n{} {arrow}|{text}| n{}", edge.source, edge.target);
        styles.push((index, Tone::of_edge(edge)));
    }
    for tone in Tone::ALL {
        let of_tone: Vec<String> = styles
            .iter()
            .filter(|(_, own)| *own == tone)
            .map(|(index, _)| index.to_string())
            .collect();
        if !of_tone.is_empty() {
            let _ = writeln!(out, "  linkStyle {} {}", of_tone.join(","), style(tone));
        }
    }
    out
}

fn nodes(out: &mut String, graph: &Graph, parent: Option<usize>, depth: usize) {
    let indent = "  ".repeat(depth);
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.parent != parent {
            continue;
        }
        if node.box_kind.is_some() {
            let (name, _) = words::node(graph, node);
            let _ = writeln!(out, "{indent}subgraph n{index} [{}]", quoted(&name));
            nodes(out, graph, Some(index), depth + 1);
            let _ = writeln!(out, "{indent}end");
        } else {
            let _ = writeln!(out, "{indent}n{index}{}", shape(graph, node));
        }
    }
}

fn shape(graph: &Graph, node: &Node) -> String {
    let (name, below) = words::node(graph, node);
    let mut lines = vec![name];
    if !below.is_empty() {
        lines.push(below);
    }
    lines.extend(words::badges(node).into_iter().map(str::to_owned));
    let text = quoted(&lines.join("\n"));
    match node.node_type {
        NodeType::Service => format!("{{{text}}}"),
        NodeType::Unknown => format!("([{text}])"),
        _ => format!("({text})"),
    }
}

fn style(tone: Tone) -> &'static str {
    match tone {
        Tone::Fine => "stroke:#2c9b5a",
        Tone::Degraded => "stroke:#d17a00,stroke-dasharray:11 5",
        Tone::Failing => "stroke:#d1293d,stroke-width:3px,stroke-dasharray:9 4 2 4",
        Tone::Tcp => "stroke:#2f6fd6",
        Tone::Idle => "stroke:#9aa5b1",
    }
}

/// A Mermaid string: characters that mean something to it, to Markdown or to HTML are written as
/// entities, by number.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("<br/>"),
            c if c.is_control() => quoted.push('\u{fffd}'),
            '"' | '#' | '&' | '<' | '>' | '`' | '*' | '_' | '\\' | ';' => {
                let _ = write!(quoted, "#{};", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
