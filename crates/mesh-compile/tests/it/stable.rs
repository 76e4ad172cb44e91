//! Equal input gives equal bytes, in whatever order it comes.

use mesh_compile::{Model, Settings};
use mesh_config::Config;
use mesh_xds::ResourceType;
use mesh_xds::node::{NodeMetadata, ProxyKind};

use super::support::{config, gateway, group, instance, istio, service, sidecar};

fn yaml() -> String {
    let mut yaml = String::new();
    for index in 0..8 {
        let app = format!("app{index}");
        yaml += &service("default", &app, 80);
        yaml += &group("default", &app, &app, "v1");
        let rule = format!("{{host: {app}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}");
        yaml += &istio("DestinationRule", "default", &app, &rule);
        let routes = format!(
            "{{hosts: [{app}], gateways: [mesh, edge], \
             http: [{{route: [{{destination: {{host: {app}, subset: v1}}}}]}}]}}"
        );
        yaml += &istio("VirtualService", "default", &app, &routes);
    }
    for name in ["db", "queue"] {
        yaml += &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{clusterIP: 127.0.0.2, ports: [{{name: tcp, port: 5432}}]}}\n"
        );
    }
    yaml + &istio(
        "Gateway",
        "default",
        "edge",
        "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']},
          {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]}",
    )
}

#[test]
fn two_builds_are_equal_to_the_byte() {
    let objects = config(&yaml());
    let mut backwards: Vec<_> = objects.iter().cloned().collect();
    backwards.reverse();
    let backwards: Config = backwards.into_iter().collect();
    let mut instances: Vec<_> = (0..8)
        .flat_map(|app| (2..6).map(move |host| (app, host)))
        .map(|(app, host)| {
            instance(
                "default",
                &format!("app{app}"),
                &format!("10.0.{app}.{host}"),
                &[],
            )
        })
        .collect();
    let settings = Settings::default();
    let first = Model::build(&objects, &instances, &settings);
    instances.reverse();
    let second = Model::build(&backwards, &instances, &settings);
    let by_name = NodeMetadata {
        listen_services: true,
        ..sidecar("default", "app3")
    };
    for node in [sidecar("default", "app3"), by_name, gateway()] {
        let set = first.resources_for(&node);
        for kind in ResourceType::ALL {
            // Sidecars have no secrets.
            let none = kind == ResourceType::Secret && node.kind == ProxyKind::Sidecar;
            assert_eq!(set.len(kind) == 0, none, "{kind}");
        }
        assert_eq!(set, second.resources_for(&node));
        assert_eq!(set, first.resources_for(&node));
    }
}

#[test]
fn an_instance_changes_endpoints_and_nothing_else() {
    let objects = config(&yaml());
    let build = |instances: &[_]| {
        let model = Model::build(&objects, instances, &Settings::default());
        model.resources_for(&sidecar("default", "app3"))
    };
    let (before, after) = (
        build(&[]),
        build(&[instance("default", "app5", "10.0.0.9", &[])]),
    );
    for kind in ResourceType::ALL {
        let changed: Vec<_> = after
            .iter(kind)
            .filter(|resource| before.get(kind, &resource.name) != Some(resource))
            .map(|resource| resource.name.as_str())
            .collect();
        let expected: &[&str] = match kind {
            ResourceType::Endpoint => &["outbound|80|v1|app5.default.svc.cluster.local"],
            _ => &[],
        };
        assert_eq!(changed, expected, "{kind}");
        assert_eq!(before.len(kind), after.len(kind));
    }
}
