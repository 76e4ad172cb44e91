//! The service graph as the config API tells it, in Kiali's JSON shape, and what the acts look for in it.

use serde::{Deserialize, Serialize};

use crate::app::role::{Role, Version};

/// The graph of one namespace and one window.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Graph {
    elements: Elements,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Elements {
    nodes: Vec<Data<Node>>,
    edges: Vec<Data<Edge>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    id: String,
    node_type: String,
    workload: String,
    app: String,
    version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Edge {
    source: String,
    target: String,
    #[serde(default, rename = "isMTLS")]
    is_mtls: String,
    #[serde(default)]
    traffic: Traffic,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Traffic {
    rates: Rates,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rates {
    http: String,
    http_percent_req: String,
    http_percent_err: String,
}

/// An edge as a report shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    from: String,
    to: String,
    /// Requests a second.
    #[serde(skip_serializing_if = "String::is_empty")]
    rate: String,
    /// Percent of what the source sends.
    #[serde(skip_serializing_if = "String::is_empty")]
    share: String,
    /// Percent over mutual TLS, absent for none.
    #[serde(rename = "isMTLS", skip_serializing_if = "String::is_empty")]
    is_mtls: String,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lock = if self.is_mtls.is_empty() {
            "plain text".to_owned()
        } else {
            format!("mTLS {} %", self.is_mtls)
        };
        let share = format!("{} %", self.share);
        write!(f, "{:<25} -> {:<20} {share:>8}  {lock}", self.from, self.to)
    }
}

/// Who sends the webapp its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Unknown,
    Gateway,
}

impl Sender {
    fn is(self, node: &Node) -> bool {
        match self {
            Self::Unknown => node.node_type == "unknown",
            Self::Gateway => [&node.workload, &node.app]
                .into_iter()
                .any(|name| name == "istio-ingressgateway"),
        }
    }
}

impl Graph {
    /// Reads Kiali's JSON.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("the graph is not understood: {error}"))
    }

    /// All edges, for people.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.edges()
            .map(|(source, edge, target)| Seen {
                from: name(source),
                to: name(target),
                rate: edge.traffic.rates.http.clone(),
                share: edge.traffic.rates.http_percent_req.clone(),
                is_mtls: edge.is_mtls.clone(),
            })
            .collect()
    }

    /// Act 2: traffic from nowhere in the mesh to both versions, in plain text, and no gateway.
    pub(crate) fn shows_the_bypass(&self) -> Result<(), String> {
        for version in [Version::Original, Version::Experimental] {
            let edge = self.edge_to_webapp(Sender::Unknown, version)?;
            if !edge.is_mtls.is_empty() {
                return Err(format!(
                    "the edge from the unknown source to {version} claims mTLS"
                ));
            }
        }
        if self.nodes().any(|node| Sender::Gateway.is(node)) {
            return Err("the graph has a gateway, which no request can have passed yet".to_owned());
        }
        Ok(())
    }

    /// Act 4: the gateway with its shares, and a closed padlock on every edge between agents.
    pub(crate) fn shows_the_gateway(&self, tolerance: f64) -> Result<(), String> {
        for (version, expected) in [(Version::Original, 90.0), (Version::Experimental, 10.0)] {
            let edge = self.edge_to_webapp(Sender::Gateway, version)?;
            let share = &edge.traffic.rates.http_percent_req;
            let off = share
                .parse::<f64>()
                .map_or(f64::INFINITY, |share| (share - expected).abs());
            if off > tolerance {
                return Err(format!(
                    "the gateway's edge to {version} has a share of {share:?} %, not {expected} %"
                ));
            }
        }
        for (source, edge, target) in self.edges() {
            if !Sender::Unknown.is(source) && edge.is_mtls != "100" {
                return Err(format!(
                    "the edge from {} to {} is {:?} % mTLS, not 100",
                    name(source),
                    name(target),
                    edge.is_mtls
                ));
            }
            let failed = edge.traffic.rates.http_percent_err.parse::<f64>();
            if Sender::Gateway.is(source) && failed.is_ok_and(|percent| percent > 0.0) {
                return Err(format!(
                    "{} % of the gateway's requests to {} failed",
                    edge.traffic.rates.http_percent_err,
                    name(target)
                ));
            }
        }
        for role in [Role::ApiGateway, Role::PositionTracker] {
            if !self.edges().any(|(_, _, target)| target.app == role.name()) {
                return Err(format!("no edge to {} yet", role.name()));
            }
        }
        Ok(())
    }

    fn edge_to_webapp(&self, sender: Sender, version: Version) -> Result<&Edge, String> {
        self.edges()
            .find(|(source, _, target)| {
                sender.is(source)
                    && target.app == Role::Webapp.name()
                    && target.version == version.name()
            })
            .map(|(_, edge, _)| edge)
            .ok_or_else(|| {
                let from = match sender {
                    Sender::Unknown => "an unknown source",
                    Sender::Gateway => "the gateway",
                };
                format!("no edge from {from} to the webapp's {version} version")
            })
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.elements.nodes.iter().map(|node| &node.data)
    }

    fn edges(&self) -> impl Iterator<Item = (&Node, &Edge, &Node)> {
        self.elements.edges.iter().filter_map(|edge| {
            let node = |id: &str| self.nodes().find(|node| node.id == id);
            Some((
                node(&edge.data.source)?,
                &edge.data,
                node(&edge.data.target)?,
            ))
        })
    }
}

fn name(node: &Node) -> String {
    if Sender::Unknown.is(node) {
        return "outside the mesh".to_owned();
    }
    let own = [&node.workload, &node.app]
        .into_iter()
        .find(|name| !name.is_empty());
    own.unwrap_or(&node.id).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(id: &str, node_type: &str, app: &str, version: &str) -> Value {
        json!({"data": {"id": id, "nodeType": node_type, "cluster": "mesh", "namespace": "default",
            "workload": app, "app": app, "version": version, "healthData": null}})
    }

    fn edge(source: &str, target: &str, share: &str, mtls: Option<&str>) -> Value {
        let mut edge = json!({"id": "x", "source": source, "target": target,
            "traffic": {"protocol": "http", "rates": {"http": "1.00", "httpPercentReq": share}}});
        if let Some(mtls) = mtls {
            edge["isMTLS"] = mtls.into();
        }
        json!({ "data": edge })
    }

    fn graph(gateway: bool, edges: &[Value]) -> Graph {
        let mut nodes = vec![
            node("u", "unknown", "", ""),
            node("o", "app", "webapp", "original"),
            node("e", "app", "webapp", "experimental"),
            node("a", "app", "api-gateway", "latest"),
            node("p", "app", "position-tracker", "latest"),
            json!({"data": {"id": "box", "nodeType": "box", "cluster": "mesh", "namespace": "default",
                "app": "webapp", "isBox": "app"}}),
        ];
        if gateway {
            nodes.push(node("g", "app", "istio-ingressgateway", "latest"));
        }
        let json = json!({"timestamp": 1, "duration": 60, "graphType": "versionedApp",
            "elements": {"nodes": nodes, "edges": edges}});
        Graph::parse(&json.to_string()).unwrap()
    }

    #[test]
    fn the_bypass_needs_both_edges_in_plain_text_and_no_gateway() {
        let both = || vec![edge("u", "o", "50.0", None), edge("u", "e", "50.0", None)];
        assert_eq!(graph(false, &both()).shows_the_bypass(), Ok(()));
        let missing = graph(false, &both()[..1]).shows_the_bypass();
        assert!(missing.unwrap_err().contains("experimental"));
        assert!(graph(true, &both()).shows_the_bypass().is_err());
        let mut padlock = both();
        padlock[0] = edge("u", "o", "50.0", Some("100"));
        assert!(graph(false, &padlock).shows_the_bypass().is_err());
    }

    fn gateway_edges() -> Vec<Value> {
        vec![
            edge("u", "o", "50.0", None),
            edge("g", "o", "90.1", Some("100")),
            edge("g", "e", "9.9", Some("100")),
            edge("o", "a", "100.0", Some("100")),
            edge("a", "p", "33.3", Some("100")),
        ]
    }

    #[test]
    fn the_gateway_needs_its_shares_and_every_padlock() {
        assert_eq!(graph(true, &gateway_edges()).shows_the_gateway(2.0), Ok(()));

        let mut share = gateway_edges();
        share[1] = edge("g", "o", "50.0", Some("100"));
        let error = graph(true, &share).shows_the_gateway(2.0).unwrap_err();
        assert!(error.contains("original"), "{error}");

        let mut padlock = gateway_edges();
        padlock[3] = edge("o", "a", "100.0", None);
        let error = graph(true, &padlock).shows_the_gateway(2.0).unwrap_err();
        assert!(error.contains("api-gateway"), "{error}");

        let error = graph(false, &gateway_edges())
            .shows_the_gateway(2.0)
            .unwrap_err();
        assert!(error.contains("no edge from the gateway"), "{error}");
    }

    #[test]
    fn edges_are_shown_in_words() {
        let seen = graph(true, &gateway_edges()).seen();
        assert_eq!(
            seen[0].to_string(),
            "outside the mesh          -> webapp                 50.0 %  plain text"
        );
        assert_eq!(
            seen[1].to_string(),
            "istio-ingressgateway      -> webapp                 90.1 %  mTLS 100 %"
        );
        let json = serde_json::to_value(&seen[1]).unwrap();
        assert_eq!(json["isMTLS"], "100");
    }
}
