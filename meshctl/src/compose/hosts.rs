//! The names of the mesh's services for a labelled service's `/etc/hosts`.

use super::Refusal;
use super::marks::Edits;
use super::project::{Member, Project};
use super::yaml::{Node, Value};

/// What a service is told about the others.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    /// Names and the loopback addresses at which its agent listens for them.
    pub(super) names: Vec<(String, String)>,
    /// Services that it cannot be told of, since it has their port itself.
    pub(super) same_port: Vec<String>,
    /// Names that its own `extra_hosts` has already.
    pub(super) taken: Vec<String>,
}

/// The other services' names as this one calls them.
pub(super) fn of(project: &Project<'_>, member: &Member<'_>) -> Hosts {
    let mut hosts = Hosts::default();
    let own = (
        member.labels.namespace.as_str(),
        member.labels.service.as_str(),
    );
    let written = written_names(member);
    for ((namespace, service), members) in project.callable() {
        if (namespace, service) == own {
            continue;
        }
        let name = if namespace == own.0 {
            service.to_owned()
        } else {
            format!("{service}.{namespace}")
        };
        // The app has these ports on all addresses, those of its agent for other services included.
        let own_ports = &member.labels.ports;
        let is_own = |number: u16| own_ports.iter().any(|port| port.number == number);
        if members[0]
            .labels
            .ports
            .iter()
            .any(|port| is_own(port.number))
        {
            hosts.same_port.push(name);
        } else if written.contains(&name.as_str()) {
            hosts.taken.push(name);
        } else {
            let address =
                mesh_config::service_address(&mesh_config::service_host(service, namespace));
            hosts.names.push((name, address.to_string()));
        }
    }
    hosts
}

/// Writes them into the service.
///
/// # Errors
/// Its `extra_hosts` is written where it cannot be edited.
pub(super) fn write(
    edits: &mut Edits<'_>,
    member: &Member<'_>,
    unit: usize,
    hosts: &Hosts,
) -> Result<(), Refusal> {
    if hosts.names.is_empty() {
        return Ok(());
    }
    let refuse = |at: &Node, why: &str| {
        Err(at.refuse(format!(
            "extra_hosts of service {} {why}; write it out as a list under the service",
            member.name
        )))
    };
    let as_item = |(name, address): &(String, String)| format!("\"{name}:{address}\"");
    let Some(own) = member.node.own("extra_hosts") else {
        if let Some(merged) = member.node.get("extra_hosts") {
            return refuse(
                merged,
                "comes from an alias, so that nothing can be added for it alone",
            );
        }
        let Some(first) = member.node.entries().first() else {
            return Ok(());
        };
        let at = first.key.range.start;
        if !edits.before(at).trim().is_empty() {
            return refuse(
                &first.key,
                "would stand beside a key that is not at its line's start",
            );
        }
        let indent = edits.before(at).len();
        let mut lines = vec![format!("{:indent$}extra_hosts:", "")];
        let item_indent = indent + unit;
        lines.extend(
            hosts
                .names
                .iter()
                .map(|host| format!("{:item_indent$}- {}", "", as_item(host))),
        );
        edits.add(edits.line_at(at), indent, lines);
        return Ok(());
    };
    let value = own.value.as_ref();
    match &value.value {
        Value::Alias(..) => refuse(
            value,
            "is an alias, so that nothing can be added for it alone",
        ),
        Value::Scalar { .. } if value.is_null() && value.range.is_empty() => {
            let indent = own.key.column - 1 + unit;
            let lines = hosts
                .names
                .iter()
                .map(|host| format!("{:indent$}- {}", "", as_item(host)));
            edits.add(
                edits.line_at(own.key.range.start) + 1,
                indent,
                lines.collect(),
            );
            Ok(())
        }
        Value::List { items, flow: false } => {
            let Some(first) = items.first() else {
                return Ok(());
            };
            let before = edits.before(first.range.start);
            let indent = before.len() - before.trim_start_matches(' ').len();
            if !before.trim_start().starts_with('-') {
                return refuse(first, "begins in an unusual form");
            }
            let lines = hosts
                .names
                .iter()
                .map(|host| format!("{:indent$}- {}", "", as_item(host)));
            edits.add(edits.line_at(first.range.start), indent, lines.collect());
            Ok(())
        }
        Value::Map {
            entries,
            flow: false,
        } => {
            let Some(first) = entries.first() else {
                return Ok(());
            };
            let at = first.key.range.start;
            let indent = edits.before(at).len();
            if !edits.before(at).trim().is_empty() {
                return refuse(&first.key, "begins in an unusual form");
            }
            let line =
                |(name, address): &(String, String)| format!("{:indent$}{name}: \"{address}\"", "");
            edits.add(
                edits.line_at(at),
                indent,
                hosts.names.iter().map(line).collect(),
            );
            Ok(())
        }
        Value::List { .. } | Value::Map { .. } => {
            let entry = |host: &(String, String)| {
                if value.is_map() {
                    format!("{}: \"{}\", ", host.0, host.1)
                } else {
                    format!("{}, ", as_item(host))
                }
            };
            let inside: String = hosts.names.iter().map(entry).collect();
            let at = value.range.start + 1;
            edits.replace(at..at, inside);
            Ok(())
        }
        Value::Scalar { .. } => refuse(value, "is neither a list nor a map"),
    }
}

/// The names that the service's own `extra_hosts` has.
fn written_names<'a>(member: &Member<'a>) -> Vec<&'a str> {
    let Some(hosts) = member.node.get("extra_hosts") else {
        return Vec::new();
    };
    if hosts.is_map() {
        return hosts.merged().into_iter().map(|(name, ..)| name).collect();
    }
    let name = |text: &'a str| text.split([':', '=']).next().unwrap_or_default().trim();
    hosts
        .items()
        .iter()
        .filter_map(|item| item.text())
        .map(name)
        .collect()
}
