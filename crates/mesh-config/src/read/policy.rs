//! What policies have in common: the workloads that they are for.

use std::collections::BTreeMap;

use super::service_entry::texts;
use super::{Reader, is_set, text_map};
use crate::model::{Among, IpBlock, PolicyTarget, TargetReference, ValueMatch};
use crate::yaml::Cursor;

/// Kinds that a policy can be for, by their group.
const TARGETS: &[(&str, &str)] = &[
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

const MOST_TARGETS: usize = 16;
const MOST_LABELS: usize = 4096;

impl Reader {
    /// `selector`, `targetRef` and `targetRefs`, of which one may be set.
    pub(super) fn target(&mut self, spec: &Cursor<'_>) -> PolicyTarget {
        let set: Vec<&str> = ["selector", "targetRef", "targetRefs"]
            .into_iter()
            .filter(|field| is_set(spec, field))
            .collect();
        if set.len() > 1 {
            let message = format!("{} exclude one another; keep one", set.join(" and "));
            self.report.error(spec, message);
        }
        let one = spec.get("targetRef").into_iter();
        let references: Vec<TargetReference> = one
            .chain(spec.each("targetRefs"))
            .map(|reference| self.target_reference(&reference))
            .collect();
        self.at_most(spec, "targetRefs", MOST_TARGETS);
        if !references.is_empty() {
            return PolicyTarget::References(references);
        }
        let labels = self.selector(spec);
        if labels.is_empty() {
            PolicyTarget::Namespace
        } else {
            PolicyTarget::Workloads(labels)
        }
    }

    /// The labels of `selector`.
    pub(super) fn selector(&mut self, spec: &Cursor<'_>) -> BTreeMap<String, String> {
        let Some(selector) = spec.get("selector") else {
            return BTreeMap::new();
        };
        let labels = text_map(&selector, "matchLabels");
        if labels.is_empty() {
            let message = "the selector has no labels, so it chooses all workloads of the namespace; name some, or \
                           leave it out";
            self.report.warn(&selector, message);
        }
        if labels.len() > MOST_LABELS {
            let message = format!("more than {MOST_LABELS} labels; shorten the list");
            self.report.error(&selector, message);
        }
        labels
    }

    fn target_reference(&mut self, reference: &Cursor<'_>) -> TargetReference {
        let (group, kind) = (reference.text("group"), reference.text("kind"));
        if !TARGETS.contains(&(group, kind)) {
            let message = format!(
                "a policy cannot be for {kind} of {}; it can be for Service of core, ServiceEntry of \
                 networking.istio.io, Gateway and GatewayClass of gateway.networking.k8s.io",
                if group.is_empty() { "core" } else { group }
            );
            self.report.error(reference, message);
        }
        let name = reference.text("name");
        if name.is_empty() {
            self.report
                .missing(reference, "name", "the name is empty; name the object");
        }
        if let Some(namespace) = reference
            .get("namespace")
            .filter(|namespace| namespace.node.as_str() != Some(""))
        {
            let message = "a policy is for objects of its own namespace; leave this out";
            self.report.error(&namespace, message);
        }
        TargetReference {
            group: group.strip_prefix("core").unwrap_or(group).to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Reports a list that is too long.
    pub(super) fn at_most(&mut self, map: &Cursor<'_>, field: &str, most: usize) {
        if let Some(list) = map.get(field)
            && list.items().count() > most
        {
            let message = format!("more than {most} entries; shorten the list");
            self.report.error(&list, message);
        }
    }
}

/// The texts of two lists, `field` and its negation.
pub(super) fn among<T>(
    map: &Cursor<'_>,
    field: &str,
    negation: &str,
    each: impl Fn(&str) -> Option<T>,
) -> Among<T> {
    let read = |key: &str| {
        let texts = texts(map, key);
        texts.iter().filter_map(|text| each(text)).collect()
    };
    Among {
        any_of: read(field),
        none_of: read(negation),
    }
}

/// As [`among`], for texts with `*`.
pub(super) fn values(map: &Cursor<'_>, field: &str, negation: &str) -> Among<ValueMatch> {
    among(map, field, negation, |text| Some(ValueMatch::parse(text)))
}

/// As [`among`], for addresses.
pub(super) fn blocks(map: &Cursor<'_>, field: &str, negation: &str) -> Among<IpBlock> {
    among(map, field, negation, IpBlock::parse)
}
