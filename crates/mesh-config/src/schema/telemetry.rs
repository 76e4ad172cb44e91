//! `telemetry.istio.io` Telemetry.

use super::Type::{Bool, Duration, Keyed, List, Map, Number, Object, OneOf, Text};
use super::selector::{SELECTOR, TARGET_REF, TARGET_REFS};
use super::{FILLED, Shape, Syntax, Type, acted, choice, object, shape, syntax};
use crate::rules;

pub(super) static OBJECT: Shape = object!(acted("spec", Object(&SPEC)));

static SPEC: Shape = shape(&[
    acted("selector", SELECTOR),
    acted("targetRef", TARGET_REF),
    acted("targetRefs", TARGET_REFS),
    acted("tracing", List(&Object(&TRACING))),
    acted("metrics", List(&Object(&METRICS))),
    acted("accessLogging", List(&Object(&ACCESS_LOGGING))),
]);

const PROVIDERS: Type = List(&Object(&PROVIDER));

static PROVIDER: Shape = shape(&[acted("name", FILLED).required()]);

const MODE: Type = OneOf(&["CLIENT_AND_SERVER", "CLIENT", "SERVER"]);

static SIDE: Shape = shape(&[acted("mode", MODE)]);

static TRACING: Shape = shape(&[
    acted("match", Object(&SIDE)),
    acted("providers", PROVIDERS),
    acted("randomSamplingPercentage", Number(0.0, 100.0)),
    acted("disableSpanReporting", Bool),
    acted("customTags", Keyed(TAG, &Object(&CUSTOM_TAG))),
    acted("useRequestIdForTraceSampling", Bool),
    acted("enableIstioTags", Bool),
    acted("disableContextPropagation", Bool),
]);

const TAG: Syntax = syntax("the name of a tag", rules::filled);

static CUSTOM_TAG: Shape = choice(
    &[&["literal", "environment", "header", "formatter"]],
    &[
        acted("literal", Object(&VALUE)),
        acted("environment", Object(&NAMED)),
        acted("header", Object(&NAMED)),
        acted("formatter", Object(&VALUE)),
    ],
);

static VALUE: Shape = shape(&[acted("value", FILLED).required()]);

static NAMED: Shape = shape(&[
    acted("name", FILLED).required(),
    acted("defaultValue", Text),
]);

static METRICS: Shape = shape(&[
    acted("providers", PROVIDERS),
    acted("overrides", List(&Object(&OVERRIDE))),
    acted("reportingInterval", Duration),
]);

static OVERRIDE: Shape = shape(&[
    acted("match", Object(&METRIC_SELECTOR)),
    acted("disabled", Bool),
    acted("tagOverrides", Map(&Object(&TAG_OVERRIDE))),
]);

static METRIC_SELECTOR: Shape = choice(
    &[&["metric", "customMetric"]],
    &[
        acted(
            "metric",
            OneOf(&[
                "ALL_METRICS",
                "REQUEST_COUNT",
                "REQUEST_DURATION",
                "REQUEST_SIZE",
                "RESPONSE_SIZE",
                "TCP_OPENED_CONNECTIONS",
                "TCP_CLOSED_CONNECTIONS",
                "TCP_SENT_BYTES",
                "TCP_RECEIVED_BYTES",
                "GRPC_REQUEST_MESSAGES",
                "GRPC_RESPONSE_MESSAGES",
            ]),
        ),
        acted("customMetric", FILLED),
        acted("mode", MODE),
    ],
);

static TAG_OVERRIDE: Shape = shape(&[
    acted("operation", OneOf(&["UPSERT", "REMOVE"])),
    acted("value", Text),
]);

static ACCESS_LOGGING: Shape = shape(&[
    acted("match", Object(&SIDE)),
    acted("providers", PROVIDERS),
    acted("disabled", Bool),
    acted("filter", Object(&FILTER)),
]);

static FILTER: Shape = shape(&[acted("expression", Text)]);
