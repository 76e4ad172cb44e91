//! What policies have in common: which workloads they are for, and how they compare texts and addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Which workloads a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PolicyTarget {
    /// All of its namespace; all of the mesh, where that is the root namespace.
    #[default]
    Namespace,
    /// Those of its namespace that have all of these labels, of which there is at least one.
    Workloads(BTreeMap<String, String>),
    /// What these stand for: a Service, a ServiceEntry, a Gateway of the Gateway API.
    References(Vec<TargetReference>),
}

/// An object of the policy's own namespace that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetReference {
    /// API group, empty for core.
    pub group: String,
    /// Kind, for example `Gateway`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// What a value must be, and what it must not be. Nothing of both matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Among<T> {
    /// One of these must match, where there are any.
    pub any_of: Vec<T>,
    /// None of these may match.
    pub none_of: Vec<T>,
}

impl<T> Default for Among<T> {
    fn default() -> Self {
        Among {
            any_of: Vec::new(),
            none_of: Vec::new(),
        }
    }
}

impl<T> Among<T> {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.any_of.is_empty() && self.none_of.is_empty()
    }

    /// Whether a value passes, where `matches` compares it with one entry.
    pub fn admits(&self, matches: impl Fn(&T) -> bool) -> bool {
        (self.any_of.is_empty() || self.any_of.iter().any(&matches))
            && !self.none_of.iter().any(&matches)
    }
}

/// How a policy compares a text. Case matters, except in hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// `*`: there is one, and it is not empty.
    Present,
    /// The whole text.
    Exact(String),
    /// `text*`
    Prefix(String),
    /// `*text`
    Suffix(String),
}

impl ValueMatch {
    /// As Istio reads it: a `*` in front counts before one at the end.
    pub fn parse(text: &str) -> ValueMatch {
        if text == "*" {
            ValueMatch::Present
        } else if let Some(suffix) = text.strip_prefix('*') {
            ValueMatch::Suffix(suffix.to_owned())
        } else if let Some(prefix) = text.strip_suffix('*') {
            ValueMatch::Prefix(prefix.to_owned())
        } else {
            ValueMatch::Exact(text.to_owned())
        }
    }

    /// Whether a text matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            ValueMatch::Present => !text.is_empty(),
            ValueMatch::Exact(whole) => text == whole,
            ValueMatch::Prefix(prefix) => text.starts_with(prefix.as_str()),
            ValueMatch::Suffix(suffix) => text.ends_with(suffix.as_str()),
        }
    }
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpBlock {
    /// An address of the block.
    pub address: IpAddr,
    /// How many of its bits count; all of them for a single address.
    pub bits: u8,
}

impl IpBlock {
    /// Reads `10.1.2.3` or `10.0.0.0/8`; nothing where the text is neither.
    pub fn parse(text: &str) -> Option<IpBlock> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(all), |bits| bits.parse().ok())?;
        (bits <= all).then_some(IpBlock { address, bits })
    }

    /// Whether an address is in the block; those of the other family are not.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |one: u128, other: u128, all: u32| {
            let free = all - u32::from(self.bits).min(all);
            one.checked_shr(free) == other.checked_shr(free)
        };
        match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                same(u32::from(one).into(), u32::from(other).into(), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => same(one.into(), other.into(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Among, IpBlock, ValueMatch};

    #[test]
    fn texts_match_as_istio_writes_them() {
        for (pattern, text, expected) in [
            ("*", "a", true),
            ("*", "", false),
            ("abc", "abc", true),
            ("abc", "ABC", false),
            ("/api*", "/apifoo", true),
            ("*.json", "/a.json", true),
            ("*.json", "/a.xml", false),
            ("", "", true),
        ] {
            assert_eq!(
                ValueMatch::parse(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
        assert_eq!(ValueMatch::parse("*a*"), ValueMatch::Suffix("a*".into()));
    }

    #[test]
    fn addresses_are_in_their_blocks() {
        for (block, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let block = IpBlock::parse(block).expect(block);
            let address = address.parse().expect(address);
            assert_eq!(block.contains(address), expected, "{block:?} {address}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0/8", "::/129", "", "a", "10.0.0.0/x"] {
            assert_eq!(IpBlock::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_among_and_not_among() {
        let among = |any: &[u16], none: &[u16]| Among {
            any_of: any.to_vec(),
            none_of: none.to_vec(),
        };
        let admits = |among: &Among<u16>, port: u16| among.admits(|one| *one == port);
        assert!(admits(&Among::default(), 1));
        assert!(admits(&among(&[1, 2], &[]), 2));
        assert!(!admits(&among(&[1, 2], &[]), 3));
        assert!(!admits(&among(&[], &[3]), 3));
        assert!(!admits(&among(&[1, 2], &[2]), 2));
    }
}
