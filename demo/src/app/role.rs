//! Which app the program plays, and in which version.

use std::fmt;

use clap::ValueEnum;

/// The apps of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The page that people look at; asks the api-gateway.
    Webapp,
    /// Puts one answer together from position-tracker, vehicle-telemetry and staff-service.
    ApiGateway,
    /// Remembers where each vehicle was last seen.
    PositionTracker,
    /// Drives the vehicles: posts positions and speeds, steadily.
    PositionSimulator,
    /// Remembers how fast each vehicle goes.
    VehicleTelemetry,
    /// Knows who drives which vehicle.
    StaffService,
}

impl Role {
    /// As in the flag `--role` and in the label `app`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Webapp => "webapp",
            Self::ApiGateway => "api-gateway",
            Self::PositionTracker => "position-tracker",
            Self::PositionSimulator => "position-simulator",
            Self::VehicleTelemetry => "vehicle-telemetry",
            Self::StaffService => "staff-service",
        }
    }
}

/// The versions of the webapp, told apart by title, colour and the header `x-version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    /// What everybody knows.
    #[default]
    Original,
    /// What is being tried.
    Experimental,
}

impl Version {
    /// As in the flag `--version` and in the label `version`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Experimental => "experimental",
        }
    }

    /// The page's `<title>`.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Original => "Fleet Management (original)",
            Self::Experimental => "Fleet Management (experimental)",
        }
    }

    /// The page's leading colour, as CSS writes it.
    pub(crate) fn colour(self) -> &'static str {
        match self {
            Self::Original => "#1f5fa8",
            Self::Experimental => "#b4481e",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_flags_values() {
        for role in Role::value_variants() {
            assert_eq!(Role::from_str(role.name(), false), Ok(*role));
        }
        for version in Version::value_variants() {
            assert_eq!(Version::from_str(version.name(), false), Ok(*version));
        }
    }
}
