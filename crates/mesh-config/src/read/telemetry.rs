//! `telemetry.istio.io` Telemetry.

use super::Reader;
use crate::model::{AccessLogging, CustomTag, Metrics, MetricsOverride, Side, Telemetry, Tracing};
use crate::rules;
use crate::yaml::{Cursor, Value};

impl Reader {
    pub(super) fn telemetry(&mut self, spec: &Cursor<'_>) -> Telemetry {
        let mut metrics = Vec::new();
        for one in spec.each("metrics") {
            metrics.push(Metrics {
                providers: providers(&one),
                overrides: one
                    .each("overrides")
                    .map(|change| self.metrics_override(&change))
                    .collect(),
                reporting_interval: rules::length_of_time(one.text("reportingInterval")),
            });
        }
        Telemetry {
            target: self.target(spec),
            tracing: spec.each("tracing").map(|one| tracing(&one)).collect(),
            metrics,
            access_logging: spec
                .each("accessLogging")
                .map(|one| access_logging(&one))
                .collect(),
        }
    }

    fn metrics_override(&mut self, change: &Cursor<'_>) -> MetricsOverride {
        let matched = change.get("match");
        let metric = matched.as_ref().and_then(|matched| {
            let named = ["customMetric", "metric"].map(|field| matched.text(field));
            named
                .into_iter()
                .find(|name| !matches!(*name, "" | "ALL_METRICS"))
        });
        MetricsOverride {
            metric: metric.map(str::to_owned),
            side: matched.as_ref().map_or_else(Side::default, side),
            disabled: flag(change, "disabled"),
            tags: change
                .each_entry("tagOverrides")
                .map(|(entry, tag)| (entry.key.clone(), self.tag(&tag)))
                .collect(),
        }
    }

    /// The tag's new expression; nothing where it is removed.
    fn tag(&mut self, tag: &Cursor<'_>) -> Option<String> {
        let value = tag.text("value");
        if tag.text("operation") == "REMOVE" {
            if let Some(value) = tag.get("value") {
                let message = "a tag that is removed has no value; leave one of them out";
                self.report.error(&value, message);
            }
            return None;
        }
        if value.is_empty() {
            let message = "nothing says what the tag is; give an expression, or operation: REMOVE";
            self.report.missing(tag, "value", message);
        }
        Some(value.to_owned())
    }
}

fn tracing(one: &Cursor<'_>) -> Tracing {
    let percent = one.get("randomSamplingPercentage");
    Tracing {
        side: matched_side(one),
        providers: providers(one),
        sampled_per_million: percent.and_then(|percent| match &percent.node.value {
            Value::Number(number, _) => number.as_f64().map(per_million),
            _ => None,
        }),
        disabled: flag(one, "disableSpanReporting"),
        tags: one
            .each_entry("customTags")
            .map(|(entry, tag)| (entry.key.clone(), custom_tag(&tag)))
            .collect(),
        sample_by_request_id: flag(one, "useRequestIdForTraceSampling"),
        istio_tags: flag(one, "enableIstioTags"),
    }
}

/// A percentage from 0 to 100 as parts of a million.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the table has seen that it is 0 to 100"
)]
fn per_million(percent: f64) -> u32 {
    (percent * 10_000.0).round() as u32
}

fn custom_tag(tag: &Cursor<'_>) -> CustomTag {
    let value = |at: &Cursor<'_>| at.text("value").to_owned();
    let named = |at: &Cursor<'_>| {
        let [name, default] = ["name", "defaultValue"].map(|field| at.text(field).to_owned());
        (name, default)
    };
    if let Some(literal) = tag.get("literal") {
        CustomTag::Literal(value(&literal))
    } else if let Some(environment) = tag.get("environment") {
        let (name, default) = named(&environment);
        CustomTag::Environment(name, default)
    } else if let Some(header) = tag.get("header") {
        let (name, default) = named(&header);
        CustomTag::Header(name, default)
    } else if let Some(formatter) = tag.get("formatter") {
        CustomTag::Formatter(value(&formatter))
    } else {
        CustomTag::Empty
    }
}

fn access_logging(one: &Cursor<'_>) -> AccessLogging {
    let filter = one.get("filter");
    AccessLogging {
        side: matched_side(one),
        providers: providers(one),
        disabled: flag(one, "disabled"),
        filter: filter.map_or_else(String::new, |filter| filter.text("expression").to_owned()),
    }
}

fn providers(one: &Cursor<'_>) -> Vec<String> {
    one.each("providers")
        .map(|provider| provider.text("name").to_owned())
        .collect()
}

fn matched_side(one: &Cursor<'_>) -> Side {
    one.get("match").as_ref().map_or_else(Side::default, side)
}

fn side(matched: &Cursor<'_>) -> Side {
    match matched.text("mode") {
        "CLIENT" => Side::Client,
        "SERVER" => Side::Server,
        _ => Side::ClientAndServer,
    }
}

fn flag(map: &Cursor<'_>, field: &str) -> Option<bool> {
    match map.get(field)?.node.value {
        Value::Bool(value, _) => Some(value),
        _ => None,
    }
}
