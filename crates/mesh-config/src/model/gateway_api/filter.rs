//! What a rule does to requests before, instead of, or beside sending them on.

use serde::Deserialize;

use super::ObjectRef;
use super::route::BackendRef;

/// A filter of a rule or of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Filter {
    /// Changes the request's headers.
    RequestHeaderModifier {
        /// How.
        request_header_modifier: HeaderFilter,
    },
    /// Changes the answer's headers.
    ResponseHeaderModifier {
        /// How.
        response_header_modifier: HeaderFilter,
    },
    /// Sends a copy elsewhere.
    RequestMirror {
        /// Where, and how many.
        request_mirror: MirrorFilter,
    },
    /// Answers with a redirect.
    RequestRedirect {
        /// To where.
        request_redirect: RedirectFilter,
    },
    /// Changes host or path.
    #[serde(rename = "URLRewrite")]
    UrlRewrite {
        /// How.
        url_rewrite: RewriteFilter,
    },
    /// Lets scripts of other origins call.
    #[serde(rename = "CORS")]
    Cors {
        /// Which.
        cors: CorsFilter,
    },
    /// Asks a program whether the request may pass; not acted on, so such a rule answers with 500.
    ExternalAuth,
    /// Another controller's own; not acted on, so such a rule answers with 500.
    ExtensionRef {
        /// What it refers to.
        extension_ref: ObjectRef,
    },
}

/// Changes of headers, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HeaderFilter {
    /// These replace what is there.
    pub set: Vec<Header>,
    /// These come after what is there.
    pub add: Vec<Header>,
    /// These go.
    pub remove: Vec<String>,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A copy of requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorFilter {
    /// Where it goes.
    pub backend_ref: BackendRef,
    /// Of this many in a hundred.
    pub percent: Option<u32>,
    /// Of this part.
    pub fraction: Option<Fraction>,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Fraction {
    /// 0 to the denominator.
    pub numerator: u32,
    /// 1 and more.
    #[serde(default = "hundred")]
    pub denominator: u32,
}

fn hundred() -> u32 {
    100
}

/// A redirect; what is absent stays as the client asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RedirectFilter {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host.
    pub hostname: Option<String>,
    /// Path.
    pub path: Option<PathModifier>,
    /// Port; absent, that of the scheme if there is one here, else the listener's.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308; absent is 302.
    pub status_code: Option<u16>,
}

/// A change of host or path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RewriteFilter {
    /// The new host.
    pub hostname: Option<String>,
    /// The new path.
    pub path: Option<PathModifier>,
}

/// A change of a path; the query stays.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum PathModifier {
    /// The whole path.
    ReplaceFullPath {
        /// What stands there then.
        replace_full_path: String,
    },
    /// The segments that the rule's only prefix has matched.
    ReplacePrefixMatch {
        /// What stands there then, may be empty.
        replace_prefix_match: String,
    },
}

/// Which scripts of other origins may call, and what they may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CorsFilter {
    /// `scheme://host[:port]`, with `*` for any beginning of the host, or `*` alone.
    pub allow_origins: Vec<String>,
    /// Whether they may send credentials.
    pub allow_credentials: bool,
    /// Methods, or `*` alone.
    pub allow_methods: Vec<String>,
    /// Headers of requests, or `*` alone.
    pub allow_headers: Vec<String>,
    /// Headers of answers that they may read, or `*`.
    pub expose_headers: Vec<String>,
    /// For how many seconds a browser may remember this; absent is 5.
    pub max_age: Option<u32>,
}
