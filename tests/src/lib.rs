//! The whole mesh under test.
//!
//! [`Fleet`] starts the demo's fleet as real processes on loopback, as a newcomer would, and
//! [`compose::Project`] has fleets in containers; [`Mesh`] is a mesh of a test's own, with [`echo::App`]s that say what they
//! saw and [`Door`]s to come in by; [`load::Load`] keeps requests coming while a test does something
//! to them; [`papers`] are certificates as users make them; [`tool`] runs the programs that others wrote and that judge us: curl, openssl, promtool, Prometheus;
//! [`browser::Browser`] is a real browser; [`Started`] is a program that ends with its test. Each file in `tests/` holds the mesh to one promise.

pub mod browser;
pub mod compose;
mod door;
pub mod echo;
pub mod fleet;
pub mod load;
pub mod mesh;
pub mod papers;
pub mod session;
mod started;
pub mod tool;

pub use door::{Answer, Door};
pub use fleet::Fleet;
pub use mesh::{Mesh, Workload};
pub use started::Started;

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The title of the original webapp's page.
pub const ORIGINAL: &str = "Fleet Management (original)";
/// The title of the experimental webapp's page.
pub const EXPERIMENTAL: &str = "Fleet Management (experimental)";

/// The article's manifests, unchanged, in the order of the acts.
pub const SCENARIO: [&str; 3] = [
    include_str!("../../demo/scenario/1-workloads-and-service.yaml"),
    include_str!("../../demo/scenario/2-virtualservice-destinationrule.yaml"),
    include_str!("../../demo/scenario/3-gateway-virtualservice-destinationrule.yaml"),
];

/// Asks until the answer is there, and returns it.
///
/// # Panics
///
/// When it has not come within `limit`: with `what`, and the last reason.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = anyhow::Result<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        // Who never answers is out of time too.
        let asked = tokio::time::timeout(limit, ask()).await;
        match asked.unwrap_or_else(|_| Err(anyhow::anyhow!("there is no answer"))) {
            Ok(answer) => return answer,
            Err(reason) if Instant::now() >= deadline => {
                panic!("{what}: not within {limit:?}: {reason:#}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What stands in a page's `<title>`.
#[must_use]
pub fn title(page: &str) -> Option<&str> {
    page.split_once("<title>")?
        .1
        .split_once("</title>")
        .map(|(title, _)| title)
}

/// The edges of a graph in Kiali's JSON: source node, edge, target node.
///
/// # Panics
///
/// When an edge's end is not in the graph.
pub fn edges(graph: &Value) -> impl Iterator<Item = (&Value, &Value, &Value)> {
    let list = |kind: &str| {
        let all = graph["elements"][kind].as_array();
        all.into_iter().flatten().map(|one| &one["data"])
    };
    let node = move |id: &Value| {
        list("nodes")
            .find(|node| node["id"] == *id)
            .expect("an edge's ends are in the graph")
    };
    list("edges").map(move |edge| (node(&edge["source"]), edge, node(&edge["target"])))
}
