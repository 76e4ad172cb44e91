//! The compiler from outside: YAML and registrations in, xDS out.

mod destination_rules;
mod entries;
mod gateway_api;
mod gateway_api_tls;
mod gateways;
mod golden;
mod hashing;
mod http_rules;
mod incremental;
mod properties;
mod scopes;
mod services;
mod sidecars;
mod stable;
mod summary;
mod support;
mod tcp;
mod tcp_rules;
