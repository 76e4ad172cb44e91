//! Transport sockets: mutual TLS 1.3 between the agents of the mesh, or plain text.
//!
//! Certificates never travel over xDS. A context names them by Istio's secret names without saying where they
//! come from: our proxies take their own identity, a stock Envoy looks in its bootstrap's static secrets.

use mesh_xds::envoy::core::{TransportSocket, transport_socket::ConfigType};
use mesh_xds::envoy::matcher::{StringMatcher, string_matcher::MatchPattern};
use mesh_xds::envoy::protobuf::BoolValue;
use mesh_xds::envoy::raw_buffer::RawBuffer;
use mesh_xds::envoy::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_xds::envoy::tls::subject_alt_name_matcher::SanType;
use mesh_xds::envoy::tls::tls_parameters::TlsProtocol;
use mesh_xds::envoy::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
};
use mesh_xds::{names, pack};

use crate::Settings;
use crate::service::Service;

const NAME: &str = "envoy.transport_sockets.tls";

/// For an inbound listener: any identity of the trust domain may call.
pub(crate) fn inbound(settings: &Settings, alpn: &[&str]) -> TransportSocket {
    let context = DownstreamTlsContext {
        common_tls_context: Some(common(vec![anybody(settings)], alpn)),
        require_client_certificate: Some(BoolValue { value: true }),
        ..DownstreamTlsContext::default()
    };
    socket(NAME, ConfigType::TypedConfig(pack(&context)))
}

/// Towards a service: only the identities of its workloads may answer.
pub(crate) fn outbound(
    settings: &Settings,
    service: &Service,
    port: u16,
    subset: Option<&str>,
    alpn: &[&str],
) -> TransportSocket {
    let exact = |id: &String| MatchPattern::Exact(id.clone());
    let mut peers: Vec<_> = service.principals.iter().map(exact).collect();
    if peers.is_empty() {
        // No WorkloadGroup belongs to the service, so there is nobody to connect to either.
        peers.push(anybody(settings));
    }
    let context = UpstreamTlsContext {
        common_tls_context: Some(common(peers, alpn)),
        sni: names::sni(port, subset, &service.host),
        ..UpstreamTlsContext::default()
    };
    socket(NAME, ConfigType::TypedConfig(pack(&context)))
}

/// Plain text.
pub(crate) fn plain() -> TransportSocket {
    socket(
        "envoy.transport_sockets.raw_buffer",
        ConfigType::TypedConfig(pack(&RawBuffer::default())),
    )
}

fn anybody(settings: &Settings) -> MatchPattern {
    MatchPattern::Prefix(format!("spiffe://{}/", settings.trust_domain))
}

fn common(peers: Vec<MatchPattern>, alpn: &[&str]) -> CommonTlsContext {
    let secret = |name: &str| SdsSecretConfig {
        name: name.to_owned(),
        ..SdsSecretConfig::default()
    };
    let uri = |pattern| SubjectAltNameMatcher {
        san_type: SanType::Uri as i32,
        matcher: Some(StringMatcher {
            match_pattern: Some(pattern),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    };
    let validation = CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: peers.into_iter().map(uri).collect(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(secret("ROOTCA")),
        ..CombinedCertificateValidationContext::default()
    };
    CommonTlsContext {
        tls_params: Some(TlsParameters {
            tls_minimum_protocol_version: TlsProtocol::TlSv13 as i32,
            tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
            ..TlsParameters::default()
        }),
        tls_certificate_sds_secret_configs: vec![secret("default")],
        alpn_protocols: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
        ..CommonTlsContext::default()
    }
}

fn socket(name: &str, config: ConfigType) -> TransportSocket {
    TransportSocket {
        name: name.to_owned(),
        config_type: Some(config),
    }
}
