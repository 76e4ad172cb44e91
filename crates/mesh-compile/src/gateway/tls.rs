//! How a gateway's server terminates TLS: Envoy's downstream contexts as Istio's pilot writes them.

use mesh_config::model::{ServerTls, ServerTlsMode, TlsVersion};
use mesh_xds::envoy::core::{TransportSocket, transport_socket::ConfigType};
use mesh_xds::envoy::protobuf::BoolValue;
use mesh_xds::envoy::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_xds::envoy::tls::tls_parameters::TlsProtocol;
use mesh_xds::envoy::tls::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsParameters,
};
use mesh_xds::pack;

use super::Edge;
use super::secrets::{self, SecretRef, by_sds};

impl Edge<'_> {
    /// The transport socket of a server that terminates TLS. The secrets that it names are handed out with it.
    pub(super) fn terminated(&mut self, tls: &ServerTls, alpn: &[&str]) -> TransportSocket {
        if tls.mode == ServerTlsMode::IstioMutual {
            return crate::tls::inbound(&self.mesh.settings, alpn);
        }
        let certificates = certificates(tls);
        let roots = match tls.mode {
            ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => roots(tls),
            _ => None,
        };
        for secret in certificates.iter().chain(&roots) {
            if let Some(secret) = secrets::secret(self.mesh, &self.client.namespace, secret) {
                self.set.insert(&secret);
            }
        }
        let context = DownstreamTlsContext {
            require_client_certificate: Some(BoolValue {
                value: tls.mode == ServerTlsMode::Mutual,
            }),
            common_tls_context: Some(CommonTlsContext {
                tls_params: Some(parameters(tls)),
                alpn_protocols: alpn.iter().map(|&protocol| protocol.to_owned()).collect(),
                tls_certificate_sds_secret_configs: certificates.iter().map(by_sds).collect(),
                validation_context_type: roots.as_ref().map(|roots| validation(tls, roots)),
                ..CommonTlsContext::default()
            }),
            ..DownstreamTlsContext::default()
        };
        TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&context))),
        }
    }
}

fn certificates(tls: &ServerTls) -> Vec<SecretRef> {
    let of = if tls.are_granted {
        SecretRef::Granted
    } else {
        SecretRef::Credential
    };
    let credentials = tls.credentials.iter().cloned().map(of);
    let files = tls.certificates.iter().map(|files| SecretRef::Files {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
    });
    credentials.chain(files).collect()
}

/// What clients are verified by.
fn roots(tls: &ServerTls) -> Option<SecretRef> {
    if !tls.ca_config_maps.is_empty() {
        return Some(SecretRef::ConfigMapRoots(tls.ca_config_maps.clone()));
    }
    let credential = tls.ca_credential.as_ref().or(tls.credentials.first());
    match (&tls.ca_file, credential) {
        (Some(authorities), None) => Some(SecretRef::RootFiles {
            authorities: authorities.clone(),
            revoked: tls.crl_file.clone(),
        }),
        (_, Some(credential)) => Some(SecretRef::CredentialRoots(credential.clone())),
        (None, None) => None,
    }
}

fn validation(tls: &ServerTls, roots: &SecretRef) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(CertificateValidationContext {
            match_typed_subject_alt_names: crate::tls::any_kind(&tls.subject_alt_names),
            verify_certificate_spki: tls.spki.clone(),
            verify_certificate_hash: tls.hashes.clone(),
            ..CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(by_sds(roots)),
        ..CombinedCertificateValidationContext::default()
    })
}

fn parameters(tls: &ServerTls) -> TlsParameters {
    let version = |version, usual| match version {
        TlsVersion::Auto => usual,
        TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    };
    TlsParameters {
        tls_minimum_protocol_version: version(tls.min_version, TlsProtocol::TlSv12) as i32,
        tls_maximum_protocol_version: version(tls.max_version, TlsProtocol::TlsAuto) as i32,
        cipher_suites: tls.cipher_suites.clone(),
        ..TlsParameters::default()
    }
}
