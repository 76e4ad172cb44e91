//! ServiceEntries: whether they say enough, and the same as others.

use std::collections::BTreeSet;

use serde_json::Value;

use super::hosts::{ALL, export_scopes};
use super::index::Index;
use super::view::{Found, at, full_name, items, listed, spec, spec_each, spec_texts, text};
use super::{ADDRESSES_NEEDED, PROTOCOL_DISAGREEMENT};

pub(super) fn look(index: &Index<'_>, found: &mut Found<'_>) {
    addresses(found);
    protocols(index, found);
}

/// Bytes have no host in them: only their address says where they go.
fn addresses(found: &mut Found<'_>) {
    let entry = found.object;
    let allocated = items(at(&entry.raw, &["status", "addresses"]));
    if spec(entry, &["addresses"]).is_some() || !allocated.is_empty() {
        return;
    }
    for (p, port) in spec_each(entry, "ports") {
        let protocol = text(port, "protocol");
        if protocol.is_empty() || protocol.eq_ignore_ascii_case("tcp") {
            let number = port
                .get("number")
                .and_then(Value::as_i64)
                .unwrap_or_default();
            let message = format!(
                "port {number} carries TCP and the entry has no addresses, so it stands for that port of every \
                 address; set spec.addresses, or name the protocol"
            );
            found.tell(&ADDRESSES_NEEDED, format!("spec.ports[{p}]"), message);
        }
    }
}

/// The same host and port with another protocol elsewhere.
fn protocols(index: &Index<'_>, found: &mut Found<'_>) {
    let own_scopes = export_scopes(found.object);
    for host in spec_texts(found.object, "hosts") {
        for (p, port) in spec_each(found.object, "ports") {
            let Some(number) = port.get("number").and_then(Value::as_i64) else {
                continue;
            };
            let meets = |scope: &str| {
                scope == ALL || own_scopes.contains(&ALL) || own_scopes.contains(&scope)
            };
            let own = text(port, "protocol").to_ascii_uppercase();
            let mut others = BTreeSet::new();
            for entry in index.entries(host, number) {
                let theirs = entry.protocol.to_ascii_uppercase();
                if meets(entry.scope) && theirs != own {
                    others.insert(format!("{} says {theirs}", full_name(entry.object)));
                }
            }
            if !others.is_empty() {
                let others: Vec<String> = others.into_iter().collect();
                let message = format!(
                    "here {host}:{number} speaks {own}, but {}; agree on one protocol",
                    listed(&others)
                );
                let field = format!("spec.ports[{p}].protocol");
                // One is enough: the entries are to be compared anyway.
                return found.tell(&PROTOCOL_DISAGREEMENT, field, message);
            }
        }
    }
}
