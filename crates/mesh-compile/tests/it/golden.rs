//! The fleet of the demo, act by act: what its proxies get, kept as snapshots.

use mesh_compile::{Instance, Model, Settings};
use mesh_xds::node::NodeMetadata;

use super::summary::summary;
use super::support::{config, gateway, instance, sidecar};

const WORKLOADS: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: webapp-original}
spec:
  metadata: {labels: {app: webapp, version: original}}
  template: {serviceAccount: webapp}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: webapp-experimental}
spec:
  metadata: {labels: {app: webapp, version: experimental}}
  template: {serviceAccount: webapp}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: api-gateway}
spec:
  metadata: {labels: {app: api-gateway}}
  template: {serviceAccount: api-gateway, ports: {http: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: fleetman-webapp}
spec:
  selector: {app: webapp}
  ports: [{name: http, port: 80, nodePort: 30080}]
  type: LoadBalancer
---
apiVersion: v1
kind: Service
metadata: {name: fleetman-api-gateway}
spec:
  selector: {app: api-gateway}
  ports: [{name: http, port: 8080, targetPort: http}]
";

const RULES: &str = "
---
kind: VirtualService
apiVersion: networking.istio.io/v1alpha3
metadata: {name: fleetman-webapp, namespace: default}
spec:
  hosts: ['*']
  gateways: [ingress-gateway-configuration]
  http:
  - route:
    - destination: {host: fleetman-webapp, subset: experimental}
      weight: 10
    - destination: {host: fleetman-webapp, subset: original}
      weight: 90
---
kind: DestinationRule
apiVersion: networking.istio.io/v1alpha3
metadata: {name: fleetman-webapp, namespace: default}
spec:
  host: fleetman-webapp
  subsets:
  - {labels: {version: original}, name: original}
  - {labels: {version: experimental}, name: experimental}
";

const GATEWAY: &str = "
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: ingress-gateway-configuration}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
";

fn instances() -> Vec<Instance> {
    vec![
        instance("default", "webapp-original", "10.0.0.2", &[("80", 4001)]),
        instance(
            "default",
            "webapp-experimental",
            "10.0.0.3",
            &[("80", 4002)],
        ),
        instance("default", "api-gateway", "10.0.0.4", &[]),
    ]
}

fn act(yaml: &[&str]) -> Model {
    Model::build(&config(&yaml.concat()), &instances(), &Settings::default())
}

fn webapp() -> NodeMetadata {
    NodeMetadata {
        app_ports: [("80".to_owned(), 4001)].into(),
        plain_listener: true,
        listen_services: false,
        metrics_address: String::new(),
        ..sidecar("default", "webapp-original")
    }
}

#[test]
fn a_sidecar_takes_for_its_services_and_sends_to_all() {
    let model = act(&[WORKLOADS]);
    insta::assert_yaml_snapshot!(summary(&model.resources_for(&webapp())));
}

#[test]
fn subsets_reach_the_inbound_side_but_no_route_that_is_not_bound_to_it() {
    let before = summary(&act(&[WORKLOADS]).resources_for(&webapp()));
    let after = summary(&act(&[WORKLOADS, RULES]).resources_for(&webapp()));
    assert_eq!(before["routes"], after["routes"]);
    assert_eq!(before["clusters"], after["clusters"]);
    insta::assert_yaml_snapshot!(after["listeners"]["virtualInbound"]["chains"][0]["server_names"]);
}

#[test]
fn without_a_gateway_the_edge_opens_nothing() {
    assert!(
        act(&[WORKLOADS, RULES])
            .resources_for(&gateway())
            .is_empty()
    );
}

#[test]
fn with_a_gateway_the_edge_splits_nine_to_one() {
    let model = act(&[WORKLOADS, RULES, GATEWAY]);
    insta::assert_yaml_snapshot!(summary(&model.resources_for(&gateway())));
}
