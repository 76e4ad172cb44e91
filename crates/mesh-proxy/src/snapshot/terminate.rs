//! TLS that a gateway terminates with certificates of its user's: which ones, for which clients, in which
//! versions.
//!
//! The rustls configuration is made once. It holds the slots of its secrets, so that each handshake shows the
//! newest certificate and verifies by the newest authorities; see `secret.rs`.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_identity::tls::provider;
use mesh_xds::envoy::matcher::string_matcher::MatchPattern;
use mesh_xds::envoy::tls as pb;
use mesh_xds::envoy::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_xds::envoy::tls::subject_alt_name_matcher::SanType;
use mesh_xds::envoy::tls::tls_parameters::TlsProtocol;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureAlgorithm,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
};

use super::field::{At, Refusal, is_set, sort_fields};
use super::secret::{Secrets, Slot};
use crate::certificate::{Facts, Name};

/// What a context asks for.
#[derive(Debug)]
pub(super) struct Terms {
    certificates: Vec<String>,
    clients: Option<Arc<Clients>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    suites: Vec<SupportedCipherSuite>,
    alpn: Vec<Vec<u8>>,
}

/// What clients have to prove to the user's own authorities.
#[derive(Debug, PartialEq, Eq)]
pub struct Clients {
    authorities: String,
    required: bool,
    constraints: Constraints,
}

/// What a client's certificate must have besides an authority; empty for anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Constraints {
    names: BTreeSet<Name>,
    /// SHA-256 of public keys.
    keys: Vec<Vec<u8>>,
    /// SHA-256 of certificates.
    hashes: Vec<Vec<u8>>,
}

/// Reads a context whose certificates are not the workload's own.
pub(super) fn read(
    at: &At<'_>,
    message: &pb::CommonTlsContext,
    required: bool,
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
    let secrets = tls_certificate_sds_secret_configs;
    let place = at.field("tls_certificate_sds_secret_configs");
    if secrets.is_empty() || secrets.iter().any(|secret| secret.name.is_empty()) {
        return Err(place.refuse("must name the secret of a certificate"));
    }
    let (versions, suites) = parameters(&at.field("tls_params"), tls_params.as_ref())?;
    let clients = clients(at, validation_context_type.as_ref(), required)?;
    if required && clients.is_none() {
        return Err(at
            .field("validation_context_type")
            .refuse("is missing: certificates of clients are required, but nothing says by what to verify them"));
    }
    Ok(Terms {
        certificates: secrets.iter().map(|secret| secret.name.clone()).collect(),
        clients: clients.map(Arc::new),
        versions,
        suites,
        alpn: alpn_protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect(),
    })
}

type Parameters = (
    Vec<&'static SupportedProtocolVersion>,
    Vec<SupportedCipherSuite>,
);

pub(super) fn parameters(
    at: &At<'_>,
    message: Option<&pb::TlsParameters>,
) -> Result<Parameters, Refusal> {
    use pb::TlsParameters;
    let none = TlsParameters::default();
    let message = message.unwrap_or(&none);
    sort_fields!(at, message => TlsParameters {
        takes { tls_minimum_protocol_version, tls_maximum_protocol_version, cipher_suites }
        ignores {}
        refuses { ecdh_curves, signature_algorithms, compliance_policies }
    });
    let auto = TlsProtocol::TlsAuto as i32;
    let (oldest, newest) = (*tls_minimum_protocol_version, *tls_maximum_protocol_version);
    let known = [
        (TlsProtocol::TlSv13, &rustls::version::TLS13),
        (TlsProtocol::TlSv12, &rustls::version::TLS12),
    ];
    let versions: Vec<_> = known
        .into_iter()
        .filter(|(version, _)| {
            let version = *version as i32;
            (oldest == auto || version >= oldest) && (newest == auto || version <= newest)
        })
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        return Err(at.refuse("allow neither TLS 1.2 nor TLS 1.3, which are what there is"));
    }
    let all = &provider().cipher_suites;
    if cipher_suites.is_empty() {
        return Ok((versions, all.clone()));
    }
    // The suites of TLS 1.3 cannot be chosen, as in Envoy.
    let chosen: Vec<_> = all
        .iter()
        .filter(|suite| {
            suite.tls13().is_some() || cipher_suites.iter().any(|name| is_called(**suite, name))
        })
        .copied()
        .collect();
    if chosen.iter().all(|suite| suite.tls13().is_some())
        && versions.contains(&&rustls::version::TLS12)
    {
        return Err(at.field("cipher_suites").refuse(
            "none of them is there; say nothing, or name one like ECDHE-RSA-AES128-GCM-SHA256",
        ));
    }
    Ok((versions, chosen))
}

/// Compares a suite with OpenSSL's name for it.
fn is_called(suite: SupportedCipherSuite, name: &str) -> bool {
    use rustls::CipherSuite as Suite;
    let own = match suite.suite() {
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return false,
    };
    own == name
}

fn clients(
    at: &At<'_>,
    validation: Option<&ValidationContextType>,
    required: bool,
) -> Result<Option<Clients>, Refusal> {
    let named = |at: At<'_>, secret: Option<&pb::SdsSecretConfig>| match secret {
        Some(secret) if !secret.name.is_empty() => Ok(secret.name.clone()),
        _ => Err(at.refuse("must name the secret with the authorities of clients")),
    };
    let (authorities, constraints) = match validation {
        None => return Ok(None),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
            let at = at.field("validation_context_sds_secret_config");
            (named(at, Some(secret))?, Constraints::default())
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
            let place = at.field("default_validation_context");
            let constraints = default_validation_context
                .as_ref()
                .map(|context| constraints(&place, context));
            (
                named(at.field("validation_context_sds_secret_config"), secret)?,
                constraints.transpose()?.unwrap_or_default(),
            )
        }
        Some(_) => {
            return Err(at.refuse(
                "must verify clients by a secret, in validation_context_sds_secret_config or \
                 combined_validation_context",
            ));
        }
    };
    Ok(Some(Clients {
        authorities,
        required,
        constraints,
    }))
}

fn constraints(
    at: &At<'_>,
    message: &pb::CertificateValidationContext,
) -> Result<Constraints, Refusal> {
    use pb::CertificateValidationContext;
    sort_fields!(at, message => CertificateValidationContext {
        takes { match_typed_subject_alt_names, verify_certificate_spki, verify_certificate_hash }
        // We never send a list of authorities.
        ignores { suppress_client_ca_list }
        refuses {
            trusted_ca, ca_certificate_provider_instance, system_root_certs, watched_directory,
            match_subject_alt_names, require_signed_certificate_timestamp, crl, allow_expired_certificate,
            trust_chain_verification, custom_validator_config, only_verify_leaf_cert_crl, max_verify_depth,
        }
    });
    let mut constraints = Constraints {
        names: names(at, match_typed_subject_alt_names)?,
        ..Constraints::default()
    };
    for (i, text) in verify_certificate_spki.iter().enumerate() {
        let place = at.item("verify_certificate_spki", i);
        let key = STANDARD.decode(text).ok().filter(|key| key.len() == 32);
        let key = key.ok_or_else(|| place.refuse("is no SHA-256 in base64"))?;
        constraints.keys.push(key);
    }
    for (i, text) in verify_certificate_hash.iter().enumerate() {
        let place = at.item("verify_certificate_hash", i);
        let hash = hexadecimal(text).filter(|hash| hash.len() == 32);
        let hash = hash.ok_or_else(|| place.refuse("is no SHA-256 in hexadecimal"))?;
        constraints.hashes.push(hash);
    }
    Ok(constraints)
}

/// The names in a context, of which a certificate must have one.
pub(super) fn names(
    at: &At<'_>,
    matchers: &[pb::SubjectAltNameMatcher],
) -> Result<BTreeSet<Name>, Refusal> {
    let mut names = BTreeSet::new();
    for (i, matcher) in matchers.iter().enumerate() {
        let at = at.item("match_typed_subject_alt_names", i);
        let pattern = matcher.matcher.as_ref();
        let exact = match pattern.and_then(|pattern| pattern.match_pattern.as_ref()) {
            Some(MatchPattern::Exact(name))
                if !is_set(&matcher.oid) && pattern.is_some_and(|p| !p.ignore_case) =>
            {
                name.clone()
            }
            _ => return Err(at.refuse("must be an exact name")),
        };
        names.insert(match SanType::try_from(matcher.san_type) {
            Ok(SanType::Dns) => Name::Dns(exact),
            Ok(SanType::Uri) => Name::Uri(exact),
            Ok(SanType::Email) => Name::Email(exact),
            Ok(SanType::IpAddress) => Name::Address(exact),
            _ => return Err(at.field("san_type").unsupported()),
        });
    }
    Ok(names)
}

/// `0a1b` or `0A:1B`.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2);
    pairs
        .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok())
        .collect()
}

impl Terms {
    /// The names of the secrets that are asked for.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let authorities = self.clients.as_ref().map(|clients| &clients.authorities);
        self.certificates
            .iter()
            .chain(authorities)
            .map(String::as_str)
    }

    /// What clients have to prove, if anything.
    pub(super) fn clients(&self) -> Option<&Arc<Clients>> {
        self.clients.as_ref()
    }

    /// A server that keeps these terms.
    pub(super) fn config(&self, secrets: &Secrets) -> Arc<ServerConfig> {
        let mut provider = provider().as_ref().clone();
        provider.cipher_suites.clone_from(&self.suites);
        let builder = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)
            .expect("each version has been found to have a cipher suite");
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => builder.with_client_cert_verifier(Arc::new(Verifier {
                authorities: secrets.slot(&clients.authorities),
                required: clients.required,
                constraints: clients.constraints.clone(),
            })),
        };
        let slots = self.certificates.iter().map(|name| secrets.slot(name));
        let mut config = builder.with_cert_resolver(Arc::new(Shown(slots.collect())));
        config.alpn_protocols.clone_from(&self.alpn);
        if self.clients.is_some() {
            // A resumed handshake verifies no certificate, which has to count at every connection.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Arc::new(config)
    }
}

/// The certificates of a server, one for each kind of key.
#[derive(Debug)]
struct Shown(Vec<Arc<Slot>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |certificate: &Arc<CertifiedKey>| {
            certificate
                .key
                .choose_scheme(hello.signature_schemes())
                .is_some()
        };
        let certificates = self.0.iter().filter_map(|slot| slot.certificate());
        let mut fitting: Vec<_> = certificates.filter(fits).collect();
        // Signing with RSA costs a server ten times as much.
        fitting.sort_by_key(|certificate| certificate.key.algorithm() == SignatureAlgorithm::RSA);
        fitting.into_iter().next()
    }
}

#[derive(Debug)]
struct Verifier {
    authorities: Arc<Slot>,
    required: bool,
    constraints: Constraints,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    /// None: they may change at any time, and tell strangers whom we believe.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let authorities = self.authorities.authorities().ok_or_else(|| {
            let name = self.authorities.name();
            Error::General(format!("the secret {name} has no authorities of clients"))
        })?;
        let verified = authorities
            .clients
            .verify_client_cert(leaf, intermediates, now)?;
        self.constraints.check(leaf).map_err(Error::General)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl Constraints {
    fn check(&self, leaf: &CertificateDer<'_>) -> Result<(), String> {
        let Self {
            names,
            keys,
            hashes,
        } = self;
        if names.is_empty() && keys.is_empty() && hashes.is_empty() {
            return Ok(());
        }
        let facts = Facts::of(leaf)?;
        if !names.is_empty() && !facts.names.iter().any(|name| names.contains(name)) {
            return Err("the client's certificate has none of the expected names".to_owned());
        }
        // As in Envoy, either of the two is enough.
        let is_known = keys.contains(&facts.key_hash) || hashes.contains(&facts.hash);
        let any = keys.is_empty() && hashes.is_empty();
        if !any && !is_known {
            return Err("the client's certificate is none of the expected ones".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
