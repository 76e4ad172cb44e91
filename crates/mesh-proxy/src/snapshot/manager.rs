//! HTTP connection managers: what a filter chain does with its connections.
//!
//! All that is taken of Envoy's many settings is where the routes come from and whether paths are normalised.
//! Whatever else would change behaviour is refused by name.

use mesh_xds::envoy::cors::Cors;
use mesh_xds::envoy::dynamic_forward_proxy::filter::FilterConfig as DynamicFilter;
use mesh_xds::envoy::fault::HttpFault;
use mesh_xds::envoy::http_connection_manager as http;
use mesh_xds::envoy::http_connection_manager::http_connection_manager::{
    CodecType, ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier,
    SetCurrentClientCertDetails,
};
use mesh_xds::envoy::http_connection_manager::http_filter::ConfigType;
use mesh_xds::envoy::protobuf::BoolValue;
use mesh_xds::envoy::router::Router as RouterFilter;
use prost::Name;

use super::cluster::from_stream;
use super::field::{At, Refusal, is_set, must_be_unlimited, sort_fields, unpack};
use super::route::{self, RouteSpec};
use super::{ClientCertificate, Normalization, Router};

/// What a connection manager says.
#[derive(Debug)]
pub(super) struct Manager {
    /// Where its routes come from.
    pub(super) routes: Routes,
    /// How paths are brought into their normal form before anybody reads them.
    pub(super) path: Normalization,
    /// What the services behind are told of the client's certificate.
    pub(super) client_certificate: ClientCertificate,
}

/// Where a chain's routes come from.
#[derive(Debug)]
pub(super) enum Routes {
    /// They are part of the listener.
    Inline(RouteSpec),
    /// A resource of RDS with this name.
    Rds(String),
}

/// Reads a connection manager; `before` finds the router that inline routes of a name replace.
pub(super) fn compile<'r>(
    at: &At<'_>,
    message: &http::HttpConnectionManager,
    before: impl Fn(&str) -> Option<&'r Router>,
    workers: usize,
) -> Result<Manager, Refusal> {
    use http::HttpConnectionManager;
    sort_fields!(at, message => HttpConnectionManager {
        takes {
            codec_type, http_filters, stream_idle_timeout, request_timeout, request_headers_timeout,
            normalize_path, generate_request_id, internal_address_config, route_specifier, merge_slashes,
            path_with_escaped_slashes_action,
            forward_client_cert_details, set_current_client_cert_details,
        }
        // Names for statistics. That the peer's address is the client's, and what is done about it, follows
        // from where the listener stands: see `edge` of [`Listener`].
        ignores { stat_prefix, use_remote_address }
        refuses {
            add_user_agent, tracing, common_http_protocol_options, http1_safe_max_connection_duration,
            http_protocol_options, http2_protocol_options, http3_protocol_options, server_name,
            server_header_transformation, scheme_header_transformation, max_request_headers_kb,
            stream_flush_timeout, drain_timeout, drain_timeout_jitter, delayed_close_timeout, access_log,
            access_log_flush_interval, flush_access_log_on_new_request, access_log_options,
            xff_num_trusted_hops, original_ip_detection_extensions, early_header_mutation_extensions,
            skip_xff_append, via, preserve_external_request_id, always_set_request_id_in_response,
            forward_client_cert_matcher,
            proxy_100_continue, represent_ipv4_remote_address_as_ipv4_mapped_ipv6, upgrade_configs,
            request_id_extension, local_reply_config,
            strip_matching_host_port, stream_error_on_invalid_http_message, path_normalization_options,
            strip_trailing_host_dot, proxy_status_config, typed_header_validation_config,
            append_x_forwarded_port, append_local_overload, add_proxy_protocol_connection_state,
            forward_proto_config, strip_port_mode,
        }
    });
    if *codec_type != CodecType::Auto as i32 {
        return Err(at.field("codec_type").refuse("must be AUTO"));
    }
    must_be_unlimited(
        &at.field("stream_idle_timeout"),
        stream_idle_timeout.as_ref(),
    )?;
    must_be_unlimited(&at.field("request_timeout"), request_timeout.as_ref())?;
    must_be_unlimited(
        &at.field("request_headers_timeout"),
        request_headers_timeout.as_ref(),
    )?;
    if *generate_request_id == Some(BoolValue { value: false }) {
        return Err(at.field("generate_request_id").refuse("must be true"));
    }
    if internal_address_config.as_ref().is_some_and(is_set) {
        return Err(at.field("internal_address_config").unsupported());
    }
    let client_certificate = client_certificate(
        at,
        *forward_client_cert_details,
        set_current_client_cert_details.as_ref(),
    )?;
    http_filters_of(at, http_filters)?;
    let routes = match route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            let at = at.field("rds");
            let source = rds.config_source.as_ref();
            let source = source.and_then(|source| source.config_source_specifier.as_ref());
            from_stream(&at.field("config_source"), source)?;
            if rds.route_config_name.is_empty() {
                return Err(at.field("route_config_name").refuse("is empty"));
            }
            Routes::Rds(rds.route_config_name.clone())
        }
        Some(RouteSpecifier::RouteConfig(config)) => {
            let before = before(&config.name);
            let at = at.field("route_config");
            Routes::Inline(route::compile(&at, config, before, workers)?)
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            return Err(at.field("scoped_routes").unsupported());
        }
        None => return Err(at.refuse("names no routes; set rds or route_config")),
    };
    Ok(Manager {
        routes,
        path: Normalization {
            normalize: *normalize_path == Some(BoolValue { value: true }),
            unescape_slashes: unescapes_slashes(at, *path_with_escaped_slashes_action)?,
            merge_slashes: *merge_slashes,
        },
        client_certificate,
    })
}

/// What the services behind are told of the client's certificate. What strangers say of theirs is never passed on.
fn client_certificate(
    at: &At<'_>,
    how: i32,
    details: Option<&SetCurrentClientCertDetails>,
) -> Result<ClientCertificate, Refusal> {
    let kind = match ForwardClientCertDetails::try_from(how) {
        Ok(ForwardClientCertDetails::Sanitize) => ClientCertificate::Sanitize,
        Ok(ForwardClientCertDetails::SanitizeSet) => ClientCertificate::Set,
        Ok(ForwardClientCertDetails::ForwardOnly) => ClientCertificate::Forward,
        _ => {
            return Err(at
                .field("forward_client_cert_details")
                .refuse("must be SANITIZE, SANITIZE_SET or FORWARD_ONLY"));
        }
    };
    let sets = kind == ClientCertificate::Set;
    if let Some(message) = details {
        let at = at.field("set_current_client_cert_details");
        sort_fields!(at, message => SetCurrentClientCertDetails {
            takes { subject, cert, dns, uri }
            ignores {}
            refuses { chain, issuer, format }
        });
        let all = *subject == Some(BoolValue { value: true }) && *cert && *dns && *uri;
        if sets && !all {
            return Err(
                at.refuse("must ask for subject, cert, dns and uri, as Istio's gateways do")
            );
        }
    } else if sets {
        return Err(at
            .field("set_current_client_cert_details")
            .refuse("is missing, and SANITIZE_SET needs it"));
    }
    Ok(kind)
}

/// The router, and the filters that routes speak to, are known; others may be passed over where they allow it.
fn http_filters_of(at: &At<'_>, filters: &[http::HttpFilter]) -> Result<(), Refusal> {
    for (i, filter) in filters.iter().enumerate() {
        let at = at.item("http_filters", i);
        let is_last = i + 1 == filters.len();
        match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) if any.type_url == RouterFilter::type_url() => {
                router_filter(&at.field("typed_config"), &unpack(&at, any)?)?;
                if filter.disabled || !is_last {
                    return Err(at.refuse("the router must be the last filter, and on"));
                }
            }
            // What a dynamic forward proxy's cluster needs in Envoy; ours needs no filter.
            Some(ConfigType::TypedConfig(any))
                if any.type_url == DynamicFilter::type_url() && !is_last => {}
            // What they do is said by each route.
            Some(ConfigType::TypedConfig(any))
                if [Cors::type_url(), HttpFault::type_url()].contains(&any.type_url)
                    && !is_last =>
            {
                if !any.value.is_empty() {
                    let message = "must be empty: only routes can say what it does";
                    return Err(at.field("typed_config").refuse(message));
                }
            }
            _ if !is_last && (filter.disabled || filter.is_optional) => {}
            _ => return Err(at.refuse(format!("the filter {:?} is not supported", filter.name))),
        }
    }
    if filters.is_empty() {
        return Err(at.field("http_filters").refuse("must end with the router"));
    }
    Ok(())
}

/// Whether `%2F` and `%5C` are taken for the slashes that they encode.
fn unescapes_slashes(at: &At<'_>, action: i32) -> Result<bool, Refusal> {
    use PathWithEscapedSlashesAction as Do;
    match Do::try_from(action) {
        Ok(Do::ImplementationSpecificDefault | Do::KeepUnchanged) => Ok(false),
        Ok(Do::UnescapeAndForward) => Ok(true),
        _ => Err(at
            .field("path_with_escaped_slashes_action")
            .refuse("must be KEEP_UNCHANGED or UNESCAPE_AND_FORWARD")),
    }
}

fn router_filter(at: &At<'_>, message: &RouterFilter) -> Result<(), Refusal> {
    sort_fields!(at, message => RouterFilter {
        takes {}
        // Statistics, and Envoy's own headers, which we never add.
        ignores { dynamic_stats, suppress_envoy_headers, suppress_grpc_request_failure_code_stats }
        refuses {
            start_child_span, upstream_log, upstream_log_options, strict_check_headers,
            respect_expected_rq_timeout, upstream_http_filters, reject_connect_request_early_data,
        }
    });
    Ok(())
}
