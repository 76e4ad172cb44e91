//! Transport sockets: mutual TLS 1.3 between the agents of the mesh, plain text, or what a DestinationRule wants.
//!
//! Certificates of the mesh never travel over xDS. A context names them by Istio's secret names without saying where they
//! come from: our proxies take their own identity, a stock Envoy looks in its bootstrap's static secrets.

use mesh_config::model::{ClientTls, TlsMode};
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
use crate::client::Client;
use crate::destination_rule::Policy;
use crate::gateway::secrets::{SYSTEM, SecretRef, by_sds};
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
    let sni = names::sni(port, subset, &service.host);
    with_peers(peers(settings, service), sni, alpn)
}

fn peers(settings: &Settings, service: &Service) -> Vec<MatchPattern> {
    match service.principals.is_empty() {
        // No WorkloadGroup belongs to the service, so there is nobody to connect to either.
        true => vec![anybody(settings)],
        false => service.principals.iter().map(|name| exact(name)).collect(),
    }
}

fn with_peers(peers: Vec<MatchPattern>, sni: String, alpn: &[&str]) -> TransportSocket {
    let context = UpstreamTlsContext {
        common_tls_context: Some(common(peers, alpn)),
        sni,
        ..UpstreamTlsContext::default()
    };
    socket(NAME, ConfigType::TypedConfig(pack(&context)))
}

/// How a policy's `tls` section wants a connection, and the secrets that it takes.
#[derive(Debug, Default)]
pub(crate) struct Demanded {
    /// `None` is plain text.
    pub(crate) socket: Option<TransportSocket>,
    pub(crate) secrets: Vec<SecretRef>,
}

/// Towards a service, as a DestinationRule wants it.
pub(crate) fn demanded(
    settings: &Settings,
    client: &Client,
    (service, port, subset): (&Service, u16, Option<&str>),
    alpn: &[&str],
    policy: &Policy,
    wanted: &ClientTls,
) -> Demanded {
    match wanted.mode {
        TlsMode::Disable => Demanded::default(),
        TlsMode::IstioMutual => {
            let names = match wanted.subject_alt_names.is_empty() {
                true => peers(settings, service),
                false => wanted
                    .subject_alt_names
                    .iter()
                    .map(|name| exact(name))
                    .collect(),
            };
            let sni = match wanted.sni.as_str() {
                "" => names::sni(port, subset, &service.host),
                sni => sni.to_owned(),
            };
            Demanded {
                socket: Some(with_peers(names, sni, alpn)),
                secrets: Vec::new(),
            }
        }
        TlsMode::Simple | TlsMode::Mutual => foreign(client, service, alpn, policy, wanted),
    }
}

fn exact(name: &str) -> MatchPattern {
    MatchPattern::Exact(name.to_owned())
}

/// Matchers for names of which is not said of which kind they are.
pub(crate) fn any_kind(names: &[String]) -> Vec<SubjectAltNameMatcher> {
    let kinds = [
        SanType::Dns,
        SanType::Uri,
        SanType::Email,
        SanType::IpAddress,
    ];
    let matchers = names.iter().flat_map(|name| {
        kinds.map(|kind| SubjectAltNameMatcher {
            san_type: kind as i32,
            matcher: Some(StringMatcher {
                match_pattern: Some(exact(name)),
                ..StringMatcher::default()
            }),
            ..SubjectAltNameMatcher::default()
        })
    });
    matchers.collect()
}

/// Towards a server that has no identity of the mesh. It is believed by the name that it is asked for, unless the
/// user has given that name or others: as in Istio, a name that is only asked for is not checked.
fn foreign(
    client: &Client,
    service: &Service,
    alpn: &[&str],
    policy: &Policy,
    wanted: &ClientTls,
) -> Demanded {
    let credential = &wanted.credential_name;
    // Istio's sidecars heed it only in rules that choose them.
    let by_credential = !credential.is_empty() && (client.is_gateway || policy.is_selected);
    let files = || SecretRef::Files {
        certificate: wanted.client_certificate.clone(),
        key: wanted.private_key.clone(),
    };
    let certificate = match (wanted.mode, by_credential) {
        (TlsMode::Mutual, true) => Some(SecretRef::Credential(credential.clone())),
        (TlsMode::Mutual, false) if !wanted.client_certificate.is_empty() => Some(files()),
        _ => None,
    };
    let authorities = (!wanted.insecure_skip_verify).then(|| match by_credential {
        true => SecretRef::CredentialRoots(credential.clone()),
        false => SecretRef::RootFiles {
            authorities: match wanted.ca_certificates.as_str() {
                "" => SYSTEM.to_owned(),
                file => file.to_owned(),
            },
            revoked: None,
        },
    });
    let validation = authorities.as_ref().map(|authorities| {
        ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
            default_validation_context: Some(CertificateValidationContext {
                match_typed_subject_alt_names: any_kind(&wanted.subject_alt_names),
                ..CertificateValidationContext::default()
            }),
            validation_context_sds_secret_config: Some(by_sds(authorities)),
            ..CombinedCertificateValidationContext::default()
        })
    });
    let has_names = !wanted.sni.is_empty() || !wanted.subject_alt_names.is_empty();
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(TlsParameters {
                tls_minimum_protocol_version: TlsProtocol::TlSv12 as i32,
                tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
                ..TlsParameters::default()
            }),
            tls_certificate_sds_secret_configs: certificate.iter().map(by_sds).collect(),
            alpn_protocols: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
            validation_context_type: validation,
            ..CommonTlsContext::default()
        }),
        auto_sni_san_validation: authorities.is_some() && !has_names,
        sni: match wanted.sni.as_str() {
            "" => service.host.trim_start_matches("*.").to_owned(),
            sni => sni.to_owned(),
        },
        ..UpstreamTlsContext::default()
    };
    Demanded {
        secrets: certificate.into_iter().chain(authorities).collect(),
        socket: Some(socket(NAME, ConfigType::TypedConfig(pack(&context)))),
    }
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
