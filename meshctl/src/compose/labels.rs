//! The labels by which a service says what it is in the mesh.

use super::Refusal;
use super::yaml::Node;

const SERVICE: &str = "mesh.service";
const PORT: &str = "mesh.port";
const VERSION: &str = "mesh.version";
const NAMESPACE: &str = "mesh.namespace";
const ACCOUNT: &str = "mesh.service-account";

/// The ports that every agent has for itself.
const AGENT_PORTS: std::ops::RangeInclusive<u16> = 15000..=15021;
/// Ports that are known for something that is no HTTP, so that a bare number there is likely a mistake.
const NOT_HTTP: [(u16, &str); 12] = [
    (22, "tcp-ssh"),
    (25, "tcp-smtp"),
    (1433, "tcp-mssql"),
    (1521, "tcp-oracle"),
    (1883, "tcp-mqtt"),
    (3306, "mysql"),
    (4222, "tcp-nats"),
    (5432, "tcp"),
    (5672, "tcp-amqp"),
    (6379, "redis"),
    (9092, "tcp-kafka"),
    (27017, "mongo"),
];

/// What a labelled service is in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Labels {
    /// The name by which others call it.
    pub(super) service: String,
    /// On which ports; on none if it only calls others.
    pub(super) ports: Vec<Port>,
    pub(super) version: Option<String>,
    pub(super) namespace: String,
    pub(super) account: Option<String>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Its name, which says its protocol as Istio's port names do.
    pub(super) name: String,
    pub(super) number: u16,
}

/// The labels of a service, if it has any of the mesh's.
///
/// # Errors
/// A label that there is not, or one out of form.
pub(super) fn read(service: &Node) -> Result<Option<Labels>, Refusal> {
    let Some(labels) = service.get("labels") else {
        return Ok(None);
    };
    let mut ours: Vec<(String, Option<String>, &Node)> = Vec::new();
    if labels.is_map() {
        for (key, _, value) in labels.merged() {
            let text = value.text().filter(|_| !value.is_null());
            ours.push((key.to_owned(), text.map(str::to_owned), value));
        }
    } else {
        for item in labels.items() {
            if item.is_map() {
                return Err(item.refuse(
                    "a label in a list is one text, NAME=VALUE; write = in place of the colon, or leave out the dashes",
                ));
            }
            let text = item.text().unwrap_or_default();
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (text, None),
            };
            ours.push((key.to_owned(), value, item));
        }
    }
    ours.retain(|(key, ..)| key.starts_with("mesh."));
    if ours.is_empty() {
        return Ok(None);
    }
    for (key, value, at) in &ours {
        if ![SERVICE, PORT, VERSION, NAMESPACE, ACCOUNT].contains(&key.as_str()) {
            return Err(at.refuse(format!(
                "there is no label {key}; the mesh's are {SERVICE}, {PORT}, {VERSION}, {NAMESPACE} and {ACCOUNT}"
            )));
        }
        if value.as_deref().unwrap_or_default().contains('$') {
            return Err(at.refuse(format!(
                "{key} has a variable in it, which only Compose knows; write the value itself"
            )));
        }
    }
    let value = |key: &str| {
        let found = ours.iter().find(|(name, ..)| name == key);
        found.map(|(_, value, at)| (value.as_deref().unwrap_or_default().trim(), *at))
    };
    let name = |key: &str| {
        match value(key) {
        Some((text, at)) if !is_dns_label(text) => Err(at.refuse(format!(
            "{key} {text:?} is not a name; use up to 63 of a-z, 0-9 and -, with a letter or a digit at both ends"
        ))),
        found => Ok(found.map(|(text, _)| text.to_owned())),
    }
    };
    let Some(service) = name(SERVICE)? else {
        let (key, _, at) = &ours[0];
        return Err(at.refuse(format!(
            "{key} is there, but not {SERVICE}, the name by which others call this service; add it"
        )));
    };
    let version = match value(VERSION) {
        Some((text, at)) if !is_label_value(text) => {
            return Err(at.refuse(format!(
                "{VERSION} {text:?} is not a label's value; use up to 63 of a-z, A-Z, 0-9, -, _ and ., with a letter or a digit at both ends"
            )));
        }
        found => found.map(|(text, _)| text.to_owned()),
    };
    let ports = match value(PORT) {
        Some((text, at)) => {
            ports(text).map_err(|message| at.refuse(format!("{PORT} {message}")))?
        }
        None => Vec::new(),
    };
    Ok(Some(Labels {
        ports,
        version,
        namespace: name(NAMESPACE)?.unwrap_or_else(|| mesh_config::DEFAULT_NAMESPACE.to_owned()),
        account: name(ACCOUNT)?,
        service,
    }))
}

/// `[NAME=]PORT`, several with commas between them.
fn ports(text: &str) -> Result<Vec<Port>, String> {
    let mut ports: Vec<Port> = Vec::new();
    for one in text.split(',').map(str::trim) {
        let (name, number) = match one.split_once('=') {
            Some((name, number)) => (Some(name.trim()), number.trim()),
            None => (None, one),
        };
        let number = match number.parse::<u16>() {
            Ok(parsed) if parsed > 0 && !number.starts_with('+') => parsed,
            _ => {
                return Err(format!(
                    "{one:?} is not a port; write a number from 1 to 65535, or one with its protocol, like tcp=5432"
                ));
            }
        };
        if AGENT_PORTS.contains(&number) {
            return Err(format!(
                "{number} is one of its agent's own ports ({} to {}); let the app listen elsewhere",
                AGENT_PORTS.start(),
                AGENT_PORTS.end()
            ));
        }
        let name = match name {
            Some(name) if is_port_name(name) => name,
            Some(name) => {
                return Err(format!(
                    "has {name:?} for a port's name; use up to 15 of a-z, 0-9 and -, beginning with a protocol: http, grpc, tcp, redis, mongo, mysql"
                ));
            }
            None => match NOT_HTTP.iter().find(|(port, _)| *port == number) {
                Some((_, name)) => {
                    return Err(format!(
                        "{number} means HTTP, which is seldom spoken on that port; write {name}={number}, or http={number} if it is"
                    ));
                }
                None => "http",
            },
        };
        if let Some(other) = ports
            .iter()
            .find(|port| port.name == name || port.number == number)
        {
            return Err(format!(
                "names {}={} and {name}={number}; give each port once, and each another name, like http-admin={number}",
                other.name, other.number
            ));
        }
        ports.push(Port {
            name: name.to_owned(),
            number,
        });
    }
    Ok(ports)
}

/// A DNS label in lower case (RFC 1123): the form of names in the mesh.
pub(super) fn is_dns_label(text: &str) -> bool {
    let is_end = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(is_end)
        && bytes.last().is_some_and(is_end)
        && bytes.iter().all(|b| *b == b'-' || is_end(b))
}

fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// The name of a port (RFC 6335).
fn is_port_name(text: &str) -> bool {
    is_dns_label(text)
        && text.len() <= 15
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.contains("--")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::yaml;

    fn labels(yaml: &str) -> Result<Option<Labels>, String> {
        let tree = yaml::read(yaml).unwrap();
        read(&tree.root).map_err(|refusal| refusal.to_string())
    }

    fn named(ports: &[Port]) -> Vec<(&str, u16)> {
        ports
            .iter()
            .map(|port| (port.name.as_str(), port.number))
            .collect()
    }

    #[test]
    fn maps_lists_and_merges_say_the_same() {
        let map = "x: &x {mesh.port: 80, mesh.service: other}\nlabels:\n  <<: *x\n  mesh.service: vote\n  mesh.version: 1.10\n  other: $X";
        let list = "labels: [mesh.service=vote, \"mesh.port=http=80\", mesh.version=1.10]";
        let one = labels(map).unwrap().unwrap();
        assert_eq!(labels(list).unwrap().unwrap(), one);
        assert_eq!(named(&one.ports), [("http", 80)]);
        assert_eq!(one.version.as_deref(), Some("1.10"));
        assert_eq!(
            (one.namespace.as_str(), one.account.as_deref()),
            ("default", None)
        );
        assert_eq!(labels("labels: [a=b]").unwrap(), None);
        assert_eq!(labels("image: x").unwrap(), None);
        let own = "labels: {mesh.service: db, mesh.port: 'tcp=5432, http-admin=8080', mesh.namespace: data, mesh.service-account: pg}";
        let own = labels(own).unwrap().unwrap();
        assert_eq!(named(&own.ports), [("tcp", 5432), ("http-admin", 8080)]);
        assert_eq!(
            (own.namespace.as_str(), own.account.as_deref()),
            ("data", Some("pg"))
        );
    }

    #[test]
    fn what_is_out_of_form_is_refused_with_the_right_form() {
        for (wrong, hint) in [
            ("mesh.service: Vote", "a-z"),
            ("mesh.service:", "a-z"),
            ("mesh.port: 80", "mesh.service"),
            ("mesh.service: a, mesh.verison: v1", "mesh.version"),
            ("mesh.service: a, mesh.version: v 1", "label's value"),
            ("mesh.service: a, mesh.version: '${TAG}'", "variable"),
            ("mesh.service: a, mesh.port: http", "tcp=5432"),
            ("mesh.service: a, mesh.port: 0", "1 to 65535"),
            ("mesh.service: a, mesh.port: 70000", "1 to 65535"),
            ("mesh.service: a, mesh.port: '80,'", "1 to 65535"),
            ("mesh.service: a, mesh.port: 15006", "agent's own"),
            ("mesh.service: a, mesh.port: 5432", "tcp=5432"),
            ("mesh.service: a, mesh.port: HTTP=80", "a-z"),
            ("mesh.service: a, mesh.port: '80,8080'", "http-admin=8080"),
        ] {
            let error = labels(&format!("labels: {{{wrong}}}")).unwrap_err();
            assert!(error.contains(hint), "{wrong}: {error}");
            assert!(error.starts_with("1:"), "{error}");
        }
        let error = labels("labels:\n- mesh.service: a\n- mesh.port: 80\n").unwrap_err();
        assert!(
            error.starts_with("2:3: ") && error.contains("NAME=VALUE"),
            "{error}"
        );
    }
}
