//! The configuration in a form to read: what requests meet, not what came over the wire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_xds::{Resource, Workload};
use serde_json::{Map, Value, json};

use crate::control::{Freshness, View};
use crate::snapshot::compile::Held;
use crate::snapshot::{
    Action, Cluster, Endpoint, Filter, FilterChain, FilterChains, HeaderMatcher, HeaderName,
    PathMatcher, Route, Router, Snapshot, Split, ValueMatcher, VirtualHost,
};
use crate::upstream::breaker::Limits;

/// Everything, with versions.
pub(super) fn configuration(view: &View, freshness: &Freshness) -> Value {
    let accepted = &view.accepted;
    let (state, since) = match freshness {
        Freshness::Never => ("not reached yet", Value::Null),
        Freshness::Following => ("following", Value::Null),
        Freshness::AwaySince(since) => ("away", json!(time(*since))),
    };
    let waiting = view.linked.waiting.iter().map(|((kind, name), waiting)| {
        json!({"type": kind.abbreviation(), "name": name, "for": waiting.reason})
    });
    let refused = accepted.refused.iter().map(|((kind, name), refused)| {
        json!({
            "type": kind.abbreviation(), "name": name, "version": refused.version,
            "reason": refused.reason,
        })
    });
    json!({
        "snapshot": view.linked.snapshot.version,
        "controlPlane": {"state": state, "since": since},
        "waiting": waiting.collect::<Vec<_>>(),
        "refused": refused.collect::<Vec<_>>(),
        "unbound": view.unbound,
        "versions": {
            "CDS": versions(&accepted.clusters),
            "EDS": versions(&accepted.endpoints),
            "LDS": versions(&accepted.listeners),
            "RDS": versions(&accepted.routes),
            "SDS": versions(&accepted.secrets),
        },
        // What they hold is not shown; a text says why one is not, or not newly, in use.
        "secrets": view.secrets,
        "listeners": listeners(view),
        "routes": routes(&view.linked.snapshot),
        "clusters": clusters(&view.linked.snapshot),
    })
}

/// Listeners in force, with their filter chains.
pub(super) fn listeners(view: &View) -> Value {
    let listeners = view.linked.snapshot.listeners.values().map(|listener| {
        json!({
            "name": &*listener.name,
            "address": listener.address.to_string(),
            "direction": format!("{:?}", listener.direction).to_lowercase(),
            "facesStrangers": listener.edge,
            "workload": listener.workload.name,
            "chains": chains(&listener.chains),
        })
    });
    listeners.collect()
}

/// Clusters in force, with their endpoints.
pub(super) fn clusters(snapshot: &Snapshot) -> Value {
    let mut clusters: Vec<&Arc<Cluster>> = snapshot.clusters.values().collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    let clusters = clusters.into_iter().map(|cluster| {
        let ejected =
            |endpoint: &Endpoint| cluster.outlier.is_some() && endpoint.health.is_ejected();
        let endpoints = cluster.endpoints.iter().map(|endpoint| {
            let tls = endpoint.tls.as_ref().map(|tls| tls.sni.to_str());
            json!({
                "address": &*endpoint.address,
                "workload": workload(&endpoint.workload),
                "serverName": tls,
                "activeRequests": endpoint.state.active(),
                "weight": endpoint.weight,
                "ejected": ejected(endpoint),
            })
        });
        json!({
            "name": &*cluster.name,
            "service": cluster.service.host,
            "balance": format!("{:?}", cluster.balance),
            "http2": cluster.http2,
            "limits": cluster.limits.as_ref().map(limits),
            "connectTimeout": humantime::format_duration(cluster.connect_timeout).to_string(),
            "endpoints": endpoints.collect::<Vec<_>>(),
        })
    });
    clusters.collect()
}

/// Those that there are.
fn limits(limits: &Limits) -> Value {
    let given = [
        ("connections", limits.connections),
        ("pendingRequests", limits.pending),
        ("requests", limits.requests),
        ("retries", limits.retries),
    ];
    let given = given.into_iter().filter(|(_, limit)| *limit != u32::MAX);
    Value::Object(
        given
            .map(|(name, limit)| (name.to_owned(), json!(limit)))
            .collect(),
    )
}

/// RFC 3339, in UTC, to the second.
pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn versions<T>(held: &BTreeMap<String, Held<T>>) -> Value {
    let version = |resource: &Arc<Resource>| resource.version.clone();
    let pairs = held.iter().map(|(name, held)| {
        let version = held.resource.as_ref().map(version);
        (name.clone(), version.map_or(Value::Null, Value::String))
    });
    Value::Object(pairs.collect())
}

fn chains(chains: &FilterChains) -> Value {
    let exact: BTreeMap<_, _> = chains.exact.iter().collect();
    let exact = exact
        .into_iter()
        .map(|(name, chain)| (Some(name.clone()), chain));
    let suffix = chains.suffix.iter();
    let suffix = suffix.map(|(suffix, chain)| (Some(format!("*{suffix}")), chain));
    let default = chains.default.iter().map(|chain| (None, chain));
    let chain = |(name, chain): (Option<String>, &Arc<FilterChain>)| {
        let tls = chain.takes_tls();
        match &chain.filter {
            Filter::Http(http) => json!({
                "serverName": name, "tls": tls, "protocol": "http", "routes": &*http.router.name,
                "normalizePath": http.path.normalize,
                "mergeSlashes": http.path.merge_slashes,
                "unescapeSlashes": http.path.unescape_slashes,
            }),
            Filter::Tcp(proxy) => json!({
                "serverName": name, "tls": tls, "protocol": "tcp", "to": targets(&proxy.split),
                "attempts": proxy.attempts,
                "idleTimeout": proxy.idle_timeout.map(|t| humantime::format_duration(t).to_string()),
            }),
        }
    };
    exact.chain(suffix).chain(default).map(chain).collect()
}

/// The routers that listeners use, each once.
fn routes(snapshot: &Snapshot) -> Value {
    let mut routers: BTreeMap<&str, &Router> = BTreeMap::new();
    for listener in snapshot.listeners.values() {
        let chains = &listener.chains;
        let suffix = chains.suffix.values();
        for chain in chains.exact.values().chain(suffix).chain(&chains.default) {
            if let Some(router) = chain.router() {
                routers.insert(&router.name, router);
            }
        }
    }
    let routers = routers.into_values().map(|router| {
        json!({
            "name": &*router.name,
            "ignorePort": router.ignore_port,
            "virtualHosts": virtual_hosts(router),
        })
    });
    routers.collect()
}

fn virtual_hosts(router: &Router) -> Value {
    let exact = router
        .exact
        .iter()
        .map(|(domain, host)| (domain.clone(), host));
    let suffix = router
        .suffix
        .iter()
        .map(|(suffix, host)| (format!("*{suffix}"), host));
    let any = router.any.iter().map(|host| ("*".to_owned(), host));
    let mut hosts: BTreeMap<&str, (&VirtualHost, Vec<String>)> = BTreeMap::new();
    for (domain, host) in exact.chain(suffix).chain(any) {
        hosts
            .entry(&host.name)
            .or_insert((host, Vec::new()))
            .1
            .push(domain);
    }
    let hosts = hosts.into_values().map(|(host, mut domains)| {
        domains.sort_unstable();
        let routes: Vec<Value> = host.routes.iter().map(|own| route(own)).collect();
        json!({"name": &*host.name, "domains": domains, "routes": routes})
    });
    hosts.collect()
}

fn route(route: &Route) -> Value {
    let mut conditions = Map::new();
    match &route.matcher.path {
        PathMatcher::Prefix { value, ignore_case } => {
            conditions.insert("prefix".into(), json!(value));
            conditions.insert("ignoreCase".into(), json!(ignore_case));
        }
        PathMatcher::Exact { value, ignore_case } => {
            conditions.insert("path".into(), json!(value));
            conditions.insert("ignoreCase".into(), json!(ignore_case));
        }
        PathMatcher::Segments { value, ignore_case } => {
            conditions.insert("pathSeparatedPrefix".into(), json!(value));
            conditions.insert("ignoreCase".into(), json!(ignore_case));
        }
        PathMatcher::Regex(regex) => {
            conditions.insert("regex".into(), json!(regex.as_str()));
        }
    }
    let query = route.matcher.query.iter().map(
        |query| json!({"name": query.name, "value": value(&query.value), "absent": query.absent}),
    );
    let query: Vec<Value> = query.collect();
    if !query.is_empty() {
        conditions.insert("query".into(), Value::Array(query));
    }
    let headers: Vec<Value> = route.matcher.headers.iter().map(header).collect();
    if !headers.is_empty() {
        conditions.insert("headers".into(), Value::Array(headers));
    }
    let action = match &route.action {
        Action::Forward(forward) => {
            json!({"to": targets(&forward.split), "retries": forward.retry.attempts})
        }
        Action::Direct { status, body } => {
            json!({"status": status.as_u16(), "body": String::from_utf8_lossy(body)})
        }
        Action::Redirect(redirect) => {
            json!({"status": redirect.status.as_u16(), "redirect": format!("{redirect:?}")})
        }
    };
    let changes = match &route.action {
        Action::Forward(forward) if forward.changes.is_some() || forward.cors.is_some() => {
            json!({"requests": format!("{:?}", forward.changes), "cors": format!("{:?}", forward.cors)})
        }
        _ => Value::Null,
    };
    let mut route = json!({"name": &*route.name, "match": conditions, "action": action});
    if !changes.is_null() {
        route["changes"] = changes;
    }
    route
}

fn targets(split: &Split) -> Value {
    let targets = split.targets.iter();
    let targets = targets.map(|(name, weight)| json!({"cluster": &**name, "weight": weight}));
    targets.collect()
}

fn header(header: &HeaderMatcher) -> Value {
    let name = match &header.name {
        HeaderName::Method => ":method",
        HeaderName::Authority => ":authority",
        HeaderName::Scheme => ":scheme",
        HeaderName::Path => ":path",
        HeaderName::Field(name) => name.as_str(),
    };
    let (how, value) = condition(&header.value);
    json!({"name": name, how: value, "not": header.invert})
}

fn value(matcher: &ValueMatcher) -> Value {
    let (how, value) = condition(matcher);
    json!({how: value})
}

fn condition(matcher: &ValueMatcher) -> (&'static str, Value) {
    match matcher {
        ValueMatcher::Present => ("present", json!(true)),
        ValueMatcher::Exact(value) => ("exact", json!(value)),
        ValueMatcher::Prefix(value) => ("prefix", json!(value)),
        ValueMatcher::Suffix(value) => ("suffix", json!(value)),
        ValueMatcher::Contains(value) => ("contains", json!(value)),
        ValueMatcher::Regex(regex) => ("regex", json!(regex.as_str())),
    }
}

fn workload(workload: &Workload) -> Value {
    if *workload == Workload::default() {
        return Value::Null;
    }
    json!({
        "name": workload.name, "namespace": workload.namespace, "version": workload.version,
        "principal": workload.principal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Http, TcpProxy};

    #[test]
    fn chains_say_what_they_carry_and_where_to() {
        let chain = |filter| Arc::new(FilterChain::plain(filter));
        let proxy = TcpProxy {
            split: Split::new(vec![("outbound|3306||db".into(), 1)], 1),
            attempts: 3,
            idle_timeout: Some(std::time::Duration::from_secs(3600)),
            by_source: false,
        };
        let chains = FilterChains {
            exact: [("web".to_owned(), chain(Filter::Http(Http::default())))].into(),
            default: Some(chain(Filter::Tcp(Arc::new(proxy)))),
            ..FilterChains::default()
        };
        let expected = json!([
            {
                "serverName": "web", "tls": false, "protocol": "http", "routes": "",
                "normalizePath": false,
                    "mergeSlashes": false,
                    "unescapeSlashes": false,
            },
            {
                "serverName": null, "tls": false, "protocol": "tcp",
                "to": [{"cluster": "outbound|3306||db", "weight": 1}], "attempts": 3, "idleTimeout": "1h",
            },
        ]);
        assert_eq!(super::chains(&chains), expected);
    }
}
