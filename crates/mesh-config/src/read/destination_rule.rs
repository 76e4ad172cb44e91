//! `networking.istio.io` DestinationRule.

use super::{Reader, text_map, texts};
use crate::model::{DestinationRule, Subset, TrafficPolicy};
use crate::rules;
use crate::yaml::Cursor;

impl Reader {
    pub(super) fn destination_rule(&mut self, spec: &Cursor<'_>) -> DestinationRule {
        if let Some(host) = spec.get("host") {
            let text = host.node.as_str().unwrap_or_default();
            self.check(&host, rules::wildcard_domain(text));
        }
        self.unique(spec.each("subsets"), "name");
        self.export_to(spec);
        let policy = self.policy_of(spec);
        let subsets = spec
            .each("subsets")
            .map(|subset| Subset {
                policy: self.policy_of(&subset),
                name: subset.text("name").to_owned(),
                labels: text_map(&subset, "labels"),
            })
            .collect();
        DestinationRule {
            host: spec.text("host").to_ascii_lowercase(),
            subsets,
            policy,
            export_to: texts(spec, "exportTo"),
            workload_selector: spec
                .get("workloadSelector")
                .map(|selector| text_map(&selector, "matchLabels")),
        }
    }

    fn policy_of(&mut self, of: &Cursor<'_>) -> TrafficPolicy {
        of.get("trafficPolicy")
            .map(|policy| self.traffic_policy(&policy))
            .unwrap_or_default()
    }
}
