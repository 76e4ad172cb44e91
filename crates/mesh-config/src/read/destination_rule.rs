//! `networking.istio.io` DestinationRule.

use std::collections::BTreeMap;

use super::Reader;
use crate::model::{DestinationRule, Subset};
use crate::rules;
use crate::yaml::Cursor;

impl Reader {
    pub(super) fn destination_rule(&mut self, spec: &Cursor<'_>) -> DestinationRule {
        if let Some(host) = spec.get("host") {
            self.check(
                &host,
                rules::wildcard_domain(host.node.as_str().unwrap_or_default()),
            );
            self.refers(&host);
        }
        let mut names = BTreeMap::new();
        let subsets = spec
            .each("subsets")
            .map(|subset| {
                let name = subset.text("name");
                if let Some(at) = subset.get("name") {
                    self.check(&at, rules::dns_label(name));
                    if let Some(first) = names.insert(name, at.path()) {
                        let message =
                            format!("{name} is the name of {first} too; name it otherwise");
                        self.report.error(&at, message);
                    }
                }
                Subset {
                    name: name.to_owned(),
                    labels: self.labels(subset.get("labels").as_ref()),
                }
            })
            .collect();
        DestinationRule {
            host: spec.text("host").to_ascii_lowercase(),
            subsets,
        }
    }
}
