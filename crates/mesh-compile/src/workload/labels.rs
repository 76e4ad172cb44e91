//! Labels, selectors, and finding what carries some labels.

use std::collections::{BTreeMap, HashMap};

/// Label keys and values.
pub(crate) type Labels = BTreeMap<String, String>;

/// Whether all labels of a selector are among these. An empty selector is true of everything; where it must
/// select nothing, [`LabelIndex`] sees to that.
pub(crate) fn has_labels(labels: &Labels, selector: &Labels) -> bool {
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// Finds what carries some labels without looking at everything.
#[derive(Debug)]
pub(super) struct LabelIndex<T> {
    /// By namespace, key and value.
    postings: HashMap<String, HashMap<String, HashMap<String, Vec<T>>>>,
}

impl<T> Default for LabelIndex<T> {
    fn default() -> Self {
        Self {
            postings: HashMap::new(),
        }
    }
}

impl<T: Clone> LabelIndex<T> {
    pub(super) fn add(&mut self, namespace: &str, labels: &Labels, item: &T) {
        let keys = self.postings.entry(namespace.to_owned()).or_default();
        for (key, value) in labels {
            let values = keys.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().push(item.clone());
        }
    }

    /// What carries all labels of the selector, in the order of adding: the rarest of its labels is looked up,
    /// the others are left to `fits`. An empty selector selects nothing.
    pub(super) fn select(
        &self,
        namespace: &str,
        selector: &Labels,
        fits: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        let Some(keys) = self.postings.get(namespace) else {
            return Vec::new();
        };
        let posting = |(key, value)| keys.get(key).and_then(|values| values.get(value));
        let postings: Option<Vec<&Vec<T>>> = selector.iter().map(posting).collect();
        postings
            .and_then(|postings| postings.into_iter().min_by_key(|posting| posting.len()))
            .map(|rarest| rarest.iter().filter(|item| fits(item)).cloned().collect())
            .unwrap_or_default()
    }
}
