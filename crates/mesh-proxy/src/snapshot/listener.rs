//! Listeners: an Envoy `Listener` becomes a [`ListenerSpec`], and with its routers and sockets a
//! [`Listener`].

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_xds::envoy::core::TrafficDirection;
use mesh_xds::envoy::listener as pb;
use mesh_xds::envoy::listener::filter::ConfigType;
use mesh_xds::envoy::listener::listener_filter::ConfigType as ListenerFilterConfig;
use mesh_xds::envoy::protobuf::BoolValue;
use mesh_xds::envoy::tcp_proxy::TcpProxy as TcpProxyMessage;
use mesh_xds::envoy::tls_inspector::TlsInspector;
use mesh_xds::{Workload, metadata};
use prost::Name;

use super::compile::Context;
use super::endpoint::host_and_port;
use super::field::{At, Refusal, is_set, must_be_off, must_be_unlimited, sort_fields, unpack};
use super::manager::{self, Manager, Routes};
use super::secret::Slot;
use super::transport::{self, Configurations, Downstream};
use super::{
    Clients, Direction, Filter, FilterChain, FilterChains, Http, Listener, PeerDirectory, Router,
    TcpProxy, tcp_proxy,
};

/// A listener that is valid by itself, without its routes and sockets.
#[derive(Debug)]
pub struct ListenerSpec {
    /// Its xDS name.
    pub name: Arc<str>,
    /// The address that it asks for, before the port map.
    pub address: SocketAddr,
    direction: Direction,
    edge: bool,
    chains: Vec<ChainSpec>,
    workload: Arc<Workload>,
    peers: Arc<PeerDirectory>,
    tls: Configurations<rustls::ServerConfig>,
    /// What its chains need to shake hands.
    secrets: Vec<Arc<Slot>>,
}

#[derive(Debug)]
struct ChainSpec {
    /// In lower case; empty if the chain takes connections whatever they ask for.
    server_names: Vec<String>,
    tls: Option<Arc<rustls::ServerConfig>>,
    mesh: bool,
    clients: Option<Arc<Clients>>,
    passes_tls: bool,
    filter: FilterSpec,
}

#[derive(Debug)]
enum FilterSpec {
    Http(Manager),
    Tcp(Arc<TcpProxy>),
}

impl ListenerSpec {
    /// The names of the route configurations that RDS must give.
    pub fn route_names(&self) -> BTreeSet<&str> {
        let rds = self.routes().filter_map(|routes| match routes {
            Routes::Rds(name) => Some(name.as_str()),
            Routes::Inline(_) => None,
        });
        rds.collect()
    }

    /// The secrets without which it cannot shake hands.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Slot> {
        self.secrets.iter().map(|slot| &**slot)
    }

    /// The clusters that the listener itself names: of sessions, and of routes that are part of it.
    pub(super) fn inline_clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.chains.iter().flat_map(|chain| {
            let (routes, sessions) = match &chain.filter {
                FilterSpec::Http(manager) => match &manager.routes {
                    Routes::Inline(spec) => (Some(&spec.clusters), None),
                    Routes::Rds(_) => (None, None),
                },
                FilterSpec::Tcp(proxy) => (None, Some(&proxy.split.targets)),
            };
            let sessions = sessions.into_iter().flatten().map(|(name, _)| name);
            routes.into_iter().flatten().chain(sessions)
        })
    }

    /// Its route configurations that are part of itself.
    fn inline_router(&self, name: &str) -> Option<&Router> {
        self.routes().find_map(|routes| match routes {
            Routes::Inline(spec) if &*spec.router.name == name => Some(&*spec.router),
            _ => None,
        })
    }

    fn routes(&self) -> impl Iterator<Item = &Routes> {
        self.chains.iter().filter_map(|chain| match &chain.filter {
            FilterSpec::Http(manager) => Some(&manager.routes),
            FilterSpec::Tcp(_) => None,
        })
    }

    /// Where its sessions went that asked for one of these names.
    fn tcp_proxy(&self, server_names: &[String]) -> Option<&Arc<TcpProxy>> {
        self.chains.iter().find_map(|chain| match &chain.filter {
            FilterSpec::Tcp(proxy) if chain.server_names == server_names => Some(proxy),
            _ => None,
        })
    }
}

/// Reads a listener; `previous` is the one that it replaces.
pub(super) fn compile(
    at: &At<'_>,
    message: &pb::Listener,
    previous: Option<&ListenerSpec>,
    context: &Context,
) -> Result<ListenerSpec, Refusal> {
    use pb::Listener as Message;
    sort_fields!(at, message => Message {
        takes {
            name, address, filter_chains, default_filter_chain, metadata, listener_filters, traffic_direction,
            use_original_dst, listener_filters_timeout, bind_to_port,
        }
        // Names for statistics; how it ends, which is always gracefully; that each worker has a socket of
        // its own, which is always so; what an overload manager would do.
        ignores {
            stat_prefix, stats_matcher, drain_type, reuse_port, enable_reuse_port, ignore_global_conn_limit,
            bypass_overload_manager, max_connections_to_accept_per_socket_event,
        }
        refuses {
            additional_addresses, fcds_config, filter_chain_matcher, per_connection_buffer_limit_bytes,
            per_connection_buffer_high_watermark_timeout, deprecated_v1, continue_on_listener_filters_timeout,
            transparent, freebind, socket_options, tcp_fast_open_queue_length, udp_listener_config,
            api_listener, connection_balance_config, access_log, tcp_backlog_size, enable_mptcp, tcp_keepalive,
            listener_specifier,
        }
    });
    must_be_off(&at.field("use_original_dst"), use_original_dst.as_ref())?;
    must_be_unlimited(
        &at.field("listener_filters_timeout"),
        listener_filters_timeout.as_ref(),
    )?;
    if *bind_to_port == Some(BoolValue { value: false }) {
        return Err(at
            .field("bind_to_port")
            .refuse("must be true: connections are not handed over"));
    }
    for (i, filter) in listener_filters.iter().enumerate() {
        listener_filter(&at.item("listener_filters", i), filter)?;
    }
    let place = at.field("address");
    let (host, port) = host_and_port(&place, address.as_ref())?;
    let ip: IpAddr = host
        .parse()
        .map_err(|_| place.refuse(format!("{host:?} is no IP address to listen on")))?;
    let direction = if *traffic_direction == TrafficDirection::Inbound as i32 {
        Direction::Inbound
    } else {
        Direction::Outbound
    };
    let own = metadata.as_ref().and_then(metadata::workload).map(Arc::new);
    let peers = metadata.as_ref().map(metadata::peers).unwrap_or_default();

    let mut reader = Reader {
        previous,
        context,
        tls: Configurations::default(),
        secrets: Vec::new(),
        chains: Vec::new(),
    };
    for (i, message) in filter_chains.iter().enumerate() {
        reader.chain(&at.item("filter_chains", i), message)?;
    }
    if let Some(message) = default_filter_chain {
        let at = at.field("default_filter_chain");
        if message.filter_chain_match.as_ref().is_some_and(is_set) {
            return Err(at
                .field("filter_chain_match")
                .refuse("does not go with a default chain"));
        }
        reader.chain(&at, message)?;
    }
    let Reader {
        tls,
        secrets,
        chains,
        ..
    } = reader;
    check_server_names(at, &chains)?;
    let in_plain_text = chains
        .iter()
        .any(|chain| chain.tls.is_none() && !chain.passes_tls);
    Ok(ListenerSpec {
        name: name.as_str().into(),
        address: SocketAddr::new(ip, port),
        direction,
        // At a gateway's door and at a published port stand clients that nobody vouches for.
        edge: context.gateway || (direction == Direction::Inbound && in_plain_text),
        chains,
        workload: own.unwrap_or_else(|| Arc::clone(&context.workload)),
        peers: Arc::new(PeerDirectory::new(peers.into_iter().map(Arc::new))),
        tls,
        secrets,
    })
}

/// Joins a listener with its sockets and the routers of RDS. A router that `routers` does not have
/// matches nothing.
pub(super) fn build(
    spec: &ListenerSpec,
    address: SocketAddr,
    sockets: &Arc<Vec<std::net::TcpListener>>,
    routers: impl Fn(&str) -> Option<Arc<Router>>,
) -> Listener {
    let mut chains = FilterChains::default();
    let mut suffixes = Vec::new();
    for chain in &spec.chains {
        let filter = match &chain.filter {
            FilterSpec::Http(manager) => {
                let nothing = |name: &str| {
                    Arc::new(Router {
                        name: name.into(),
                        ..Router::default()
                    })
                };
                let router = match &manager.routes {
                    Routes::Inline(inline) => Arc::clone(&inline.router),
                    Routes::Rds(name) => routers(name).unwrap_or_else(|| nothing(name)),
                };
                Filter::Http(Http {
                    router,
                    path: manager.path,
                    client_certificate: manager.client_certificate,
                })
            }
            FilterSpec::Tcp(proxy) => Filter::Tcp(Arc::clone(proxy)),
        };
        let built = Arc::new(FilterChain {
            tls: chain.tls.clone(),
            mesh: chain.mesh,
            clients: chain.clients.clone(),
            passes_tls: chain.passes_tls,
            filter,
        });
        if chain.server_names.is_empty() {
            chains.default = Some(Arc::clone(&built));
        }
        for name in &chain.server_names {
            match name.strip_prefix('*') {
                Some(suffix) => suffixes.push((suffix.to_owned(), Arc::clone(&built))),
                None => _ = chains.exact.insert(name.clone(), Arc::clone(&built)),
            }
        }
    }
    chains.suffix = suffixes.into_iter().collect();
    Listener {
        name: Arc::clone(&spec.name),
        address,
        sockets: Arc::clone(sockets),
        direction: spec.direction,
        edge: spec.edge,
        chains,
        workload: Arc::clone(&spec.workload),
        peers: Arc::clone(&spec.peers),
    }
}

struct Reader<'a> {
    previous: Option<&'a ListenerSpec>,
    context: &'a Context,
    tls: Configurations<rustls::ServerConfig>,
    secrets: Vec<Arc<Slot>>,
    chains: Vec<ChainSpec>,
}

impl Reader<'_> {
    fn chain(&mut self, at: &At<'_>, message: &pb::FilterChain) -> Result<(), Refusal> {
        use pb::{FilterChain, FilterChainMatch};
        sort_fields!(at, message => FilterChain {
            takes { filter_chain_match, filters, use_proxy_proto, transport_socket }
            ignores { metadata, name }
            refuses { transport_socket_connect_timeout }
        });
        must_be_off(&at.field("use_proxy_proto"), use_proxy_proto.as_ref())?;
        let identity = &self.context.identity;
        let place = at.field("transport_socket");
        let terms = transport::downstream(&place, transport_socket.as_ref(), identity)?;
        let before = self.previous.map(|listener| &listener.tls);
        let mut clients = None;
        let (tls, mesh) = match terms {
            None => (None, false),
            Some(Downstream::Mesh(terms)) => (Some(self.tls.server(before, identity, terms)), true),
            Some(Downstream::Own(terms)) => {
                let secrets = &self.context.secrets;
                let slots = terms.secrets().map(|name| secrets.slot(name));
                self.secrets.extend(slots);
                clients = terms.clients().cloned();
                (Some(terms.config(secrets)), false)
            }
        };
        let mut passes_tls = false;

        let mut names = Vec::new();
        if let Some(criteria) = filter_chain_match {
            let at = at.field("filter_chain_match");
            sort_fields!(at, criteria => FilterChainMatch {
                takes { server_names, transport_protocol }
                ignores {}
                refuses {
                    destination_port, prefix_ranges, address_suffix, suffix_len, direct_source_prefix_ranges,
                    source_type, source_prefix_ranges, source_ports, application_protocols,
                }
            });
            // Bytes that begin with TLS which somebody else terminates.
            passes_tls = tls.is_none() && (transport_protocol == "tls" || !server_names.is_empty());
            let ours = if tls.is_some() || passes_tls {
                "tls"
            } else {
                "raw_buffer"
            };
            if !transport_protocol.is_empty() && transport_protocol != ours {
                return Err(at.field("transport_protocol").refuse(format!(
                    "{transport_protocol:?} does not go with the chain's transport socket ({ours:?})"
                )));
            }
            for (i, name) in server_names.iter().enumerate() {
                names.push(server_name(&at.item("server_names", i), name)?);
            }
        }
        let [filter] = filters.as_slice() else {
            return Err(at.field("filters").refuse(format!(
                "must be one HTTP connection manager or TCP proxy, there are {} filters",
                filters.len()
            )));
        };
        let at = at.item("filters", 0);
        let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
            return Err(at.field("typed_config").refuse("is missing"));
        };
        let at = at.field("typed_config");
        let (previous, workers) = (self.previous, self.context.workers);
        let filter = if any.type_url == TcpProxyMessage::type_url() {
            let before = previous.and_then(|spec| spec.tcp_proxy(&names));
            FilterSpec::Tcp(tcp_proxy::compile(
                &at,
                &unpack(&at, any)?,
                before,
                workers,
            )?)
        } else {
            let before = |name: &str| previous.and_then(|spec| spec.inline_router(name));
            if passes_tls {
                return Err(at.refuse(
                    "cannot look into TLS that it does not terminate; set transport_socket",
                ));
            }
            FilterSpec::Http(manager::compile(&at, &unpack(&at, any)?, before, workers)?)
        };
        self.chains.push(ChainSpec {
            server_names: names,
            tls,
            mesh,
            clients,
            passes_tls,
            filter,
        });
        Ok(())
    }
}

fn listener_filter(at: &At<'_>, filter: &pb::ListenerFilter) -> Result<(), Refusal> {
    match &filter.config_type {
        // Nothing to configure: TLS is told from plain text wherever a chain has TLS.
        Some(ListenerFilterConfig::TypedConfig(any))
            if any.type_url == TlsInspector::type_url() =>
        {
            Ok(())
        }
        None if filter.name == "envoy.filters.listener.tls_inspector" => Ok(()),
        _ => Err(at.refuse(format!(
            "the listener filter {:?} is not supported",
            filter.name
        ))),
    }
}

fn server_name(at: &At<'_>, name: &str) -> Result<String, Refusal> {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("*.").unwrap_or(&lower);
    if bare.is_empty() || bare.contains('*') {
        return Err(at.refuse(format!(
            "{name:?} is not supported: give a name or *.suffix"
        )));
    }
    Ok(lower)
}

/// Each connection must have one chain.
fn check_server_names(at: &At<'_>, chains: &[ChainSpec]) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    for (i, chain) in chains.iter().enumerate() {
        let names = chain.server_names.iter().map(String::as_str);
        let catch_all = chain.server_names.is_empty().then_some("every server name");
        for name in names.chain(catch_all) {
            if !seen.insert(name) {
                return Err(at
                    .item("filter_chains", i)
                    .refuse(format!("{name} is already taken by another chain")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
