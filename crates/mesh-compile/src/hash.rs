//! What decides on the endpoint of requests and sessions, where a DestinationRule asks for consistent hashing.
//!
//! As Istio does it: how hashes are spread is said by the cluster, what is hashed by the routes that lead there.

use mesh_config::model::HashKey;
use mesh_xds::envoy::protobuf::Duration;
use mesh_xds::envoy::route::route_action::HashPolicy;
use mesh_xds::envoy::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};
use mesh_xds::envoy::types;

/// What is hashed of requests.
pub(crate) fn of_requests(key: HashKey) -> HashPolicy {
    let specifier = match key {
        HashKey::Header(header_name) => PolicySpecifier::Header(Header {
            header_name,
            ..Header::default()
        }),
        HashKey::Cookie(cookie) => PolicySpecifier::Cookie(Cookie {
            name: cookie.name,
            ttl: cookie.ttl.map(|ttl| Duration {
                seconds: i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            path: cookie.path,
            attributes: cookie
                .attributes
                .into_iter()
                .map(|(name, value)| CookieAttribute { name, value })
                .collect(),
        }),
        HashKey::SourceIp => {
            PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        HashKey::QueryParameter(name) => PolicySpecifier::QueryParameter(QueryParameter { name }),
    };
    HashPolicy {
        policy_specifier: Some(specifier),
        terminal: false,
    }
}

/// What is hashed of sessions: nothing but the client's address is known.
pub(crate) fn of_sessions() -> types::HashPolicy {
    use types::hash_policy::{PolicySpecifier, SourceIp};
    types::HashPolicy {
        policy_specifier: Some(PolicySpecifier::SourceIp(SourceIp {})),
    }
}
