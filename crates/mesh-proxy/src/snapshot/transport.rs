//! Transport sockets: what an Envoy TLS context demands, as terms that a rustls configuration keeps.
//!
//! Certificates and roots of the mesh never come over xDS: a context only names them by Istio's secret names
//! (`default`, `ROOTCA`), and both stand for this proxy's own [`Identity`]. Other names are those of secrets; see
//! `terminate.rs` and `originate.rs`. What remains of a context is [`Terms`]. Equal terms share one configuration over all versions of a resource, so that an
//! unrelated change neither breaks connections nor forgets pools.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_identity::tls::{self, Peers};
use mesh_identity::{Identity, SpiffeId};
use mesh_xds::envoy::core::TransportSocket;
use mesh_xds::envoy::core::transport_socket::ConfigType;
use mesh_xds::envoy::matcher::StringMatcher;
use mesh_xds::envoy::matcher::string_matcher::MatchPattern;
use mesh_xds::envoy::protobuf::BoolValue;
use mesh_xds::envoy::raw_buffer::RawBuffer;
use mesh_xds::envoy::tls as pb;
use mesh_xds::envoy::tls::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use mesh_xds::envoy::tls::downstream_tls_context::SessionTicketKeysType;
use mesh_xds::envoy::tls::subject_alt_name_matcher::SanType;
use mesh_xds::envoy::tls::tls_parameters::TlsProtocol;
use prost::Name;

use super::field::{At, Refusal, is_set, must_be_off, sort_fields, unpack};
use super::originate;
use super::secret::Secrets;
use super::terminate;

/// Istio's name for the workload's own certificate.
const OWN_CERTIFICATE: &str = "default";
/// Istio's name for the roots of the mesh.
const ROOTS: &str = "ROOTCA";

/// What a TLS context demands of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Who may be at the other end; `None` is everybody of the trust domain.
    peers: Option<BTreeSet<SpiffeId>>,
    /// Protocols, preferred ones first.
    alpn: Vec<Vec<u8>>,
}

/// What a cluster's TLS context demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Upstream {
    /// An identity of the mesh answers, and sees ours.
    Mesh(Terms),
    /// A server outside the mesh.
    Foreign(originate::Terms),
}

impl Upstream {
    /// The names of the secrets that are asked for.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        let foreign = match self {
            Self::Mesh(_) => None,
            Self::Foreign(terms) => Some(terms.secrets()),
        };
        foreign.into_iter().flatten()
    }
}

/// Configurations in use, by their terms.
#[derive(Clone, Debug)]
pub(super) struct Configurations<C, T = Terms>(Vec<(T, Arc<C>)>);

impl<C, T> Default for Configurations<C, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<C, T: PartialEq> Configurations<C, T> {
    /// The configuration for these terms: one that is known here or was known `before`, else a new one.
    fn get(&mut self, before: Option<&Self>, terms: T, make: impl FnOnce(&T) -> Arc<C>) -> Arc<C> {
        let known = |this: &Self| {
            let found = this.0.iter().find(|(known, _)| *known == terms);
            found.map(|(_, config)| Arc::clone(config))
        };
        if let Some(config) = known(self) {
            return config;
        }
        let config = before.and_then(known).unwrap_or_else(|| make(&terms));
        self.0.push((terms, Arc::clone(&config)));
        config
    }
}

impl Terms {
    fn make<C>(&self, make: impl FnOnce(Peers, &[&[u8]]) -> Arc<C>) -> Arc<C> {
        let peers = match &self.peers {
            None => Peers::TrustDomain,
            Some(ids) => Peers::Only(ids.iter().cloned().collect()),
        };
        let alpn: Vec<&[u8]> = self.alpn.iter().map(Vec::as_slice).collect();
        make(peers, &alpn)
    }
}

impl Configurations<rustls::ClientConfig, Upstream> {
    /// For connections that we open.
    pub(super) fn client(
        &mut self,
        before: Option<&Self>,
        (identity, secrets): (&Arc<Identity>, &Secrets),
        terms: Upstream,
    ) -> Arc<rustls::ClientConfig> {
        self.get(before, terms, |terms| match terms {
            Upstream::Mesh(terms) => {
                terms.make(|peers, alpn| tls::client_config(identity, peers, alpn))
            }
            Upstream::Foreign(terms) => terms.config(secrets),
        })
    }
}

impl Configurations<rustls::ServerConfig> {
    /// For connections that we take.
    pub(super) fn server(
        &mut self,
        before: Option<&Self>,
        identity: &Arc<Identity>,
        terms: Terms,
    ) -> Arc<rustls::ServerConfig> {
        self.get(before, terms, |terms| {
            terms.make(|peers, alpn| tls::server_config(identity, peers, alpn))
        })
    }
}

/// Reads the transport socket of a cluster: terms and server name, or `None` for plain text.
pub(super) fn upstream(
    at: &At<'_>,
    socket: Option<&TransportSocket>,
    identity: &Identity,
    default_alpn: &[&str],
) -> Result<Option<(Upstream, rustls::pki_types::ServerName<'static>)>, Refusal> {
    use pb::UpstreamTlsContext;
    let Some(context) = context::<UpstreamTlsContext>(at, socket)? else {
        return Ok(None);
    };
    let at = at.field("typed_config");
    sort_fields!(at, &context => UpstreamTlsContext {
        takes { common_tls_context, sni, auto_sni_san_validation }
        // Sessions are never resumed, and all keys of TLS 1.3 are for signing.
        ignores { max_session_keys, enforce_rsa_key_usage }
        refuses { auto_host_sni, allow_renegotiation }
    });
    let sni = rustls::pki_types::ServerName::try_from(sni.clone())
        .map_err(|_| at.field("sni").refuse(format!("{sni:?} is no server name")))?;
    let default_alpn = || {
        let protocols = default_alpn.iter();
        protocols.map(|p| p.as_bytes().to_vec()).collect::<Vec<_>>()
    };
    if let Some(common) = common_tls_context
        && !is_of_the_mesh(common)
    {
        let at = at.field("common_tls_context");
        let mut terms = originate::read(&at, common, *auto_sni_san_validation)?;
        if terms.alpn.is_empty() {
            terms.alpn = default_alpn();
        }
        return Ok(Some((Upstream::Foreign(terms), sni)));
    }
    let mut terms = common(&at, common_tls_context.as_ref(), identity)?;
    if *auto_sni_san_validation {
        return Err(at
            .field("auto_sni_san_validation")
            .refuse("does not go with identities of the mesh, whose names are SPIFFE ids"));
    }
    if terms.alpn.is_empty() {
        terms.alpn = default_alpn();
    }
    Ok(Some((Upstream::Mesh(terms), sni)))
}

/// Whether a cluster's context shows the own certificate or believes the roots of the mesh.
fn is_of_the_mesh(common: &pb::CommonTlsContext) -> bool {
    let certificates = &common.tls_certificate_sds_secret_configs;
    let roots = match &common.validation_context_type {
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => Some(secret),
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            combined.validation_context_sds_secret_config.as_ref()
        }
        _ => None,
    };
    certificates
        .iter()
        .any(|secret| secret.name == OWN_CERTIFICATE)
        || roots.is_some_and(|secret| secret.name == ROOTS)
}

/// How a filter chain terminates TLS.
#[derive(Debug)]
pub(super) enum Downstream {
    /// With this workload's certificate, for proxies of the mesh.
    Mesh(Terms),
    /// With certificates of the user's.
    Own(terminate::Terms),
}

/// Reads the transport socket of a filter chain, or `None` for plain text.
pub(super) fn downstream(
    at: &At<'_>,
    socket: Option<&TransportSocket>,
    identity: &Identity,
) -> Result<Option<Downstream>, Refusal> {
    use pb::DownstreamTlsContext;
    let Some(context) = context::<DownstreamTlsContext>(at, socket)? else {
        return Ok(None);
    };
    let at = at.field("typed_config");
    sort_fields!(at, &context => DownstreamTlsContext {
        takes { common_tls_context, require_client_certificate, require_sni, session_ticket_keys_type }
        // Sessions are never resumed.
        ignores { disable_stateful_session_resumption, session_timeout }
        refuses { ocsp_staple_policy, full_scan_certs_on_sni_mismatch, prefer_client_ciphers }
    });
    let required = *require_client_certificate == Some(BoolValue { value: true });
    must_be_off(&at.field("require_sni"), require_sni.as_ref())?;
    match session_ticket_keys_type {
        None | Some(SessionTicketKeysType::DisableStatelessSessionResumption(_)) => {}
        Some(_) => return Err(at.field("session_ticket_keys_type").unsupported()),
    }
    if let Some(common) = common_tls_context
        && let [secret, ..] = common.tls_certificate_sds_secret_configs.as_slice()
        && secret.name != OWN_CERTIFICATE
    {
        let terms = terminate::read(&at.field("common_tls_context"), common, required)?;
        return Ok(Some(Downstream::Own(terms)));
    }
    if !required {
        return Err(at
            .field("require_client_certificate")
            .refuse("must be true: who has no certificate is not of the mesh"));
    }
    let terms = common(&at, common_tls_context.as_ref(), identity)?;
    Ok(Some(Downstream::Mesh(terms)))
}

/// The context in a transport socket; `None` for plain text.
fn context<M: prost::Message + Name + Default>(
    at: &At<'_>,
    socket: Option<&TransportSocket>,
) -> Result<Option<M>, Refusal> {
    let Some(TransportSocket { name, config_type }) = socket else {
        return Ok(None);
    };
    match config_type {
        Some(ConfigType::TypedConfig(any)) if any.type_url == RawBuffer::type_url() => Ok(None),
        Some(ConfigType::TypedConfig(any)) => unpack(&at.field("typed_config"), any).map(Some),
        None if name == "envoy.transport_sockets.raw_buffer" => Ok(None),
        None => Err(at.refuse(format!("{name:?} has no typed_config"))),
    }
}

fn common(
    at: &At<'_>,
    message: Option<&pb::CommonTlsContext>,
    identity: &Identity,
) -> Result<Terms, Refusal> {
    let at = at.field("common_tls_context");
    let message = message.ok_or_else(|| at.refuse("is missing"))?;
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
    if let Some(message) = tls_params {
        parameters(&at.field("tls_params"), message)?;
    }
    let place = at.field("tls_certificate_sds_secret_configs");
    match tls_certificate_sds_secret_configs.as_slice() {
        [secret] if secret.name == OWN_CERTIFICATE => {}
        _ => {
            return Err(place.refuse(format!(
                "must name one secret, {OWN_CERTIFICATE:?}: this workload's certificate"
            )));
        }
    }
    Ok(Terms {
        peers: peers(&at, validation_context_type.as_ref(), identity)?,
        alpn: alpn_protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect(),
    })
}

/// We speak TLS 1.3 and nothing else, so a context must allow it.
fn parameters(at: &At<'_>, message: &pb::TlsParameters) -> Result<(), Refusal> {
    use pb::TlsParameters;
    sort_fields!(at, message => TlsParameters {
        takes { tls_maximum_protocol_version }
        // TLS 1.3 satisfies every minimum; cipher suites by name exist only before it.
        ignores { tls_minimum_protocol_version, cipher_suites }
        refuses { ecdh_curves, signature_algorithms, compliance_policies }
    });
    let maximum = *tls_maximum_protocol_version;
    if [TlsProtocol::TlsAuto as i32, TlsProtocol::TlSv13 as i32].contains(&maximum) {
        return Ok(());
    }
    Err(at
        .field("tls_maximum_protocol_version")
        .refuse("must allow TLS 1.3"))
}

/// Who may be at the other end; `None` is everybody of our trust domain.
fn peers(
    at: &At<'_>,
    validation: Option<&ValidationContextType>,
    identity: &Identity,
) -> Result<Option<BTreeSet<SpiffeId>>, Refusal> {
    let from_roots = |at: At<'_>, secret: Option<&pb::SdsSecretConfig>| match secret {
        Some(secret) if secret.name == ROOTS => Ok(()),
        _ => Err(at.refuse(format!(
            "must name the secret {ROOTS:?}: the roots of the mesh"
        ))),
    };
    match validation {
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
            from_roots(at.field("validation_context_sds_secret_config"), Some(secret))?;
            Ok(None)
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
            from_roots(
                at.field("validation_context_sds_secret_config"),
                validation_context_sds_secret_config.as_ref(),
            )?;
            match default_validation_context {
                Some(context) => names(&at.field("default_validation_context"), context, identity),
                None => Ok(None),
            }
        }
        _ => Err(at.refuse(format!(
            "must check the peer by the secret {ROOTS:?} in validation_context_sds_secret_config or \
             combined_validation_context"
        ))),
    }
}

fn names(
    at: &At<'_>,
    message: &pb::CertificateValidationContext,
    identity: &Identity,
) -> Result<Option<BTreeSet<SpiffeId>>, Refusal> {
    use pb::CertificateValidationContext;
    sort_fields!(at, message => CertificateValidationContext {
        takes { match_typed_subject_alt_names, match_subject_alt_names }
        // We never send a list of authorities.
        ignores { suppress_client_ca_list }
        refuses {
            trusted_ca, ca_certificate_provider_instance, system_root_certs, watched_directory,
            verify_certificate_spki, verify_certificate_hash, require_signed_certificate_timestamp, crl,
            allow_expired_certificate, trust_chain_verification, custom_validator_config,
            only_verify_leaf_cert_crl, max_verify_depth,
        }
    });
    let mut ids = BTreeSet::new();
    let mut everybody =
        match_typed_subject_alt_names.is_empty() && match_subject_alt_names.is_empty();
    for (i, matcher) in match_typed_subject_alt_names.iter().enumerate() {
        let at = at.item("match_typed_subject_alt_names", i);
        if matcher.san_type != SanType::Uri as i32 || is_set(&matcher.oid) {
            return Err(at.refuse("must be of type URI: identities of the mesh are SPIFFE ids"));
        }
        let name = matcher
            .matcher
            .as_ref()
            .ok_or_else(|| at.field("matcher").refuse("is missing"))?;
        match peer(&at.field("matcher"), name, identity)? {
            Some(id) => _ = ids.insert(id),
            None => everybody = true,
        }
    }
    for (i, matcher) in match_subject_alt_names.iter().enumerate() {
        match peer(&at.item("match_subject_alt_names", i), matcher, identity)? {
            Some(id) => _ = ids.insert(id),
            None => everybody = true,
        }
    }
    Ok((!everybody).then_some(ids))
}

/// The id that a matcher allows; `None` if it allows the whole trust domain.
fn peer(
    at: &At<'_>,
    matcher: &StringMatcher,
    identity: &Identity,
) -> Result<Option<SpiffeId>, Refusal> {
    let everybody = format!("{}/", identity.id().trust_domain().uri());
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(id)) if !matcher.ignore_case => {
            SpiffeId::parse(id).map(Some).map_err(|error| {
                at.field("exact")
                    .refuse(format!("{id:?} is no SPIFFE id: {error}"))
            })
        }
        Some(MatchPattern::Prefix(prefix)) if *prefix == everybody => Ok(None),
        _ => Err(at.refuse(format!(
            "must be an exact SPIFFE id, or the prefix {everybody:?} for the whole trust domain"
        ))),
    }
}

#[cfg(test)]
mod tests;
