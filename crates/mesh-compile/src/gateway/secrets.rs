//! Secrets: certificates and authorities by the names under which listeners and clusters ask for them.
//!
//! A proxy gets only what these name, and of Secret objects only those of its own namespace: whoever
//! may write a Gateway somewhere else must not get at the keys of others by it. What the Gateway API's objects name
//! has been judged already, by its own rules; it goes by another name, so that no other Gateway has it with them.
//! What is in files stays at the proxy: the resource has their paths.

use std::path::Path;

use mesh_config::model::Sensitive;
use mesh_xds::envoy::core::{DataSource, WatchedDirectory, data_source::Specifier};
use mesh_xds::envoy::tls::secret::Type;
use mesh_xds::envoy::tls::{
    CertificateValidationContext, SdsSecretConfig, Secret, TlsCertificate,
    certificate_validation_context::SystemRootCerts,
};
use mesh_xds::names;

use crate::listener::ads;
use crate::mesh::Mesh;

/// Istio's word, in place of a file, for the authorities that the proxy's machine trusts.
pub(crate) const SYSTEM: &str = "system";

/// What a listener or cluster asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SecretRef {
    /// A certificate in the Secret of this name, or `NAMESPACE/NAME`.
    Credential(String),
    /// A certificate in the Secret `NAMESPACE/NAME`, which a ReferenceGrant or the namespace of the Gateway
    /// itself lets the gateway have.
    Granted(String),
    /// The authorities in the Secret `NAME-cacert`, or else in `NAME`.
    CredentialRoots(String),
    /// The authorities in ConfigMaps `NAMESPACE/NAME`, of a Gateway that may have them.
    ConfigMapRoots(Vec<String>),
    /// A certificate in files of the gateway.
    Files { certificate: String, key: String },
    /// Authorities in files of the gateway.
    RootFiles {
        authorities: String,
        revoked: Option<String>,
    },
}

impl SecretRef {
    /// Its name as a resource.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Credential(name) => names::credential(name),
            Self::Granted(name) => names::granted_credential(name),
            Self::CredentialRoots(name) => names::credential_roots(name),
            Self::ConfigMapRoots(config_maps) => names::config_map_roots(config_maps),
            Self::Files { certificate, key } => names::file_certificate(certificate, key),
            Self::RootFiles {
                authorities,
                revoked,
            } => names::file_roots(authorities, revoked.as_deref()),
        }
    }
}

/// How a TLS context names it.
pub(crate) fn by_sds(secret: &SecretRef) -> SdsSecretConfig {
    SdsSecretConfig {
        name: secret.name(),
        sds_config: Some(ads()),
    }
}

/// The resource of a reference for proxies of a namespace; `None` if there is no such Secret, it lacks what is
/// asked for, or it is not for them.
pub(crate) fn secret(mesh: &Mesh, namespace: &str, reference: &SecretRef) -> Option<Secret> {
    let content = match reference {
        SecretRef::Credential(name) => {
            let (namespace, name) = own(namespace, name)?;
            key_pair(mesh, namespace, name)?
        }
        SecretRef::Granted(name) => {
            let (namespace, name) = name.split_once('/')?;
            key_pair(mesh, namespace, name)?
        }
        SecretRef::CredentialRoots(name) => {
            let (namespace, name) = own(namespace, name)?;
            let find = |name: &str| {
                let (_, secret) = mesh.config.secret(namespace, name)?;
                secret
                    .authorities()
                    .map(|roots| (roots, secret.revocations()))
            };
            let (roots, revoked) = find(&format!("{name}-cacert")).or_else(|| find(name))?;
            authorities(inline(roots), revoked.map(inline), None)
        }
        SecretRef::ConfigMapRoots(config_maps) => {
            let mut roots = String::new();
            for name in config_maps {
                let (namespace, name) = name.split_once('/')?;
                roots += mesh
                    .config
                    .config_map(namespace, name)?
                    .data
                    .get("ca.crt")?;
                roots.push('\n');
            }
            authorities(
                source(Specifier::InlineBytes(roots.into_bytes())),
                None,
                None,
            )
        }
        SecretRef::Files {
            certificate: chain,
            key,
        } => certificate(file(chain), file(key), watched(chain)),
        SecretRef::RootFiles {
            authorities,
            revoked: None,
        } if authorities == SYSTEM => Type::ValidationContext(CertificateValidationContext {
            system_root_certs: Some(SystemRootCerts::default()),
            ..CertificateValidationContext::default()
        }),
        SecretRef::RootFiles {
            authorities: roots,
            revoked,
        } => authorities(file(roots), revoked.as_deref().map(file), watched(roots)),
    };
    Some(Secret {
        name: reference.name(),
        r#type: Some(content),
    })
}

/// `NAME` or `NAMESPACE/NAME`, if that is the proxy's own namespace.
fn own<'a>(namespace: &'a str, name: &'a str) -> Option<(&'a str, &'a str)> {
    match name.split_once('/') {
        None => Some((namespace, name)),
        Some((other, name)) => (other == namespace).then_some((other, name)),
    }
}

fn key_pair(mesh: &Mesh, namespace: &str, name: &str) -> Option<Type> {
    let (_, secret) = mesh.config.secret(namespace, name)?;
    let (chain, key) = secret.key_pair()?;
    Some(certificate(inline(chain), inline(key), None))
}

fn certificate(
    chain: DataSource,
    key: DataSource,
    watched_directory: Option<WatchedDirectory>,
) -> Type {
    Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(chain),
        private_key: Some(key),
        watched_directory,
        ..TlsCertificate::default()
    })
}

fn authorities(
    trusted: DataSource,
    crl: Option<DataSource>,
    watched_directory: Option<WatchedDirectory>,
) -> Type {
    Type::ValidationContext(CertificateValidationContext {
        trusted_ca: Some(trusted),
        crl,
        watched_directory,
        ..CertificateValidationContext::default()
    })
}

fn inline(content: &Sensitive) -> DataSource {
    source(Specifier::InlineBytes(content.expose().to_vec()))
}

fn file(path: &str) -> DataSource {
    source(Specifier::Filename(path.to_owned()))
}

fn source(specifier: Specifier) -> DataSource {
    DataSource {
        specifier: Some(specifier),
        ..DataSource::default()
    }
}

/// Where a stock Envoy looks for changes.
fn watched(file: &str) -> Option<WatchedDirectory> {
    let directory = Path::new(file).parent()?.to_str()?;
    (!directory.is_empty()).then(|| WatchedDirectory {
        path: directory.to_owned(),
        ..WatchedDirectory::default()
    })
}
