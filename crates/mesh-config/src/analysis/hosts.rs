//! Which hosts there are, who may see them, and what is defined for them.

use std::collections::HashMap;

use serde_json::Value;

use super::view::{Labels, at, each, items, labels, spec, spec_each, spec_texts, text};
use crate::config::resolve_host;
use crate::model::{Kind, Object, SharedObject};

/// What a Service or a ServiceEntry says of a host.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// Who says it.
    pub(super) object: &'a Object,
    /// The namespace that may see it; `*` for all.
    scope: &'a str,
}

/// All hosts of Services and ServiceEntries.
pub(super) struct Hosts<'a> {
    exact: HashMap<String, Vec<Known<'a>>>,
    /// Hosts that begin with `*`, without it: `.example.com`, or nothing.
    wildcard: HashMap<String, Vec<Known<'a>>>,
}

/// Everyone.
pub(super) const ALL: &str = "*";
const EXPORT_TO: &str = "networking.istio.io/exportTo";

impl<'a> Hosts<'a> {
    pub(super) fn of<'o>(objects: impl Iterator<Item = &'a SharedObject> + 'o) -> Hosts<'a> {
        let mut hosts = Hosts {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for object in objects {
            let object: &Object = object;
            let namespace = object.metadata.namespace.as_str();
            if object.kind == Kind::Service {
                let annotation = object.metadata.annotations.get(EXPORT_TO);
                let written = annotation.map_or("", String::as_str);
                let mut scopes = scopes(
                    written.split(',').filter(|word| !word.is_empty()),
                    namespace,
                );
                if scopes.is_empty() {
                    scopes.push(ALL);
                }
                hosts.add(&object.host(), object, &scopes);
            } else {
                let scopes = export_scopes(object);
                for host in spec_texts(object, "hosts") {
                    hosts.add(&resolve_host(host, namespace), object, &scopes);
                }
            }
        }
        hosts
    }

    fn add(&mut self, host: &str, object: &'a Object, scopes: &[&'a str]) {
        for scope in scopes {
            let known = Known { object, scope };
            let (all, host) = match host.strip_prefix('*') {
                Some(suffix) => (&mut self.wildcard, suffix),
                None => (&mut self.exact, host),
            };
            all.entry(host.to_owned()).or_default().push(known);
        }
    }

    /// Who has this full host, whoever may see it.
    pub(super) fn anyone(&self, host: &str) -> Option<&'a Object> {
        let exact = self.exact.get(host).into_iter().flatten();
        exact
            .chain(self.covering(host))
            .map(|known| known.object)
            .next()
    }

    /// The wildcards that cover a host: the most special first.
    fn covering<'s>(&'s self, host: &'s str) -> impl Iterator<Item = &'s Known<'a>> {
        let bare = host.trim_start_matches('*');
        let suffixes = bare.match_indices('.').map(|(dot, _)| &bare[dot..]);
        let all = suffixes
            .chain([""])
            .filter_map(|suffix| self.wildcard.get(suffix));
        all.flatten()
    }

    /// Who has this full host for a rule of `namespace` that is exported to `exported`.
    pub(super) fn visible(
        &self,
        host: &str,
        namespace: &str,
        exported: &[&str],
    ) -> Option<&'a Object> {
        let own = [namespace];
        let wanted = if exported.is_empty() {
            &own[..]
        } else {
            exported
        };
        if let Some(all) = self.exact.get(host) {
            let seen = |known: &&Known<'_>| known.scope == ALL || wanted.contains(&known.scope);
            if let Some(known) = all.iter().find(seen) {
                return Some(known.object);
            }
        }
        self.covering(host)
            .find(|known| known.scope == ALL || known.scope == namespace)
            .map(|known| known.object)
    }
}

/// The port numbers of a Service or ServiceEntry.
pub(super) fn ports(object: &Object) -> Vec<i64> {
    let number = if object.kind == Kind::Service {
        "port"
    } else {
        "number"
    };
    spec_each(object, "ports")
        .filter_map(|(_, port)| port.get(number)?.as_i64())
        .collect()
}

/// The namespaces that an object's `spec.exportTo` names, with `.` for its own; `*` alone where that is everyone.
pub(super) fn export_scopes(object: &Object) -> Vec<&str> {
    let named = scopes(spec_texts(object, "exportTo"), &object.metadata.namespace);
    if named.is_empty() || named.contains(&ALL) {
        vec![ALL]
    } else {
        named
    }
}

/// The namespaces of `spec.exportTo` as written, with `.` for the object's own.
pub(super) fn exported_to(object: &Object) -> Vec<&str> {
    scopes(spec_texts(object, "exportTo"), &object.metadata.namespace)
}

fn scopes<'a>(written: impl Iterator<Item = &'a str>, own: &'a str) -> Vec<&'a str> {
    let mut scopes: Vec<&str> = written
        .map(|name| if name == "." { own } else { name })
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

/// A destination that a VirtualService names.
pub(super) struct Destination<'a> {
    /// Its path, `spec.http[0].route[1].destination`.
    pub(super) path: String,
    /// Host as written, empty where there is none.
    pub(super) host: &'a str,
    /// The subset, empty where there is none.
    pub(super) subset: &'a str,
    /// `port.number`, if given.
    pub(super) port: Option<i64>,
    /// Whether it belongs to the `route` of an HTTP route: the rest gets copies, or carries bytes.
    pub(super) is_http_route: bool,
}

/// All destinations of a VirtualService: of TCP, TLS and HTTP routes, and of mirrors.
pub(super) fn destinations(object: &Object) -> Vec<Destination<'_>> {
    let mut all = Vec::new();
    for section in ["tcp", "tls", "http"] {
        for (r, route) in spec_each(object, section) {
            let path = format!("spec.{section}[{r}]");
            for (d, target) in each(route, "route") {
                let at = format!("{path}.route[{d}].destination");
                all.push(destination(
                    target.get("destination"),
                    at,
                    section == "http",
                ));
            }
            if section != "http" {
                continue;
            }
            if at(route, &["mirror"]).is_some() {
                all.push(destination(
                    route.get("mirror"),
                    format!("{path}.mirror"),
                    false,
                ));
            }
            for (m, mirror) in each(route, "mirrors") {
                let at = format!("{path}.mirrors[{m}].destination");
                all.push(destination(mirror.get("destination"), at, false));
            }
        }
    }
    all
}

fn destination(written: Option<&Value>, path: String, is_http_route: bool) -> Destination<'_> {
    let written = written.unwrap_or(&Value::Null);
    Destination {
        path,
        host: text(written, "host"),
        subset: text(written, "subset"),
        port: at(written, &["port", "number"]).and_then(Value::as_i64),
        is_http_route,
    }
}

/// The subsets that DestinationRules define, by the full host.
pub(super) fn subsets<'a>(
    rules: impl Iterator<Item = &'a SharedObject>,
) -> HashMap<String, Vec<&'a str>> {
    let mut subsets: HashMap<String, Vec<&str>> = HashMap::new();
    for rule in rules {
        let host = spec(rule, &["host"])
            .and_then(Value::as_str)
            .unwrap_or_default();
        let known = subsets
            .entry(resolve_host(host, &rule.metadata.namespace))
            .or_default();
        known.extend(spec_each(rule, "subsets").map(|(_, subset)| text(subset, "name")));
    }
    subsets
}

/// The labels that a ServiceEntry's workloads must have.
pub(super) fn workload_selector(object: &Object) -> Labels<'_> {
    labels(spec(object, &["workloadSelector", "labels"]))
}

/// Whether two hosts, each perhaps with a `*` in front, have names in common.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
        (Some(suffix), None) => other.ends_with(suffix),
        (None, Some(suffix)) => one.ends_with(suffix),
        (None, None) => one == other,
    }
}

/// The hosts that a Gateway's servers open to VirtualServices of `namespace`.
pub(super) fn opened_to<'a>(gateway: &'a Object, namespace: &str) -> Vec<&'a str> {
    let own = gateway.metadata.namespace.as_str();
    let mut open = Vec::new();
    for (_, server) in spec_each(gateway, "servers") {
        for host in items(server.get("hosts")).iter().filter_map(Value::as_str) {
            match host.split_once('/') {
                None | Some(("*", _)) => open.push(host.trim_start_matches("*/")),
                Some((".", host)) if own == namespace => open.push(host),
                Some((scope, host)) if scope == namespace => open.push(host),
                Some(_) => {}
            }
        }
    }
    open
}
