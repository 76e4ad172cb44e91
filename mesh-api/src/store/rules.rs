//! When an object may be written: how it fits the others, and what it was based on.

use mesh_config::analysis::{Analysis, Options};
use mesh_config::model::{Kind, ObjectKey, SharedObject};
use mesh_config::{Config, Finding};

use super::Refusal;

/// What would refuse objects other than the changed ones now, and would not have before.
pub(super) fn newly_broken(
    before: &Config,
    after: &Config,
    changed: &[&ObjectKey],
) -> Vec<Finding> {
    // Only hosts and subsets can be missed so: nobody is broken by anything else.
    let matters = |key: &&ObjectKey| {
        matches!(
            key.kind,
            Kind::Service | Kind::DestinationRule | Kind::ServiceEntry
        )
    };
    if !changed.iter().any(matters) {
        return Vec::new();
    }
    let options = Options::running();
    let errors_in = |config: &Config| -> Vec<Finding> {
        let analysis = Analysis::new(config, &options);
        after
            .of_kind(Kind::VirtualService)
            .filter(|object| !changed.contains(&&object.key()))
            .flat_map(|object| analysis.refusals(object))
            .collect()
    };
    let mut errors = errors_in(after);
    if !errors.is_empty() {
        let known = errors_in(before);
        errors.retain(|error| !known.contains(error));
    }
    errors
}

/// What refuses some objects among the others, and for each what is to be known about it.
pub(super) fn findings_of<'a>(
    config: &Config,
    objects: impl Iterator<Item = &'a SharedObject>,
) -> (Vec<Finding>, Vec<Vec<Finding>>) {
    let options = Options::running();
    let analysis = Analysis::new(config, &options);
    let (refusals, warnings): (Vec<_>, _) = objects.map(|object| analysis.split(object)).unzip();
    (refusals.concat(), warnings)
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
