//! Hash policies of routes and TCP proxies: what decides on the endpoint where a cluster chooses by hash.
//!
//! They are worked out in `steps/hash.rs`; how hashes are spread is the cluster's own (`upstream/table.rs`).

use http::HeaderValue;
use mesh_xds::envoy::route::route_action as pb;
use mesh_xds::envoy::route::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier, QueryParameter,
};
use mesh_xds::envoy::types;

use super::HeaderName;
use super::field::{At, Refusal, length, sort_fields};
use super::matcher::header_name;

/// One of the things that decide on the endpoint of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct HashPolicy {
    /// What is hashed.
    pub of: Hashed,
    /// If the request has it, or something before it, nothing that follows is looked at.
    pub terminal: bool,
}

/// What of a request is hashed.
#[derive(Debug, PartialEq, Eq)]
pub enum Hashed {
    /// All values of a header, whatever their order.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(HashCookie),
    /// The client's address.
    Source,
    /// The first value of a query parameter.
    QueryParameter(String),
}

/// A cookie that keeps a client at its endpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// What follows the value of a cookie that is made for a client without one; `None` makes none.
    pub attributes: Option<String>,
}

/// Reads a route's policies.
pub(super) fn compile(
    at: &At<'_>,
    policies: &[pb::HashPolicy],
) -> Result<Vec<HashPolicy>, Refusal> {
    let mut read = Vec::with_capacity(policies.len());
    for (i, message) in policies.iter().enumerate() {
        let at = at.item("hash_policy", i);
        let pb::HashPolicy {
            terminal,
            policy_specifier,
        } = message;
        let of = match policy_specifier {
            None => return Err(at.refuse("says nothing of what is hashed; set header, cookie, connection_properties or query_parameter")),
            Some(PolicySpecifier::Header(message)) => header(&at.field("header"), message)?,
            Some(PolicySpecifier::Cookie(message)) => {
                Hashed::Cookie(cookie(&at.field("cookie"), message)?)
            }
            Some(PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })) => {
                Hashed::Source
            }
            // Envoy leaves such a policy out.
            Some(PolicySpecifier::ConnectionProperties(ConnectionProperties {
                source_ip: false,
            })) => continue,
            Some(PolicySpecifier::QueryParameter(QueryParameter { name })) if name.is_empty() => {
                return Err(at.field("query_parameter").field("name").refuse("is empty"));
            }
            Some(PolicySpecifier::QueryParameter(QueryParameter { name })) => {
                Hashed::QueryParameter(name.clone())
            }
            Some(PolicySpecifier::FilterState(_)) => {
                return Err(at.field("filter_state").unsupported());
            }
        };
        read.push(HashPolicy {
            of,
            terminal: *terminal,
        });
    }
    Ok(read)
}

/// Whether the sessions of a TCP proxy have their endpoint by the client's address.
pub(super) fn by_source(at: &At<'_>, policies: &[types::HashPolicy]) -> Result<bool, Refusal> {
    use types::hash_policy::PolicySpecifier as Specifier;
    for (i, policy) in policies.iter().enumerate() {
        let at = at.item("hash_policy", i);
        match policy.policy_specifier {
            Some(Specifier::SourceIp(_)) => {}
            Some(Specifier::FilterState(_)) => return Err(at.field("filter_state").unsupported()),
            None => return Err(at.refuse("says nothing of what is hashed; set source_ip")),
        }
    }
    Ok(!policies.is_empty())
}

fn header(at: &At<'_>, message: &Header) -> Result<Hashed, Refusal> {
    sort_fields!(at, message => Header {
        takes { header_name }
        ignores {}
        refuses { regex_rewrite }
    });
    let name = self::header_name(&header_name.to_ascii_lowercase());
    let at = at.field("header_name");
    name.map(Hashed::Header)
        .ok_or_else(|| at.refuse(format!("{header_name:?} is no name of a header")))
}

fn cookie(at: &At<'_>, message: &Cookie) -> Result<HashCookie, Refusal> {
    sort_fields!(at, message => Cookie {
        takes { name, ttl, path, attributes }
        ignores {}
        refuses {}
    });
    if name.is_empty() {
        return Err(at.field("name").refuse("is empty"));
    }
    let mut text = String::new();
    let new = match ttl {
        None => None,
        Some(ttl) => {
            let seconds = length(&at.field("ttl"), ttl)?.as_secs();
            // The client's session is as long as it lasts then.
            if seconds > 0 {
                text.push_str(&format!("; Max-Age={seconds}"));
            }
            if !path.is_empty() {
                text.push_str(&format!("; Path={path}"));
            }
            for attribute in attributes {
                text.push_str(&format!("; {}", attribute.name));
                if !attribute.value.is_empty() {
                    text.push_str(&format!("={}", attribute.value));
                }
            }
            text.push_str("; HttpOnly");
            Some(text)
        }
    };
    let written = format!("{name}={}", new.as_deref().unwrap_or_default());
    if HeaderValue::try_from(written).is_err() {
        return Err(
            at.refuse("cannot be written in a header: it has characters that no header has")
        );
    }
    Ok(HashCookie {
        name: name.clone(),
        attributes: new,
    })
}

#[cfg(test)]
mod tests {
    use mesh_xds::envoy::protobuf::Duration;
    use mesh_xds::envoy::route::route_action::hash_policy::{CookieAttribute, FilterState};

    use super::*;

    fn read(specifier: PolicySpecifier) -> Result<Vec<HashPolicy>, String> {
        let policy = pb::HashPolicy {
            policy_specifier: Some(specifier),
            terminal: true,
        };
        compile(&At::ROOT.field("route"), &[policy]).map_err(|refusal| refusal.field)
    }

    fn cookie(seconds: Option<i64>, name: &str) -> PolicySpecifier {
        PolicySpecifier::Cookie(Cookie {
            name: name.into(),
            ttl: seconds.map(|seconds| Duration { seconds, nanos: 0 }),
            path: "/shop".into(),
            attributes: [("SameSite", "Lax"), ("Secure", "")]
                .map(|(name, value)| CookieAttribute {
                    name: name.into(),
                    value: value.into(),
                })
                .into(),
        })
    }

    #[test]
    fn new_cookies_have_the_attributes_that_are_asked_for() {
        let attributes = |seconds| match read(cookie(seconds, "user")).unwrap().remove(0).of {
            Hashed::Cookie(cookie) => cookie.attributes,
            other => panic!("no cookie: {other:?}"),
        };
        assert_eq!(attributes(None), None);
        let session = "; Path=/shop; SameSite=Lax; Secure; HttpOnly";
        assert_eq!(attributes(Some(0)).as_deref(), Some(session));
        let minute = format!("; Max-Age=60{session}");
        assert_eq!(attributes(Some(60)), Some(minute));
    }

    #[test]
    fn what_cannot_be_hashed_is_refused_by_name() {
        let header = |name: &str| {
            read(PolicySpecifier::Header(Header {
                header_name: name.into(),
                ..Header::default()
            }))
        };
        assert_eq!(
            header("x y"),
            Err("route.hash_policy[0].header.header_name".into())
        );
        let of = |name| HashPolicy {
            of: Hashed::Header(name),
            terminal: true,
        };
        assert_eq!(header(":path"), Ok(vec![of(HeaderName::Path)]));
        let state = PolicySpecifier::FilterState(FilterState { key: "k".into() });
        assert_eq!(read(state), Err("route.hash_policy[0].filter_state".into()));
        assert_eq!(
            read(cookie(None, "")),
            Err("route.hash_policy[0].cookie.name".into())
        );
        assert_eq!(
            read(cookie(Some(1), "a\nb")),
            Err("route.hash_policy[0].cookie".into())
        );
        let source = |source_ip| {
            read(PolicySpecifier::ConnectionProperties(
                ConnectionProperties { source_ip },
            ))
        };
        assert_eq!(source(false), Ok(vec![]));
        assert_eq!(source(true).unwrap()[0].of, Hashed::Source);
    }

    #[test]
    fn sessions_have_nothing_but_their_source() {
        use types::hash_policy::{FilterState, PolicySpecifier, SourceIp};
        let read = |policy_specifier| {
            let policy = types::HashPolicy { policy_specifier };
            by_source(&At::ROOT.field("proxy"), &[policy]).map_err(|refusal| refusal.field)
        };
        assert_eq!(by_source(&At::ROOT, &[]), Ok(false));
        assert_eq!(read(Some(PolicySpecifier::SourceIp(SourceIp {}))), Ok(true));
        let state = PolicySpecifier::FilterState(FilterState { key: "k".into() });
        assert_eq!(
            read(Some(state)),
            Err("proxy.hash_policy[0].filter_state".into())
        );
        assert_eq!(read(None), Err("proxy.hash_policy[0]".into()));
    }
}
