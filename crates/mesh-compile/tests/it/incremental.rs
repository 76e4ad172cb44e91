//! The next model is the same as one that is built from scratch, whatever has changed.

use std::sync::Arc;

use mesh_compile::{Instance, Model, Settings};
use mesh_config::model::{Kind, ObjectKey};
use mesh_config::{Config, SharedObject};
use mesh_xds::node::{NodeMetadata, ProxyKind};
use mesh_xds::{ResourceSet, ResourceType};
use proptest::prelude::*;

use crate::support::{config, gateway, instance, sidecar};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn service(name: &str, variant: u8) -> String {
    let port = 80 + u16::from(variant % 3);
    let ports = format!("ports: [{{name: http, port: {port}, targetPort: 8080}}]");
    let spec = match variant {
        // Another name for another service.
        5 => format!("type: ExternalName, externalName: b.default.svc.cluster.local, {ports}"),
        4 => format!("selector: {{tier: x}}, {ports}"),
        _ => format!("selector: {{app: {name}}}, {ports}"),
    };
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
}

fn group(name: &str, variant: u8) -> String {
    let version = variant % 3;
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: WorkloadGroup, metadata: {{name: {name}}}, spec: \
         {{metadata: {{labels: {{app: {name}, version: v{version}, tier: x}}}}, template: {{serviceAccount: s{version}}}}}}}"
    )
}

fn entry(name: &str, variant: u8) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: {name}}}, spec: \
         {{address: 10.9.0.{variant}, labels: {{app: {name}, version: v1}}}}}}"
    )
}

fn external(name: &str, variant: u8) -> String {
    let resolution = ["STATIC", "DNS", "STATIC"][usize::from(variant % 3)];
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}}, spec: \
         {{hosts: [{name}.example.com], resolution: {resolution}, ports: [{{number: 80, name: http, protocol: HTTP}}], \
         endpoints: [{{address: 192.0.2.{variant}}}]}}}}"
    )
}

fn rule(name: &str, variant: u8) -> String {
    let host = if variant == 5 { "*.local" } else { name };
    let (of, export) = match variant {
        4 => ("istio-system", "*"),
        3 => ("default", "."),
        _ => ("default", "*"),
    };
    let version = variant % 2;
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: {name}, namespace: {of}}}, \
         spec: {{host: '{host}', exportTo: ['{export}'], subsets: [{{name: v, labels: {{version: v{version}}}}}]}}}}"
    )
}

fn routes(name: &str, variant: u8) -> String {
    let to = NAMES[usize::from(variant) % NAMES.len()];
    let weight = 10 * u32::from(variant);
    let rest = 100 - weight;
    let extra = match variant {
        5 => "match: [{sourceLabels: {version: v1}}], ",
        4 => "match: [{uri: {prefix: /x}}], mirror: {host: c}, ",
        _ => "",
    };
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: {name}}}, spec: \
         {{hosts: [{name}, {name}.example.com], gateways: [mesh, edge], http: [{{{extra}route: [\
         {{destination: {{host: {name}, subset: v}}, weight: {weight}}}, \
         {{destination: {{host: {to}}}, weight: {rest}}}]}}]}}}}"
    )
}

fn edge(_: &str, variant: u8) -> String {
    let port = 80 + u16::from(variant % 2);
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: edge}}, spec: \
         {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, \
         hosts: ['*']}}]}}}}"
    )
}

type Writer = fn(&str, u8) -> String;

const KINDS: [(Kind, Writer); 7] = [
    (Kind::Service, service),
    (Kind::WorkloadGroup, group),
    (Kind::WorkloadEntry, entry),
    (Kind::ServiceEntry, external),
    (Kind::DestinationRule, rule),
    (Kind::VirtualService, routes),
    (Kind::Gateway, edge),
];

/// One change.
#[derive(Clone, Debug)]
enum Edit {
    /// An object of a kind and name comes or changes.
    Put(usize, usize, u8),
    /// All objects of this kind and name go.
    Remove(usize, usize),
    /// An instance of a group comes, moves or goes.
    Instance(usize, u8, Option<u8>),
    /// What holds for the whole mesh.
    Domain,
}

fn edit() -> impl Strategy<Value = Edit> {
    let (kind, name) = (0..KINDS.len(), 0..NAMES.len());
    prop_oneof![
        8 => (kind.clone(), name.clone(), 0..6_u8).prop_map(|(k, n, v)| Edit::Put(k, n, v)),
        2 => (kind, name.clone()).prop_map(|(k, n)| Edit::Remove(k, n)),
        4 => (name, 0..3_u8, proptest::option::of(1..4_u8)).prop_map(|(n, i, v)| Edit::Instance(n, i, v)),
        1 => Just(Edit::Domain),
    ]
}

#[derive(Clone, Default)]
struct Input {
    config: Config,
    instances: Vec<Instance>,
    settings: Settings,
}

impl Input {
    fn apply(&mut self, edit: &Edit) {
        match *edit {
            Edit::Put(kind, name, variant) => {
                let yaml = KINDS[kind].1(NAMES[name], variant);
                let objects: Vec<SharedObject> = config(&yaml).iter().cloned().collect();
                self.config.extend(objects);
            }
            Edit::Remove(kind, name) => {
                for namespace in ["default", "istio-system"] {
                    let _ = self.config.remove(&ObjectKey {
                        kind: KINDS[kind].0,
                        namespace: namespace.to_owned(),
                        name: NAMES[name].to_owned(),
                    });
                }
            }
            Edit::Instance(group, index, variant) => {
                let name = format!("{}-{index}", NAMES[group]);
                self.instances.retain(|instance| instance.name != name);
                if let Some(variant) = variant {
                    let address = format!("10.{variant}.{group}.{index}");
                    let ports: &[_] = if variant == 3 { &[("http", 81)] } else { &[] };
                    self.instances
                        .push(instance("default", NAMES[group], &address, ports));
                }
            }
            Edit::Domain => {
                let other = self.settings.trust_domain == "other.example";
                let domain = if other {
                    "cluster.local"
                } else {
                    "other.example"
                };
                self.settings.trust_domain = domain.to_owned();
            }
        }
    }

    fn build(&self) -> Model {
        Model::build(&self.config, &self.instances, &self.settings)
    }

    fn next(&self, model: &Model) -> Model {
        model.next(&self.config, &self.instances, &self.settings)
    }
}

fn proxies() -> Vec<NodeMetadata> {
    let mut proxies = vec![sidecar("default", "a"), sidecar("other", "x"), gateway()];
    let mut listening = sidecar("default", "b");
    listening.listen_services = true;
    proxies.push(listening);
    proxies
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_next_model_is_that_from_scratch(
        edits in proptest::collection::vec((edit(), any::<bool>()), 1..40)
    ) {
        let mut input = Input::default();
        let mut model = input.build();
        for (edit, asked) in edits {
            input.apply(&edit);
            model = input.next(&model);
            // Proxies may miss models.
            if asked {
                let fresh = input.build();
                prop_assert_eq!(model.services(), fresh.services());
                for node in proxies() {
                    let (next, fresh) = (model.resources_for(&node), fresh.resources_for(&node));
                    prop_assert!(next == fresh, "{:?}: {:?}", node.workload_name, edit);
                }
            }
        }
    }
}

/// The resources that are not the very same ones as before.
fn anew(before: &ResourceSet, after: &ResourceSet, kind: ResourceType) -> Vec<String> {
    let is_new = |resource: &&Arc<mesh_xds::Resource>| {
        let known = before.get(kind, &resource.name);
        known.is_none_or(|known| !Arc::ptr_eq(known, resource))
    };
    let all = after.iter(kind).filter(is_new);
    all.map(|resource| resource.name.clone()).collect()
}

#[test]
fn a_new_endpoint_encodes_only_the_clusters_of_its_service() {
    let mut input = Input::default();
    for name in 0..NAMES.len() {
        for kind in [0, 1, 4, 6] {
            input.apply(&Edit::Put(kind, name, 0));
        }
        // Its routes lead to itself.
        input.apply(&Edit::Put(5, name, u8::try_from(name).unwrap()));
        input.apply(&Edit::Instance(name, 0, Some(1)));
    }
    for node in [sidecar("default", "a"), gateway()] {
        let model = input.build();
        let before = model.resources_for(&node);
        let mut changed = input.clone();
        changed.apply(&Edit::Instance(1, 1, Some(1)));
        let after = changed.next(&model).resources_for(&node);
        for kind in [ResourceType::Cluster, ResourceType::Endpoint] {
            let anew = anew(&before, &after, kind);
            let own = node.kind == ProxyKind::Sidecar;
            let foreign = |name: &&String| {
                !name.ends_with("|b.default.svc.cluster.local")
                    && !(own && (name.starts_with("inbound|") || *name == "PassthroughCluster"))
            };
            assert_eq!(anew.iter().find(foreign), None, "{anew:?}");
            assert!(anew.iter().any(|name| name.contains("|b.")), "{anew:?}");
        }
        let same = input.next(&model).resources_for(&node);
        assert_eq!(anew(&before, &same, ResourceType::Endpoint), [""; 0]);
    }
}
