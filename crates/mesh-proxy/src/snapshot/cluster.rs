//! Clusters: an Envoy `Cluster` becomes a [`ClusterSpec`], and with its endpoints a [`Cluster`].

mod options;
mod outlier_detection;
mod source;

use std::sync::Arc;
use std::time::Duration;

use mesh_identity::Identity;
use mesh_xds::envoy::cluster as pb;
use mesh_xds::envoy::cluster::cluster::common_lb_config::LocalityConfigSpecifier;
use mesh_xds::envoy::cluster::cluster::{CommonLbConfig, EdsClusterConfig, TransportSocketMatch};
use mesh_xds::envoy::core::Metadata;
use mesh_xds::envoy::core::config_source::ConfigSourceSpecifier;
use mesh_xds::envoy::protobuf::Struct;
use mesh_xds::metadata;
use mesh_xds::names::ClusterName;

use super::endpoint::{self, Assignment};
use super::field::{At, Refusal, length, sort_fields};
use super::secret::{Secrets, Slot};
use super::tier;
use super::transport::{self, Configurations};
use super::{Balance, Cluster, Connections, ServiceName, UpstreamTls, Warmup};
use crate::upstream::breaker::Limits;
use crate::upstream::{ClusterState, Dynamic, outlier};

/// The key of a cluster's HTTP options.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Envoy's default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that is valid by itself, without the endpoints that EDS gives it.
#[derive(Debug)]
pub struct ClusterSpec {
    /// Its xDS name.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub source: Source,
    /// Whether HTTP/2 is spoken to endpoints in plain text.
    pub http2: bool,
    service: Arc<ServiceName>,
    balance: Balance,
    warmup: Option<Warmup>,
    /// Localities have shares of their own.
    by_place: bool,
    panic_percent: u32,
    outlier: Option<outlier::Terms>,
    limits: Option<Limits>,
    connections: Connections,
    connect_timeout: Duration,
    /// The first that fits an endpoint decides how it is spoken to.
    transports: Vec<Transport>,
    tls: Configurations<rustls::ClientConfig, transport::Upstream>,
    /// The secrets that its TLS needs.
    pub(super) secrets: Vec<Arc<Slot>>,
}

/// Where a cluster's endpoints come from.
#[derive(Debug)]
pub enum Source {
    /// They are part of the cluster.
    Static(Arc<Assignment>),
    /// A resource of EDS with this name.
    Eds(String),
    /// All addresses of its endpoints' names.
    Dns(Arc<Names>),
    /// The host of each request.
    Dynamic {
        /// How many hosts each worker keeps.
        most: usize,
        /// The endpoints that it has beforehand.
        nothing: Arc<Assignment>,
    },
}

/// Endpoints whose names are resolved again and again.
#[derive(Debug)]
pub struct Names {
    /// By their names.
    pub assignment: Arc<Assignment>,
    /// How long an answer is taken for true.
    pub refresh: Duration,
    /// Which addresses are used.
    pub family: Family,
}

/// Which of a name's addresses are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Those of IPv4.
    V4Only,
    /// Those of IPv6.
    V6Only,
    /// Those of IPv4 if there are any.
    V4Preferred,
    /// Those of IPv6 if there are any.
    V6Preferred,
    /// Every one.
    All,
}

#[derive(Debug)]
struct Transport {
    /// What an endpoint's metadata must have; nothing fits all.
    condition: Struct,
    tls: Option<UpstreamTls>,
}

impl ClusterSpec {
    /// How an endpoint with this metadata is spoken to; `None` is plain text.
    pub(super) fn transport_to(&self, metadata: Option<&Metadata>) -> Option<&UpstreamTls> {
        let fits = |transport: &&Transport| {
            metadata::matches_transport_socket(metadata, &transport.condition)
        };
        self.transports.iter().find(fits)?.tls.as_ref()
    }
}

/// Reads a cluster; `previous` is the one that it replaces.
pub(super) fn compile(
    at: &At<'_>,
    message: &pb::Cluster,
    previous: Option<&ClusterSpec>,
    (identity, secrets): (&Arc<Identity>, &Secrets),
) -> Result<ClusterSpec, Refusal> {
    use pb::Cluster as Message;
    sort_fields!(at, message => Message {
        takes {
            name, eds_cluster_config, connect_timeout, lb_policy, load_assignment, circuit_breakers,
            http2_protocol_options, typed_extension_protocol_options, common_lb_config, transport_socket,
            transport_socket_matches, metadata, cluster_discovery_type, lb_config, dns_lookup_family,
            dns_refresh_rate, outlier_detection, upstream_connection_options,
        }
        // Names for statistics; details of when names are resolved again, which the resolver of this machine
        // hides; how long warming takes, where nothing warms.
        ignores {
            alt_stat_name, stats_matcher, track_cluster_stats, dns_jitter,
            dns_failure_refresh_rate, respect_dns_ttl, wait_for_warm_on_init, cleanup_interval,
        }
        refuses {
            transport_socket_matcher, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, health_checks, max_requests_per_connection,
            upstream_http_protocol_options, common_http_protocol_options, http_protocol_options,
            dns_resolvers, use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config,
            upstream_bind_config, lb_subset_config, protocol_selection,
            close_connections_on_host_health_failure,
            ignore_health_on_host_removal, filters, load_balancing_policy, lrs_server,
            lrs_report_endpoint_metrics, track_timeout_budgets, upstream_config, preconnect_policy,
            connection_pool_per_downstream_connection, queuing_policies,
        }
    });
    let limits = match circuit_breakers {
        Some(breakers) => options::limits(&at.field("circuit_breakers"), breakers)?,
        None => None,
    };
    let mut by_place = false;
    let mut panic_percent = 0;
    if let Some(common) = common_lb_config {
        let at = at.field("common_lb_config");
        sort_fields!(at, common => CommonLbConfig {
            takes { healthy_panic_threshold, locality_config_specifier }
            // Both shape how an update is applied, and ours is applied at once and whole.
            ignores { update_merge_window, ignore_new_hosts_until_first_hc }
            refuses {
                close_connections_on_host_set_change, consistent_hashing_lb_config, override_host_status,
            }
        });
        if let Some(threshold) = healthy_panic_threshold {
            panic_percent =
                options::whole_percent(&at.field("healthy_panic_threshold"), threshold.value)?;
        }
        by_place = match locality_config_specifier {
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => true,
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
                return Err(at.field("zone_aware_lb_config").unsupported());
            }
            None => false,
        };
    }
    let outlier = match outlier_detection {
        Some(message) => Some(outlier_detection::compile(
            &at.field("outlier_detection"),
            message,
        )?),
        None => None,
    };
    let mut connections = Connections::default();
    if let Some(message) = upstream_connection_options {
        connections.keepalive =
            options::keepalive(&at.field("upstream_connection_options"), message)?;
    }
    let mut http2 = http2_protocol_options.is_some();
    let mut alpn: &[&str] = if http2 { &["h2"] } else { &["http/1.1"] };
    for (key, any) in typed_extension_protocol_options {
        let at = at.field("typed_extension_protocol_options");
        if key != HTTP_OPTIONS {
            return Err(at.refuse(format!("{key:?} is not supported")));
        }
        (http2, alpn) = options::protocols(&at, any, &mut connections)?;
    }
    let (balance, warmup) = options::balance(at, *lb_policy, lb_config.as_ref())?;
    let mut spec = ClusterSpec {
        name: name.as_str().into(),
        source: source::compile(
            at,
            &source::Given {
                name,
                kind: cluster_discovery_type.as_ref(),
                eds: eds_cluster_config.as_ref(),
                assignment: load_assignment.as_ref(),
                refresh: dns_refresh_rate.as_ref(),
                family: *dns_lookup_family,
            },
        )?,
        http2,
        service: Arc::new(service(name, metadata.as_ref())),
        balance,
        warmup,
        by_place,
        panic_percent,
        outlier,
        limits,
        connections,
        connect_timeout: timeout(&at.field("connect_timeout"), connect_timeout.as_ref())?,
        transports: Vec::new(),
        tls: Configurations::default(),
        secrets: Vec::new(),
    };

    let mut add = |at: &At<'_>, condition, socket| {
        let tls = transport::upstream(at, socket, identity, alpn)?.map(|(terms, sni)| {
            let before = previous.map(|spec| &spec.tls);
            let slots = terms.secrets().map(|name| secrets.slot(name));
            spec.secrets.extend(slots);
            UpstreamTls {
                is_mesh: matches!(terms, transport::Upstream::Mesh(_)),
                config: spec.tls.client(before, (identity, secrets), terms),
                sni,
            }
        });
        spec.transports.push(Transport { condition, tls });
        Ok(())
    };
    for (i, message) in transport_socket_matches.iter().enumerate() {
        let TransportSocketMatch {
            name: _,
            r#match,
            transport_socket,
        } = message;
        let at = at.item("transport_socket_matches", i);
        let condition = r#match.clone().unwrap_or_default();
        add(
            &at.field("transport_socket"),
            condition,
            transport_socket.as_ref(),
        )?;
    }
    add(
        &at.field("transport_socket"),
        Struct::default(),
        transport_socket.as_ref(),
    )?;
    Ok(spec)
}

/// Joins a cluster with its endpoints; `previous` is the one that it replaces.
pub(super) fn build(
    spec: &ClusterSpec,
    assignment: &Assignment,
    previous: Option<&Cluster>,
    workers: usize,
) -> Cluster {
    let endpoints = endpoint::build(spec, assignment, previous, workers);
    let spread = match spec.balance {
        Balance::Hash(spread) => Some(spread),
        _ => None,
    };
    let before = previous.map_or(&[][..], |previous| &previous.tiers);
    let tiers = tier::build(
        &endpoints,
        &endpoint::keys(assignment),
        spec.by_place,
        spread,
        before,
    );
    let one_place = tiers.iter().all(|tier| tier.places.len() < 2);
    let one_weight = endpoints.windows(2).all(|e| e[0].weight == e[1].weight);
    let cluster = Cluster {
        name: Arc::clone(&spec.name),
        service: Arc::clone(&spec.service),
        is_flat: tiers.len() < 2
            && one_place
            && one_weight
            && spec.warmup.is_none()
            && spread.is_none(),
        endpoints,
        tiers,
        balance: spec.balance,
        warmup: spec.warmup,
        panic_percent: spec.panic_percent,
        outlier: spec.outlier.clone(),
        limits: spec.limits,
        connections: spec.connections,
        http2: spec.http2,
        connect_timeout: spec.connect_timeout,
        state: previous.map_or_else(
            || Arc::new(ClusterState::new(workers)),
            |previous| Arc::clone(&previous.state),
        ),
        dynamic: match spec.source {
            Source::Dynamic { most, .. } => {
                let tls = spec.transport_to(None).cloned();
                Some(Arc::new(Dynamic::new(workers, most, tls)))
            }
            Source::Static(_) | Source::Eds(_) | Source::Dns(_) => None,
        },
    };
    outlier::recount(&cluster);
    cluster
}

/// The name of the resource that has the endpoints.
fn assignment_name(
    at: &At<'_>,
    cluster: &str,
    config: Option<&EdsClusterConfig>,
) -> Result<String, Refusal> {
    let at = at.field("eds_cluster_config");
    let EdsClusterConfig {
        eds_config,
        service_name,
    } = config.ok_or_else(|| at.refuse("is missing"))?;
    let source = eds_config
        .as_ref()
        .and_then(|source| source.config_source_specifier.as_ref());
    from_stream(&at.field("eds_config"), source)?;
    Ok(if service_name.is_empty() {
        cluster.to_owned()
    } else {
        service_name.clone()
    })
}

/// Whether resources come over the stream that we have.
pub(super) fn from_stream(
    at: &At<'_>,
    source: Option<&ConfigSourceSpecifier>,
) -> Result<(), Refusal> {
    match source {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        _ => Err(at.refuse("must be ads: resources come over the one stream to the control plane")),
    }
}

fn timeout(
    at: &At<'_>,
    value: Option<&mesh_xds::envoy::protobuf::Duration>,
) -> Result<Duration, Refusal> {
    let Some(value) = value else {
        return Ok(CONNECT_TIMEOUT);
    };
    length(at, value)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| at.refuse("must be more than 0s"))
}

/// From the metadata, as Istio writes it, else from the cluster's name.
fn service(name: &str, metadata: Option<&Metadata>) -> ServiceName {
    if let Some(service) = metadata.and_then(metadata::service) {
        let metadata::ServiceRef {
            host,
            name,
            namespace,
        } = service;
        return ServiceName {
            host,
            name,
            namespace,
        };
    }
    let host = name
        .parse()
        .map_or_else(|_| String::new(), |name: ClusterName| name.host);
    let mut labels = host.split('.').map(str::to_owned);
    let name = labels.next().unwrap_or_default();
    let namespace = labels
        .next()
        .filter(|_| host.contains(".svc."))
        .unwrap_or_default();
    ServiceName {
        host,
        name,
        namespace,
    }
}

#[cfg(test)]
mod tests;
