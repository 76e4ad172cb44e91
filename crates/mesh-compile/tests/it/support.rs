//! Short ways to a model and to the proxies that ask it.

use std::net::SocketAddr;
use std::path::Path;

use mesh_compile::{Instance, Model, Settings};
use mesh_config::{Config, parse};
use mesh_xds::ResourceSet;
use mesh_xds::node::{NodeMetadata, ProxyKind};

/// The objects of some YAML, created in the order in which they are written.
pub(crate) fn config(yaml: &str) -> Config {
    let parsed = match parse(Path::new("test.yaml"), yaml) {
        Ok(parsed) => parsed,
        Err(findings) => {
            let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
            panic!("{}", findings.join("\n"));
        }
    };
    let objects = parsed.into_iter().enumerate().map(|(age, parsed)| {
        let mut object = parsed.object;
        object.metadata.creation_timestamp = Some(format!("2024-01-01T00:00:{age:02}Z"));
        object
    });
    objects.collect()
}

pub(crate) fn model(yaml: &str, instances: &[Instance]) -> Model {
    Model::build(&config(yaml), instances, &Settings::default())
}

/// A registered instance; its name is that of its group and the last part of its address.
pub(crate) fn instance(
    namespace: &str,
    group: &str,
    address: &str,
    ports: &[(&str, u16)],
) -> Instance {
    let last = address.rsplit('.').next().unwrap_or_default();
    Instance {
        namespace: namespace.into(),
        group: group.into(),
        name: format!("{group}-{last}"),
        address: address.into(),
        inbound_port: 15006,
        app_ports: ports
            .iter()
            .map(|(name, port)| ((*name).to_owned(), *port))
            .collect(),
        plain_address: address.parse().ok().map(|ip| SocketAddr::new(ip, 30080)),
    }
}

pub(crate) fn sidecar(namespace: &str, group: &str) -> NodeMetadata {
    NodeMetadata {
        kind: ProxyKind::Sidecar,
        address: "10.0.0.1".into(),
        namespace: namespace.into(),
        workload_group: group.into(),
        workload_name: format!("{group}-1"),
        app_ports: [].into(),
        plain_listener: false,
        listen_services: false,
        metrics_address: String::new(),
        locality: mesh_xds::Locality::default(),
        version: "test".into(),
    }
}

pub(crate) fn gateway() -> NodeMetadata {
    NodeMetadata {
        kind: ProxyKind::Gateway,
        address: String::new(),
        namespace: "istio-system".into(),
        workload_group: String::new(),
        workload_name: "istio-ingressgateway".into(),
        app_ports: [].into(),
        plain_listener: false,
        listen_services: false,
        metrics_address: String::new(),
        locality: mesh_xds::Locality::default(),
        version: "test".into(),
    }
}

/// What a sidecar of this group and namespace gets without any instances.
pub(crate) fn sidecar_of(yaml: &str, namespace: &str, group: &str) -> ResourceSet {
    model(yaml, &[]).resources_for(&sidecar(namespace, group))
}

/// What the built-in gateway gets without any instances.
pub(crate) fn gateway_of(yaml: &str) -> ResourceSet {
    model(yaml, &[]).resources_for(&gateway())
}

/// YAML of a Service with one port.
pub(crate) fn service(namespace: &str, name: &str, port: u16) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: {port}}}]}}\n"
    )
}

/// YAML of an object of Istio's networking group.
pub(crate) fn istio(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// YAML of a WorkloadGroup whose members carry `app` and `version`.
pub(crate) fn group(namespace: &str, name: &str, app: &str, version: &str) -> String {
    istio(
        "WorkloadGroup",
        namespace,
        name,
        &format!(
            "{{metadata: {{labels: {{app: {app}, version: {version}}}}}, \
             template: {{serviceAccount: {app}}}}}"
        ),
    )
}
