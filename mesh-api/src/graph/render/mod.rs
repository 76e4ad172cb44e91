//! The graph as pictures: SVG for people, DOT and Mermaid for other tools, and a table for who reads.
//!
//! `words` says what is written on nodes and edges, `layout` where they are, `svg`, `dot`,
//! `mermaid` and `table` put it down. None of them runs scripts or loads anything, and every name is escaped.

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
mod table;
mod words;

pub use dot::dot;
pub use mermaid::mermaid;
pub use style::page_sheet;
pub(crate) use svg::escaped;
pub use svg::{inline_svg, svg};
pub use table::table;
pub use words::{summary, title};

#[cfg(test)]
mod tests;
