//! Routes in one line each.

use mesh_xds::envoy::core::data_source;
use mesh_xds::envoy::matcher::string_matcher::MatchPattern;
use mesh_xds::envoy::route::header_matcher::HeaderMatchSpecifier;
use mesh_xds::envoy::route::query_parameter_matcher::QueryParameterMatchSpecifier;
use mesh_xds::envoy::route::route::Action;
use mesh_xds::envoy::route::route_action::ClusterSpecifier;
use mesh_xds::envoy::route::route_match::PathSpecifier;
use mesh_xds::envoy::route::{HeaderMatcher, Route, RouteConfiguration, RouteMatch, VirtualHost};
use serde_json::{Value, json};

pub(super) fn route_configuration(message: &RouteConfiguration) -> Value {
    let host = |host: &VirtualHost| {
        json!({
            "name": host.name,
            "domains": host.domains.join(" "),
            "routes": host.routes.iter().map(route).collect::<Vec<_>>(),
        })
    };
    json!(message.virtual_hosts.iter().map(host).collect::<Vec<_>>())
}

/// `name: match => cluster`, or `=> 10 cluster, 90 cluster`, or `=> 501 "words"`.
pub(super) fn route(message: &Route) -> String {
    let matcher = message
        .r#match
        .as_ref()
        .map(route_match)
        .unwrap_or_default();
    let action = match &message.action {
        Some(Action::Route(action)) => match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(cluster)) => cluster.clone(),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                let targets = weighted.clusters.iter().map(|target| {
                    let weight = target.weight.map_or(0, |weight| weight.value);
                    format!("{weight} {}", target.name)
                });
                targets.collect::<Vec<_>>().join(", ")
            }
            _ => "nowhere".to_owned(),
        },
        Some(Action::DirectResponse(answer)) => {
            let body = answer
                .body
                .as_ref()
                .and_then(|body| body.specifier.as_ref());
            let words = match body {
                Some(data_source::Specifier::InlineString(words)) => words.trim_end(),
                _ => "",
            };
            format!("{} {words:?}", answer.status)
        }
        Some(Action::Redirect(redirect)) => format!(
            "{} to {:?} port {} path {:?}",
            redirect.response_code().as_str_name(),
            redirect.host_redirect,
            redirect.port_redirect,
            redirect.path_rewrite_specifier,
        ),
        _ => "nothing".to_owned(),
    };
    let name = match message.name.as_str() {
        "" => String::new(),
        name => format!("{name}: "),
    };
    format!("{name}{matcher} => {action}")
}

fn route_match(message: &RouteMatch) -> String {
    let mut words = match &message.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => format!("{prefix}*"),
        Some(PathSpecifier::Path(path)) => path.clone(),
        Some(PathSpecifier::SafeRegex(regex)) => format!("~{}", regex.regex),
        Some(PathSpecifier::PathSeparatedPrefix(prefix)) => format!("{prefix}/*"),
        _ => "no path".to_owned(),
    };
    if message.case_sensitive.is_some_and(|flag| !flag.value) {
        words.push_str(" (any case)");
    }
    for header in &message.headers {
        words.push_str(&header_match(header));
    }
    for parameter in &message.query_parameters {
        let condition = match &parameter.query_parameter_match_specifier {
            Some(QueryParameterMatchSpecifier::StringMatch(matcher)) => matcher
                .match_pattern
                .as_ref()
                .map(pattern_text)
                .unwrap_or_default(),
            _ => "present".to_owned(),
        };
        words.push_str(&format!(" [?{} {condition}]", parameter.name));
    }
    words
}

fn header_match(message: &HeaderMatcher) -> String {
    let condition = match &message.header_match_specifier {
        Some(HeaderMatchSpecifier::StringMatch(matcher)) => matcher
            .match_pattern
            .as_ref()
            .map(pattern_text)
            .unwrap_or_default(),
        _ => "present".to_owned(),
    };
    let not = if message.invert_match { "!" } else { "" };
    format!(" [{not}{} {condition}]", message.name)
}

pub(super) fn pattern_text(pattern: &MatchPattern) -> String {
    match pattern {
        MatchPattern::Exact(text) => format!("={text}"),
        MatchPattern::Prefix(text) => format!("{text}*"),
        MatchPattern::SafeRegex(regex) => format!("~{}", regex.regex),
        _ => "unexpected".to_owned(),
    }
}
