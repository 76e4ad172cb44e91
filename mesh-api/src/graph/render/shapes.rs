//! Nodes, boxes, lines, labels and padlocks, one function each.

use std::fmt::Write;

use super::layout::{CARD_HEIGHT, DIAMOND, LABEL, Layout, Point, Rect, shortened, text_width};
use super::svg::{Canvas, PAST, escaped};
use super::words::{self, Lock, OUTSIDE, Tone};
use super::{numbers, path};
use crate::graph::kiali::{edge_id, node_id};
use crate::graph::model::{Edge, Graph, Node, NodeType};
use crate::graph::traffic::Protocol;

/// Characters of an id that tell nodes and edges apart.
const ID_LENGTH: usize = 12;

/// The end of the ids of an edge's line and label.
pub(super) fn short_edge_id(graph: &Graph, edge: &Edge) -> String {
    let id = |index: usize| node_id(&graph.nodes[index].key);
    let mut id = edge_id(&id(edge.source), &id(edge.target), edge.protocol);
    id.truncate(ID_LENGTH);
    id
}

fn short_node_id(node: &Node) -> String {
    let mut id = node_id(&node.key);
    id.truncate(ID_LENGTH);
    id
}

/// A box without its name.
pub(super) fn draw_box(canvas: &mut Canvas, graph: &Graph, node: &Node, place: Rect) {
    let (name, below) = words::node(graph, node);
    canvas.raw(format_args!(
        "<g id=\"n-{}\"><title>{}</title>",
        short_node_id(node),
        escaped(&format!("{name} {below}"))
    ));
    canvas.raw(format_args!(
        "<rect class=\"box\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"12\"/></g>",
        place.left(),
        place.top(),
        place.width,
        place.height
    ));
}

/// The name of a box, on its upper edge, over all lines.
pub(super) fn draw_tab(canvas: &mut Canvas, graph: &Graph, node: &Node, place: Rect) {
    let (name, _) = words::node(graph, node);
    let tab = shortened(&name);
    let width = text_width(&tab, 11.0) + 22.0;
    let left = place.left() + 12.0;
    canvas.raw(format_args!(
        "<rect class=\"tab\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"20\" rx=\"10\"/>",
        place.top() - 10.0
    ));
    let x = left + width / 2.0;
    canvas.text("b n", x, place.top() + 4.0, "middle", &tab);
}

/// A card, a diamond, or the world outside.
pub(super) fn draw_node(canvas: &mut Canvas, graph: &Graph, node: &Node, place: Rect) {
    let (name, below) = words::node(graph, node);
    let details = escaped(&node_details(node, &name, &below));
    canvas.raw(format_args!(
        "<g id=\"n-{}\"><title>{details}</title>",
        short_node_id(node)
    ));
    let tone = Tone::of_node(node).as_str();
    let (x, top) = (place.left(), place.top());
    let (name, below) = (shortened(&name), shortened(&below));
    if node.node_type == NodeType::Service {
        canvas.raw(format_args!(
            "<path class=\"diamond\" d=\"M{:.1},{:.1}l{DIAMOND},-{DIAMOND}l{DIAMOND},{DIAMOND}l-{DIAMOND},{DIAMOND}z\"/>",
            place.x - DIAMOND,
            place.y
        ));
        canvas.raw(format_args!(
            "<circle class=\"fill-{tone}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\"/>",
            place.x, place.y
        ));
        canvas.text(
            "n clear",
            place.x,
            place.y + DIAMOND + 15.0,
            "middle",
            &name,
        );
        canvas.text(
            "b clear",
            place.x,
            place.y + DIAMOND + 29.0,
            "middle",
            &below,
        );
    } else {
        let outside = node.node_type == NodeType::Unknown;
        let (class, round) = if outside {
            ("outside", CARD_HEIGHT / 2.0)
        } else {
            ("card", 9.0)
        };
        canvas.raw(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{CARD_HEIGHT}\" rx=\"{round}\"/>",
            place.width
        ));
        if !outside {
            canvas.raw(format_args!(
                "<rect class=\"fill-{tone}\" x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"{:.1}\" rx=\"2\"/>",
                x + 8.0,
                top + 10.0,
                CARD_HEIGHT - 20.0
            ));
        }
        let (text_x, anchor) = if outside {
            (place.x, "middle")
        } else {
            (x + 20.0, "start")
        };
        let name_y = if below.is_empty() { 30.0 } else { 22.0 };
        canvas.text("n", text_x, top + name_y, anchor, &name);
        if !below.is_empty() {
            canvas.text("b", text_x, top + 38.0, anchor, &below);
        }
    }
    draw_badges(canvas, node, place);
    canvas.raw(format_args!("</g>"));
}

/// On the upper edge of the node, from the right.
fn draw_badges(canvas: &mut Canvas, node: &Node, place: Rect) {
    let top = match node.node_type {
        NodeType::Service => place.y - DIAMOND - 14.0,
        _ => place.top() - 8.0,
    };
    let mut right = match node.node_type {
        NodeType::Service => place.right(),
        _ => place.right() - 8.0,
    };
    for badge in words::badges(node) {
        let width = text_width(badge, 9.5) + 14.0;
        right -= width;
        canvas.raw(format_args!(
            "<rect class=\"badge\" x=\"{right:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"16\" rx=\"8\"/>"
        ));
        let x = right + width / 2.0;
        canvas.text("badge-text", x, top + 11.4, "middle", badge);
        right -= 4.0;
    }
}

fn node_details(node: &Node, name: &str, below: &str) -> String {
    let mut lines = vec![name.to_owned()];
    if !below.is_empty() {
        lines.push(below.to_owned());
    }
    let named = [
        ("workload", &node.workload),
        ("namespace", &node.namespace),
        ("cluster", &node.cluster),
    ];
    if node.node_type != NodeType::Unknown {
        for (what, value) in named {
            if !value.is_empty() && value != name {
                lines.push(format!("{what} {value}"));
            }
        }
    }
    if let Some(health) = &node.health {
        let mut line = format!("health: {}", health.status.as_str());
        if health.error_ratio > 0.0 {
            let _ = write!(line, ", {:.1}% errors", health.error_ratio);
        }
        lines.push(line);
    }
    for protocol in Protocol::ALL {
        let rates = node.traffic.get(protocol);
        let named = [("in", rates.inbound.total), ("out", rates.outbound)];
        for (way, rate) in named.into_iter().filter(|(_, rate)| *rate > 0.0) {
            let rate = numbers::rate(protocol, rate);
            lines.push(format!("{} {way}: {rate}", protocol.as_str()));
        }
    }
    lines.join("\n")
}

/// The line of an edge, wider the more it carries.
pub(super) fn draw_line(
    graph: &Graph,
    layout: &Layout,
    edge: &Edge,
    points: &[Point],
    largest: &[(Protocol, f64)],
) -> String {
    let alike = largest.iter().find(|(other, _)| *other == edge.protocol);
    let largest = alike.map_or(0.0, |(_, rate)| *rate);
    let mut points = points.to_vec();
    let is_service = |index: usize| graph.nodes[index].node_type == NodeType::Service;
    if let [first, second, ..] = points.as_mut_slice()
        && is_service(edge.source)
        && let Some(place) = layout.nodes[edge.source]
    {
        *first = path::to_diamond(place, *second);
    }
    if let [.., before, last] = points.as_mut_slice()
        && is_service(edge.target)
        && let Some(place) = layout.nodes[edge.target]
    {
        *last = path::to_diamond(place, *before);
    }
    let tone = Tone::of_edge(edge);
    let (tone, bypass) = match (words::is_bypass(graph, edge), tone) {
        (true, Tone::Degraded | Tone::Failing) => (tone.as_str(), " bypass"),
        // It does well, but not where it should.
        (true, _) => (PAST, " bypass"),
        (false, _) => (tone.as_str(), ""),
    };
    let share = if largest > 0.0 {
        (edge.traffic.rates.total / largest).sqrt()
    } else {
        0.0
    };
    let width = 1.6 + 2.4 * share;
    let way = path::smooth(&points);
    format!(
        "<path class=\"line {tone}{bypass}\" stroke-width=\"{width:.1}\" marker-end=\"url(#tip-{tone})\" d=\"{way}\"/>"
    )
}

/// Share and rate, response time and errors, padlock.
pub(super) fn draw_label(
    canvas: &mut Canvas,
    graph: &Graph,
    edge: &Edge,
    centre: Point,
    details: &str,
    id: &str,
) {
    let first = words::share_and_rate(edge);
    let time = words::response_time(graph, edge).unwrap_or_default();
    let errors = words::errors(edge).unwrap_or_default();
    let gap = if time.is_empty() || errors.is_empty() {
        ""
    } else {
        " · "
    };
    let lock = words::lock(edge);
    let lock_width = if lock.is_some() { 16.0 } else { 0.0 };
    let bypass = words::is_bypass(graph, edge);
    let mut second = format!("{time}{gap}{errors}");
    if bypass && second.is_empty() {
        second = OUTSIDE.to_owned();
    }
    let text = text_width(&first, 11.5).max(text_width(&second, 10.5));
    let width = (text + lock_width + 18.0).min(LABEL.0 + 30.0);
    let height = if second.is_empty() {
        22.0
    } else {
        LABEL.1 - 2.0
    };
    let (left, top) = (centre.x - width / 2.0, centre.y - height / 2.0);
    canvas.raw(format_args!(
        "<g id=\"l-{id}\"><title>{details}</title><rect class=\"pill\" x=\"{left:.1}\" y=\"{top:.1}\" \
         width=\"{width:.1}\" height=\"{height:.1}\" rx=\"8\"/>"
    ));
    if let Some(lock) = lock {
        padlock(canvas, lock, left + 8.0, centre.y - 6.5);
    }
    let x = left + 9.0 + lock_width;
    if second.is_empty() {
        canvas.text("p1", x, centre.y + 4.0, "start", &first);
    } else {
        canvas.text("p1", x, centre.y - 3.0, "start", &first);
        let (class, plain) = if bypass && time.is_empty() && errors.is_empty() {
            ("word", OUTSIDE)
        } else {
            ("p2", time.as_str())
        };
        let (plain, errors) = (escaped(plain), escaped(&errors));
        let y = centre.y + 11.0;
        canvas.raw(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{plain}{gap}<tspan class=\"err\">{errors}</tspan></text>"
        ));
    }
    if bypass && second != OUTSIDE {
        let y = top + height + 12.0;
        canvas.text("word", centre.x, y, "middle", OUTSIDE);
    }
    canvas.raw(format_args!("</g>"));
}

/// A padlock of 11 by 13 pixels.
pub(super) fn padlock(canvas: &mut Canvas, lock: Lock, x: f64, y: f64) {
    let (class, shackle) = match lock {
        Lock::Closed => ("lock", "v-2.2a3,3 0 0 1 6,0v2.2"),
        // The right leg hangs in the air.
        Lock::Open => ("open", "v-2.6a3,3 0 0 1 6,-.6"),
    };
    canvas.raw(format_args!(
        "<path class=\"{class}\" d=\"M{:.1},{:.1}{shackle}\"/>\
         <rect class=\"{class}-body\" x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"7.4\" rx=\"1.6\"/>",
        x + 2.0,
        y + 5.6,
        y + 5.4
    ));
}
