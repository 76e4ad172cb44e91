//! All resources of one proxy, in two layers: a [`Base`] that many proxies share, and what is the proxy's own.
//!
//! The sidecars of one namespace differ in a handful of resources and have thousands in common. A set on a base costs
//! no more than what is its own, and two sets on the same base are told apart by looking at that alone. Who sends
//! the differences is [`crate::server::DeltaSession`].

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, btree_set};
use std::iter::Peekable;
use std::slice;
use std::sync::Arc;

use crate::{Discoverable, Resource, ResourceType};

#[cfg(test)]
mod tests;

/// Resources that several sets have in common. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// Indexed by `ResourceType as usize`; sorted by name, each name once.
    by_type: [Arc<[Arc<Resource>]>; ResourceType::COUNT],
}

impl Base {
    /// This base with more resources, in place of those of the same type and name.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = (ResourceType, Arc<Resource>)>) -> Self {
        let more: Self = more.into_iter().collect();
        let mut by_type = self.by_type.clone();
        for (resources, more) in by_type.iter_mut().zip(&more.by_type) {
            // What stays the same remains the same allocation.
            if !more.is_empty() {
                *resources = sorted([&**resources, more].concat());
            }
        }
        Self { by_type }
    }
}

/// By name; of several resources of the same name the last one stays.
fn sorted(mut resources: Vec<Arc<Resource>>) -> Arc<[Arc<Resource>]> {
    resources.reverse();
    resources.sort_by(|a, b| a.name.cmp(&b.name));
    resources.dedup_by(|later, first| later.name == first.name);
    resources.into()
}

/// Of several resources of the same type and name the last one stays.
impl FromIterator<(ResourceType, Arc<Resource>)> for Base {
    fn from_iter<I: IntoIterator<Item = (ResourceType, Arc<Resource>)>>(resources: I) -> Self {
        let mut by_type: [Vec<Arc<Resource>>; ResourceType::COUNT] = Default::default();
        for (resource_type, resource) in resources {
            by_type[resource_type as usize].push(resource);
        }
        Self {
            by_type: by_type.map(sorted),
        }
    }
}

/// All resources of one proxy. Cloning costs as much as what is not in its [`Base`]: resources are shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSet {
    /// Indexed by `ResourceType as usize`.
    by_type: [Layers; ResourceType::COUNT],
}

impl ResourceSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A set of what is in the base, to which resources of its own are added.
    #[must_use]
    pub fn with_base(base: &Base) -> Self {
        Self {
            by_type: base.by_type.clone().map(|base| Layers {
                base,
                ..Layers::default()
            }),
        }
    }

    /// Encodes and adds a message, in place of one of the same type and name.
    pub fn insert<M: Discoverable>(&mut self, message: &M) {
        self.insert_resource(M::TYPE, Arc::new(Resource::new(message)));
    }

    /// Adds a resource that is encoded already, in place of one of the same type and name.
    pub fn insert_resource(&mut self, resource_type: ResourceType, resource: Arc<Resource>) {
        self.by_type[resource_type as usize].insert(resource);
    }

    /// Takes a resource away. If it is one of the base, the set keeps for itself what is left of this type.
    pub fn remove(&mut self, resource_type: ResourceType, name: &str) -> Option<Arc<Resource>> {
        self.by_type[resource_type as usize].remove(name)
    }

    /// The resource with this name.
    #[must_use]
    pub fn get(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<Resource>> {
        self.by_type[resource_type as usize].get(name)
    }

    /// All resources of a type, by name.
    pub fn iter(
        &self,
        resource_type: ResourceType,
    ) -> impl ExactSizeIterator<Item = &Arc<Resource>> + use<'_> {
        self.by_type[resource_type as usize].iter()
    }

    /// How many resources of a type there are.
    #[must_use]
    pub fn len(&self, resource_type: ResourceType) -> usize {
        self.by_type[resource_type as usize].len()
    }

    /// Whether there is no resource of any type.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_type.iter().all(|layers| layers.len() == 0)
    }

    /// The names of a type that only one of the two sets has, or that have another version in the other one. Costs
    /// nothing for what is in the same base, and a comparison of pointers for what is the same resource.
    #[must_use]
    pub(crate) fn differences(
        &self,
        other: &Self,
        resource_type: ResourceType,
    ) -> BTreeSet<String> {
        let old = &self.by_type[resource_type as usize];
        let new = &other.by_type[resource_type as usize];
        let mut suspects = BTreeSet::new();
        if !Arc::ptr_eq(&old.base, &new.base) {
            unlike(old.base.iter(), new.base.iter(), &mut suspects);
        }
        unlike(own(&old.own), own(&new.own), &mut suspects);
        // A layer's difference may not show: a set's own resources hide those of the base.
        suspects
            .into_iter()
            .filter(|name| {
                let [old, new] = [old, new].map(|layers| layers.get(name).map(|one| &one.version));
                old != new
            })
            .map(str::to_owned)
            .collect()
    }
}

/// Walks two sorted layers in step and notes what is not the same in both.
fn unlike<'a>(
    old: impl Iterator<Item = &'a Arc<Resource>>,
    new: impl Iterator<Item = &'a Arc<Resource>>,
    suspects: &mut BTreeSet<&'a str>,
) {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    loop {
        let (first, order) = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(old), None) => (*old, Ordering::Less),
            (None, Some(new)) => (*new, Ordering::Greater),
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => (*old, Ordering::Equal),
            (Some(old), Some(new)) => match old.name.cmp(&new.name) {
                Ordering::Greater => (*new, Ordering::Greater),
                order => (*old, order),
            },
        };
        let before = old.next_if(|_| order.is_le());
        let after = new.next_if(|_| order.is_ge());
        let is_same = before.zip(after).is_some_and(|(before, after)| {
            Arc::ptr_eq(before, after) || before.version == after.version
        });
        if !is_same {
            suspects.insert(&first.name);
        }
    }
}

/// The resources of one type.
#[derive(Clone, Debug, Default)]
struct Layers {
    base: Arc<[Arc<Resource>]>,
    /// These hide those of the base that have the same name.
    own: BTreeSet<ByName>,
    /// How many of the base are hidden.
    hidden: usize,
}

impl Layers {
    fn in_base(&self, name: &str) -> Option<&Arc<Resource>> {
        let by_name = |one: &Arc<Resource>| one.name.as_str().cmp(name);
        let place = self.base.binary_search_by(by_name).ok()?;
        self.base.get(place)
    }

    fn insert(&mut self, resource: Arc<Resource>) {
        let hides = self.in_base(&resource.name).is_some();
        if self.own.replace(ByName(resource)).is_none() && hides {
            self.hidden += 1;
        }
    }

    fn remove(&mut self, name: &str) -> Option<Arc<Resource>> {
        if self.in_base(name).is_some() {
            *self = Self {
                own: self.iter().cloned().map(ByName).collect(),
                ..Self::default()
            };
        }
        self.own.take(name).map(|ByName(resource)| resource)
    }

    fn get(&self, name: &str) -> Option<&Arc<Resource>> {
        let own = self.own.get(name).map(|ByName(resource)| resource);
        own.or_else(|| self.in_base(name))
    }

    fn len(&self) -> usize {
        self.base.len() + self.own.len() - self.hidden
    }

    fn iter(&self) -> Iter<'_> {
        Iter {
            base: self.base.iter().peekable(),
            own: self.own.iter().peekable(),
            left: self.len(),
        }
    }
}

/// What they have counts, not in which layer.
impl PartialEq for Layers {
    fn eq(&self, other: &Self) -> bool {
        let same_base = Arc::ptr_eq(&self.base, &other.base);
        (same_base && own(&self.own).eq(own(&other.own))) || self.iter().eq(other.iter())
    }
}

impl Eq for Layers {}

/// Both layers in step.
struct Iter<'a> {
    base: Peekable<slice::Iter<'a, Arc<Resource>>>,
    own: Peekable<btree_set::Iter<'a, ByName>>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Resource>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.saturating_sub(1);
        let Some(ByName(own)) = self.own.peek() else {
            return self.base.next();
        };
        if let Some(shared) = self.base.next_if(|shared| shared.name < own.name) {
            return Some(shared);
        }
        self.base.next_if(|shared| shared.name == own.name);
        self.own.next().map(|ByName(own)| own)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// A resource at the place that its name has.
#[derive(Clone, Debug)]
struct ByName(Arc<Resource>);

fn own(own: &BTreeSet<ByName>) -> impl Iterator<Item = &Arc<Resource>> {
    own.iter().map(|ByName(resource)| resource)
}

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}
