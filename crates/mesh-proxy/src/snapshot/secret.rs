//! Secrets: certificates and authorities that come by name, and change while they are in use.
//!
//! An Envoy `Secret` has its content inline, or names files of this machine. Whoever needs one holds its [`Slot`],
//! in which each handshake finds the newest content: a rotated certificate touches neither the listener nor its
//! connections. `Secrets::refresh` fills the slots when a secret comes, and `Secrets::looks` those whose content is
//! in files, every few seconds; what cannot be used leaves the last good content in place and says why.
//!
//! What is read here is wiped when its last holder lets go, and no `Debug` shows it. The resource as it came is kept
//! like every other, in memory and in the state directory, where nobody but the proxy's user can read it: a gateway
//! has its certificates again after a restart without the control plane.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use aws_lc_rs::digest::{self, SHA256};
use mesh_identity::tls::provider;
use mesh_xds::envoy::core::DataSource;
use mesh_xds::envoy::core::data_source::Specifier;
use mesh_xds::envoy::tls as pb;
use mesh_xds::envoy::tls::secret::Type;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::compile::Held;
use super::field::{At, Refusal, is_set, sort_fields};

/// The most that is read of a file. Whoever writes a Gateway says which file that is.
const MOST_BYTES: u64 = 1 << 20;

/// What a secret resource says: where its content is.
pub struct SecretSpec(Content);

enum Content {
    Certificate {
        chain: Source,
        key: Source,
    },
    Authorities {
        trusted: Source,
        revoked: Option<Source>,
    },
}

enum Source {
    Inline(Zeroizing<Vec<u8>>),
    File(PathBuf),
    /// The authorities that this machine trusts.
    System,
}

/// Where systems keep the authorities that they trust, if `SSL_CERT_FILE` does not say.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Usable content.
enum Material {
    Certificate(Arc<CertifiedKey>),
    Authorities(Arc<Authorities>),
}

/// Whose certificates are believed.
#[derive(Debug)]
pub struct Authorities {
    /// Their own certificates.
    pub roots: Arc<RootCertStore>,
    /// Verifies clients by them, and by what they have revoked.
    pub clients: Arc<dyn ClientCertVerifier>,
}

/// The place of a secret's content, shared by all that need it.
pub struct Slot {
    name: Arc<str>,
    filled: RwLock<Option<Arc<Filled>>>,
    failure: Mutex<Option<String>>,
    /// Somebody reads its files just now.
    looked_at: AtomicBool,
}

/// A look at a secret's files, which takes as long as their file system does.
#[derive(Debug)]
pub(crate) struct Look {
    slot: Arc<Slot>,
    spec: Arc<SecretSpec>,
}

struct Filled {
    /// Of the sources, to see whether they have changed.
    digest: [u8; 32],
    material: Material,
}

/// The slots in use, by name.
#[derive(Debug, Default)]
pub struct Secrets(Mutex<HashMap<Arc<str>, Weak<Slot>>>);

impl Secrets {
    /// The slot of a secret, empty until it comes.
    #[must_use]
    pub fn slot(&self, name: &str) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = slots.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let slot = Arc::new(Slot {
            name: name.into(),
            filled: RwLock::default(),
            failure: Mutex::default(),
            looked_at: AtomicBool::new(false),
        });
        slots.insert(slot.name.clone(), Arc::downgrade(&slot));
        slot
    }

    /// Brings every slot in use up to its secret, if the secret has its content with it. Returns whether any has
    /// changed.
    pub(crate) fn refresh(&self, held: &BTreeMap<String, Held<SecretSpec>>) -> bool {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| slot.strong_count() > 0);
        let mut changed = false;
        for slot in slots.values().filter_map(Weak::upgrade) {
            if let Some(secret) = held.get(&*slot.name)
                && !secret.spec.is_in_files()
            {
                changed |= slot.fill(&secret.spec);
            }
        }
        changed
    }

    /// What is to be done to bring the slots in use up to their files: beside the caller, since a file system may
    /// be far away and not answer. A slot that is being looked at is left out.
    pub(crate) fn looks(&self, held: &BTreeMap<String, Held<SecretSpec>>) -> Vec<Look> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots.values().filter_map(Weak::upgrade);
        slots
            .filter_map(|slot| {
                let spec = &held.get(&*slot.name)?.spec;
                let is_due = spec.is_in_files() && !slot.looked_at.swap(true, Ordering::Relaxed);
                is_due.then(|| Look {
                    slot,
                    spec: spec.clone(),
                })
            })
            .collect()
    }

    /// What became of the slots in use: `None` for those with usable content, else why there is none, or why it
    /// is not the newest.
    pub(crate) fn states(&self) -> BTreeMap<String, Option<String>> {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots.values().filter_map(Weak::upgrade);
        slots
            .map(|slot| (slot.name.to_string(), slot.trouble()))
            .collect()
    }
}

impl Look {
    /// Reads the files; blocks. Returns whether the slot's content has changed.
    pub(crate) fn take(self) -> bool {
        self.slot.fill(&self.spec)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.slot.looked_at.store(false, Ordering::Relaxed);
    }
}

impl Slot {
    /// The secret's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is something in it.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled().is_some()
    }

    /// The certificate with its key, if the secret has come and is one.
    #[must_use]
    pub fn certificate(&self) -> Option<Arc<CertifiedKey>> {
        match &self.filled()?.material {
            Material::Certificate(certificate) => Some(certificate.clone()),
            Material::Authorities(_) => None,
        }
    }

    /// The authorities, if the secret has come and they are what it is.
    #[must_use]
    pub fn authorities(&self) -> Option<Arc<Authorities>> {
        match &self.filled()?.material {
            Material::Authorities(authorities) => Some(authorities.clone()),
            Material::Certificate(_) => None,
        }
    }

    fn filled(&self) -> Option<Arc<Filled>> {
        let filled = self.filled.read();
        filled.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn trouble(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failure {
            None if !self.is_filled() => Some("it has not come yet".to_owned()),
            failure => failure.clone(),
        }
    }

    fn fill(&self, spec: &SecretSpec) -> bool {
        let before = self.filled().map(|filled| filled.digest);
        let loaded = match spec.read() {
            Ok(read) if before == Some(read.digest()) => Ok(None),
            Ok(read) => read.material().map(|material| {
                let digest = read.digest();
                Some(Arc::new(Filled { digest, material }))
            }),
            Err(reason) => Err(reason),
        };
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(filled) => {
                *failure = None;
                let Some(filled) = filled else {
                    return false;
                };
                tracing::info!(secret = %self.name, "a secret is in use in a new version");
                let mut slot = self.filled.write().unwrap_or_else(PoisonError::into_inner);
                *slot = Some(filled);
                true
            }
            Err(reason) => {
                // Told once, not at every look.
                if failure.as_ref() != Some(&reason) {
                    tracing::warn!(secret = %self.name, reason, "a secret cannot be used; what was there before stays");
                    *failure = Some(reason);
                }
                false
            }
        }
    }
}

/// Reads a secret. What it has inline must be usable; files may still come.
pub(super) fn compile(at: &At<'_>, message: &pb::Secret) -> Result<SecretSpec, Refusal> {
    let content = match &message.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            let at = at.field("tls_certificate");
            use pb::TlsCertificate;
            sort_fields!(at, certificate => TlsCertificate {
                takes { certificate_chain, private_key }
                // Files are looked at every few seconds, wherever they are.
                ignores { watched_directory }
                refuses {
                    pkcs12, private_key_provider, password, ocsp_staple, signed_certificate_timestamp,
                    tls_params,
                }
            });
            Content::Certificate {
                chain: source(&at.field("certificate_chain"), certificate_chain.as_ref())?,
                key: source(&at.field("private_key"), private_key.as_ref())?,
            }
        }
        Some(Type::ValidationContext(context)) => {
            let at = at.field("validation_context");
            use pb::CertificateValidationContext;
            sort_fields!(at, context => CertificateValidationContext {
                takes { trusted_ca, system_root_certs, crl }
                ignores { watched_directory, suppress_client_ca_list }
                refuses {
                    ca_certificate_provider_instance, verify_certificate_spki,
                    verify_certificate_hash, match_typed_subject_alt_names, match_subject_alt_names,
                    require_signed_certificate_timestamp, allow_expired_certificate, trust_chain_verification,
                    custom_validator_config, only_verify_leaf_cert_crl, max_verify_depth,
                }
            });
            let revoked = crl.as_ref().map(|crl| source(&at.field("crl"), Some(crl)));
            Content::Authorities {
                trusted: match (trusted_ca, system_root_certs) {
                    (None, Some(_)) => Source::System,
                    _ => source(&at.field("trusted_ca"), trusted_ca.as_ref())?,
                },
                revoked: revoked.transpose()?,
            }
        }
        Some(Type::SessionTicketKeys(_)) => {
            return Err(at.field("session_ticket_keys").unsupported());
        }
        Some(Type::GenericSecret(_)) => return Err(at.field("generic_secret").unsupported()),
        None => return Err(at.refuse("has no content")),
    };
    let spec = SecretSpec(content);
    if !spec.is_in_files() {
        let usable = spec.read().and_then(|read| read.material());
        usable.map_err(|reason| at.refuse(reason))?;
    }
    Ok(spec)
}

fn source(at: &At<'_>, message: Option<&DataSource>) -> Result<Source, Refusal> {
    let Some(message) = message else {
        return Err(at.refuse("is missing"));
    };
    if is_set(&message.watched_directory) {
        return Err(at.field("watched_directory").unsupported());
    }
    match &message.specifier {
        Some(Specifier::InlineBytes(bytes)) => Ok(Source::Inline(Zeroizing::new(bytes.clone()))),
        Some(Specifier::InlineString(text)) => {
            Ok(Source::Inline(Zeroizing::new(text.clone().into_bytes())))
        }
        Some(Specifier::Filename(path)) if !path.is_empty() => Ok(Source::File(path.into())),
        Some(Specifier::EnvironmentVariable(_)) => {
            Err(at.field("environment_variable").unsupported())
        }
        _ => Err(at.refuse("is empty")),
    }
}

impl SecretSpec {
    /// Whether a look at files may bring something new.
    pub(crate) fn is_in_files(&self) -> bool {
        let is_file = |source: &Source| !matches!(source, Source::Inline(_));
        match &self.0 {
            Content::Certificate { chain, key } => is_file(chain) || is_file(key),
            Content::Authorities { trusted, revoked } => {
                is_file(trusted) || revoked.as_ref().is_some_and(is_file)
            }
        }
    }

    fn read(&self) -> Result<Read<'_>, String> {
        let (first, second) = match &self.0 {
            Content::Certificate { chain, key } => (chain, Some(key)),
            Content::Authorities { trusted, revoked } => (trusted, revoked.as_ref()),
        };
        Ok(Read {
            spec: self,
            first: first.bytes()?,
            second: second.map(Source::bytes).transpose()?,
        })
    }
}

impl Source {
    fn bytes(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        match self {
            Self::Inline(bytes) => Ok(bytes.clone()),
            Self::File(path) => read_file(path),
            Self::System => read_file(&system()),
        }
    }
}

/// Reads a file that somebody else has chosen: neither a pipe, which may never end, nor one without bounds.
fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = path.display();
    let failed = |error| format!("cannot read {shown}: {error}");
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(format!("{shown} is no file"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("{shown} has more than {MOST_BYTES} bytes"));
    }
    Ok(bytes)
}

/// The file with the authorities that this machine trusts.
fn system() -> PathBuf {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM.iter().map(PathBuf::from).find(|path| path.exists());
    given.or(known).unwrap_or_else(|| PathBuf::from(SYSTEM[0]))
}

/// The bytes of a secret at one moment.
struct Read<'a> {
    spec: &'a SecretSpec,
    first: Zeroizing<Vec<u8>>,
    second: Option<Zeroizing<Vec<u8>>>,
}

impl Read<'_> {
    fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&SHA256);
        context.update(&self.first.len().to_be_bytes());
        context.update(&self.first);
        if let Some(second) = &self.second {
            context.update(second);
        }
        let mut value = [0; 32];
        value.copy_from_slice(context.finish().as_ref());
        value
    }

    fn material(&self) -> Result<Material, String> {
        match &self.spec.0 {
            Content::Certificate { .. } => {
                let key = self.second.as_deref().map_or(&[][..], Vec::as_slice);
                certificate(&self.first, key).map(Material::Certificate)
            }
            Content::Authorities { trusted, .. } => {
                let revoked = self.second.as_deref().map(Vec::as_slice);
                let roots = match trusted {
                    Source::System => usable_roots(&self.first),
                    Source::Inline(_) | Source::File(_) => roots(&self.first)?,
                };
                authorities(roots, revoked).map(Material::Authorities)
            }
        }
    }
}

fn certificate(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| "the key is no private key in PEM".to_owned())?;
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| format!("the key cannot be used: {error}"))?;
    let certified = CertifiedKey::new(chain, key);
    // Both files of a pair may have been written one after the other; then the next look finds them matching.
    certified
        .keys_match()
        .map_err(|error| format!("the key is not that of the certificate: {error}"))?;
    Ok(Arc::new(certified))
}

fn roots(trusted: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(trusted)? {
        roots
            .add(certificate)
            .map_err(|error| format!("an authority's certificate cannot be used: {error}"))?;
    }
    Ok(roots)
}

/// A system's bundle may have some that are of no use.
fn usable_roots(trusted: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(trusted).filter_map(Result::ok));
    roots
}

fn authorities(roots: RootCertStore, revoked: Option<&[u8]>) -> Result<Arc<Authorities>, String> {
    let revoked: Vec<_> = CertificateRevocationListDer::pem_slice_iter(revoked.unwrap_or_default())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the list of revoked certificates is no PEM: {error}"))?;
    let roots = Arc::new(roots);
    let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider().clone())
        .with_crls(revoked)
        .allow_unknown_revocation_status()
        .build()
        .map_err(|error| format!("clients cannot be verified by it: {error}"))?;
    Ok(Arc::new(Authorities { roots, clients }))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it; it must be PEM".to_owned());
    }
    Ok(chain)
}

impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Content::Certificate { .. } => "SecretSpec(certificate, not shown)",
            Content::Authorities { .. } => "SecretSpec(authorities)",
        })
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("name", &self.name)
            .field("filled", &self.is_filled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
