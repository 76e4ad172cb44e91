//! Host names and wildcards: `*`, `*.suffix`, or one host.

use std::cmp::Reverse;
use std::collections::HashMap;

/// Whether every host of `narrow` is one of `wide`. `*.example.com` does not take `example.com`.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    match wide.strip_prefix('*') {
        Some(suffix) => narrow.strip_prefix('*').unwrap_or(narrow).ends_with(suffix),
        None => wide == narrow,
    }
}

/// The hosts that both take, if any: the more specific of the two.
pub(crate) fn intersection<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    if covers(one, other) {
        Some(other)
    } else if covers(other, one) {
        Some(one)
    } else {
        None
    }
}

/// Orders hosts: those without wildcard first, then longer before shorter, then by letters.
pub(crate) fn specificity(host: &str) -> (bool, Reverse<usize>, &str) {
    (host.starts_with('*'), Reverse(host.len()), host)
}

/// Values by the host that they are for.
#[derive(Debug)]
pub(crate) struct HostMap<T> {
    exact: HashMap<String, T>,
    /// Most specific first.
    wildcard: Vec<(String, T)>,
}

impl<T: Default> HostMap<T> {
    /// Collects the entries of each host, in the order in which they come.
    pub(crate) fn collect<E>(
        entries: impl IntoIterator<Item = (String, E)>,
        mut add: impl FnMut(&mut T, E),
    ) -> Self {
        let mut exact: HashMap<String, T> = HashMap::new();
        for (host, entry) in entries {
            add(exact.entry(host).or_default(), entry);
        }
        let mut wildcard: Vec<_> = exact.extract_if(|host, _| host.starts_with('*')).collect();
        wildcard.sort_by(|(one, _), (other, _)| specificity(one).cmp(&specificity(other)));
        Self { exact, wildcard }
    }

    /// Looks at each value together with the other map's for the same host, if it has one.
    pub(crate) fn for_each(&mut self, other: &Self, mut look: impl FnMut(&mut T, &T)) {
        for (host, value) in &mut self.exact {
            if let Some(other) = other.exact.get(host) {
                look(value, other);
            }
        }
        for (host, value) in &mut self.wildcard {
            if let Some((_, other)) = other.wildcard.iter().find(|(known, _)| known == host) {
                look(value, other);
            }
        }
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        let wildcard = self.wildcard.iter().map(|(_, value)| value);
        self.exact.values().chain(wildcard)
    }

    /// All values for a host, the most specific first.
    pub(crate) fn for_host<'a, 'h>(
        &'a self,
        host: &'h str,
    ) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let wildcard = self
            .wildcard
            .iter()
            .filter(move |(known, _)| covers(known, host));
        self.exact
            .get(host)
            .into_iter()
            .chain(wildcard.map(|(_, value)| value))
    }
}

#[cfg(test)]
mod tests {
    use super::{HostMap, covers, intersection, specificity};

    #[test]
    fn wildcards_take_hosts_below_their_suffix() {
        for (wide, narrow) in [
            ("*", "a.b"),
            ("*", "*"),
            ("*", "*.b"),
            ("*.b", "a.b"),
            ("*.b", "x.a.b"),
            ("*.b", "*.a.b"),
            ("a.b", "a.b"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("*.b", "b"),
            ("*.b", "*"),
            ("*.a.b", "*.b"),
            ("*.b", "ab"),
            ("a.b", "*.b"),
            ("a.b", "a.c"),
        ] {
            assert!(!covers(wide, narrow), "{wide} {narrow}");
        }
        assert_eq!(intersection("*", "*.b"), Some("*.b"));
        assert_eq!(intersection("a.b", "*.b"), Some("a.b"));
        assert_eq!(intersection("a.b", "a.c"), None);
    }

    #[test]
    fn the_most_specific_comes_first() {
        let mut hosts = ["*", "*.b", "*.a.b", "b", "a.b", "c.b"];
        hosts.sort_by_key(|host| specificity(host));
        assert_eq!(hosts, ["a.b", "c.b", "b", "*.a.b", "*.b", "*"]);

        let map: HostMap<Vec<u8>> = HostMap::collect(
            [("*", 0), ("*.b", 1), ("a.b", 2), ("a.b", 3)].map(|(h, v)| (h.to_owned(), v)),
            Vec::push,
        );
        let values: Vec<_> = map.for_host("a.b").flatten().collect();
        assert_eq!(values, [&2, &3, &1, &0]);
        assert_eq!(map.for_host("b").flatten().collect::<Vec<_>>(), [&0]);
    }
}
