//! The graph as pictures: SVG for people, DOT and Mermaid for other tools.
//!
//! `words` says what is written on nodes and edges, `layout` where they are, `svg`, `dot` and
//! `mermaid` put it down. None of them runs scripts or loads anything, and every name is escaped.

mod busiest;
mod dot;
mod layers;
mod layout;
mod legend;
mod mermaid;
mod numbers;
mod path;
mod shapes;
mod style;
mod svg;
mod words;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;

#[cfg(test)]
mod tests;
