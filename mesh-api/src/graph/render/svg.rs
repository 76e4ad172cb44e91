//! The graph as one SVG file: readable at a glance, and in detail under the pointer.
//!
//! No scripts, nothing loaded. Every node and edge is a group with a stable id, so that a page can
//! replace one without drawing all.

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};

use super::busiest::busiest;
use super::layout::{self, Layout, text_width};
use super::shapes::{draw_box, draw_label, draw_line, draw_node, draw_tab, short_edge_id};
use super::words::{self, Tone};
use super::{legend, style};
use crate::graph::model::Graph;
use crate::graph::traffic::Protocol;

/// Height of title and subtitle.
const HEADER: f64 = 78.0;
/// The narrowest picture: below it title and legend would not fit.
const NARROWEST: f64 = 620.0;
/// From this width on a picture is not shrunk to fit a page.
const WIDE: f64 = 1600.0;
/// The class of a sound edge that comes past the mesh.
pub(super) const PAST: &str = "past";

/// An SVG that grows.
pub(super) struct Canvas(String);

impl Canvas {
    pub(super) fn raw(&mut self, markup: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(markup);
        self.0.push('\n');
    }

    pub(super) fn text(&mut self, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escaped(text);
        self.raw(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }
}

/// Text that may stand between tags and in attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push('\n'),
            // XML has no way to write these at all.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Where a picture is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// In a file of its own, which has all that it needs.
    File,
    /// Within a page, which has the title and [`super::page_sheet`].
    Page,
}

/// The graph as an SVG document.
#[must_use]
pub fn svg(graph: &Graph) -> String {
    framed(graph, Frame::File)
}

/// The graph as an SVG element of a page that has [`super::page_sheet`]. Its markup changes only when the
/// graph does: it does not tell the time.
#[must_use]
pub fn inline_svg(graph: &Graph) -> String {
    framed(graph, Frame::Page)
}

fn framed(graph: &Graph, frame: Frame) -> String {
    let (mut drawn, left_out) = busiest(graph);
    let mut notes = Vec::new();
    if frame == Frame::File {
        notes.push(words::subtitle(graph));
    }
    if layout::is_large(graph) {
        without_boxes(&mut drawn);
        notes.push("labels only where something is wrong, all else under the pointer".to_owned());
    }
    let graph = drawn.as_ref();
    if left_out > 0 {
        let shown = graph.nodes.len();
        notes.push(format!(
            "only the {shown} busiest nodes, {left_out} are left out"
        ));
    }
    let head = Head {
        frame,
        title: words::title(graph),
        notes: notes.join("; "),
    };
    let layout = if graph.nodes.is_empty() {
        None
    } else {
        Some(layout::of(graph))
    };
    let inner = layout.as_ref().map_or(0.0, |layout| layout.width);
    let width = inner.max(NARROWEST).max(head.width() + 48.0);
    // A wide picture is looked at from afar: its words grow with it.
    let scale = (width / 1600.0).clamp(1.0, 2.5);
    let (header, foot) = (head.height() * scale, legend::height(width / scale) * scale);
    let body = layout.as_ref().map_or(170.0, |layout| layout.height);
    let height = header + body + foot;
    let mut canvas = Canvas(String::new());
    head.draw(&mut canvas, (width, height), scale);
    match &layout {
        None => nothing(&mut canvas, graph, (width, header)),
        Some(layout) => {
            let left = (width - inner) / 2.0;
            canvas.raw(format_args!(
                "<g transform=\"translate({left:.1},{header:.1})\">"
            ));
            draw(&mut canvas, graph, layout);
            canvas.raw(format_args!("</g>"));
        }
    }
    canvas.raw(format_args!(
        "<g transform=\"translate(0,{:.1}) scale({scale:.2})\">",
        header + body
    ));
    legend::draw(&mut canvas, width / scale);
    canvas.raw(format_args!("</g>"));
    canvas.0.push_str("</svg>\n");
    canvas.0
}

/// Names must then tell apps and versions.
fn without_boxes(graph: &mut Cow<'_, Graph>) {
    if graph.nodes.iter().any(|node| node.parent.is_some()) {
        for node in &mut graph.to_mut().nodes {
            node.parent = None;
        }
    }
}

/// What stands above the picture.
struct Head {
    frame: Frame,
    title: String,
    notes: String,
}

impl Head {
    fn width(&self) -> f64 {
        let notes = text_width(&self.notes, 12.0);
        match self.frame {
            Frame::File => notes.max(text_width(&self.title, 19.0)),
            Frame::Page => notes,
        }
    }

    fn height(&self) -> f64 {
        match (self.frame, self.notes.is_empty()) {
            (Frame::File, _) => HEADER,
            (Frame::Page, true) => 0.0,
            (Frame::Page, false) => 34.0,
        }
    }

    fn draw(&self, canvas: &mut Canvas, (width, height): (f64, f64), scale: f64) {
        let title = escaped(&self.title);
        // Narrower ones may shrink to fit, and can still be read; a wide one is looked at in parts.
        let class = match self.frame {
            Frame::Page if width > WIDE => "class=\"picture wide\" ",
            Frame::Page => "class=\"picture\" ",
            Frame::File => "",
        };
        canvas.raw(format_args!(
            "<svg {class}xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"{}\" role=\"img\" aria-label=\"{title}\">",
            style::FONT
        ));
        if self.frame == Frame::File {
            canvas.raw(format_args!("<title>{title}</title>"));
            canvas.raw(format_args!("<style>\n{}</style>", style::sheet()));
        }
        canvas.raw(format_args!("<defs>"));
        let names = Tone::ALL.map(Tone::as_str);
        for name in names.into_iter().chain([PAST]) {
            canvas.raw(format_args!(
                "<marker id=\"tip-{name}\" viewBox=\"0 0 10 10\" refX=\"8.5\" refY=\"5\" \
                 markerWidth=\"10\" markerHeight=\"10\" markerUnits=\"userSpaceOnUse\" \
                 orient=\"auto\"><path class=\"fill-{name}\" d=\"M0,1L9.5,5L0,9z\"/></marker>"
            ));
        }
        canvas.raw(format_args!("</defs>"));
        canvas.raw(format_args!(
            "<rect class=\"bg\" width=\"100%\" height=\"100%\"/>"
        ));
        canvas.raw(format_args!("<g transform=\"scale({scale:.2})\">"));
        match self.frame {
            Frame::File => {
                canvas.text("h", 24.0, 38.0, "start", &self.title);
                canvas.text("s", 24.0, 59.0, "start", &self.notes);
            }
            Frame::Page if !self.notes.is_empty() => {
                canvas.text("s", 24.0, 24.0, "start", &self.notes);
            }
            Frame::Page => {}
        }
        canvas.raw(format_args!("</g>"));
    }
}

fn nothing(canvas: &mut Canvas, graph: &Graph, (width, top): (f64, f64)) {
    for (index, line) in words::nothing(graph).iter().enumerate() {
        let class = if index == 0 { "n" } else { "s" };
        let y = top + 44.0 + index as f64 * 26.0;
        canvas.text(class, width / 2.0, y, "middle", line);
    }
}

fn draw(canvas: &mut Canvas, graph: &Graph, layout: &Layout) {
    let placed = || {
        let places = graph.nodes.iter().zip(&layout.nodes);
        places.filter_map(|(node, place)| Some((node, (*place)?)))
    };
    for (node, place) in placed().filter(|(node, _)| node.box_kind.is_some()) {
        draw_box(canvas, graph, node, place);
    }
    // Bytes and requests do not compare.
    let largest = |protocol| {
        let alike = graph.edges.iter().filter(|edge| edge.protocol == protocol);
        let rates = alike.map(|edge| edge.traffic.rates.total);
        rates.fold(0.0, f64::max)
    };
    let largest = Protocol::ALL.map(|protocol| (protocol, largest(protocol)));
    let all_labels = !layout::is_large(graph);
    // Labels go over all lines, so that none is crossed out.
    let mut labels = Canvas(String::new());
    for (edge, route) in graph.edges.iter().zip(&layout.edges) {
        let line = draw_line(graph, layout, edge, &route.points, &largest);
        let id = short_edge_id(graph, edge);
        let details = escaped(&words::edge_details(graph, edge));
        canvas.raw(format_args!(
            "<g id=\"e-{id}\"><title>{details}</title>{line}</g>"
        ));
        let troubled = words::errors(edge).is_some() || words::is_bypass(graph, edge);
        if all_labels || troubled {
            draw_label(&mut labels, graph, edge, route.label, &details, &id);
        }
    }
    for (node, place) in placed() {
        if node.box_kind.is_some() {
            draw_tab(canvas, graph, node, place);
        } else {
            draw_node(canvas, graph, node, place);
        }
    }
    canvas.0.push_str(&labels.0);
}
