//! What a fleet consists of, whatever it runs on: the names of its parts, and its workloads.

use crate::app::role::{Role, Version};

/// The namespace of the apps.
pub(crate) const NAMESPACE: &str = "default";
/// The namespace of the control plane and the gateway.
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";
/// The Service that the load balancer publishes.
pub(crate) const PUBLISHED_SERVICE: &str = "fleetman-webapp";

/// The names of the parts that are there once.
pub(crate) const CA: &str = "mesh-ca";
/// See [`CA`].
pub(crate) const API: &str = "mesh-api";
/// See [`CA`].
pub(crate) const GATEWAY: &str = "mesh-gateway";
/// See [`CA`].
pub(crate) const LOADBALANCER: &str = "loadbalancer";
/// In containers only.
pub(crate) const PROMETHEUS: &str = "prometheus";

/// One workload: an app with its agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// Its name, which is also its WorkloadGroup's.
    pub(crate) name: &'static str,
    /// What it plays.
    pub(crate) role: Role,
    /// In which version.
    pub(crate) version: Version,
    /// Whether its agent publishes a plain port, for traffic from outside the mesh.
    pub(crate) published: bool,
}

impl Workload {
    /// The name of its agent.
    pub(crate) fn agent(&self) -> String {
        format!("{}-agent", self.name)
    }

    /// Both versions of the webapp are one app, so they share their service account.
    pub(crate) fn service_account(&self) -> &'static str {
        self.role.name()
    }
}

const fn workload(name: &'static str, role: Role) -> Workload {
    Workload {
        name,
        role,
        version: Version::Original,
        published: false,
    }
}

/// The fleet, in the order in which a request passes it.
pub(crate) const WORKLOADS: [Workload; 7] = [
    Workload {
        published: true,
        ..workload("webapp-original", Role::Webapp)
    },
    Workload {
        version: Version::Experimental,
        published: true,
        ..workload("webapp-experimental", Role::Webapp)
    },
    workload("api-gateway", Role::ApiGateway),
    workload("position-tracker", Role::PositionTracker),
    workload("vehicle-telemetry", Role::VehicleTelemetry),
    workload("staff-service", Role::StaffService),
    workload("position-simulator", Role::PositionSimulator),
];
