//! The user's model: Istio's and Kubernetes' YAML read into typed objects.
//!
//! [`parse`] turns a text into objects and [`Finding`]s: errors that refuse an object, warnings
//! that name what is valid but not acted on, each with file, document, line, column and field.
//! [`Config`] is a set of objects; [`analysis`] holds them against one another.
//!
//! Inside, a text goes through `yaml` (a tree that knows its places), [`schema`] (which fields there
//! are) and `read` (what they mean), and comes out as the types of [`model`].

mod address;
pub mod analysis;
mod config;
pub mod delegate;
mod finding;
pub mod model;
mod parse;
mod read;
mod rules;
pub mod schema;
pub mod servers;
mod suggest;
mod yaml;

pub use address::service_address;
pub use config::{Config, DOMAIN, resolve_host, service_host, split_host};
pub use finding::{Finding, Level, Place};
pub use model::{Kind, Object, ObjectKey, SharedObject, Spec};
pub use parse::{DEFAULT_NAMESPACE, from_value, parse, parse_bytes, parse_each, parse_in};
pub use read::{Parsed, mesh_config};
pub use yaml::Mark;
