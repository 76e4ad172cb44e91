//! `networking.istio.io` DestinationRule.

use super::{Reader, text_map};
use crate::model::{DestinationRule, Subset};
use crate::rules;
use crate::yaml::Cursor;

impl Reader {
    pub(super) fn destination_rule(&mut self, spec: &Cursor<'_>) -> DestinationRule {
        if let Some(host) = spec.get("host") {
            let text = host.node.as_str().unwrap_or_default();
            self.check(&host, rules::wildcard_domain(text));
            self.refers(&host);
        }
        self.unique(spec.each("subsets"), "name");
        self.export_to(spec);
        if let Some(policy) = spec.get("trafficPolicy") {
            self.traffic_policy(&policy);
        }
        let subsets = spec
            .each("subsets")
            .map(|subset| {
                if let Some(policy) = subset.get("trafficPolicy") {
                    self.traffic_policy(&policy);
                }
                Subset {
                    name: subset.text("name").to_owned(),
                    labels: text_map(&subset, "labels"),
                }
            })
            .collect();
        DestinationRule {
            host: spec.text("host").to_ascii_lowercase(),
            subsets,
        }
    }
}
