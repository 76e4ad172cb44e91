//! `gateway.networking.k8s.io`: the rules of the Gateway API's own definitions that go beyond a field's syntax.
//!
//! They are those of its custom resource definitions, in the words of this project. What a field must look
//! like is in `schema::gateway_api`; here is how fields go together. The objects themselves are read from JSON,
//! since their types are those of the API.

mod filter;
mod gateway;
mod route;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::Reader;
use crate::model::gateway_api::{Kind, Spec};
use crate::yaml::{Cursor, quoted, to_json};

impl Reader {
    /// Reads a spec whose shape has been checked. `root` is the whole object, whose version decides some rules.
    pub(super) fn gateway_api(
        &mut self,
        root: &Cursor<'_>,
        spec: &Cursor<'_>,
        kind: Kind,
    ) -> Option<Spec> {
        match kind {
            Kind::BackendTlsPolicy => self.backend_tls_policy(spec),
            Kind::Gateway => self.kube_gateway(spec),
            Kind::GatewayClass | Kind::ReferenceGrant => {}
            Kind::GrpcRoute => self.grpc_route(spec),
            Kind::HttpRoute => self.kube_http_route(spec),
            Kind::ListenerSet => self.listeners(spec),
            Kind::TcpRoute | Kind::TlsRoute | Kind::UdpRoute => {
                self.bytes_route(root, spec, kind);
            }
        }
        if self.report.errors() > 0 {
            return None;
        }
        Some(match kind {
            Kind::BackendTlsPolicy => Spec::BackendTlsPolicy,
            Kind::Gateway => Spec::Gateway(self.typed(spec)?),
            Kind::GatewayClass => Spec::GatewayClass(self.typed(spec)?),
            Kind::GrpcRoute => {
                let mut route: crate::model::gateway_api::GrpcRoute = self.typed(spec)?;
                if spec.get("rules").is_none() {
                    route.rules.push(Default::default());
                }
                Spec::GrpcRoute(route)
            }
            Kind::HttpRoute => {
                let mut route: crate::model::gateway_api::HttpRoute = self.typed(spec)?;
                if spec.get("rules").is_none() {
                    route.rules.push(Default::default());
                }
                Spec::HttpRoute(route)
            }
            Kind::ListenerSet => Spec::ListenerSet(self.typed(spec)?),
            Kind::ReferenceGrant => Spec::ReferenceGrant(self.typed(spec)?),
            Kind::TcpRoute => Spec::TcpRoute(self.typed(spec)?),
            Kind::TlsRoute => Spec::TlsRoute(self.typed(spec)?),
            Kind::UdpRoute => Spec::UdpRoute(self.typed(spec)?),
        })
    }

    /// The tables say the same as the types; what does not fit both is reported, not swallowed.
    fn typed<T: DeserializeOwned>(&mut self, at: &Cursor<'_>) -> Option<T> {
        match serde_json::from_value(without_nulls(to_json(at.node))) {
            Ok(typed) => Some(typed),
            Err(error) => {
                self.report
                    .error(at, format!("it does not fit its kind: {error}; correct it"));
                None
            }
        }
    }

    fn backend_tls_policy(&mut self, spec: &Cursor<'_>) {
        self.section_names(spec, "targetRefs");
        if spec.each_entry("options").count() > 16
            && let Some(options) = spec.get("options")
        {
            self.report
                .error(&options, "there are more than 16 options; remove some");
        }
        let Some(validation) = spec.get("validation") else {
            return;
        };
        let has_refs = validation.each("caCertificateRefs").next().is_some();
        match (
            has_refs,
            validation.get("wellKnownCACertificates").is_some(),
        ) {
            (true, true) => self.report.error(
                &validation,
                "caCertificateRefs and wellKnownCACertificates exclude one another; keep one",
            ),
            (false, false) => self.report.error(
                &validation,
                "nobody is trusted; give caCertificateRefs, or wellKnownCACertificates: System",
            ),
            _ => {}
        }
        for name in validation.each("subjectAltNames") {
            self.union(&name, &[("Hostname", "hostname"), ("URI", "uri")]);
        }
    }

    /// References to one thing, of which several must name different sections of it.
    fn section_names(&mut self, parent: &Cursor<'_>, key: &str) {
        let targets: Vec<_> = parent
            .each(key)
            .map(|at| {
                let what = ["group", "kind", "namespace", "name"].map(|field| at.text(field));
                let part = (at.text("sectionName"), port_of(&at));
                (at, what, part)
            })
            .collect();
        for (index, (at, what, part)) in targets.iter().enumerate() {
            let (before, from_here) = targets.split_at(index);
            let same =
                |(_, other, _): &&(Cursor<'_>, [&str; 4], (&str, Option<i64>))| other == what;
            let is_whole = |part: &(&str, Option<i64>)| part.0.is_empty() && part.1.is_none();
            let mut others = before.iter().chain(&from_here[1..]).filter(same);
            if is_whole(part) && others.next().is_some() {
                self.report.error(
                    at,
                    "several references are to this one; each must say which part of it by sectionName",
                );
            } else if before
                .iter()
                .filter(same)
                .any(|(_, _, other)| other == part)
            {
                self.report.error(
                    at,
                    "the same reference stands here twice; remove one of them",
                );
            }
        }
    }

    /// A map whose `type` says which of its fields is set.
    fn union(&mut self, at: &Cursor<'_>, fields: &[(&str, &str)]) {
        let kind = at.text("type");
        for (value, field) in fields {
            match (at.get(field), *value == kind) {
                (None, true) => {
                    self.report.missing(
                        at,
                        field,
                        format!("the type {kind} needs {field}; add it"),
                    );
                }
                (Some(set), false) => self.report.error(
                    &set,
                    format!("{field} belongs to the type {value}, and this is {kind}; remove it"),
                ),
                _ => {}
            }
        }
    }

    /// Reports names that stand in a list of named things twice.
    fn no_repeats(&mut self, parent: &Cursor<'_>, key: &str) {
        self.unique(parent.each(key), "name");
    }

    /// Reports texts that stand in a list twice.
    fn no_twins(&mut self, parent: &Cursor<'_>, key: &str) {
        let mut seen: Vec<&str> = Vec::new();
        for at in parent.each(key) {
            let text = at.node.as_str().unwrap_or_default();
            if seen.contains(&text) {
                let message = format!("{} stands here twice; remove one of them", quoted(text));
                self.report.error(&at, message);
            }
            seen.push(text);
        }
    }
}

fn port_of(at: &Cursor<'_>) -> Option<i64> {
    at.get("port").and_then(|port| port.node.as_integer())
}

/// A null is as good as no field.
fn without_nulls(json: Json) -> Json {
    match json {
        Json::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        Json::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
