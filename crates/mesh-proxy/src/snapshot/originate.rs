//! TLS towards servers that are not of the mesh: with authorities of the user's choice, and maybe a certificate.
//!
//! The rustls configuration is made once and holds the slots of its secrets, so that each handshake shows the
//! newest certificate and believes the newest authorities; see `secret.rs`. While a secret is missing a
//! connection fails, it never goes out in plain text.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_identity::tls::provider;
use mesh_xds::envoy::tls as pb;
use mesh_xds::envoy::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    SupportedProtocolVersion,
};

use super::field::{At, Refusal, sort_fields};
use super::secret::{Secrets, Slot};
use super::terminate;
use crate::certificate::{Facts, Name};

/// What a context demands of a server outside the mesh, and shows to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// The secret with the own certificate.
    certificate: Option<String>,
    /// The secret with the authorities that are believed; `None` believes anybody, because the user wants that.
    authorities: Option<String>,
    /// Names of which the server's certificate must have one; empty for any.
    names: BTreeSet<Name>,
    /// The certificate must be for the name that is asked for.
    by_server_name: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
    pub(super) alpn: Vec<Vec<u8>>,
}

/// Reads a context.
pub(super) fn read(
    at: &At<'_>,
    message: &pb::CommonTlsContext,
    by_server_name: bool,
) -> Result<Terms, Refusal> {
    use pb::CommonTlsContext;
    sort_fields!(at, message => CommonTlsContext {
        takes { tls_params, tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type }
        ignores {}
        refuses {
            tls_certificates, tls_certificate_provider_instance, custom_tls_certificate_selector,
            tls_certificate_certificate_provider, tls_certificate_certificate_provider_instance,
            custom_handshaker, key_log,
        }
    });
    let (versions, _) = terminate::parameters(&at.field("tls_params"), tls_params.as_ref())?;
    let certificate = match tls_certificate_sds_secret_configs.as_slice() {
        [] => None,
        [secret] if !secret.name.is_empty() => Some(secret.name.clone()),
        _ => {
            return Err(at
                .field("tls_certificate_sds_secret_configs")
                .refuse("must name one secret at most, with the certificate that is shown"));
        }
    };
    let (authorities, names) = validation(at, validation_context_type.as_ref())?;
    if by_server_name && authorities.is_none() {
        return Err(at
            .field("validation_context_type")
            .refuse("is missing: a name proves nothing without authorities"));
    }
    Ok(Terms {
        certificate,
        authorities,
        names,
        by_server_name,
        versions,
        alpn: alpn_protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect(),
    })
}

type Validation = (Option<String>, BTreeSet<Name>);

fn validation(at: &At<'_>, message: Option<&ValidationContextType>) -> Result<Validation, Refusal> {
    let named = |at: At<'_>, secret: Option<&pb::SdsSecretConfig>| match secret {
        Some(secret) if !secret.name.is_empty() => Ok(Some(secret.name.clone())),
        _ => Err(at.refuse("must name the secret with the authorities that are believed")),
    };
    match message {
        None => Ok((None, BTreeSet::new())),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
            let at = at.field("validation_context_sds_secret_config");
            Ok((named(at, Some(secret))?, BTreeSet::new()))
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let at = at.field("combined_validation_context");
            sort_fields!(at, combined => CombinedCertificateValidationContext {
                takes { default_validation_context, validation_context_sds_secret_config }
                ignores {}
                refuses {
                    validation_context_certificate_provider,
                    validation_context_certificate_provider_instance,
                }
            });
            let secret = validation_context_sds_secret_config.as_ref();
            let names = match default_validation_context {
                Some(context) => names(&at.field("default_validation_context"), context)?,
                None => BTreeSet::new(),
            };
            let authorities = named(at.field("validation_context_sds_secret_config"), secret)?;
            Ok((authorities, names))
        }
        Some(_) => Err(at.refuse(
            "must verify servers by a secret, in validation_context_sds_secret_config or \
             combined_validation_context",
        )),
    }
}

fn names(
    at: &At<'_>,
    message: &pb::CertificateValidationContext,
) -> Result<BTreeSet<Name>, Refusal> {
    use pb::CertificateValidationContext;
    sort_fields!(at, message => CertificateValidationContext {
        takes { match_typed_subject_alt_names }
        ignores { suppress_client_ca_list }
        refuses {
            trusted_ca, ca_certificate_provider_instance, system_root_certs, watched_directory,
            match_subject_alt_names, verify_certificate_spki, verify_certificate_hash,
            require_signed_certificate_timestamp, crl, allow_expired_certificate, trust_chain_verification,
            custom_validator_config, only_verify_leaf_cert_crl, max_verify_depth,
        }
    });
    terminate::names(at, match_typed_subject_alt_names)
}

impl Terms {
    /// The names of the secrets that are asked for.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let names = self.certificate.iter().chain(&self.authorities);
        names.map(String::as_str)
    }

    /// A client that keeps these terms.
    pub(super) fn config(&self, secrets: &Secrets) -> Arc<ClientConfig> {
        let verifier = Verifier {
            authorities: self.authorities.as_ref().map(|name| secrets.slot(name)),
            names: self.names.clone(),
            by_server_name: self.by_server_name,
        };
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(&self.versions)
            .expect("each version has been found to have a cipher suite")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some(name) => builder.with_client_cert_resolver(Arc::new(Shown(secrets.slot(name)))),
        };
        // A resumed handshake verifies no certificate, which has to count at every connection.
        config.resumption = rustls::client::Resumption::disabled();
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }
}

/// The own certificate.
#[derive(Debug)]
struct Shown(Arc<Slot>);

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.0.certificate()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Verifier {
    authorities: Option<Arc<Slot>>,
    names: BTreeSet<Name>,
    by_server_name: bool,
}

impl Verifier {
    /// Whether the certificate has one of the names; one with a wildcard has all that fit it.
    fn has_name(&self, leaf: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>) -> bool {
        let facts = Facts::of(leaf);
        let exact = facts.is_ok_and(|facts| facts.names.iter().any(|n| self.names.contains(n)));
        exact
            || self.names.iter().any(|name| match name {
                Name::Dns(name) => ServerName::try_from(name.as_str())
                    .is_ok_and(|name| rustls::client::verify_server_name(parsed, &name).is_ok()),
                _ => false,
            })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(slot) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        let authorities = slot.authorities().ok_or_else(|| {
            let name = slot.name();
            Error::General(format!("the secret {name} has no authorities of servers"))
        })?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &authorities.roots,
            intermediates,
            now,
            provider().signature_verification_algorithms.all,
        )?;
        if self.by_server_name {
            rustls::client::verify_server_name(&parsed, server_name)?;
        }
        if !self.names.is_empty() && !self.has_name(leaf, &parsed) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
