//! Resources: what a control plane has to say, each with a name and a version. Sets of them are in `set.rs`.

use std::fmt;
use std::fmt::Write as _;

use aws_lc_rs::digest;
use prost::{DecodeError, Message, Name};

use crate::canonical;
use crate::envoy::cluster::Cluster;
use crate::envoy::endpoint::ClusterLoadAssignment;
use crate::envoy::listener::Listener;
use crate::envoy::protobuf::Any;
use crate::envoy::route::RouteConfiguration;
use crate::envoy::tls::Secret;

/// The kinds of xDS resources that the mesh speaks of, in the order in which they are pushed: what is
/// referred to goes before what refers to it (make before break).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// CDS: `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// EDS: `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoint,
    /// LDS: `envoy.config.listener.v3.Listener`.
    Listener,
    /// RDS: `envoy.config.route.v3.RouteConfiguration`.
    Route,
    /// SDS: `envoy.extensions.transport_sockets.tls.v3.Secret`. Last, since names of secrets are known from
    /// clusters and listeners, which wait for them.
    Secret,
}

impl ResourceType {
    /// All types, in push order.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::Secret,
    ];
    /// How many there are.
    pub const COUNT: usize = 5;

    /// The type URL of discovery requests and of the resource's `Any`.
    #[must_use]
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            Self::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            Self::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// The type with this URL.
    #[must_use]
    pub fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The service's usual abbreviation: `CDS`, `EDS`, `LDS`, `RDS`, `SDS`.
    #[must_use]
    pub fn abbreviation(self) -> &'static str {
        match self {
            Self::Cluster => "CDS",
            Self::Endpoint => "EDS",
            Self::Listener => "LDS",
            Self::Route => "RDS",
            Self::Secret => "SDS",
        }
    }

    /// Whether a subscription without names means all resources. Only clusters and listeners have no other
    /// resource that would tell their names.
    #[must_use]
    pub fn is_wildcard(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.abbreviation())
    }
}

/// A message that is an xDS resource.
pub trait Discoverable: Message + Default {
    /// Its type.
    const TYPE: ResourceType;

    /// Its name, unique among the resources of its type.
    fn resource_name(&self) -> &str;
}

impl Discoverable for Cluster {
    const TYPE: ResourceType = ResourceType::Cluster;
    fn resource_name(&self) -> &str {
        &self.name
    }
}

impl Discoverable for ClusterLoadAssignment {
    const TYPE: ResourceType = ResourceType::Endpoint;
    fn resource_name(&self) -> &str {
        &self.cluster_name
    }
}

impl Discoverable for Listener {
    const TYPE: ResourceType = ResourceType::Listener;
    fn resource_name(&self) -> &str {
        &self.name
    }
}

impl Discoverable for RouteConfiguration {
    const TYPE: ResourceType = ResourceType::Route;
    fn resource_name(&self) -> &str {
        &self.name
    }
}

impl Discoverable for Secret {
    const TYPE: ResourceType = ResourceType::Secret;
    fn resource_name(&self) -> &str {
        &self.name
    }
}

/// One resource, encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// Unique among the resources of its type.
    pub name: String,
    /// Tells one content of the resource from another. Ours are hashes of the content; those of another
    /// control plane may be anything.
    pub version: String,
    /// The resource itself.
    pub any: Any,
}

/// Without its content, which may be a private key.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("type_url", &self.any.type_url)
            .field("bytes", &self.any.value.len())
            .finish()
    }
}

/// Why a resource could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// It is of another type.
    #[error("expected a resource of type {expected}, got {actual}")]
    Type {
        /// The type URL that was asked for.
        expected: String,
        /// The type URL that it has.
        actual: String,
    },
    /// It is not a well-formed message.
    #[error("the resource is not a well-formed protobuf message: {0}")]
    Malformed(#[from] DecodeError),
}

impl Resource {
    /// Encodes a message. Equal messages give equal resources, in every process.
    #[must_use]
    pub fn new<M: Discoverable>(message: &M) -> Self {
        let value = canonical::encode(M::TYPE, message);
        Self {
            name: message.resource_name().to_owned(),
            version: content_hash(&value),
            any: Any {
                type_url: M::TYPE.type_url().to_owned(),
                value,
            },
        }
    }

    /// Reads the message back.
    ///
    /// # Errors
    /// If the resource is of another type or malformed.
    pub fn decode<M: Discoverable>(&self) -> Result<M, ResourceError> {
        decode_as(M::TYPE.type_url(), &self.any)
    }
}

/// Packs a message that is part of a resource: a filter, a transport socket.
#[must_use]
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// Unpacks what [`pack`] packed.
///
/// # Errors
/// If it is of another type or malformed.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, ResourceError> {
    decode_as(&M::type_url(), any)
}

fn decode_as<M: Message + Default>(expected: &str, any: &Any) -> Result<M, ResourceError> {
    if any.type_url != expected {
        return Err(ResourceError::Type {
            expected: expected.to_owned(),
            actual: any.type_url.clone(),
        });
    }
    Ok(M::decode(any.value.as_slice())?)
}

/// The first 128 bits of SHA-256, in hexadecimal.
fn content_hash(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref()[..16]
        .iter()
        .fold(String::with_capacity(32), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::{Resource, ResourceError, ResourceType};
    use crate::ResourceSet;
    use crate::envoy::cluster::Cluster;
    use crate::envoy::listener::Listener;

    fn cluster(name: &str) -> Cluster {
        Cluster {
            name: name.into(),
            ..Cluster::default()
        }
    }

    #[test]
    fn type_urls_are_those_of_the_messages() {
        use crate::envoy::{endpoint::ClusterLoadAssignment, route::RouteConfiguration};
        use prost::Name;
        assert_eq!(ResourceType::Cluster.type_url(), Cluster::type_url());
        assert_eq!(
            ResourceType::Endpoint.type_url(),
            ClusterLoadAssignment::type_url()
        );
        assert_eq!(ResourceType::Listener.type_url(), Listener::type_url());
        assert_eq!(
            ResourceType::Route.type_url(),
            RouteConfiguration::type_url()
        );
        assert_eq!(
            ResourceType::Secret.type_url(),
            crate::envoy::tls::Secret::type_url()
        );
        for kind in ResourceType::ALL {
            assert_eq!(ResourceType::from_type_url(kind.type_url()), Some(kind));
        }
        assert_eq!(ResourceType::from_type_url(""), None);
    }

    #[test]
    fn a_version_follows_the_content() {
        let a = Resource::new(&cluster("a"));
        assert_eq!(a, Resource::new(&cluster("a")));
        let mut changed = cluster("a");
        changed.alt_stat_name = "other".into();
        assert_ne!(a.version, Resource::new(&changed).version);
        assert_eq!(a.version.len(), 32);
    }

    #[test]
    fn a_resource_is_read_back_as_its_own_type_only() {
        let resource = Resource::new(&cluster("a"));
        assert_eq!(
            resource.decode::<Cluster>().expect("a cluster"),
            cluster("a")
        );
        assert!(matches!(
            resource.decode::<Listener>(),
            Err(ResourceError::Type { .. })
        ));
    }

    #[test]
    fn parts_are_unpacked_as_what_they_were() {
        let any = super::pack(&cluster("a"));
        assert_eq!(
            super::unpack::<Cluster>(&any).expect("a cluster"),
            cluster("a")
        );
        let error = super::unpack::<Listener>(&any).expect_err("no listener");
        assert_eq!(
            error.to_string(),
            format!(
                "expected a resource of type {}, got {}",
                ResourceType::Listener.type_url(),
                ResourceType::Cluster.type_url()
            )
        );
    }

    #[test]
    fn a_resource_is_described_without_its_content() {
        use crate::envoy::core::{DataSource, data_source::Specifier};
        use crate::envoy::tls::{Secret, TlsCertificate, secret::Type};
        let key = DataSource {
            specifier: Some(Specifier::InlineString("the key".into())),
            ..DataSource::default()
        };
        let secret = Secret {
            name: "kubernetes://shop".into(),
            r#type: Some(Type::TlsCertificate(TlsCertificate {
                private_key: Some(key),
                ..TlsCertificate::default()
            })),
        };
        let mut set = ResourceSet::new();
        set.insert(&secret);
        let text = format!("{set:?}");
        assert!(text.contains("kubernetes://shop"), "{text}");
        let bytes: Vec<String> = b"the key".iter().map(u8::to_string).collect();
        assert!(
            !text.contains(&bytes.join(", ")) && !text.contains("the key"),
            "{text}"
        );
    }
}
