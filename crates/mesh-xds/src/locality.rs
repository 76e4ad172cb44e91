//! Where a workload runs, as Envoy and Istio name places: region, zone and subzone.

use std::fmt;
use std::str::FromStr;

use crate::envoy::core;

/// A place. A part is empty if it is not known; then the parts after it say nothing either.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// The largest part, such as `eu-west`.
    pub region: String,
    /// A part of the region.
    pub zone: String,
    /// A part of the zone.
    pub subzone: String,
}

/// A text that is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no locality; write region, region/zone or region/zone/subzone")]
pub struct LocalityError(String);

impl Locality {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.region.is_empty()
    }

    /// Envoy's form.
    #[must_use]
    pub fn to_message(&self) -> core::Locality {
        core::Locality {
            region: self.region.clone(),
            zone: self.zone.clone(),
            sub_zone: self.subzone.clone(),
        }
    }

    /// From Envoy's form.
    #[must_use]
    pub fn from_message(message: &core::Locality) -> Self {
        Self {
            region: message.region.clone(),
            zone: message.zone.clone(),
            subzone: message.sub_zone.clone(),
        }
    }

    /// Whether a rule that is written for `pattern`, where `*` or nothing stands for everything, takes this
    /// place in: Istio's way to compare them.
    #[must_use]
    pub fn is_in(&self, pattern: &str) -> bool {
        let mut parts = pattern.splitn(3, '/');
        [&self.region, &self.zone, &self.subzone]
            .into_iter()
            .all(|own| {
                let part = parts.next().unwrap_or_default();
                part.is_empty() || part == "*" || part == own
            })
    }
}

impl FromStr for Locality {
    type Err = LocalityError;

    /// `region/zone/subzone`, from the end each may be left out; nothing is nowhere.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let this = Self {
            region: part(),
            zone: part(),
            subzone: part(),
        };
        if parts.next().is_some() || this.to_string() != text {
            return Err(LocalityError(text.to_owned()));
        }
        Ok(this)
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for part in [&self.region, &self.zone, &self.subzone] {
            if part.is_empty() {
                break;
            }
            write!(f, "{separator}{part}")?;
            separator = "/";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Locality;

    fn locality(text: &str) -> Locality {
        text.parse().expect("a locality")
    }

    #[test]
    fn places_read_as_they_are_written() {
        for text in ["", "eu", "eu/a", "eu/a/rack-1"] {
            assert_eq!(locality(text).to_string(), text);
            assert_eq!(
                Locality::from_message(&locality(text).to_message()),
                locality(text)
            );
        }
        for text in ["eu/a/b/c", "/a", "eu//b", "eu/"] {
            text.parse::<Locality>().expect_err(text);
        }
    }

    #[test]
    fn a_pattern_takes_in_what_it_does_not_name() {
        let place = locality("eu/a/rack-1");
        for pattern in [
            "",
            "*",
            "eu",
            "eu/*",
            "eu/a",
            "eu/a/*",
            "eu/a/rack-1",
            "*/a",
        ] {
            assert!(place.is_in(pattern), "{pattern}");
        }
        for pattern in ["us", "eu/b", "eu/a/rack-2", "eu/a/rack-1/x"] {
            assert!(!place.is_in(pattern), "{pattern}");
        }
        assert!(locality("").is_in("*") && !locality("").is_in("eu"));
    }
}
