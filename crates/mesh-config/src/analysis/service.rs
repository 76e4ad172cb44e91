//! Services: what is spoken on their ports, where sidecars listen for them, and who goes past the mesh.

use serde_json::Value;

use super::bypass;
use super::index::Index;
use super::view::{Found, spec, spec_each, text};
use super::{ADDRESS_TAKEN, EXTERNAL_PORT_NAME, PORT_NAME};
use crate::config::age;
use crate::model::SharedObject;

pub(super) fn look(index: &Index<'_>, found: &mut Found<'_>) {
    port_names(found);
    addresses(index, found);
    bypass::published(index, found);
}

/// Ports whose protocol is anyone's guess.
fn port_names(found: &mut Found<'_>) {
    let labels = &found.object.metadata.labels;
    let is_istios = labels.contains_key("istio")
        || labels
            .get("release")
            .is_some_and(|release| release == "istio");
    // Made by a controller, so nobody could name its ports better.
    let is_made = labels
        .get("gateway.istio.io/managed")
        .is_some_and(|by| by.starts_with("istio.io-"));
    if is_istios || is_made {
        return;
    }
    let is_external = spec(found.object, &["type"]).is_some_and(|kind| kind == "ExternalName");
    for (p, port) in spec_each(found.object, "ports") {
        let name = text(port, "name");
        let number = port.get("port").and_then(Value::as_i64).unwrap_or_default();
        let is_told = text(port, "protocol") == "UDP"
            || is_protocol(text(port, "appProtocol"))
            || (text(port, "appProtocol").is_empty() && is_protocol(word_of(name)))
            || WELL_KNOWN.contains(&number);
        let field = format!("spec.ports[{p}]");
        if is_external && (!is_told || name == "tcp") {
            let message = format!(
                "what is spoken on port {number} of this ExternalName Service is not said; begin the port's name with \
                 the protocol, for example http-{number}, and not with tcp alone"
            );
            found.tell(&EXTERNAL_PORT_NAME, field, message);
        } else if !is_told {
            let message = if name.is_empty() {
                format!("port {number} has no name, so nobody knows what is spoken on it")
            } else {
                format!("the name {name} of port {number} does not say what is spoken on it")
            };
            let message = format!(
                "{message}, and it is taken for HTTP; begin the name with the protocol, for example http-web or \
                 tcp-db, or set appProtocol"
            );
            found.tell(&PORT_NAME, field, message);
        }
    }
}

/// Ports of protocols in which the server speaks first.
const WELL_KNOWN: [i64; 4] = [25, 53, 3306, 27017];

/// The part of a port's name that names the protocol.
fn word_of(name: &str) -> &str {
    if name.to_ascii_lowercase().starts_with("grpc-web") {
        return "grpc-web";
    }
    name.split('-').next().unwrap_or_default()
}

fn is_protocol(word: &str) -> bool {
    const KNOWN: [&str; 15] = [
        "grpc",
        "grpc-web",
        "h2c",
        "hbone",
        "http",
        "http2",
        "https",
        "kubernetes.io/h2c",
        "kubernetes.io/ws",
        "kubernetes.io/wss",
        "mongo",
        "mysql",
        "redis",
        "tcp",
        "tls",
    ];
    let word = word.to_ascii_lowercase();
    KNOWN.contains(&word.as_str()) || word == "udp"
}

/// Addresses where sidecars listen for another Service.
fn addresses(index: &Index<'_>, found: &mut Found<'_>) {
    let object = found.object;
    let Some(service) = object.as_service() else {
        return;
    };
    let address = service.address(&object.host());
    let own = object.key();
    for (p, port) in service.ports.iter().enumerate() {
        let has_it = index.config.service_addresses().get(&(address, port.port));
        let is_older = |other: &&SharedObject| {
            let key = other.key();
            key != own && (age(other), &key) < (age(object), &own)
        };
        let Some(other) = has_it.filter(is_older) else {
            continue;
        };
        let message = format!(
            "sidecars listen at {address}:{} for {}, which is older, and not for this service; give it another \
             clusterIP in 127.0.0.0/8",
            port.port,
            other.host()
        );
        found.tell(&ADDRESS_TAKEN, format!("spec.ports[{p}].port"), message);
    }
}
