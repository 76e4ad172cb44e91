//! The published ports of a labelled service: the one that its agent takes over, and those that it does not.

use std::ops::Range;

use granit_parser::ScalarStyle;

use super::Refusal;
use super::project::Member;
use super::yaml::{Node, Value};

/// Where an agent takes plain traffic from outside the mesh.
pub(super) const PLAIN_PORT: u16 = 15005;

/// What becomes of a service's published ports.
#[derive(Debug, Default)]
pub(super) struct Published<'a> {
    /// Bytes of the file and what stands there instead: the container's port becomes the agent's.
    pub(super) redirected: Vec<(&'a Node, Range<usize>, String)>,
    /// Ports that others still reach past the agent.
    pub(super) open: Vec<String>,
}

/// One entry of `ports`.
struct Entry<'a> {
    /// The first and the last of the container's ports.
    container: (u16, u16),
    is_tcp: bool,
    /// The scalar that has the container's port, and its text with the agent's port instead.
    scalar: &'a Node,
    redirected: String,
}

/// Finds out which published ports have to lead to the agent.
///
/// # Errors
/// A port that has to, but is written where it cannot be edited.
pub(super) fn published<'a>(member: &Member<'a>) -> Result<Published<'a>, Refusal> {
    let mut published = Published::default();
    let Some(ports) = member.node.get("ports") else {
        return Ok(published);
    };
    let own = member.node.own("ports").map(|entry| entry.value.as_ref());
    let plain = member.labels.ports.first().map(|port| port.number);
    for item in ports.items() {
        let entry = match read(item, member.name) {
            Err(_) if plain.is_none() && item.text().is_some() => {
                published.open.extend(item.text().map(str::to_owned));
                continue;
            }
            read => read?,
        };
        let (first, last) = entry.container;
        let has_plain = plain.is_some_and(|port| (first..=last).contains(&port));
        if !entry.is_tcp || !has_plain {
            if entry.is_tcp {
                published.open.push(range(first, last));
            }
            continue;
        }
        if first != last {
            return Err(item.refuse(format!(
                "service {} publishes the ports {}, among them the one that its agent has to take over; write that one as an entry of its own",
                member.name,
                range(first, last)
            )));
        }
        let by_alias = ports.resolved().range != own.map_or(0..0, |own| own.range.clone())
            || item.is_alias()
            || own.is_some_and(Node::is_alias)
            || !item.resolved().range.contains(&entry.scalar.range.start)
            || entry.scalar.is_alias();
        if by_alias {
            return Err(item.refuse(format!(
                "port {first} of service {} comes from an alias, so that it cannot be led to the agent for this service alone; write it out under its ports",
                member.name
            )));
        }
        published
            .redirected
            .push((entry.scalar, entry.scalar.range.clone(), entry.redirected));
    }
    Ok(published)
}

fn read<'a>(item: &'a Node, service: &str) -> Result<Entry<'a>, Refusal> {
    let unknown = |at: &Node| {
        at.refuse(format!(
            "which port this is inside the container of {service} cannot be told; write its number, like \"8080:80\""
        ))
    };
    if item.is_map() {
        let target = item.get("target").ok_or_else(|| unknown(item))?;
        let text = target.text().unwrap_or_default();
        let is_udp = item.get("protocol").and_then(Node::text) == Some("udp");
        return Ok(Entry {
            container: parse_range(text).ok_or_else(|| unknown(target))?,
            is_tcp: !is_udp,
            scalar: target,
            redirected: PLAIN_PORT.to_string(),
        });
    }
    let text = item.text().ok_or_else(|| unknown(item))?;
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) if !protocol.contains('}') => (rest, Some(protocol)),
        _ => (text, None),
    };
    let at = container_at(rest);
    let container = parse_range(&rest[at..]).ok_or_else(|| unknown(item))?;
    let protocol_text = protocol.map(|protocol| format!("/{protocol}"));
    let redirected = format!(
        "{}{PLAIN_PORT}{}",
        &rest[..at],
        protocol_text.unwrap_or_default()
    );
    Ok(Entry {
        container,
        is_tcp: protocol.is_none_or(|protocol| protocol.eq_ignore_ascii_case("tcp")),
        scalar: item.resolved(),
        redirected: quoted(&redirected),
    })
}

/// Where the container's port begins: after the last colon that is in no variable.
fn container_at(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    for (index, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => at = index + 1,
            _ => {}
        }
    }
    at
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last))
}

fn range(first: u16, last: u16) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// In double quotes where nothing has to be escaped in them, else in single ones.
fn quoted(text: &str) -> String {
    if text.contains(['"', '\\']) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        format!("\"{text}\"")
    }
}

/// Whether a scalar stands within one line, as an edit needs it.
pub(super) fn is_on_one_line(text: &str, node: &Node) -> bool {
    let is_inline = match &node.value {
        Value::Scalar { style, .. } => !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded),
        _ => false,
    };
    is_inline && !text[node.range.clone()].contains('\n')
}
