//! Every field of every kind that the mesh reads, as data.
//!
//! One table a kind says which fields exist, of which type they are, and whether the mesh acts on
//! them. `check` holds an object against its table: an unknown field is an error, a valid field
//! that is not acted on is a warning that names it. What a field's value must look like beyond its
//! type is in `read`. To act on a new field, turn its `accepted` into `acted` here, and read
//! it there.

mod check;
mod core;
mod destination_rule;
mod document;
mod extension;
mod gateway;
mod gateway_api;
mod mesh_config;
mod metadata;
mod security;
mod selector;
mod service;
mod service_entry;
mod sidecar;
mod telemetry;
mod virtual_service;
mod workload;

pub(crate) use check::{check, check_metadata};
pub use document::markdown;
pub(crate) use gateway_api::syntax::{address, path_value};
pub(crate) use mesh_config::MESH_CONFIG;

use crate::analysis::{Code, NOT_ACTED_ON, PAST_THE_MESH};
use crate::model::Kind;
use crate::rules;

/// A map with known fields.
#[derive(Debug)]
pub struct Shape {
    /// Its fields in the order of the documentation.
    pub fields: &'static [Field],
    /// Groups of fields of which at most one may be set.
    pub at_most_one: &'static [&'static [&'static str]],
}

/// One field of a [`Shape`].
#[derive(Debug)]
pub struct Field {
    /// Its name in YAML.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Type,
    /// What the mesh makes of it.
    pub role: Role,
    /// Whether it must be there.
    pub required: bool,
}

/// The type of a field's value.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// A text.
    Text,
    /// A text of this syntax.
    Word(Syntax),
    /// `true` or `false`.
    Bool,
    /// A whole number of this range, ends included.
    Integer(i64, i64),
    /// A number of this range, ends included.
    Number(f64, f64),
    /// A whole number or a text, like a Service's `targetPort`.
    IntegerOrText,
    /// A length of time as Go writes it, `1.5s` or `1h30m`: whole milliseconds, at least one.
    Duration,
    /// The same, where 0 means "no limit".
    DurationOrZero,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list.
    List(&'static Type),
    /// A list of this many, ends included.
    Sized(usize, usize, &'static Type),
    /// A map with keys of the user's choice.
    Map(&'static Type),
    /// A map with keys of this syntax.
    Keyed(Syntax, &'static Type),
    /// A map with known fields.
    Object(&'static Shape),
    /// Bytes in base64.
    Base64,
    /// A map of texts of the given type that no message shows: they may be secrets.
    Data(&'static Type),
    /// Whatever the user writes.
    Any,
}

/// What a text must look like.
#[derive(Clone, Copy)]
pub struct Syntax {
    /// In words, `a DNS label`.
    pub name: &'static str,
    /// Says what is wrong with a text and what to write instead.
    check: fn(&str) -> rules::Verdict,
}

impl std::fmt::Debug for Syntax {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What the mesh makes of a field.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// It is acted on, or its own fields say more.
    Acted,
    /// It is valid and kept, and a warning says that it is not acted on. The text says what that
    /// means, where it is not obvious. The values in `harmless` say what holds anyway and get no
    /// warning.
    Accepted {
        /// What it means that the field is not acted on; may be empty.
        note: &'static str,
        /// Values, as texts, that ask for nothing.
        harmless: &'static [&'static str],
        /// What kind of finding the warning is.
        code: &'static Code,
    },
    /// It is kept without a word: notes of a server, or what holds anyway.
    Quiet,
}

/// The table of a kind's whole object; `None` for kinds whose fields nobody looks at.
pub fn of(kind: Kind) -> Option<&'static Shape> {
    match kind {
        Kind::Service => Some(&service::OBJECT),
        Kind::Gateway => Some(&gateway::OBJECT),
        Kind::VirtualService => Some(&virtual_service::OBJECT),
        Kind::DestinationRule => Some(&destination_rule::OBJECT),
        Kind::WorkloadGroup => Some(&workload::GROUP),
        Kind::WorkloadEntry => Some(&workload::ENTRY),
        Kind::PeerAuthentication => Some(&security::PEER_AUTHENTICATION),
        Kind::AuthorizationPolicy => Some(&security::AUTHORIZATION_POLICY),
        Kind::RequestAuthentication => Some(&security::REQUEST_AUTHENTICATION),
        Kind::Telemetry => Some(&telemetry::OBJECT),
        Kind::Namespace => Some(&core::NAMESPACE),
        Kind::Secret => Some(&core::SECRET),
        Kind::ConfigMap => Some(&core::CONFIG_MAP),
        Kind::ServiceEntry => Some(&service_entry::OBJECT),
        Kind::Sidecar => Some(&sidecar::OBJECT),
        Kind::GatewayApi(kind) => Some(gateway_api::of(kind)),
        Kind::Inert(inert) => match (inert.group, inert.kind) {
            ("extensions.istio.io", "TrafficExtension") => Some(&extension::TRAFFIC_EXTENSION),
            ("extensions.istio.io", "WasmPlugin") => Some(&extension::WASM_PLUGIN),
            ("networking.istio.io", "EnvoyFilter") => Some(&extension::ENVOY_FILTER),
            ("networking.istio.io", "ProxyConfig") => Some(&extension::PROXY_CONFIG),
            _ => None,
        },
    }
}

// The words in which the tables are written.

/// A text that must not be empty.
const FILLED: Type = Type::Word(syntax("a text", rules::filled));
const TEXTS: Type = Type::List(&Type::Text);
const LABELS: Type = Type::Keyed(LABEL_KEY, &Type::Word(LABEL_VALUE));
const PORT: Type = Type::Integer(1, 65_535);
const UINT32: Type = Type::Integer(0, u32::MAX as i64);
const INT32: Type = Type::Integer(i32::MIN as i64, i32::MAX as i64);
/// An `int32` of which only the upper half has a meaning.
const COUNT: Type = Type::Integer(0, i32::MAX as i64);
const PERCENT: Type = Type::Integer(0, 100);
/// Namespaces that see an object: names, `.` for its own, `*` for all.
const EXPORT_TO: Type = Type::List(&Type::Word(VISIBILITY));

const fn syntax(name: &'static str, check: fn(&str) -> rules::Verdict) -> Syntax {
    Syntax { name, check }
}

const CLUSTER_IP: Syntax = syntax("an IP address or None", rules::cluster_ip);
const DNS_LABEL: Syntax = syntax("a DNS label", rules::dns_label);
const DESTINATION_HOST: Syntax = syntax("a host", rules::destination_host);
const HEADER: Syntax = syntax("the name of a header", rules::header_name);
const LABEL_KEY: Syntax = syntax("the key of a label", rules::label_key);
const LABEL_VALUE: Syntax = syntax("the value of a label", rules::label_value);
const REGEX: Syntax = syntax("a regular expression", rules::regular_expression);
const SUBNET: Syntax = syntax("an IP address or a subnet", rules::subnet);
const VISIBILITY: Syntax = syntax("a namespace, . or *", rules::visibility);

const fn shape(fields: &'static [Field]) -> Shape {
    Shape {
        fields,
        at_most_one: &[],
    }
}

const fn choice(
    at_most_one: &'static [&'static [&'static str]],
    fields: &'static [Field],
) -> Shape {
    Shape {
        fields,
        at_most_one,
    }
}

/// A field that is acted on.
const fn acted(name: &'static str, kind: Type) -> Field {
    Field {
        name,
        kind,
        role: Role::Acted,
        required: false,
    }
}

/// A field that is valid but not acted on.
const fn accepted(name: &'static str, kind: Type) -> Field {
    noted(name, kind, "")
}

/// A field that is valid but not acted on, and what that means.
const fn noted(name: &'static str, kind: Type, note: &'static str) -> Field {
    Field {
        name,
        kind,
        role: Role::Accepted {
            note,
            harmless: &[],
            code: &NOT_ACTED_ON,
        },
        required: false,
    }
}

/// A field that lets traffic in without a proxy.
const fn past_the_mesh(name: &'static str, kind: Type) -> Field {
    Field {
        name,
        kind,
        role: Role::Accepted {
            note: "the mesh opens no port for it, and traffic that enters through a load balancer or a node port \
                   goes past the mesh: no weights, no mTLS. Let clients in through a Gateway",
            harmless: &[],
            code: &PAST_THE_MESH,
        },
        required: false,
    }
}

/// A field that is kept without a word.
const fn quiet(name: &'static str, kind: Type) -> Field {
    Field {
        name,
        kind,
        role: Role::Quiet,
        required: false,
    }
}

impl Field {
    const fn required(self) -> Field {
        Field {
            required: true,
            ..self
        }
    }

    /// The values of an accepted field that ask for nothing.
    const fn unless(self, harmless: &'static [&'static str]) -> Field {
        let role = match self.role {
            Role::Accepted { note, code, .. } => Role::Accepted {
                note,
                harmless,
                code,
            },
            other => other,
        };
        Field { role, ..self }
    }
}

/// A whole object with this `spec`; Istio's kinds may leave the spec's map empty.
macro_rules! object {
    ($spec:expr) => {
        crate::schema::shape(&[
            crate::schema::quiet("apiVersion", crate::schema::Type::Text),
            crate::schema::quiet("kind", crate::schema::Type::Text),
            crate::schema::acted(
                "metadata",
                crate::schema::Type::Object(&crate::schema::metadata::METADATA),
            ),
            $spec,
            // Written by controllers, read by users: asking for it has no meaning.
            crate::schema::quiet("status", crate::schema::Type::Any),
        ])
    };
}
use object;

#[cfg(test)]
mod tests;
