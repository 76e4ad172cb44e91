//! Route configurations: an Envoy `RouteConfiguration` becomes a [`Router`].
//!
//! Which clusters a router may send to is noted beside it, so that it can be held back until they
//! have endpoints (see [`super::link`]). A split whose targets did not change goes on where its
//! predecessor stands.

mod fault;
mod mirror;
mod retry;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use mesh_xds::envoy::core::HeaderValueOption;
use mesh_xds::envoy::core::data_source::Specifier;
use mesh_xds::envoy::cors::CorsPolicy;
use mesh_xds::envoy::fault::HttpFault;
use mesh_xds::envoy::protobuf::{Any, Duration};
use mesh_xds::envoy::route as pb;
use mesh_xds::envoy::route::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use mesh_xds::envoy::route::virtual_host::TlsRequirementType;
use mesh_xds::envoy::route::weighted_cluster::cluster_weight::HostRewriteSpecifier as TargetHost;
use prost::Name;

use super::field::{At, Refusal, length, must_be_off, must_be_unlimited, sort_fields, unpack};
use super::{
    Action, Changes, Cors, Edits, Fault, Forward, HeaderMatcher, HeaderName, PathMatcher,
    PathRewrite, Redirect, Retry, Route, RouteMatcher, Router, Split, TargetChanges, Timeout,
    ValueMatcher, VirtualHost, cors, edit, hash, matcher, rewrite,
};

/// Envoy's own, for a route that says nothing.
const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// A route configuration that is valid by itself.
#[derive(Debug)]
pub struct RouteSpec {
    /// What requests use.
    pub router: Arc<Router>,
    /// Every cluster that one of its routes may choose.
    pub clusters: BTreeSet<Arc<str>>,
}

/// Reads a route configuration; `previous` is the one that it replaces.
pub(super) fn compile(
    at: &At<'_>,
    message: &pb::RouteConfiguration,
    previous: Option<&Router>,
    workers: usize,
) -> Result<RouteSpec, Refusal> {
    use pb::RouteConfiguration;
    sort_fields!(at, message => RouteConfiguration {
        takes {
            name, virtual_hosts, validate_clusters, max_direct_response_body_size_bytes,
            ignore_port_in_host_matching,
        }
        // What others read.
        ignores { metadata }
        refuses {
            most_specific_header_mutations_wins, vhds, internal_only_headers, response_headers_to_add, response_headers_to_remove,
            request_headers_to_add, request_headers_to_remove, cluster_specifier_plugins,
            request_mirror_policies, vhost_header, ignore_path_parameters_in_path_matching,
            typed_per_filter_config, route_specifiers,
        }
    });
    // Clusters may come and go while the routes stay: a request finds out with 503 NC.
    must_be_off(&at.field("validate_clusters"), validate_clusters.as_ref())?;
    let body_limit = max_direct_response_body_size_bytes
        .as_ref()
        .map_or(4096, |limit| limit.value);

    let mut router = Router {
        name: name.as_str().into(),
        ignore_port: *ignore_port_in_host_matching,
        ..Router::default()
    };
    let mut suffixes = HashMap::new();
    let mut clusters = Clusters::default();
    let before: HashMap<&str, &VirtualHost> = previous
        .into_iter()
        .flat_map(Router::virtual_hosts)
        .map(|host| (&*host.name, &**host))
        .collect();
    for (i, message) in virtual_hosts.iter().enumerate() {
        let at = at.item("virtual_hosts", i);
        let mut reader = Reader {
            before: Predecessors::of(before.get(message.name.as_str()).copied()),
            clusters: &mut clusters,
            body_limit: body_limit as usize,
            workers,
        };
        let host = Arc::new(reader.virtual_host(&at, message)?);
        for (j, domain) in message.domains.iter().enumerate() {
            router.add(&at.item("domains", j), domain, &host, &mut suffixes)?;
        }
        if message.domains.is_empty() {
            return Err(at
                .field("domains")
                .refuse("is empty: no request could get here"));
        }
    }
    router.suffix = suffixes.into_iter().collect();
    Ok(RouteSpec {
        router: Arc::new(router),
        clusters: clusters.0.into_values().collect(),
    })
}

impl Router {
    /// Every virtual host, once for each of its domains.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        let suffix = self.suffix.values();
        self.exact.values().chain(suffix).chain(&self.any)
    }

    /// Adds a domain; wildcards to `suffixes`.
    fn add(
        &mut self,
        at: &At<'_>,
        domain: &str,
        host: &Arc<VirtualHost>,
        suffixes: &mut HashMap<String, Arc<VirtualHost>>,
    ) -> Result<(), Refusal> {
        let domain = domain.to_ascii_lowercase();
        let host = Arc::clone(host);
        let taken = match domain.strip_prefix('*') {
            Some("") => self.any.replace(host).is_some(),
            Some(suffix) if !suffix.contains('*') => {
                suffixes.insert(suffix.to_owned(), host).is_some()
            }
            None if !domain.is_empty() && !domain.contains('*') => {
                self.exact.insert(domain.clone(), host).is_some()
            }
            _ => {
                return Err(at.refuse(format!(
                    "{domain:?} is not supported: give a host, *.suffix or *"
                )));
            }
        };
        if taken {
            return Err(at.refuse(format!(
                "{domain:?} is already a domain of this configuration"
            )));
        }
        Ok(())
    }
}

/// What requests in plain text get of a host that has to be behind TLS.
fn to_https() -> Route {
    let mut matcher = RouteMatcher::path(PathMatcher::Prefix {
        value: String::new(),
        ignore_case: false,
    });
    matcher.headers.push(HeaderMatcher {
        name: HeaderName::Scheme,
        value: ValueMatcher::Exact("http".to_owned()),
        invert: false,
        missing_is_empty: false,
    });
    let redirect = Redirect {
        status: StatusCode::MOVED_PERMANENTLY,
        scheme: Some("https".to_owned()),
        host: None,
        port: None,
        path: None,
        strip_query: false,
    };
    Route::new("", matcher, Action::Redirect(Box::new(redirect)))
}

/// Cluster names, each allocated once.
#[derive(Default)]
struct Clusters(HashMap<String, Arc<str>>);

impl Clusters {
    fn intern(&mut self, name: &str) -> Arc<str> {
        Arc::clone(self.0.entry(name.to_owned()).or_insert_with(|| name.into()))
    }
}

/// The splits of the virtual host that is being replaced, in order.
struct Predecessors<'a>(VecDeque<&'a Split>);

impl<'a> Predecessors<'a> {
    fn of(host: Option<&'a VirtualHost>) -> Self {
        let routes = host.into_iter().flat_map(|host| &host.routes);
        Self(
            routes
                .filter_map(|route| match &route.action {
                    Action::Forward(forward) => Some(&forward.split),
                    Action::Direct { .. } | Action::Redirect(_) => None,
                })
                .collect(),
        )
    }

    /// The first that has these targets and was not taken before.
    fn take(&mut self, targets: &[(Arc<str>, u32)], workers: usize) -> Option<&'a Split> {
        let fits = |split: &&Split| split.targets == targets && split.state.len() == workers;
        let index = self.0.iter().position(fits)?;
        self.0.remove(index)
    }
}

/// What a request is answered whose cluster does not exist.
fn missing(at: &At<'_>, code: i32) -> Result<StatusCode, Refusal> {
    use pb::route_action::ClusterNotFoundResponseCode as Code;
    match Code::try_from(code) {
        Ok(Code::ServiceUnavailable) => Ok(StatusCode::SERVICE_UNAVAILABLE),
        Ok(Code::NotFound) => Ok(StatusCode::NOT_FOUND),
        Ok(Code::InternalServerError) => Ok(StatusCode::INTERNAL_SERVER_ERROR),
        Err(_) => Err(at.refuse(format!("{code} is no response code"))),
    }
}

/// What a virtual host says for all of its routes.
struct Defaults {
    retry: Retry,
    count_attempts: bool,
}

/// Reads the routes of one virtual host.
struct Reader<'a> {
    before: Predecessors<'a>,
    clusters: &'a mut Clusters,
    body_limit: usize,
    workers: usize,
}

impl Reader<'_> {
    fn virtual_host(
        &mut self,
        at: &At<'_>,
        message: &pb::VirtualHost,
    ) -> Result<VirtualHost, Refusal> {
        use pb::VirtualHost as Message;
        sort_fields!(at, message => Message {
            takes { name, routes, require_tls, retry_policy, include_request_attempt_count }
            // The router's own business; what others read.
            ignores { domains, metadata }
            refuses {
                matcher, virtual_clusters, rate_limits, request_headers_to_add, request_headers_to_remove,
                response_headers_to_add, response_headers_to_remove, cors, typed_per_filter_config,
                include_attempt_count_in_response, retry_policy_typed_config,
                hedge_policy, include_is_timeout_retry_header, per_request_buffer_limit_bytes,
                request_body_buffer_limit, request_mirror_policies, route_specifiers,
            }
        });
        let redirect = match TlsRequirementType::try_from(*require_tls) {
            Ok(TlsRequirementType::None) => None,
            Ok(TlsRequirementType::All) => Some(Arc::new(to_https())),
            _ => return Err(at.field("require_tls").refuse("must be NONE or ALL")),
        };
        let defaults = Defaults {
            retry: match retry_policy {
                Some(policy) => retry::compile(&at.field("retry_policy"), policy)?,
                None => Retry::default(),
            },
            count_attempts: *include_request_attempt_count,
        };
        let routes = routes.iter().enumerate();
        let routes = routes.map(|(i, route)| self.route(&at.item("routes", i), route, &defaults));
        let routes = (redirect.into_iter().map(Ok))
            .chain(routes)
            .collect::<Result<_, _>>()?;
        Ok(VirtualHost::new(name, routes))
    }

    fn route(
        &mut self,
        at: &At<'_>,
        message: &pb::Route,
        defaults: &Defaults,
    ) -> Result<Arc<Route>, Refusal> {
        use pb::Route as Message;
        sort_fields!(at, message => Message {
            takes {
                name, r#match, action, request_headers_to_add, request_headers_to_remove,
                response_headers_to_add, response_headers_to_remove, typed_per_filter_config,
            }
            // Names for statistics and traces, and what others read.
            ignores { metadata, decorator, stat_prefix }
            refuses {
                tracing, per_request_buffer_limit_bytes,
                request_body_buffer_limit, route_specifiers,
            }
        });
        let place = at.field("match");
        let matcher = r#match.as_ref().ok_or_else(|| place.refuse("is missing"))?;
        let matcher = matcher::route(&place, matcher)?;
        let request = edits(
            at,
            "request",
            request_headers_to_add,
            request_headers_to_remove,
        )?;
        let filters = filters_of(at, typed_per_filter_config)?;
        let action = match action {
            Some(pb::route::Action::Route(action)) => {
                let mut forward =
                    self.forward(&at.field("route"), action, defaults, &matcher, request)?;
                (forward.cors, forward.fault) = (filters.cors, filters.fault);
                Action::Forward(forward)
            }
            Some(pb::route::Action::DirectResponse(answer)) => {
                self.direct(&at.field("direct_response"), answer)?
            }
            Some(pb::route::Action::Redirect(action)) => {
                let redirect = rewrite::redirect(&at.field("redirect"), action, &matcher.path)?;
                Action::Redirect(Box::new(redirect))
            }
            Some(pb::route::Action::FilterAction(_)) => {
                return Err(at.field("filter_action").unsupported());
            }
            Some(pb::route::Action::NonForwardingAction(_)) => {
                return Err(at.field("non_forwarding_action").unsupported());
            }
            None => {
                return Err(at.refuse("has no action; set route, redirect or direct_response"));
            }
        };
        Ok(Arc::new(Route {
            response: edits(
                at,
                "response",
                response_headers_to_add,
                response_headers_to_remove,
            )?,
            ..Route::new(name, matcher, action)
        }))
    }

    fn direct(&self, at: &At<'_>, message: &pb::DirectResponseAction) -> Result<Action, Refusal> {
        use pb::DirectResponseAction;
        sort_fields!(at, message => DirectResponseAction {
            takes { status, body }
            ignores {}
            refuses { body_format }
        });
        let status = u16::try_from(*status)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        let status = status
            .filter(|status| status.as_u16() >= 200)
            .ok_or_else(|| {
                at.field("status")
                    .refuse(format!("{} is no final HTTP status", message.status))
            })?;
        let at = at.field("body");
        let body = match body.as_ref().and_then(|source| source.specifier.as_ref()) {
            None => Bytes::new(),
            Some(Specifier::InlineString(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(Specifier::InlineBytes(bytes)) => Bytes::copy_from_slice(bytes),
            Some(Specifier::Filename(_)) => return Err(at.field("filename").unsupported()),
            Some(Specifier::EnvironmentVariable(_)) => {
                return Err(at.field("environment_variable").unsupported());
            }
        };
        if body.len() > self.body_limit {
            return Err(at.refuse(format!(
                "has {} bytes, more than max_direct_response_body_size_bytes = {}",
                body.len(),
                self.body_limit
            )));
        }
        Ok(Action::Direct { status, body })
    }

    fn forward(
        &mut self,
        at: &At<'_>,
        message: &pb::RouteAction,
        defaults: &Defaults,
        matcher: &RouteMatcher,
        request: Edits,
    ) -> Result<Forward, Refusal> {
        use pb::RouteAction;
        sort_fields!(at, message => RouteAction {
            takes {
                cluster_not_found_response_code, timeout, retry_policy, max_stream_duration, max_grpc_timeout,
                cluster_specifier, request_mirror_policies,
                prefix_rewrite, regex_rewrite, host_rewrite_specifier, hash_policy,
            }
            ignores {}
            refuses {
                metadata_match, path_rewrite_policy, path_rewrite,
                append_x_forwarded_host, idle_timeout, flush_timeout, early_data_policy,
                retry_policy_typed_config, priority, rate_limits,
                include_vh_rate_limits, cors, grpc_timeout_offset,
                upgrade_configs, internal_redirect_policy, internal_redirect_action, max_internal_redirects,
                hedge_policy,
            }
        });
        let missing = missing(
            &at.field("cluster_not_found_response_code"),
            *cluster_not_found_response_code,
        )?;
        let timeout = timeouts(
            at,
            timeout.as_ref(),
            max_grpc_timeout.as_ref(),
            max_stream_duration.as_ref(),
        )?;
        let retry = match retry_policy {
            Some(policy) => retry::compile(&at.field("retry_policy"), policy)?,
            None => defaults.retry.clone(),
        };
        let mut mirrors = Vec::new();
        for (i, policy) in request_mirror_policies.iter().enumerate() {
            let at = at.item("request_mirror_policies", i);
            mirrors.extend(mirror::compile(&at, policy, |name| {
                self.clusters.intern(name)
            })?);
        }
        let path = match regex_rewrite {
            Some(_) if !prefix_rewrite.is_empty() => {
                return Err(at
                    .field("regex_rewrite")
                    .refuse("stands beside prefix_rewrite; keep one"));
            }
            Some(message) => Some(PathRewrite::found(&at.field("regex_rewrite"), message)?),
            None => PathRewrite::matched(&matcher.path, prefix_rewrite),
        };
        let host = match host_rewrite_specifier {
            None => None,
            Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
                rewrite::host(&at.field("host_rewrite_literal"), host)?
            }
            Some(HostRewriteSpecifier::AutoHostRewrite(_)) => {
                return Err(at.field("auto_host_rewrite").unsupported());
            }
            Some(HostRewriteSpecifier::HostRewriteHeader(_)) => {
                return Err(at.field("host_rewrite_header").unsupported());
            }
            Some(HostRewriteSpecifier::HostRewritePathRegex(_)) => {
                return Err(at.field("host_rewrite_path_regex").unsupported());
            }
            Some(HostRewriteSpecifier::HostRewrite(_)) => {
                return Err(at.field("host_rewrite").unsupported());
            }
        };
        let mut changes = Changes {
            path,
            host,
            request,
            targets: Vec::new(),
        };
        let targets = match cluster_specifier {
            Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
                vec![(self.clusters.intern(name), 1)]
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => self.weighted(
                &at.field("weighted_clusters"),
                weighted,
                &mut changes.targets,
            )?,
            Some(ClusterSpecifier::ClusterHeader(_)) => {
                return Err(at.field("cluster_header").unsupported());
            }
            Some(ClusterSpecifier::ClusterSpecifierPlugin(_)) => {
                return Err(at.field("cluster_specifier_plugin").unsupported());
            }
            Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
                return Err(at.field("inline_cluster_specifier_plugin").unsupported());
            }
            Some(ClusterSpecifier::Cluster(_)) | None => {
                return Err(at.refuse("names no cluster; set cluster or weighted_clusters"));
            }
        };
        let before = self
            .before
            .take(&targets, self.workers)
            .map(|split| Arc::clone(&split.state));
        let mut split = Split::new(targets, self.workers);
        split.state = before.unwrap_or(split.state);
        Ok(Forward {
            split,
            missing,
            timeout,
            retry,
            count_attempts: defaults.count_attempts,
            hash: hash::compile(at, hash_policy)?,
            fault: None,
            mirrors,
            changes: changes.boxed(),
            cors: None,
        })
    }

    fn weighted(
        &mut self,
        at: &At<'_>,
        message: &pb::WeightedCluster,
        changes: &mut Vec<TargetChanges>,
    ) -> Result<Vec<(Arc<str>, u32)>, Refusal> {
        use pb::WeightedCluster;
        use pb::weighted_cluster::ClusterWeight;
        sort_fields!(at, message => WeightedCluster {
            takes { clusters, total_weight }
            ignores { runtime_key_prefix }
            refuses { random_value_specifier }
        });
        let mut targets = Vec::with_capacity(clusters.len());
        for (i, target) in clusters.iter().enumerate() {
            let at = at.item("clusters", i);
            sort_fields!(at, target => ClusterWeight {
                takes {
                    name, weight, request_headers_to_add, request_headers_to_remove,
                    response_headers_to_add, response_headers_to_remove, host_rewrite_specifier,
                }
                ignores {}
                refuses { cluster_header, metadata_match, typed_per_filter_config }
            });
            let host = match host_rewrite_specifier {
                None => None,
                Some(TargetHost::HostRewriteLiteral(host)) => {
                    rewrite::host(&at.field("host_rewrite_literal"), host)?
                }
            };
            changes.push(TargetChanges {
                host,
                request: edits(
                    &at,
                    "request",
                    request_headers_to_add,
                    request_headers_to_remove,
                )?,
                response: edits(
                    &at,
                    "response",
                    response_headers_to_add,
                    response_headers_to_remove,
                )?,
            });
            if name.is_empty() {
                return Err(at.field("name").refuse("is empty"));
            }
            let weight = weight.as_ref().map_or(0, |weight| weight.value);
            targets.push((self.clusters.intern(name), weight));
        }
        let sum = sum_of_weights(at, &targets)?;
        match total_weight.as_ref().map(|total| u64::from(total.value)) {
            Some(total) if total != sum => Err(at.field("total_weight").refuse(format!(
                "is {total} but the weights add up to {sum}; leave it out"
            ))),
            _ => Ok(targets),
        }
    }
}

/// The changes of headers of a message, both ways in the same fields.
fn edits(
    at: &At<'_>,
    way: &str,
    add: &[HeaderValueOption],
    remove: &[String],
) -> Result<Edits, Refusal> {
    let (add_field, remove_field) = match way {
        "request" => ("request_headers_to_add", "request_headers_to_remove"),
        _ => ("response_headers_to_add", "response_headers_to_remove"),
    };
    edit::compile(at, (add_field, add), (remove_field, remove))
}

/// What a route says to filters.
#[derive(Default)]
struct Filters {
    cors: Option<Arc<Cors>>,
    fault: Option<Box<Fault>>,
}

fn filters_of(at: &At<'_>, configs: &HashMap<String, Any>) -> Result<Filters, Refusal> {
    let at = at.field("typed_per_filter_config");
    let mut filters = Filters::default();
    for (filter, config) in configs {
        if config.type_url == CorsPolicy::type_url() {
            let place = at.field("cors");
            filters.cors = cors::compile(&place, &unpack(&place, config)?)?.map(Arc::new);
        } else if config.type_url == HttpFault::type_url() {
            let place = at.field("fault");
            filters.fault = fault::compile(&place, &unpack(&place, config)?)?.map(Box::new);
        } else {
            return Err(at.refuse(format!(
                "configures the filter {filter:?}, which this proxy does not support"
            )));
        }
    }
    Ok(filters)
}

/// How long requests may take. Without a word that is 15 seconds, as Envoy has it.
fn timeouts(
    at: &At<'_>,
    route: Option<&Duration>,
    grpc_max: Option<&Duration>,
    stream: Option<&pb::route_action::MaxStreamDuration>,
) -> Result<Timeout, Refusal> {
    let mut timeout = Timeout {
        route: match route {
            Some(limit) => Some(length(&at.field("timeout"), limit)?),
            None => Some(DEFAULT_TIMEOUT),
        },
        grpc_max: match grpc_max {
            Some(limit) => Some(length(&at.field("max_grpc_timeout"), limit)?),
            None => None,
        },
    };
    timeout.route = timeout.route.filter(|limit| !limit.is_zero());
    if let Some(limits) = stream {
        let at = at.field("max_stream_duration");
        let pb::route_action::MaxStreamDuration {
            max_stream_duration,
            grpc_timeout_header_max,
            grpc_timeout_header_offset,
        } = limits;
        must_be_unlimited(
            &at.field("max_stream_duration"),
            max_stream_duration.as_ref(),
        )?;
        must_be_unlimited(
            &at.field("grpc_timeout_header_offset"),
            grpc_timeout_header_offset.as_ref(),
        )?;
        if let Some(limit) = grpc_timeout_header_max {
            timeout.grpc_max = Some(length(&at.field("grpc_timeout_header_max"), limit)?);
        }
    }
    Ok(timeout)
}

/// What the weights of a split add up to, if that is acceptable.
pub(super) fn sum_of_weights(at: &At<'_>, targets: &[(Arc<str>, u32)]) -> Result<u64, Refusal> {
    let sum = targets.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if (1..=u64::from(u32::MAX)).contains(&sum) {
        return Ok(sum);
    }
    Err(at.refuse(format!(
        "the weights add up to {sum}; give 1 to {}",
        u32::MAX
    )))
}

#[cfg(test)]
mod tests;
