//! Naming the field of an xDS message that cannot be taken.
//!
//! Every Envoy message that we read goes through `sort_fields!`, which makes its reader put each of
//! the message's fields in one of three drawers: taken, without effect on us, or refused when set.
//! A field that a later version of Envoy's API adds is a compile error until somebody has decided,
//! so nothing that the control plane asks for is ever dropped in silence.

use std::fmt;

use mesh_xds::envoy::protobuf::{Any, BoolValue, Duration};
use prost::{Message, Name};

/// Why a resource was not taken: which of its fields, and what about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Refusal {
    /// The path to the field inside the resource, as in `virtual_hosts[0].routes[2].match.cookies`.
    pub field: String,
    /// What is wrong with it and what would be accepted.
    pub message: String,
}

/// A place inside a resource, built on the stack while its messages are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    field: &'static str,
    index: Option<usize>,
}

impl<'a> At<'a> {
    /// The resource itself.
    pub(crate) const ROOT: At<'static> = At {
        parent: None,
        field: "",
        index: None,
    };

    /// A field of this message.
    pub(crate) fn field(&'a self, field: &'static str) -> At<'a> {
        // A keyword as a field's name is written `r#match` in Rust.
        At {
            parent: Some(self),
            field: field.trim_start_matches("r#"),
            index: None,
        }
    }

    /// An element of a repeated field of this message.
    pub(crate) fn item(&'a self, field: &'static str, index: usize) -> At<'a> {
        At {
            index: Some(index),
            ..self.field(field)
        }
    }

    /// Refuses what stands here.
    pub(crate) fn refuse(&self, message: impl Into<String>) -> Refusal {
        Refusal {
            field: self.to_string(),
            message: message.into(),
        }
    }

    /// Refuses what stands here because we have nothing that does it.
    pub(crate) fn unsupported(&self) -> Refusal {
        self.refuse("is set and this proxy does not support it")
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if parent.parent.is_some() {
                f.write_str(".")?;
            }
        }
        f.write_str(self.field)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))
    }
}

/// Takes a message apart; see the module's words. Binds a reference to each `takes` field and
/// returns a [`Refusal`] from the surrounding function if a `refuses` field is set.
macro_rules! sort_fields {
    ($at:expr, $message:expr => $type:ident {
        takes { $($taken:ident),* $(,)? }
        ignores { $($ignored:ident),* $(,)? }
        refuses { $($refused:ident),* $(,)? }
    }) => {
        #[allow(deprecated, reason = "deprecated fields are still sent, and are refused like others")]
        let $type { $($taken,)* $($ignored: _,)* $($refused,)* } = $message;
        $(
            if $crate::snapshot::field::is_set($refused) {
                return Err($at.field(stringify!($refused)).unsupported());
            }
        )*
    };
}
pub(crate) use sort_fields;

/// Whether a field has another value than protobuf's default.
pub(crate) fn is_set<T: Default + PartialEq>(value: &T) -> bool {
    *value != T::default()
}

/// Refuses a switch that was turned on; absent and `false` are the same.
pub(crate) fn must_be_off(at: &At<'_>, switch: Option<&BoolValue>) -> Result<(), Refusal> {
    match switch {
        Some(BoolValue { value: true }) => Err(at.unsupported()),
        _ => Ok(()),
    }
}

/// Refuses a length of time other than 0, which Envoy reads as "no limit".
pub(crate) fn must_be_unlimited(at: &At<'_>, limit: Option<&Duration>) -> Result<(), Refusal> {
    match limit {
        Some(limit) if is_set(limit) => {
            Err(at.refuse("is set and this proxy does not support it; 0s or nothing is accepted"))
        }
        _ => Ok(()),
    }
}

/// Reads a length of time, which is never negative.
pub(crate) fn length(at: &At<'_>, value: &Duration) -> Result<std::time::Duration, Refusal> {
    let parts = u64::try_from(value.seconds)
        .ok()
        .zip(u32::try_from(value.nanos).ok());
    parts
        .map(|(seconds, nanos)| std::time::Duration::new(seconds, nanos.min(999_999_999)))
        .ok_or_else(|| at.refuse("must not be negative"))
}

/// Reads an extension's configuration as the message that its type URL must name.
pub(crate) fn unpack<M: Message + Name + Default>(at: &At<'_>, any: &Any) -> Result<M, Refusal> {
    if any.type_url != M::type_url() {
        return Err(at.refuse(format!("is a {}, expected {}", any.type_url, M::type_url())));
    }
    M::decode(any.value.as_slice())
        .map_err(|error| at.refuse(format!("cannot be decoded as {}: {error}", M::NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_xds::envoy::route::{Decorator, RouteMatch};

    #[test]
    fn a_place_reads_like_a_path() {
        let host = At::ROOT.item("virtual_hosts", 0);
        let route = host.item("routes", 12);
        let matcher = route.field("r#match");
        assert_eq!(matcher.to_string(), "virtual_hosts[0].routes[12].match");
        assert_eq!(At::ROOT.field("name").to_string(), "name");
        let refusal = matcher.refuse("is missing");
        assert_eq!(
            refusal.to_string(),
            "virtual_hosts[0].routes[12].match: is missing"
        );
    }

    #[test]
    fn an_extension_of_another_type_is_named() {
        let any = Any {
            type_url: "type.googleapis.com/x.Y".into(),
            value: vec![],
        };
        let error = unpack::<Decorator>(&At::ROOT.field("config"), &any).unwrap_err();
        assert!(error.to_string().contains("x.Y"), "{error}");
        let any = Any {
            type_url: RouteMatch::type_url(),
            value: vec![0xff],
        };
        let error = unpack::<RouteMatch>(&At::ROOT.field("config"), &any).unwrap_err();
        assert!(
            error.to_string().starts_with("config: cannot be decoded"),
            "{error}"
        );
    }
}
