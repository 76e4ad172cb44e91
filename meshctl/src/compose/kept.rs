//! The last line of defence: whatever the edits were thought to do, the result says what the file said.

use super::project::Project;
use super::yaml::{Node, Tree};
use super::{Refusal, fleet, marks, yaml};

/// Holds the result against the file.
///
/// # Errors
/// Something else would change, or could not be undone.
pub(super) fn check(original: &str, text: &str, project: &Project<'_>) -> Result<(), Refusal> {
    let at = &project.services.key;
    let unkept = |what: &str| {
        at.refuse(format!(
            "this file cannot be edited without changing more of it ({what}); write the part in the plain form of indented lines"
        ))
    };
    if marks::undo(text)? != original {
        return Err(unkept("it could not be brought back to the byte"));
    }
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tree = yaml::read(body).map_err(|refusal| unkept(&refusal.to_string()))?;
    match first_difference(&project.tree.root, &tree, project) {
        Some(what) => Err(unkept(&what)),
        None => Ok(()),
    }
}

/// The first thing that was there and is not there any more as it was.
fn first_difference(before: &Node, after: &Tree, project: &Project<'_>) -> Option<String> {
    if let Some(key) = changed(before, &after.root, &["services", "volumes"]) {
        return Some(format!("{key} would change"));
    }
    let services = after.root.own("services")?;
    let names: Vec<&str> = project.members.iter().map(|member| member.name).collect();
    if let Some(key) = changed(&project.services.value, &services.value, &names) {
        return Some(format!("service {key} would change"));
    }
    for member in &project.members {
        let Some(service) = services.value.own(member.name) else {
            return Some(format!("service {} would be gone", member.name));
        };
        if let Some(key) = changed(member.node, &service.value, &["extra_hosts", "ports"]) {
            return Some(format!("{key} of service {} would change", member.name));
        }
    }
    let volumes = |root: &Node| root.get("volumes").map(|volumes| volumes.merged().len());
    let added = fleet::volume_names(project).len();
    let expected = volumes(before).unwrap_or_default() + added;
    let is_whole = services.value.entries().len()
        == project.services.value.entries().len() + fleet::service_names(project).len()
        && volumes(&after.root) == Some(expected);
    (!is_whole).then(|| "not all services and volumes would be there".to_owned())
}

/// The first key of a map that another map does not have with the same value, apart from those edited.
fn changed<'a>(before: &'a Node, after: &Node, edited: &[&str]) -> Option<&'a str> {
    let mut keys = before.entries().iter().filter_map(|entry| {
        let key = entry.key.text()?;
        let is_kept = edited.contains(&key)
            || entry.is_merge()
            || after
                .own(key)
                .is_some_and(|other| entry.value.is_like(&other.value));
        (!is_kept).then_some(key)
    });
    keys.next()
}
