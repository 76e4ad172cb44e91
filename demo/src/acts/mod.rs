//! The play in four acts: what is configured, what real requests then show, and why.
//!
//! [`count`] sends the requests, [`graph`] reads the service graph, [`prometheus`] asks what was scraped,
//! [`verdict`] says whether the counts are what they must be, [`report`] tells it. The acts themselves are here.

pub(crate) mod count;
pub(crate) mod graph;
mod prometheus;
pub(crate) mod report;
pub(crate) mod verdict;

use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;

use self::count::{Clients, Counts, sample};
use self::graph::{Graph, Seen};
use self::prometheus::Shares;
use self::report::{Play, Report};
use crate::client::Client;
use crate::fleet::parts::{API, GATEWAY, LOADBALANCER, PROMETHEUS};
use crate::fleet::ready::poll;
use crate::fleet::site::Site;
use crate::say::Say;
use crate::scenario;

/// The load balancer's sample: 200 requests.
const STRAIGHT: Clients = Clients {
    kept_alive: 4,
    requests_each: 40,
    fresh: 40,
};
/// The shut gateway's: 20 requests.
const KNOCKS: Clients = Clients {
    kept_alive: 2,
    requests_each: 5,
    fresh: 10,
};
/// The open gateway's: 1,000 requests.
const EDGE: Clients = Clients {
    kept_alive: 8,
    requests_each: 100,
    fresh: 200,
};

/// Requests by which a round robin may be off, for those of others that come between.
const ROUND_ROBIN_TOLERANCE: u32 = 2;
/// Requests of 1,000 by which the weights may be off.
const WEIGHT_TOLERANCE: u32 = 10;
/// Percent by which the graph's shares may be off.
const SHARE_TOLERANCE: f64 = 2.0;

/// How long the graph may take to show what has happened; proxies report every second.
const GRAPH_PATIENCE: Duration = Duration::from_secs(30);
/// How long Prometheus may take to find the gateway and scrape it.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a configuration may take to reach the gateway.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

const GRAPH_QUERY: &str =
    "/api/namespaces/graph?namespaces=default&graphType=versionedApp&duration=60s";

/// Plays all acts, telling each as it ends. The first failed one ends the play: the later ones stand on it.
pub(crate) async fn play(site: &Site, say: Say) -> Play {
    let mut acts = Vec::new();
    for number in 1..=4 {
        let played = async {
            match number {
                1 => act_1(site).await,
                2 => act_2(site).await,
                3 => act_3(site).await,
                _ => act_4(site).await,
            }
        };
        let report = tokio::select! {
            report = played => report,
            death = site.first_death() => Report::interrupted(number, &death),
        };
        let report = report.with_logs(&site.logs).await;
        say.line(&report);
        let passed = report.passed;
        acts.push(report);
        if !passed {
            break;
        }
    }
    Play::of(acts)
}

async fn act_1(site: &Site) -> Report {
    let report = Report::new(
        1,
        "Past the mesh",
        "200 requests to the load balancer, answered by both versions in turn: 100 each, give or take 2",
        "The load balancer knows both workloads behind the Service and sends each of them every second request. \
         No proxy of the mesh chooses, and nothing asks for anything else.",
    )
    .reads(&[LOADBALANCER, "webapp-original", "webapp-experimental"]);
    let report = match apply(site, scenario::SERVICE).await {
        Ok(applied) => report.configured(
            "the fleet's WorkloadGroups and Services (workloads.yaml)",
            "1-workloads-and-service.yaml",
            &applied,
        ),
        Err(error) => return report.failed(error),
    };
    let counts = sample(&site.loadbalancer, STRAIGHT).await;
    let verdict = verdict::half_and_half(&counts, ROUND_ROBIN_TOLERANCE);
    report.observed(&counts).judged(verdict)
}

async fn act_2(site: &Site) -> Report {
    let report = Report::new(
        2,
        "The classic mistake",
        "weights 90 and 10 are configured, and still 100 of 200 requests to the load balancer reach each version; \
         the graph shows both versions called from outside the mesh, and no gateway",
        "Weights are applied by the proxy that sends a request. These requests came from a client and a load \
         balancer outside the mesh straight to the apps, so there was no such proxy.",
    )
    .reads(&[API, LOADBALANCER, "webapp-original-agent"]);
    let report = match apply(site, scenario::WEIGHTS).await {
        Ok(applied) => report.configured(
            "everything of act 1",
            "2-virtualservice-destinationrule.yaml",
            &applied,
        ),
        Err(error) => return report.failed(error),
    };
    let counts = sample(&site.loadbalancer, STRAIGHT).await;
    let report = report.observed(&counts);
    if let Err(error) = verdict::half_and_half(&counts, ROUND_ROBIN_TOLERANCE) {
        return report.judged(Err(error));
    }
    let (graph, verdict) = graph_until(site, Graph::shows_the_bypass).await;
    report.graph(&graph).judged(verdict)
}

async fn act_3(site: &Site) -> Report {
    let counts = sample(&site.gateway, KNOCKS).await;
    let verdict = verdict::nobody_let_in(&counts, site.forwarded);
    Report::new(
        3,
        "The shut door",
        "requests to the gateway's own address are refused, or answered 404",
        "The gateway runs, and the VirtualService names it, but no Gateway resource opens a port of it. Without \
         one it does not even listen: the edge lets nothing in that nobody has asked for.",
    )
    .reads(&[GATEWAY])
    .unchanged()
    .observed(&counts)
    .judged(verdict)
}

async fn act_4(site: &Site) -> Report {
    let report = Report::new(
        4,
        "Through the gateway",
        "of 1,000 requests to the gateway 900 reach the original and 100 the experimental version, give or take \
         10; the graph shows the gateway with these shares, and mTLS on every edge between agents; if the fleet has \
         a Prometheus, it has counted the same shares",
        "The gateway is a proxy of the mesh: the first one on a request's way, and so the one that applies the \
         weights, brings an identity for mTLS, and tells the graph.",
    )
    .reads(&[GATEWAY, API]);
    let report = match apply(site, scenario::GATEWAY).await {
        Ok(applied) => report.configured(
            "everything of act 2",
            "3-gateway-virtualservice-destinationrule.yaml",
            &applied,
        ),
        Err(error) => return report.failed(error),
    };
    if let Err(error) = gateway_answers(site).await {
        return report.failed(error);
    }
    let counts = sample(&site.gateway, EDGE).await;
    let report = report.observed(&counts);
    if let Err(error) = verdict::nine_to_one(&counts, WEIGHT_TOLERANCE) {
        return report.judged(Err(error));
    }
    let (graph, verdict) =
        graph_until(site, |graph| graph.shows_the_gateway(SHARE_TOLERANCE)).await;
    let report = report.graph(&graph);
    let Some(prometheus) = site.prometheus.as_ref().filter(|_| verdict.is_ok()) else {
        return report.judged(verdict);
    };
    let (shares, verdict) = prometheus_until(prometheus, &counts).await;
    let report = report.prometheus(shares).reads(&[PROMETHEUS]);
    report.judged(verdict)
}

/// What the config API did with a text.
#[derive(Debug, Deserialize)]
pub(crate) struct Applied {
    applied: Vec<Object>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Object {
    kind: String,
    name: String,
    action: String,
}

async fn apply(site: &Site, yaml: &str) -> Result<Applied, String> {
    let body = site
        .apply(yaml)
        .await
        .map_err(|error| format!("{error:#}"))?;
    serde_json::from_str(&body).map_err(|error| format!("the answer of /apply: {error}"))
}

async fn gateway_answers(site: &Site) -> Result<(), String> {
    let client = Client::fresh(Duration::from_secs(5));
    poll(OPEN_PATIENCE, Duration::from_millis(100), || async {
        match client.get(&site.gateway).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("the gateway answers {}", answer.status)),
            Err(lost) => Err(format!("the gateway does not answer: {lost}")),
        }
    })
    .await
}

/// Asks for the graph until it shows what it must. Returns the last one with the verdict.
async fn graph_until(
    site: &Site,
    shows: impl Fn(&Graph) -> Result<(), String>,
) -> (Vec<Seen>, Result<(), String>) {
    let last = Mutex::new(Vec::new());
    let verdict = poll(GRAPH_PATIENCE, Duration::from_millis(500), || async {
        let answer = site.ask(GRAPH_QUERY).await;
        let answer = answer.map_err(|lost| lost.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("{GRAPH_QUERY} answered {}", answer.status));
        }
        let graph = Graph::parse(&answer.body)?;
        if let Ok(mut last) = last.lock() {
            *last = graph.seen();
        }
        shows(&graph)
    })
    .await;
    let last = last.into_inner().unwrap_or_default();
    (last, verdict)
}

/// Asks Prometheus until it has scraped what was counted. Returns its last answer with the verdict.
async fn prometheus_until(url: &str, counts: &Counts) -> (Option<Shares>, Result<(), String>) {
    let client = Client::kept_alive(Duration::from_secs(10));
    let last = Mutex::new(None);
    let verdict = poll(SCRAPE_PATIENCE, Duration::from_millis(500), || async {
        let shares = prometheus::shares(&client, url).await?;
        if let Ok(mut last) = last.lock() {
            *last = Some(shares.clone());
        }
        shares.are_nine_to_one(counts.requests, SHARE_TOLERANCE)
    })
    .await;
    (last.into_inner().unwrap_or_default(), verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_are_as_large_as_the_acts_say() {
        assert_eq!(STRAIGHT.total(), 200);
        assert_eq!(EDGE.total(), 1000);
        assert_eq!(KNOCKS.total(), 20);
    }

    #[test]
    fn reads_what_the_config_api_answers() {
        let answer = r#"{"applied":[{"kind":"Service","namespace":"default","name":"fleetman-webapp",
            "action":"unchanged"}],"warnings":["Service fleetman-webapp: nodePort is not acted on"]}"#;
        let applied: Applied = serde_json::from_str(answer).unwrap();
        assert_eq!(applied.applied[0].action, "unchanged");
        assert_eq!(applied.warnings.len(), 1);
    }
}
