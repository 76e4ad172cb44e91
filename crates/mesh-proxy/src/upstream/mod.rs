//! Live state of clusters and endpoints, and the way to them.

/// Live state of a cluster.
#[derive(Debug, Default)]
pub struct ClusterState {}

/// Live state of an endpoint.
#[derive(Debug, Default)]
pub struct EndpointState {}
