//! Where nodes and edges are: layered, from left to right, the same for the same structure.
//!
//! The layout depends on names and edges, never on rates, so a refresh moves nothing; it is remembered
//! by structure, so a refresh costs nothing either. Small graphs are laid out by `dagre`, whose time
//! grows faster than the graph; large ones by `layers`, plainer and instant.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use dagre::graph::{Graph as Dagre, GraphOptions};
use dagre::layout::types::LabelPos;
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir};

use super::words;
use crate::graph::model::{Graph, NodeType};

/// A point, in pixels, y downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A rectangle by its centre.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    /// A box around others, with room for its name above them.
    fn around(inside: &[Rect]) -> Option<Rect> {
        const PADDING: f64 = 16.0;
        const ABOVE: f64 = 26.0;
        let first = inside.first()?;
        let mut ends = (first.left(), first.top(), first.right(), first.bottom());
        for rect in inside {
            ends.0 = ends.0.min(rect.left());
            ends.1 = ends.1.min(rect.top());
            ends.2 = ends.2.max(rect.right());
            ends.3 = ends.3.max(rect.bottom());
        }
        let (left, top) = (ends.0 - PADDING, ends.1 - ABOVE);
        let (right, bottom) = (ends.2 + PADDING, ends.3 + PADDING);
        Some(Rect {
            x: (left + right) / 2.0,
            y: (top + bottom) / 2.0,
            width: right - left,
            height: bottom - top,
        })
    }

    pub(super) fn left(&self) -> f64 {
        self.x - self.width / 2.0
    }

    pub(super) fn right(&self) -> f64 {
        self.x + self.width / 2.0
    }

    pub(super) fn top(&self) -> f64 {
        self.y - self.height / 2.0
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height / 2.0
    }
}

/// The way of an edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Route {
    pub(super) points: Vec<Point>,
    /// Centre of the label.
    pub(super) label: Point,
}

/// The places of a graph's nodes and edges, by their indices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// A large graph has no boxes.
    pub(super) nodes: Vec<Option<Rect>>,
    pub(super) edges: Vec<Route>,
}

/// What the layout is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    /// Size in whole pixels, and the index of the box around.
    pub(super) nodes: Vec<(u32, u32, Option<usize>)>,
    pub(super) is_box: Vec<bool>,
    pub(super) edges: Vec<(usize, usize)>,
    keys: Vec<String>,
}

/// Space of an edge's label.
pub(super) const LABEL: (f64, f64) = (132.0, 38.0);
/// Height of a card.
pub(super) const CARD_HEIGHT: f64 = 50.0;
/// Half of a service's diamond.
pub(super) const DIAMOND: f64 = 21.0;
/// Longest name shown in full, in characters.
pub(super) const LONGEST: usize = 30;

/// Layouts that are remembered.
const REMEMBERED: usize = 32;
/// Beyond these `dagre` takes longer than anybody waits.
const MOST_NODES: usize = 120;
const MOST_EDGES: usize = 220;

/// Layouts by structure, the latest used last. One for the process: a layout is a pure function of
/// its structure, whoever asks.
#[derive(Debug, Default)]
struct Memory(VecDeque<(Structure, Arc<Layout>)>);

static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

/// Whether a graph is too large for the careful layout, its boxes and all of its labels.
pub(super) fn is_large(graph: &Graph) -> bool {
    graph.nodes.len() > MOST_NODES || graph.edges.len() > MOST_EDGES
}

/// The layout of a graph, computed once per structure.
pub(super) fn of(graph: &Graph) -> Arc<Layout> {
    let structure = Structure::of(graph);
    let memory = || MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = memory().recall(&structure) {
        return known;
    }
    // Without the lock: others have graphs to draw, too.
    let new = Arc::new(structure.lay_out());
    memory().keep(structure, Arc::clone(&new));
    new
}

impl Memory {
    fn recall(&mut self, structure: &Structure) -> Option<Arc<Layout>> {
        let place = self.0.iter().position(|(known, _)| known == structure)?;
        let found = self.0.remove(place)?;
        let layout = Arc::clone(&found.1);
        self.0.push_back(found);
        Some(layout)
    }

    fn keep(&mut self, structure: Structure, layout: Arc<Layout>) {
        self.0.push_back((structure, layout));
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }
}

impl Structure {
    fn of(graph: &Graph) -> Structure {
        let size = |node| {
            let (name, below) = words::node(graph, node);
            let wide = text_width(&shortened(&name), 13.0) + 4.0;
            let below = text_width(&shortened(&below), 11.0);
            match node.node_type {
                NodeType::Service => {
                    let width = wide.max(below).max(2.0 * DIAMOND) + 8.0;
                    (width, 2.0 * DIAMOND + 2.0 * 32.0)
                }
                _ => (wide.max(below).max(64.0) + 36.0, CARD_HEIGHT),
            }
        };
        Structure {
            nodes: graph
                .nodes
                .iter()
                .map(|node| {
                    let (width, height) = size(node);
                    (width.ceil() as u32, height as u32, node.parent)
                })
                .collect(),
            is_box: graph.nodes.iter().map(|n| n.box_kind.is_some()).collect(),
            edges: graph.edges.iter().map(|e| (e.source, e.target)).collect(),
            keys: graph.nodes.iter().map(|node| node.key.clone()).collect(),
        }
    }

    fn lay_out(&self) -> Layout {
        if self.nodes.len() > MOST_NODES || self.edges.len() > MOST_EDGES {
            return super::layers::lay_out(self);
        }
        self.by_dagre()
            .unwrap_or_else(|| super::layers::lay_out(self))
    }

    fn by_dagre(&self) -> Option<Layout> {
        let mut graph: Dagre<NodeLabel, EdgeLabel> = Dagre::with_options(GraphOptions {
            directed: true,
            multigraph: true,
            compound: true,
        });
        let name = |index: usize| index.to_string();
        for (index, &(width, height, _)) in self.nodes.iter().enumerate() {
            let mut label = NodeLabel::default();
            if !self.is_box[index] {
                label.width = f64::from(width);
                label.height = f64::from(height);
            }
            graph.set_node(name(index), Some(label));
        }
        for (index, &(_, _, parent)) in self.nodes.iter().enumerate() {
            if let Some(parent) = parent {
                graph.set_parent(&name(index), Some(&name(parent)));
            }
        }
        for (index, &(source, target)) in self.edges.iter().enumerate() {
            let label = EdgeLabel {
                width: LABEL.0,
                height: LABEL.1,
                labelpos: LabelPos::Center,
                ..EdgeLabel::default()
            };
            graph.set_edge(name(source), name(target), Some(label), Some(&name(index)));
        }
        dagre::layout(
            &mut graph,
            Some(LayoutOptions {
                rankdir: RankDir::LR,
                nodesep: 34.0,
                edgesep: 22.0,
                ranksep: 46.0,
                marginx: 24.0,
                marginy: 24.0,
                ..LayoutOptions::default()
            }),
        );
        let mut layout = Layout::default();
        for index in 0..self.nodes.len() {
            let placed = graph.node(&name(index))?;
            layout.nodes.push(Some(Rect {
                x: placed.x?,
                y: placed.y?,
                width: placed.width,
                height: placed.height,
            }));
        }
        for (index, &(source, target)) in self.edges.iter().enumerate() {
            let routed = graph.edge(&name(source), &name(target), Some(&name(index)))?;
            let points: Vec<Point> = routed
                .points
                .iter()
                .map(|point| Point {
                    x: point.x,
                    y: point.y,
                })
                .collect();
            let middle = points.get(points.len() / 2).copied()?;
            layout.edges.push(Route {
                label: match (routed.x, routed.y) {
                    (Some(x), Some(y)) => Point { x, y },
                    _ => middle,
                },
                points,
            });
        }
        self.tighten(&mut layout);
        layout.fit();
        layout.is_sane().then_some(layout)
    }

    /// Draws the boxes close around what is in them, inner ones first.
    fn tighten(&self, layout: &mut Layout) {
        let depth = |index: usize| {
            let parent = |index: &usize| self.nodes[*index].2;
            std::iter::successors(Some(index), parent).count()
        };
        let mut boxes: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.is_box[*index])
            .collect();
        boxes.sort_by_key(|index| std::cmp::Reverse(depth(*index)));
        for index in boxes {
            let members = self.nodes.iter().zip(&layout.nodes);
            let inside: Vec<Rect> = members
                .filter(|((_, _, parent), _)| *parent == Some(index))
                .filter_map(|(_, place)| *place)
                .collect();
            layout.nodes[index] = Rect::around(&inside);
        }
    }
}

impl Layout {
    /// Sets width and height to hold everything.
    pub(super) fn fit(&mut self) {
        let rects = self.nodes.iter().flatten();
        let corners = rects.map(|rect| (rect.right(), rect.bottom()));
        let points = self.edges.iter().flat_map(|edge| &edge.points);
        let points = points.map(|point| (point.x, point.y));
        let labels = self.edges.iter().map(|edge| {
            let label = edge.label;
            (label.x + LABEL.0 / 2.0, label.y + LABEL.1 / 2.0)
        });
        let (mut width, mut height) = (0.0_f64, 0.0_f64);
        for (x, y) in corners.chain(points).chain(labels) {
            width = width.max(x);
            height = height.max(y);
        }
        self.width = width + 24.0;
        self.height = height + 24.0;
    }

    fn is_sane(&self) -> bool {
        let rects = self.nodes.iter().flatten();
        let numbers = rects.flat_map(|rect| [rect.x, rect.y, rect.width, rect.height]);
        let points = self.edges.iter().flat_map(|edge| &edge.points);
        let points = points.flat_map(|point| [point.x, point.y]);
        numbers.chain(points).all(f64::is_finite)
            && self.edges.iter().all(|edge| edge.points.len() >= 2)
    }
}

/// A name cut to what a card holds.
pub(super) fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    let kept: String = name.chars().take(LONGEST - 1).collect();
    format!("{kept}…")
}

/// About how wide a sans-serif text is, rather too wide: there is no font here to ask.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | '\'' | '|' | '·' => 0.36,
            'f' | 't' | 'r' | 'I' | '-' | '/' | ' ' | '(' | ')' => 0.43,
            'm' | 'w' | 'M' | 'W' | '%' | '…' => 1.0,
            'A'..='Z' => 0.76,
            c if c.is_ascii() => 0.66,
            _ => 1.05,
        })
        .sum();
    ems * size
}
