//! What the user should know of an injected file: where traffic still goes past the mesh.

use mesh_config::analysis::PAST_THE_MESH;

use super::hosts::Hosts;
use super::ports::Published;
use super::project::{Member, Project, aliases, dependencies};

/// A labelled service with what was found out about it.
#[derive(Debug)]
pub(super) struct Told<'a, 'p> {
    pub(super) member: &'p Member<'a>,
    pub(super) published: Published<'a>,
    pub(super) hosts: Hosts,
}

/// One sentence each.
pub(super) fn of(project: &Project<'_>, told: &[Told<'_, '_>]) -> Vec<String> {
    let mut warnings = Vec::new();
    let callable = project.callable();
    for Told {
        member,
        published,
        hosts,
    } in told
    {
        let name = member.name;
        let labels = &member.labels;
        for port in &published.open {
            warnings.push(format!(
                "port {port} of service {name} is published as before: what comes in there goes past its agent [{PAST_THE_MESH}]"
            ));
        }
        if labels.ports.is_empty() {
            warnings.push(format!(
                "service {name} has no mesh.port: it calls others in the mesh, and nobody calls it"
            ));
        }
        if !hosts.same_port.is_empty() {
            warnings.push(format!(
                "service {name} has the same port as {}, so that its calls there go past the mesh, in plain text; let one of them use another port, or send HTTP through http_proxy=http://127.0.0.1:15001",
                hosts.same_port.join(", ")
            ));
        }
        if !hosts.taken.is_empty() {
            warnings.push(format!(
                "service {name} has {} in its own extra_hosts, so that its calls there go past the mesh; remove it there",
                hosts.taken.join(", ")
            ));
        }
        let service = (labels.namespace.as_str(), labels.service.as_str());
        if let Some(members) = callable.get(&service) {
            let mut names = aliases(member.node);
            // Of several versions only one can have the name.
            if members.iter().all(|member| member.name != labels.service) {
                names.push(name);
            }
            names.retain(|name| *name != labels.service);
            for name in names {
                warnings.push(format!(
                    "service {} is called {service} in the mesh: what others send to {name} goes past it; let them call {service}",
                    member.name,
                    service = labels.service
                ));
            }
        }
    }
    for (name, node) in &project.others {
        let mut past: Vec<&str> = dependencies(node);
        past.retain(|needed| {
            let mut members = project.members.iter();
            members.any(|member| member.name == *needed && !member.labels.ports.is_empty())
        });
        if !past.is_empty() {
            warnings.push(format!(
                "service {name} has no labels and depends on {}: what it sends there goes past the mesh, without identity; label it too",
                past.join(", ")
            ));
        }
    }
    warnings
}
