//! What the fleet's Prometheus has counted: how the gateway's requests were split over the versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::role::Version;
use crate::client::Client;

/// Istio's metric and labels, as its boards ask for them. Not a rate: the first scrape that sees a series is no
/// rise to Prometheus, and that scrape may have all of the act's requests.
const QUERY: &str = r#"sum by (destination_version) (istio_requests_total{reporter="source",source_workload="istio-ingressgateway",destination_app="webapp"})"#;

/// Requests of the gateway by the version that answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Shares {
    query: &'static str,
    requests: BTreeMap<String, f64>,
}

/// Prometheus' answer to the query, now.
pub(crate) async fn shares(client: &Client, url: &str) -> Result<Shares, String> {
    let url = format!("{url}/api/v1/query?query={}", encoded(QUERY));
    let answer = client.get(&url).await;
    let answer = answer.map_err(|lost| format!("Prometheus: {lost}"))?;
    if !answer.status.is_success() {
        return Err(format!("Prometheus answers {}", answer.status));
    }
    Shares::parse(&answer.body)
}

impl Shares {
    fn parse(json: &str) -> Result<Self, String> {
        let answer: Answer = serde_json::from_str(json)
            .map_err(|error| format!("Prometheus is not understood: {error}"))?;
        let mut requests = BTreeMap::new();
        for Sample { metric, value } in answer.data.result {
            let count = value
                .1
                .parse::<f64>()
                .map_err(|_| format!("{:?} is no number of requests", value.1))?;
            requests.insert(metric.destination_version, count);
        }
        Ok(Self {
            query: QUERY,
            requests,
        })
    }

    /// Whether at least so many requests were counted, nine of ten of them at the original version.
    pub(crate) fn are_nine_to_one(&self, requests: u32, tolerance: f64) -> Result<(), String> {
        // From plus nothing: the sum of no numbers is minus nothing.
        let total = self.requests.values().fold(0.0, |sum, count| sum + count);
        if total < f64::from(requests) {
            return Err(format!(
                "Prometheus has counted {total} requests of the gateway, not {requests}"
            ));
        }
        for (version, expected) in [(Version::Original, 90.0), (Version::Experimental, 10.0)] {
            let count = self.requests.get(version.name()).copied();
            let share = count.unwrap_or_default() / total * 100.0;
            if (share - expected).abs() > tolerance {
                return Err(format!(
                    "Prometheus has {share:.1} % of the gateway's requests at the {version} version, not {expected} %"
                ));
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.requests.is_empty() {
            return f.write_str("no request of the gateway");
        }
        let total: f64 = self.requests.values().sum();
        for (number, (version, count)) in self.requests.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(
                f,
                "{comma}{count} x {version} ({:.1} %)",
                count / total * 100.0
            )?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: Labels,
    /// Seconds since 1970, and the number as text.
    value: (f64, String),
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    destination_version: String,
}

/// The text as part of a URL's query (RFC 3986, 2.1).
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(original: &str, experimental: &str) -> Shares {
        let sample = |version: &str, count: &str| serde_json::json!({"metric": {"destination_version": version}, "value": [1.5, count]});
        let result = [
            sample("original", original),
            sample("experimental", experimental),
        ];
        let data = serde_json::json!({"resultType": "vector", "result": result});
        Shares::parse(&serde_json::json!({"status": "success", "data": data}).to_string()).unwrap()
    }

    #[test]
    fn nine_to_one_is_told_from_other_splits_and_from_too_few() {
        assert_eq!(shares("901", "100").are_nine_to_one(1000, 2.0), Ok(()));
        let few = shares("90", "10").are_nine_to_one(1000, 2.0).unwrap_err();
        assert!(few.contains("not 1000"), "{few}");
        let half = shares("500", "500").are_nine_to_one(1000, 2.0).unwrap_err();
        assert!(half.contains("50.0 %"), "{half}");
        let none = Shares::parse(r#"{"data": {"result": []}}"#).unwrap();
        assert!(none.are_nine_to_one(1000, 2.0).is_err());
        assert!(Shares::parse("[]").is_err());
    }

    #[test]
    fn shares_are_shown_in_words() {
        assert_eq!(
            shares("900", "100").to_string(),
            "100 x experimental (10.0 %); 900 x original (90.0 %)"
        );
    }

    #[test]
    fn a_query_survives_its_url() {
        assert_eq!(encoded(r#"a{b="c"}"#), "a%7Bb%3D%22c%22%7D");
    }
}
