//! Several VirtualServices for one host, of which sidecars follow only one.

use std::collections::BTreeSet;

use crate::analysis::HOST_CONFLICT;
use crate::analysis::hosts::{ALL, export_scopes, overlap};
use crate::analysis::index::{Index, bound_to_mesh};
use crate::analysis::view::{Found, full_name, listed, spec_texts};
use crate::config::resolve_host;
use crate::model::Object;

pub(super) fn look(index: &Index<'_>, found: &mut Found<'_>) {
    if !bound_to_mesh(found.object) {
        return;
    }
    let scopes = export_scopes(found.object);
    for (h, written) in spec_texts(found.object, "hosts").enumerate() {
        let host = resolve_host(written, found.namespace());
        let mut others = BTreeSet::new();
        for scope in &scopes {
            others.extend(rivals(index, &host, scope, found.object));
        }
        if !others.is_empty() {
            let others: Vec<String> = others.into_iter().collect();
            let message = format!(
                "{} says, too, where in-mesh requests for {host} go, and sidecars follow only one of them; merge \
                 them into one VirtualService",
                listed(&others)
            );
            // One is enough: they are to be merged anyway.
            return found.tell(&HOST_CONFLICT, format!("spec.hosts[{h}]"), message);
        }
    }
}

/// The other VirtualServices that some sidecar would have to choose among.
fn rivals(index: &Index<'_>, host: &str, scope: &str, own: &Object) -> Vec<String> {
    let mesh = index.mesh_hosts();
    let own_key = own.key();
    // One host for one namespace and for all others is a conflict there; two different ones that overlap are
    // only if one of them is for everyone and the other is not: the more specific one wins among equals.
    let clash = |other: &str, other_scope: &str| {
        if other == host {
            other_scope == scope || other_scope == ALL || scope == ALL
        } else {
            (other_scope == ALL) != (scope == ALL) && overlap(other, host)
        }
    };
    let wildcard = mesh
        .wildcard
        .iter()
        .filter(|(other, other_scope, _)| clash(other, other_scope))
        .map(|(_, _, object)| *object);
    let mut rivals: Vec<&Object> = wildcard.collect();
    let same = mesh.exact.get(host).map(|all| (host, all));
    // Only a wildcard is worth a look at all others.
    let covered = host
        .starts_with('*')
        .then(|| mesh.exact.iter().map(|(other, all)| (other.as_str(), all)));
    let covered = covered.into_iter().flatten();
    for (other, all) in same.into_iter().chain(covered) {
        let clashing = all.iter().filter(|(scope, _)| clash(other, scope));
        rivals.extend(clashing.map(|(_, object)| *object));
    }
    rivals.retain(|other| other.key() != own_key);
    rivals.into_iter().map(full_name).collect()
}
