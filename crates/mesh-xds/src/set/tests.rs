//! Sets against a plain map: whatever the layers are, they must not show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::{Base, ResourceSet};
use crate::envoy::cluster::Cluster;
use crate::{Resource, ResourceType};

fn cluster(name: &str) -> Cluster {
    Cluster {
        name: name.into(),
        ..Cluster::default()
    }
}

/// With this name, in this version, of which only the control plane knows what it stands for.
fn resource(name: u8, version: u8) -> Arc<Resource> {
    Arc::new(Resource {
        version: version.to_string(),
        ..Resource::new(&cluster(&name.to_string()))
    })
}

#[test]
fn sets_replace_by_type_and_name() {
    let mut set = ResourceSet::new();
    assert!(set.is_empty());
    set.insert(&cluster("b"));
    set.insert(&cluster("a"));
    let mut changed = cluster("a");
    changed.alt_stat_name = "other".into();
    set.insert(&changed);
    let names: Vec<_> = set
        .iter(ResourceType::Cluster)
        .map(|resource| resource.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        set.get(ResourceType::Cluster, "a")
            .map(|r| r.version.clone()),
        Some(Resource::new(&changed).version)
    );
    assert!(set.remove(ResourceType::Cluster, "a").is_some());
    assert_eq!(set.len(ResourceType::Cluster), 1);
    assert_eq!(set.len(ResourceType::Listener), 0);
}

#[test]
fn of_equal_names_in_a_base_the_last_one_stays() {
    let resources = [resource(1, 0), resource(0, 0), resource(1, 1)];
    let base: Base = resources
        .map(|one| (ResourceType::Cluster, one))
        .into_iter()
        .collect();
    let set = ResourceSet::with_base(&base);
    assert_eq!(contents(&set), BTreeMap::from([(0, 0), (1, 1)]));
    let more = [resource(2, 0), resource(1, 2)].map(|one| (ResourceType::Cluster, one));
    let set = ResourceSet::with_base(&base.with(more));
    assert_eq!(contents(&set), BTreeMap::from([(0, 0), (1, 2), (2, 0)]));
}

/// Names to versions.
type Contents = BTreeMap<u8, u8>;

fn contents(set: &ResourceSet) -> Contents {
    let iter = set.iter(ResourceType::Cluster);
    assert_eq!(iter.len(), set.len(ResourceType::Cluster));
    let read = |text: &str| text.parse().expect("a number");
    let all: Vec<_> = iter.map(|r| (read(&r.name), read(&r.version))).collect();
    assert_eq!(all.len(), set.len(ResourceType::Cluster));
    assert!(all.is_sorted_by(|a, b| a.0 < b.0), "{all:?}");
    all.into_iter().collect()
}

fn some() -> impl Strategy<Value = Contents> {
    prop::collection::btree_map(0..8u8, 0..3u8, 0..8)
}

fn base(contents: &Contents) -> Base {
    let resources = contents.iter();
    resources
        .map(|(name, version)| (ResourceType::Cluster, resource(*name, *version)))
        .collect()
}

/// Resources that are added, or taken away if they have no version.
fn changes() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
    prop::collection::vec((0..8u8, prop::option::weighted(0.8, 0..3u8)), 0..8)
}

fn change(set: &mut ResourceSet, plain: &mut Contents, changes: &[(u8, Option<u8>)]) {
    for &(name, version) in changes {
        if let Some(version) = version {
            set.insert_resource(ResourceType::Cluster, resource(name, version));
            plain.insert(name, version);
        } else {
            let removed = set.remove(ResourceType::Cluster, &name.to_string());
            let removed = removed.map(|resource| resource.version.clone());
            assert_eq!(
                removed,
                plain.remove(&name).map(|version| version.to_string())
            );
        }
    }
}

proptest! {
    #[test]
    fn layers_do_not_show(shared in some(), others in prop::option::of(some()), one in changes(), two in changes()) {
        let first = base(&shared);
        let second = others.as_ref().map_or_else(|| first.clone(), base);
        let mut plain = [shared.clone(), others.unwrap_or(shared)];
        let mut sets = [first, second].map(|base| ResourceSet::with_base(&base));
        for (index, changes) in [one, two].iter().enumerate() {
            change(&mut sets[index], &mut plain[index], changes);
            prop_assert_eq!(&contents(&sets[index]), &plain[index]);
            for name in 0..8u8 {
                let found = sets[index].get(ResourceType::Cluster, &name.to_string());
                let version = plain[index].get(&name).map(u8::to_string);
                prop_assert_eq!(found.map(|found| found.version.clone()), version);
            }
        }
        prop_assert_eq!(sets[0] == sets[1], plain[0] == plain[1]);
        let differ: BTreeSet<String> = (0..8u8)
            .filter(|name| plain[0].get(name) != plain[1].get(name))
            .map(|name| name.to_string())
            .collect();
        prop_assert_eq!(sets[0].differences(&sets[1], ResourceType::Cluster), differ);
    }
}
