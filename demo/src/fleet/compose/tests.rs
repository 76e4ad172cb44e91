//! The Compose file against what it promises: every workload with its agent, nobody with a privilege.

use serde_json::Value;

use super::containers::ONE_SHOTS;
use super::images::IMAGES;
use super::*;
use crate::fleet::loopback::layout::identities;
use crate::fleet::parts::{CA, GATEWAY, LOADBALANCER, PROMETHEUS, WORKLOADS, Workload};

const FILE: &str = include_str!("../../../docker-compose.yml");

fn services() -> serde_json::Map<String, Value> {
    let file: Value = serde_saphyr::from_str(FILE).unwrap();
    file["services"].as_object().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn every_part_of_the_fleet_is_there() {
    let services = services();
    for part in [CA, API, GATEWAY, LOADBALANCER, PROMETHEUS] {
        assert!(services.contains_key(part), "{part}");
    }
    for workload in &WORKLOADS {
        let app = text(&services[workload.name]["command"]);
        assert!(app.contains(&format!("--role {}", workload.role.name())));
        let agent = &services[&workload.agent()];
        let namespace = format!("service:{}", workload.name);
        assert_eq!(agent["network_mode"], namespace);
        let command = text(&agent["command"]);
        assert!(command.contains(&format!("--workload-group {}", workload.name)));
        let outside = services[workload.name]["networks"].to_string();
        assert_eq!(command.contains("--listen-plain"), workload.published);
        assert_eq!(outside.contains("outside"), workload.published);
    }
}

#[test]
fn everybody_with_an_identity_gets_a_token_into_a_volume_of_its_own() {
    let services = services();
    let join = text(&services["mesh-join"]["command"]);
    let volumes = services["mesh-join"]["volumes"].to_string();
    assert_eq!(join.matches("--to ").count(), identities().len());
    for (part, namespace, account) in identities() {
        let volume = part.trim_end_matches("-agent");
        let to = format!("--to {namespace}/{account}=/join/{volume}");
        assert!(join.contains(&to), "{to}");
        assert!(volumes.contains(&format!("\"{volume}:/join/{volume}\"")));
        let mounted = text(&services[&part]["volumes"][0]);
        let (name, directory) = mounted.split_once(':').unwrap();
        assert_eq!(name, volume);
        let token = text(&services[&part]["environment"]["MESH_JOIN_TOKEN_FILE"]);
        assert_eq!(token, format!("{directory}/join-token"));
    }
}

#[test]
fn nobody_has_a_privilege_or_writes_to_its_root_file_system() {
    for (name, service) in services() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        let options = service["security_opt"].to_string();
        assert!(options.contains("no-new-privileges:true"), "{name}");
        let as_root = name == "mesh-join";
        assert_eq!(service.get("cap_add").is_some(), as_root, "{name}");
        assert_eq!(service.get("user").is_some(), as_root, "{name}");
        let once = ONE_SHOTS.contains(&name.as_str());
        let restart = if once { "no" } else { "unless-stopped" };
        assert_eq!(service["restart"], restart, "{name}");
    }
}

#[test]
fn what_is_published_is_for_this_machine_and_can_be_moved() {
    let mut published = Vec::new();
    for (name, service) in services() {
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = text(port);
            assert!(
                port.starts_with("127.0.0.1:${MESH_DEMO_PORT_"),
                "{name}: {port}"
            );
            published.push(name.clone());
        }
    }
    published.sort();
    assert_eq!(
        published,
        ["grafana", LOADBALANCER, API, GATEWAY, PROMETHEUS, "traces"]
    );
    for (port, _) in ports(18_080).unwrap() {
        assert!(FILE.contains(&format!(":-{port}}}:")), "{port}");
    }
}

#[test]
fn every_proxy_sends_its_spans_where_the_user_says_and_nowhere_else() {
    let services = services();
    let agents = WORKLOADS.iter().map(Workload::agent);
    for proxy in agents.chain([GATEWAY.to_owned()]) {
        let environment = &services[&proxy]["environment"];
        let collector = text(&environment["MESH_OTLP_ENDPOINT"]);
        assert_eq!(collector, "${MESH_OTLP_ENDPOINT:-}", "{proxy}");
        assert_eq!(environment["MESH_TRACE_SAMPLING"], 100, "{proxy}");
    }
    let command = "MESH_OTLP_ENDPOINT=http://traces:4317 docker compose --profile traces up";
    assert!(FILE.contains(command));
    assert_eq!(
        services["traces"]["profiles"],
        serde_json::json!(["traces"])
    );
}

#[test]
fn the_projects_own_images_are_built_from_here() {
    for (name, service) in services() {
        let image = text(&service["image"]);
        if let Some(known) = IMAGES.iter().find(|known| **known == image) {
            // The one that runs twice is built where it serves.
            if name != "mesh-join" {
                assert_eq!(service["build"]["target"], **known, "{name}");
            }
        } else {
            assert!(image.starts_with("${"), "{name}: {image}");
        }
    }
}

#[test]
fn the_ports_for_people_differ_and_end_where_ports_end() {
    let numbers = ports(18_080).unwrap().map(|(port, _)| port);
    assert_eq!(numbers, [18_080, 18_081, 18_082, 18_090]);
    let error = ports(65_530).unwrap_err().to_string();
    assert!(error.contains("65525"), "{error}");
}
