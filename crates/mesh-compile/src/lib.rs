//! What every proxy has to know, computed from what the user wrote and from what runs.
//!
//! [`Model::build`] is a pure function of the configuration, the registered instances and a few
//! [`Settings`]; [`Model::resources_for`] gives one proxy's xDS resources. Equal input gives equal bytes, so
//! that nothing is pushed twice. The rules are Istio's; where a rule is easily got wrong, the code says which.
//!
//! The way through the crate: `mesh` joins the input into services, workloads and indexes; `route` and
//! `matcher` turn VirtualServices into routes; `cluster` and `tls` say how endpoints are reached; `sidecar`
//! and `gateway` put together what each kind of proxy gets, with the envelopes of `listener`.

mod action;
mod client;
mod cluster;
mod destination_rule;
mod encoded;
mod gateway;
mod gateway_api;
mod hash;
mod host;
mod listener;
mod locality;
mod matcher;
mod mesh;
mod model;
mod resilience;
mod route;
mod service;
mod sidecar;
mod sticky;
mod tcp_route;
mod tls;
mod traffic_policy;
mod view;
mod virtual_service;
mod visibility;
mod workload;

pub use gateway_api::Statuses as GatewayApiStatuses;
pub use mesh_config::model::Protocol;
pub use model::{Instance, Model, Settings};
pub use view::{EndpointView, PortView, ServiceView};
