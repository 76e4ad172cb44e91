//! The routes of a virtual host by their paths, so that a request looks at few of many.
//!
//! Exact paths are hashed. Prefixes stand in order, each with the longest other one that it begins with: the last one
//! that is not behind a path in that order leads to all that the path begins with. What is left, expressions and paths
//! whose case does not matter, is looked at one by one. All three are merged by the routes' places, so the first match
//! wins, as if all had been asked in turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{PathMatcher, Route};

/// Fewer routes than these are asked in turn faster.
const FEW: usize = 16;

/// How much longer all lists of nested prefixes may be than the routes are many.
const NESTED: usize = 32;

/// The places of routes by their paths, each list in order.
#[derive(Debug)]
pub(crate) struct RouteIndex {
    exact: HashMap<String, Vec<u32>>,
    /// In order.
    prefixes: Vec<Prefix>,
    others: Vec<u32>,
}

#[derive(Debug)]
struct Prefix {
    text: String,
    /// The place of the longest other one that this one begins with.
    parent: Option<usize>,
    /// The routes with this prefix or one that it begins with.
    routes: Vec<u32>,
}

impl RouteIndex {
    /// The index of these routes, if it is worth its while.
    pub(crate) fn of(routes: &[Arc<Route>]) -> Option<Self> {
        if routes.len() < FEW {
            return None;
        }
        let mut exact: HashMap<String, Vec<u32>> = HashMap::new();
        let mut by_prefix: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut others = Vec::new();
        for (place, route) in (0u32..).zip(routes) {
            match &route.matcher.path {
                PathMatcher::Exact {
                    value,
                    ignore_case: false,
                } => exact.entry(value.clone()).or_default().push(place),
                PathMatcher::Prefix {
                    value,
                    ignore_case: false,
                } => {
                    // `/` takes every path, also `*`.
                    let text = if value == "/" { "" } else { value };
                    by_prefix.entry(text.to_owned()).or_default().push(place);
                }
                PathMatcher::Segments {
                    value,
                    ignore_case: false,
                } => {
                    exact.entry(value.clone()).or_default().push(place);
                    by_prefix
                        .entry(format!("{value}/"))
                        .or_default()
                        .push(place);
                }
                _ => others.push(place),
            }
        }
        let prefixes = nested(by_prefix, routes.len() * NESTED)?;
        Some(Self {
            exact,
            prefixes,
            others,
        })
    }

    /// The places of the routes whose paths may match, in order.
    pub(crate) fn candidates(&self, path: &str) -> impl Iterator<Item = u32> {
        let exact = self.exact.get(path).map_or(&[][..], Vec::as_slice);
        let mut lists = [exact, self.with_prefix(path), &self.others];
        std::iter::from_fn(move || {
            let (first, list) = lists
                .iter_mut()
                .filter_map(|list| Some((*list.first()?, list)))
                .min_by_key(|(first, _)| *first)?;
            *list = &list[1..];
            Some(first)
        })
    }

    fn with_prefix(&self, path: &str) -> &[u32] {
        let behind = self
            .prefixes
            .partition_point(|prefix| prefix.text.as_str() <= path);
        let mut place = behind.checked_sub(1);
        while let Some(prefix) = place.and_then(|place| self.prefixes.get(place)) {
            if path.starts_with(&prefix.text) {
                return &prefix.routes;
            }
            place = prefix.parent;
        }
        &[]
    }
}

/// Each prefix with what it begins with; `None` if that would take too much room.
fn nested(by_prefix: BTreeMap<String, Vec<u32>>, room: usize) -> Option<Vec<Prefix>> {
    let mut prefixes: Vec<Prefix> = Vec::with_capacity(by_prefix.len());
    let mut taken = 0;
    for (text, mut routes) in by_prefix {
        let mut parent = prefixes.len().checked_sub(1);
        while let Some(place) = parent
            && !text.starts_with(&prefixes[place].text)
        {
            parent = prefixes[place].parent;
        }
        if let Some(parent) = parent {
            routes.extend(&prefixes[parent].routes);
            routes.sort_unstable();
        }
        taken += routes.len();
        if taken > room {
            return None;
        }
        prefixes.push(Prefix {
            text,
            parent,
            routes,
        });
    }
    Some(prefixes)
}
