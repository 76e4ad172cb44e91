//! Compiling the configuration: from scratch, and after one change.
//!
//! So many services, each with a VirtualService that splits 90/10 over two subsets, a DestinationRule and ten
//! registered instances; what is compiled is what one sidecar and one gateway get, to which all of it is bound. A
//! push is to a thousand sidecars of ten workloads and looks for what there is to send to each.

use std::path::Path;
use std::time::SystemTime;

use divan::{Bencher, black_box};
use mesh_compile::{Instance, Model, Settings};
use mesh_config::{Config, parse};
use mesh_xds::ResourceType;
use mesh_xds::envoy::discovery::DeltaDiscoveryRequest;
use mesh_xds::node::{NodeMetadata, ProxyKind};
use mesh_xds::server::{DeltaSession, Limits};

fn main() {
    divan::main();
}

const SIZES: [usize; 3] = [10, 100, 1000];

/// Instances of each service, half of them in each of its two versions.
const INSTANCES: usize = 10;

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";

fn service(index: usize, port: u16) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: s{index}, namespace: default}}
spec:
  selector: {{app: s{index}}}
  ports: [{{name: http, port: {port}, targetPort: 8080}}]
"
    )
}

fn subsets(index: usize) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s{index}, namespace: default}}
spec:
  host: s{index}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
"
    )
}

fn routes(index: usize, weight: u32) -> String {
    let other = 100 - weight;
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{index}, namespace: default}}
spec:
  hosts: [s{index}, s{index}.example.com]
  gateways: [mesh, edge]
  http:
  - route:
    - {{destination: {{host: s{index}, subset: v1}}, weight: {weight}}}
    - {{destination: {{host: s{index}, subset: v2}}, weight: {other}}}
"
    )
}

fn group(index: usize, version: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: s{index}-{version}, namespace: default}}
spec:
  metadata: {{labels: {{app: s{index}, version: {version}}}}}
  template: {{serviceAccount: s{index}, ports: {{http: 8080}}}}
"
    )
}

fn add(config: &mut Config, yaml: &str) {
    let parsed = parse(Path::new("bench.yaml"), yaml).expect("it is valid");
    config.extend(parsed.into_iter().map(|parsed| parsed.object));
}

/// What is compiled.
#[derive(Clone)]
struct Input {
    config: Config,
    instances: Vec<Instance>,
}

impl Input {
    fn new(services: usize) -> Self {
        let mut config = Config::new();
        add(&mut config, GATEWAY);
        for index in 0..services {
            add(&mut config, &service(index, 9080));
            add(&mut config, &subsets(index));
            add(&mut config, &routes(index, 90));
            add(&mut config, &group(index, "v1"));
            add(&mut config, &group(index, "v2"));
        }
        let instances = (0..services)
            .flat_map(|service| (0..INSTANCES).map(move |index| instance(service, index)))
            .collect();
        Self { config, instances }
    }

    fn build(&self) -> Model {
        Model::build(&self.config, &self.instances, &Settings::default())
    }
}

fn instance(service: usize, index: usize) -> Instance {
    let version = index % 2 + 1;
    Instance {
        namespace: "default".to_owned(),
        group: format!("s{service}-v{version}"),
        name: format!("s{service}-v{version}-{index}"),
        address: format!("10.{}.{}.{index}", service / 250, service % 250),
        inbound_port: 15006,
        app_ports: [("8080".to_owned(), 8080)].into(),
        plain_address: None,
    }
}

fn node(kind: ProxyKind, namespace: &str, group: &str) -> NodeMetadata {
    NodeMetadata {
        kind,
        namespace: namespace.to_owned(),
        workload_group: group.to_owned(),
        workload_name: group.to_owned(),
        address: "10.255.0.1".to_owned(),
        app_ports: Default::default(),
        plain_listener: false,
        listen_services: false,
        locality: Default::default(),
        metrics_address: String::new(),
        version: String::new(),
    }
}

/// What two proxies get.
fn proxies(model: &Model) -> usize {
    let sidecar = node(ProxyKind::Sidecar, "default", "s0-v1");
    let gateway = node(ProxyKind::Gateway, "istio-system", "istio-ingressgateway");
    [sidecar, gateway]
        .iter()
        .map(|node| model.resources_for(node))
        .map(|set| set.len(ResourceType::Cluster))
        .sum()
}

#[divan::bench(args = SIZES, max_time = 5)]
fn from_scratch(bencher: Bencher<'_, '_>, services: usize) {
    let input = Input::new(services);
    assert!(proxies(&input.build()) > 4 * services);
    bencher.bench_local(|| proxies(&black_box(&input).build()));
}

/// The next model and what proxies get of it, after a change that is made and taken back in turn.
fn after(bencher: Bencher<'_, '_>, services: usize, change: impl FnOnce(&mut Input)) {
    let input = Input::new(services);
    let mut changed = input.clone();
    change(&mut changed);
    let mut model = input.build();
    proxies(&model);
    let mut next = 0;
    let inputs = [changed, input];
    bencher.bench_local(|| {
        let Input { config, instances } = &inputs[next];
        next = 1 - next;
        model = model.next(config, instances, &Settings::default());
        proxies(&model)
    });
}

#[divan::bench(args = SIZES, max_time = 5)]
fn after_a_changed_weight(bencher: Bencher<'_, '_>, services: usize) {
    after(bencher, services, |input| {
        add(&mut input.config, &routes(services / 2, 80));
    });
}

#[divan::bench(args = SIZES, max_time = 5)]
fn after_an_instance_has_come_or_gone(bencher: Bencher<'_, '_>, services: usize) {
    after(bencher, services, |input| {
        input.instances.remove(services * INSTANCES / 2);
    });
}

#[divan::bench(args = SIZES, max_time = 5)]
fn after_a_changed_port(bencher: Bencher<'_, '_>, services: usize) {
    after(bencher, services, |input| {
        add(&mut input.config, &service(services / 2, 9090));
    });
}

/// Whether the sidecars listen at the services' own addresses, too.
#[derive(Clone, Copy, Debug)]
enum Listens {
    AtOneAddress,
    AtAll,
}

#[divan::bench(args = [Listens::AtOneAddress, Listens::AtAll], max_time = 10)]
fn push_to_a_thousand_sidecars(bencher: Bencher<'_, '_>, listens: Listens) {
    const SIDECARS: usize = 1000;
    let input = Input::new(SIDECARS);
    let mut changed = input.clone();
    add(&mut changed.config, &routes(SIDECARS / 2, 80));
    let mut model = input.build();
    let mut sidecars: Vec<_> = (0..SIDECARS)
        .map(|index| {
            // A hundred instances of each of ten workloads.
            let group = format!("s{}-v1", index % 10);
            let sidecar = NodeMetadata {
                listen_services: matches!(listens, Listens::AtAll),
                ..node(ProxyKind::Sidecar, "default", &group)
            };
            let set = model.resources_for(&sidecar);
            let mut session = DeltaSession::new(set, Limits::default());
            settle(&mut session);
            (sidecar, session)
        })
        .collect();
    let mut next = 0;
    let inputs = [changed, input];
    bencher.bench_local(|| {
        let Input { config, instances } = &inputs[next];
        next = 1 - next;
        model = model.next(config, instances, &Settings::default());
        for (node, session) in &mut sidecars {
            let set = model.resources_for(node);
            let responses = session.on_resources(set, SystemTime::UNIX_EPOCH);
            assert_eq!(responses.len(), 1, "the routes have changed");
            for response in responses {
                let request = answer(response.type_url, response.nonce);
                ask(session, &request);
            }
        }
    });
}

fn answer(type_url: String, nonce: String) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url,
        response_nonce: nonce,
        ..DeltaDiscoveryRequest::default()
    }
}

/// Subscribes to everything and takes all that comes.
fn settle(session: &mut DeltaSession) {
    for kind in ResourceType::ALL {
        let mut requests = vec![DeltaDiscoveryRequest {
            type_url: kind.type_url().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..DeltaDiscoveryRequest::default()
        }];
        while let Some(request) = requests.pop() {
            requests.extend(ask(session, &request));
        }
    }
}

/// Gives the answers to what came back.
fn ask(session: &mut DeltaSession, request: &DeltaDiscoveryRequest) -> Vec<DeltaDiscoveryRequest> {
    let responses = session.on_request(request, SystemTime::UNIX_EPOCH);
    let responses = responses.expect("within the limits").into_iter();
    responses
        .map(|response| answer(response.type_url, response.nonce))
        .collect()
}
