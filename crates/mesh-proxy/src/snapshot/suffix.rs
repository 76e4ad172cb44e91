//! What belongs to names by their ends: the wildcards `*.example.com`, and `*-eu.example.com`.
//!
//! A few are asked in turn. Many are asked by length, as there are few lengths: at most one suffix of each can be
//! a name's end, and a hash finds it. A suffix that begins with a dot can only stand where the name has one, so most
//! lengths cost one look at a byte.

use std::cmp::Reverse;
use std::collections::HashMap;

/// With fewer, asking them in turn is about as fast as hashing a few ends, or faster.
const FEW: usize = 32;

/// Suffixes and what belongs to each.
#[derive(Debug)]
pub struct Suffixes<T> {
    /// Longest first; each suffix once.
    all: Vec<(String, T)>,
    index: Option<Index>,
}

#[derive(Debug)]
struct Index {
    places: HashMap<String, usize>,
    /// Longest first.
    lengths: Vec<Length>,
}

#[derive(Debug)]
struct Length {
    bytes: usize,
    /// All suffixes of this length begin with a dot.
    dotted: bool,
}

impl<T> Suffixes<T> {
    /// What belongs to the longest suffix that this name ends with and that is not all of it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&T> {
        let Some(index) = &self.index else {
            let longer = |suffix: &str| name.len() > suffix.len() && name.ends_with(suffix);
            let found = self.all.iter().find(|(suffix, _)| longer(suffix));
            return found.map(|(_, value)| value);
        };
        let place = index.lengths.iter().find_map(|length| {
            let start = name.len().checked_sub(length.bytes).filter(|at| *at > 0)?;
            if length.dotted && name.as_bytes()[start] != b'.' {
                return None;
            }
            // In the middle of a character no suffix begins.
            index.places.get(name.get(start..)?)
        });
        self.all.get(*place?).map(|(_, value)| value)
    }

    /// All of them, longest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.all.iter().map(|(suffix, value)| (&**suffix, value))
    }

    /// What belongs to them, in the order of [`Self::iter`].
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.all.iter().map(|(_, value)| value)
    }
}

impl<T> Default for Suffixes<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            index: None,
        }
    }
}

/// From suffixes that are all different.
impl<T> FromIterator<(String, T)> for Suffixes<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(suffixes: I) -> Self {
        let mut all: Vec<_> = suffixes.into_iter().collect();
        all.sort_by(|(a, _), (b, _)| (Reverse(a.len()), a).cmp(&(Reverse(b.len()), b)));
        let index = (all.len() >= FEW).then(|| Index::of(all.iter().map(|(suffix, _)| &**suffix)));
        Self { all, index }
    }
}

impl Index {
    fn of<'a>(longest_first: impl Iterator<Item = &'a str>) -> Self {
        let mut index = Self {
            places: HashMap::new(),
            lengths: Vec::new(),
        };
        for (place, suffix) in longest_first.enumerate() {
            let (bytes, dotted) = (suffix.len(), suffix.starts_with('.'));
            match index.lengths.last_mut() {
                Some(last) if last.bytes == bytes => last.dotted &= dotted,
                _ => index.lengths.push(Length { bytes, dotted }),
            }
            index.places.insert(suffix.to_owned(), place);
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn suffixes<'s>(all: impl IntoIterator<Item = &'s str>) -> Suffixes<String> {
        let pairs = all.into_iter().map(|one| (one.to_owned(), one.to_owned()));
        pairs.collect()
    }

    #[test]
    fn the_longest_wins_whether_they_are_few_or_many() {
        let more: Vec<String> = (0..FEW).map(|i| format!(".h{i}.example")).collect();
        let few = [".c", "-x.c", ".b.c"];
        for others in [&[][..], &more] {
            let all = suffixes(others.iter().map(String::as_str).chain(few));
            let find = |name| all.find(name).map(String::as_str);
            assert_eq!(find("a.b.c"), Some(".b.c"));
            assert_eq!(find(".b.c"), Some(".c"), "something stands before it");
            assert_eq!(find("a-x.c"), Some("-x.c"));
            assert_eq!(find("-x.c"), Some(".c"));
            assert_eq!(find("éb.c"), Some(".c"));
            for name in ["", ".", "c", ".c", "b.cc"] {
                assert_eq!(find(name), None, "{name:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn they_are_found_as_by_asking_all(
            all in prop::collection::btree_set("[.abé-]{1,6}", 0..80),
            names in prop::collection::vec("[.abé-]{0,8}", 20),
        ) {
            let all: BTreeSet<String> = all;
            let indexed = suffixes(all.iter().map(String::as_str));
            for name in &names {
                let ends = |suffix: &&String| name != *suffix && name.ends_with(suffix.as_str());
                let expected = all.iter().filter(ends).max_by_key(|suffix| suffix.len());
                prop_assert_eq!(indexed.find(name), expected, "{}", name);
            }
        }
    }
}
