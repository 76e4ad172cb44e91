//! When an object may be written: how it fits the others, and what it was based on.

use mesh_config::model::{Kind, ObjectKey, SharedObject};
use mesh_config::{Config, Finding, Level, check_references};

use super::Refusal;

/// Errors that objects other than the changed ones have now and did not have before.
pub(super) fn newly_broken(
    before: &Config,
    after: &Config,
    changed: &[&ObjectKey],
) -> Vec<Finding> {
    // Only hosts and subsets can be missed with an error: nobody is broken by anything else.
    let matters = |key: &&ObjectKey| matches!(key.kind, Kind::Service | Kind::DestinationRule);
    if !changed.iter().any(matters) {
        return Vec::new();
    }
    let errors_in = |config: &Config| {
        let others = after
            .iter()
            .filter(|object| !changed.contains(&&object.key()));
        findings_of(config, others).0
    };
    let mut errors = errors_in(after);
    if !errors.is_empty() {
        let known = errors_in(before);
        errors.retain(|error| !known.contains(error));
    }
    errors
}

/// Errors and warnings of some objects among the others.
pub(super) fn findings_of<'a>(
    config: &Config,
    objects: impl Iterator<Item = &'a SharedObject>,
) -> (Vec<Finding>, Vec<Finding>) {
    objects
        .flat_map(|object| check_references(config, object))
        .partition(|finding| finding.level == Level::Error)
}

/// Whether a write that was based on version `given` is up to date.
pub(super) fn check_version(
    key: &ObjectKey,
    given: Option<&str>,
    current: Option<&SharedObject>,
) -> Result<(), Refusal> {
    let is = match current {
        Some(current) => current.metadata.resource_version.as_deref(),
        None => Some("none, since it does not exist"),
    };
    let is = is.unwrap_or_default();
    match given {
        Some(given) if !given.is_empty() && given != is => Err(Refusal::Conflict {
            key: key.clone(),
            given: given.to_owned(),
            current: is.to_owned(),
        }),
        _ => Ok(()),
    }
}
