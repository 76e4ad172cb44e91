//! The compiler from outside: YAML and registrations in, xDS out.

mod destination_rules;
mod gateways;
mod golden;
mod properties;
mod services;
mod sidecars;
mod stable;
mod summary;
mod support;
mod tcp;
