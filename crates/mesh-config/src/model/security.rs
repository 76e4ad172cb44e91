//! `security.istio.io` PeerAuthentication, AuthorizationPolicy and RequestAuthentication.

use std::collections::BTreeMap;
use std::time::Duration;

use super::policy::{Among, IpBlock, PolicyTarget, ValueMatch};

/// Whether workloads take mTLS, plain text, or both. It says nothing about their callers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// The workloads' labels; without any, the policy is for its namespace, or in the root namespace for the mesh.
    pub selector: BTreeMap<String, String>,
    /// What they take; `None` leaves it to the policy of the next wider scope.
    pub mode: Option<MutualTls>,
    /// What they take at single ports, those on which the workload listens; only with a selector.
    pub ports: BTreeMap<u16, Option<MutualTls>>,
}

/// What a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutualTls {
    /// Plain text only.
    Disable,
    /// Both.
    Permissive,
    /// mTLS only: plain text is refused at the connection.
    Strict,
}

/// Who may call which workloads.
///
/// Per request: a matching CUSTOM policy asks its provider, a matching DENY refuses, and where there
/// is any ALLOW policy, one of them must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// The workloads that it protects.
    pub target: PolicyTarget,
    /// What happens to requests that a rule matches.
    pub action: AuthorizationAction,
    /// Any of them matches. None at all matches nothing: with ALLOW, nobody may call.
    pub rules: Vec<AuthorizationRule>,
    /// `istio.io/dry-run: "true"`: the policy only tells what it would do.
    pub dry_run: bool,
}

/// What an [`AuthorizationPolicy`] does about requests that it matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthorizationAction {
    /// They may pass, and those that no policy allows may not.
    #[default]
    Allow,
    /// They are refused.
    Deny,
    /// They are only marked.
    Audit,
    /// The provider of this name decides.
    Custom(String),
}

/// A rule matches where its source, its operation and all its conditions match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationRule {
    /// One of these; none stands for any.
    pub from: Vec<Source>,
    /// One of these; none stands for any.
    pub to: Vec<Operation>,
    /// All of these.
    pub when: Vec<Condition>,
}

/// Who calls: all fields must match. Without mTLS a caller has no identity, which no `any_of` matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, without `spiffe://`.
    pub principals: Among<ValueMatch>,
    /// `ISSUER/SUBJECT` of a token.
    pub request_principals: Among<ValueMatch>,
    /// Namespaces of identities.
    pub namespaces: Among<ValueMatch>,
    /// Service accounts of identities.
    pub service_accounts: Among<ServiceAccountMatch>,
    /// Trust domains of identities.
    pub trust_domains: Among<ValueMatch>,
    /// The connection's other end.
    pub ip_blocks: Among<IpBlock>,
    /// The client's address as `X-Forwarded-For` or the PROXY protocol tells it.
    pub remote_ip_blocks: Among<IpBlock>,
}

/// A service account that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    /// Its namespace; the policy's own where none was written.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What is asked for: all fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// The request's host; case does not matter.
    pub hosts: Among<ValueMatch>,
    /// The workload's port.
    pub ports: Among<u16>,
    /// The method; for gRPC it is POST.
    pub methods: Among<ValueMatch>,
    /// The path without its query; for gRPC `/package.Service/Method`.
    pub paths: Among<PathMatch>,
}

/// How a policy compares a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// As any text.
    Value(ValueMatch),
    /// `{*}` stands for one segment, `{**}` for any number of them.
    Template(String),
}

/// What else must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A text.
    Text(TextAttribute, Among<ValueMatch>),
    /// An address.
    Address(AddressAttribute, Among<IpBlock>),
    /// `source.serviceAccount`
    ServiceAccount(Among<ServiceAccountMatch>),
    /// `destination.port`
    Port(Among<u16>),
}

/// A text of a request, its token or its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextAttribute {
    /// `request.headers[NAME]`, the name as written.
    Header(String),
    /// `source.namespace`
    SourceNamespace,
    /// `source.principal`
    SourcePrincipal,
    /// `source.trustDomain`
    SourceTrustDomain,
    /// `request.auth.principal`
    RequestPrincipal,
    /// `request.auth.audiences`
    Audiences,
    /// `request.auth.presenter`
    Presenter,
    /// `request.auth.claims[a][b]`, the names from the outside to the inside.
    Claim(Vec<String>),
    /// `connection.sni`
    Sni,
    /// `experimental.envoy.filters.…[…]`, the whole key as written.
    Experimental(String),
}

/// An address of a request's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressAttribute {
    /// `source.ip`
    Source,
    /// `remote.ip`
    Remote,
    /// `destination.ip`
    Destination,
}

/// Which tokens requests may carry. A request without one passes; a bad one does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestAuthentication {
    /// The workloads that check.
    pub target: PolicyTarget,
    /// A token is good if its issuer's rule says so.
    pub rules: Vec<JwtRule>,
}

/// How the tokens of one issuer are found and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtRule {
    /// The token's `iss`; empty for any.
    pub issuer: String,
    /// One of them must be in the token's `aud`; none stands for any.
    pub audiences: Vec<String>,
    /// The issuer's keys.
    pub keys: JwtKeys,
    /// Headers that carry the token, with what stands in front of it. With no place given at all, it is
    /// `Authorization: Bearer` or the parameter `access_token`.
    pub from_headers: Vec<(String, String)>,
    /// Query parameters that carry it.
    pub from_params: Vec<String>,
    /// Cookies that carry it.
    pub from_cookies: Vec<String>,
    /// A header that gets the token's payload; empty for none.
    pub payload_header: String,
    /// Header and claim: headers that get single claims.
    pub claim_headers: Vec<(String, String)>,
    /// Whether the app sees the token.
    pub forward_token: bool,
    /// How long fetching the keys may take.
    pub timeout: Option<Duration>,
    /// Claims that are lists with spaces between.
    pub space_delimited_claims: Vec<String>,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JwtKeys {
    /// Where the issuer's OpenID configuration says.
    #[default]
    Discovered,
    /// At this URL.
    Url(String),
    /// Here: a JSON Web Key Set.
    Inline(String),
}
