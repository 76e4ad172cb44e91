//! A Compose file with labels to the same file with the mesh in it.

use std::collections::BTreeMap;

use super::marks::{self, Edits};
use super::project::Project;
use super::warnings::{self, Told};
use super::yaml::{self, Entry, Node, Value};
use super::{Refusal, fleet, hosts, kept, ports};

/// A file with the mesh in it.
#[derive(Debug)]
pub(super) struct Injected {
    pub(super) text: String,
    /// What the user should know, a sentence each.
    pub(super) warnings: Vec<String>,
}

/// Adds the mesh to a Compose file, after taking out what an earlier call added.
///
/// # Errors
/// The file is no Compose file, or it cannot be kept whole.
pub(super) fn inject(text: &str) -> Result<Injected, Refusal> {
    let original = marks::undo(text)?;
    let original = original.as_str();
    // The parser leaves out the mark and counts bytes without it.
    let (bom, body) = match original.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", original),
    };
    let tree = yaml::read(body)?;
    let project = Project::read(&tree)?;
    let network = project.common_network()?;
    check_names(&project)?;

    let mut edits = Edits::new(body);
    let mut told = Vec::new();
    let unit = unit(&project);
    for member in &project.members {
        let published = ports::published(member)?;
        for (scalar, range, new) in &published.redirected {
            if !ports::is_on_one_line(body, scalar) {
                return Err(scalar.refuse(
                    "this port is written over several lines, where it cannot be edited; write it on one",
                ));
            }
            edits.replace(range.clone(), new.clone());
        }
        let hosts = hosts::of(&project, member);
        hosts::write(&mut edits, member, unit, &hosts)?;
        told.push(Told {
            member,
            published,
            hosts,
        });
    }
    check_anchors(&project, &told)?;
    let redirected: Vec<bool> = told
        .iter()
        .map(|told| !told.published.redirected.is_empty())
        .collect();
    add_fleet(&mut edits, &project, unit, network, &redirected)?;

    let text = format!("{bom}{}", edits.apply());
    kept::check(original, &text, &project)?;
    Ok(Injected {
        text,
        warnings: warnings::of(&project, &told),
    })
}

/// How far the file indents a service's own keys.
fn unit(project: &Project<'_>) -> usize {
    let first = &project.members[0];
    let inner = first.node.entries().first().map(|entry| entry.key.column);
    inner
        .map_or(2, |inner| inner.saturating_sub(first.key.column))
        .max(1)
}

/// The names that are needed must be free.
fn check_names(project: &Project<'_>) -> Result<(), Refusal> {
    let services = fleet::service_names(project);
    let volumes = fleet::volume_names(project);
    let top = project.tree.root.get("volumes");
    let declared = top.map(Node::merged).unwrap_or_default();
    let present = project.services.value.merged();
    for (kind, needed, present) in [
        ("service", services, present),
        ("volume", volumes, declared),
    ] {
        for (index, name) in needed.iter().enumerate() {
            if let Some((_, key, _)) = present.iter().find(|(present, ..)| present == name) {
                return Err(key.refuse(format!(
                    "there is a {kind} {name} already, a name that the mesh needs; rename it"
                )));
            }
            if needed[..index].contains(name) {
                return Err(project.services.key.refuse(format!(
                    "two {kind}s of the mesh would be called {name}; rename a labelled service"
                )));
            }
        }
    }
    Ok(())
}

/// What is edited must not be seen through an alias elsewhere, except where another labelled service takes
/// it over and has its own of what was edited.
fn check_anchors(project: &Project<'_>, told: &[Told<'_, '_>]) -> Result<(), Refusal> {
    let mut uses: BTreeMap<usize, Vec<&Node>> = BTreeMap::new();
    aliases(&project.tree.root, &mut uses);
    let has_own = |user: &Node| {
        told.iter().any(|Told { member, hosts, .. }| {
            let is_merge = |entry: &Entry| {
                entry.is_merge()
                    && (std::ptr::eq(entry.value.as_ref(), user)
                        || entry
                            .merge_sources()
                            .iter()
                            .any(|source| std::ptr::eq(*source, user)))
            };
            !hosts.names.is_empty() && member.node.entries().iter().any(is_merge)
        })
    };
    let check = |node: &Node, is_service: bool| {
        let users = uses
            .get(&node.anchor)
            .map(Vec::as_slice)
            .unwrap_or_default();
        match users.iter().find(|user| !(is_service && has_own(user))) {
            Some(user) if node.anchor != 0 => Err(user.refuse(format!(
                "this alias takes over what the mesh edits in line {}; write out what it stands for",
                node.line
            ))),
            _ => Ok(()),
        }
    };
    check(&project.tree.root, false)?;
    check(&project.services.value, false)?;
    for Told {
        member,
        published,
        hosts,
    } in told
    {
        if hosts.names.is_empty() && published.redirected.is_empty() {
            continue;
        }
        check(member.node, true)?;
        let own = |key: &str| member.node.own(key).map(|entry| entry.value.as_ref());
        if let Some(own) = own("extra_hosts").filter(|_| !hosts.names.is_empty()) {
            check(own, false)?;
        }
        if let Some(own) = own("ports").filter(|_| !published.redirected.is_empty()) {
            check(own, false)?;
            for item in own.items() {
                check(item, false)?;
            }
        }
        for (scalar, ..) in &published.redirected {
            check(scalar, false)?;
        }
    }
    if let Some(volumes) = project.tree.root.own("volumes") {
        check(&volumes.value, false)?;
    }
    Ok(())
}

fn aliases<'a>(node: &'a Node, uses: &mut BTreeMap<usize, Vec<&'a Node>>) {
    match &node.value {
        Value::Scalar { .. } => {}
        Value::Alias(anchor, _) => uses.entry(*anchor).or_default().push(node),
        Value::List { items, .. } => items.iter().for_each(|item| aliases(item, uses)),
        Value::Map { entries, .. } => {
            for entry in entries {
                aliases(&entry.value, uses);
            }
        }
    }
}

/// Adds the agents, the control plane and their volumes.
fn add_fleet(
    edits: &mut Edits<'_>,
    project: &Project<'_>,
    unit: usize,
    network: &str,
    redirected: &[bool],
) -> Result<(), Refusal> {
    let services = project.services;
    let unusual = |node: &Node, what: &str| {
        node.refuse(format!("{what} is written in braces or in an unusual form, where nothing can be added; write it in indented lines"))
    };
    let entries = services.value.entries();
    let is_block = !services.value.is_flow()
        && edits.before(services.key.range.start).trim().is_empty()
        && entries
            .iter()
            .all(|entry| edits.before(entry.key.range.start).trim().is_empty());
    let (Some(first), true) = (entries.first(), is_block) else {
        return Err(unusual(&services.key, "services"));
    };
    let top = edits.before(services.key.range.start).len();
    let indent = edits.before(first.key.range.start).len();
    let lines_of = |lines: Vec<fleet::Line>, indent: usize| -> Vec<String> {
        let line = |(level, text): fleet::Line| format!("{:1$}{text}", "", indent + level * unit);
        lines.into_iter().map(line).collect()
    };
    let mut lines = lines_of(fleet::services(project, network, redirected), indent);

    let volumes: Vec<fleet::Line> = fleet::volume_names(project)
        .into_iter()
        .map(|name| (0, format!("{name}:")))
        .collect();
    match project.tree.root.own("volumes") {
        None => {
            lines.push(format!("{:top$}volumes:", ""));
            lines.extend(lines_of(volumes, top + indent.saturating_sub(top)));
        }
        Some(entry) => add_volumes(edits, entry, top + unit, &volumes)
            .ok_or_else(|| unusual(&entry.key, "volumes"))?,
    }
    edits.add(end_of_services(edits, project), indent, lines);
    Ok(())
}

fn add_volumes(
    edits: &mut Edits<'_>,
    entry: &Entry,
    indent: usize,
    volumes: &[fleet::Line],
) -> Option<()> {
    let value = entry.value.as_ref();
    let lines = |indent: usize| {
        let line = |(_, text): &fleet::Line| format!("{:indent$}{text}", "");
        volumes.iter().map(line).collect()
    };
    match &value.value {
        Value::Scalar { .. } if value.is_null() && value.range.is_empty() => {
            edits.add(
                edits.line_at(entry.key.range.start) + 1,
                indent,
                lines(indent),
            );
        }
        Value::Map {
            entries,
            flow: false,
        } => {
            let at = entries.first()?.key.range.start;
            let indent = edits.before(at);
            if !indent.trim().is_empty() {
                return None;
            }
            edits.add(edits.line_at(at), indent.len(), lines(indent.len()));
        }
        Value::Map { flow: true, .. } => {
            let at = value.range.start + 1;
            let inside = volumes.iter().map(|(_, text)| format!("{text} {{}}, "));
            edits.replace(at..at, inside.collect());
        }
        _ => return None,
    }
    Some(())
}

/// The line before which new services stand: after the last one's last line. After a block scalar it is the
/// next key's line, since blank lines may belong to the scalar.
fn end_of_services(edits: &Edits<'_>, project: &Project<'_>) -> usize {
    let (end, is_block) = project.services.end();
    if !is_block {
        return edits.line_at(end.saturating_sub(1)) + 1;
    }
    let after = project
        .tree
        .root
        .entries()
        .iter()
        .map(|entry| entry.key.range.start)
        .filter(|start| *start >= end)
        .min();
    edits.line_at(after.unwrap_or(project.tree.end))
}
