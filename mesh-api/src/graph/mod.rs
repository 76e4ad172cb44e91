//! The service graph: what the proxies report, as Kiali would show it.
//!
//! ```text
//! EdgeDelta → window (one hour of deltas) → promql (the queries that Kiali would send)
//!           → engine (nodes and edges) → kiali (JSON) | render (SVG, DOT, Mermaid)
//! ```
//!
//! [`Window`] takes what proxies report; [`query`] builds the [`Graph`] that a [`GraphQuery`] asks for.
//! The engine does not care who answers its queries: read [`engine`] next.

pub mod engine;
pub mod kiali;
pub mod labels;
pub mod model;
pub mod params;
pub mod promql;
pub mod render;
pub mod traffic;
pub mod window;

use engine::{Answer, build, questions};
pub use model::{Annotations, Graph, LastReport, ServiceNotes};
pub use params::{GraphQuery, GraphType, NodeScope, ParamError, Scope};
pub use window::Window;

/// The graph of what was reported to the window.
#[must_use]
pub fn query(window: &Window, query: &GraphQuery, annotations: &Annotations) -> Graph {
    let view = window.view(query.duration, query.query_time);
    let answers: Vec<Answer> = questions(query)
        .into_iter()
        .map(|question| {
            let samples = view.answer(&question.query);
            Answer { question, samples }
        })
        .collect();
    Graph {
        last_report: window.last_report(),
        ..build(query, &answers, annotations)
    }
}
