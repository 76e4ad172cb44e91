use mesh_xds::envoy::core::HealthStatus;
use mesh_xds::envoy::endpoint::cluster_load_assignment::Policy;
use mesh_xds::envoy::endpoint::{LbEndpoint, endpoint::HealthCheckConfig};
use mesh_xds::envoy::protobuf::UInt32Value;

use super::*;
use crate::snapshot::samples::{agent, assignment, endpoint, workload};

fn read(endpoints: Vec<LbEndpoint>) -> Result<Vec<String>, Refusal> {
    let assignment = compile(&At::ROOT, &assignment("c", endpoints))?;
    Ok(assignment
        .endpoints
        .iter()
        .map(|endpoint| endpoint.address.to_string())
        .collect())
}

fn refused(change: impl FnOnce(&mut pb::ClusterLoadAssignment)) -> String {
    let mut message = assignment(
        "c",
        vec![endpoint("10.0.0.1", 80), endpoint("10.0.0.2", 80)],
    );
    change(&mut message);
    compile(&At::ROOT, &message).unwrap_err().field
}

fn inner(endpoint: &mut LbEndpoint) -> &mut pb::Endpoint {
    match endpoint.host_identifier.as_mut().unwrap() {
        HostIdentifier::Endpoint(endpoint) => endpoint,
        HostIdentifier::EndpointName(name) => panic!("only a name: {name}"),
    }
}

#[test]
fn addresses_may_be_names_and_both_kinds_of_ip() {
    let endpoints = vec![
        endpoint("10.0.0.1", 80),
        endpoint("fd00::1", 81),
        endpoint("shop-agent", 82),
    ];
    assert_eq!(
        read(endpoints).unwrap(),
        ["10.0.0.1:80", "[fd00::1]:81", "shop-agent:82"]
    );
    let twice = vec![endpoint("10.0.0.1", 80), endpoint("10.0.0.1", 80)];
    assert_eq!(read(twice).unwrap(), ["10.0.0.1:80"]);
}

#[test]
fn unfit_endpoints_get_nothing() {
    let with = |host: &str, status: HealthStatus| LbEndpoint {
        health_status: status as i32,
        ..endpoint(host, 80)
    };
    let endpoints = vec![
        with("unknown", HealthStatus::Unknown),
        with("healthy", HealthStatus::Healthy),
        with("degraded", HealthStatus::Degraded),
        with("unhealthy", HealthStatus::Unhealthy),
        with("draining", HealthStatus::Draining),
        with("timeout", HealthStatus::Timeout),
    ];
    assert_eq!(
        read(endpoints).unwrap(),
        ["unknown:80", "healthy:80", "degraded:80"]
    );
}

#[test]
fn the_workload_comes_from_the_metadata() {
    let message = assignment("c", vec![agent("a", 15006, "shop-v1"), endpoint("b", 80)]);
    let assignment = compile(&At::ROOT, &message).unwrap();
    assert_eq!(*assignment.endpoints[0].workload, workload("shop-v1"));
    assert_eq!(*assignment.endpoints[1].workload, Workload::default());
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let first = "endpoints[0].lb_endpoints[0]";
    assert_eq!(
        refused(|m| {
            let weight = Some(UInt32Value { value: 0 });
            m.endpoints[0].lb_endpoints[1].load_balancing_weight = weight;
        }),
        "endpoints[0].lb_endpoints[1].load_balancing_weight"
    );
    assert_eq!(
        refused(|m| m.endpoints[0].lb_endpoints[0].host_identifier = None),
        format!("{first}.endpoint")
    );
    assert_eq!(
        refused(|m| {
            let check = HealthCheckConfig {
                port_value: 1,
                ..Default::default()
            };
            inner(&mut m.endpoints[0].lb_endpoints[0]).health_check_config = Some(check);
        }),
        format!("{first}.endpoint.health_check_config")
    );
    assert_eq!(
        refused(|m| inner(&mut m.endpoints[0].lb_endpoints[0]).address = None),
        format!("{first}.endpoint.address")
    );
    assert_eq!(
        refused(|m| {
            let policy = Policy {
                drop_overloads: vec![Default::default()],
                ..Default::default()
            };
            m.policy = Some(policy);
        }),
        "policy.drop_overloads"
    );
}

#[test]
fn addresses_that_are_none_are_refused_by_name() {
    let refused = |change: fn(&mut SocketAddress)| {
        let mut address = crate::snapshot::samples::address("10.0.0.1", 80).unwrap();
        match address.address.as_mut().unwrap() {
            AddressForm::SocketAddress(socket) => change(socket),
            other => panic!("{other:?}"),
        }
        host_and_port(&At::ROOT, Some(&address)).unwrap_err().field
    };
    assert_eq!(refused(|a| a.address.clear()), "socket_address.address");
    assert_eq!(refused(|a| a.protocol = 1), "socket_address.protocol");
    assert_eq!(
        refused(|a| a.port_specifier = None),
        "socket_address.port_value"
    );
    assert_eq!(
        refused(|a| a.port_specifier = Some(PortSpecifier::PortValue(65_536))),
        "socket_address.port_value"
    );
    assert_eq!(
        refused(|a| a.resolver_name = "x".into()),
        "socket_address.resolver_name"
    );
    assert_eq!(
        host_and_port(&At::ROOT, None).unwrap_err().message,
        "is missing"
    );
}
