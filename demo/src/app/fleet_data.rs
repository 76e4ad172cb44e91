//! What the apps talk about: vehicles, where they are, how fast they go and who drives them.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

/// How many vehicles a store remembers. Further names are refused, so nobody can fill the memory.
pub(crate) const MOST_VEHICLES: usize = 1000;

/// Where a vehicle was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The vehicle.
    pub(crate) vehicle: String,
    /// Degrees north.
    pub(crate) latitude: f64,
    /// Degrees east.
    pub(crate) longitude: f64,
}

/// How fast a vehicle goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Telemetry {
    /// The vehicle.
    pub(crate) vehicle: String,
    /// Kilometres an hour.
    pub(crate) speed_kmh: f64,
}

/// One line of the page: everything known of one vehicle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Vehicle {
    /// The vehicle.
    pub(crate) vehicle: String,
    /// Degrees north.
    pub(crate) latitude: f64,
    /// Degrees east.
    pub(crate) longitude: f64,
    /// Kilometres an hour, if the telemetry was there.
    pub(crate) speed_kmh: Option<f64>,
    /// Who drives it, if the staff service knew.
    pub(crate) driver: Option<String>,
}

/// The vehicles that the simulator drives, each with its driver.
const ROSTER: [(&str, &str); 8] = [
    ("Harbour Van", "Amina Yusuf"),
    ("Hill Lorry", "Bram de Wit"),
    ("Night Courier", "Chiara Russo"),
    ("Orchard Truck", "Dafydd Evans"),
    ("Post Bicycle", "Elena Petrova"),
    ("River Barge", "Farid Rahimi"),
    ("Snow Plough", "Greta Lindqvist"),
    ("Village Bus", "Hugo Moreau"),
];

/// Vehicle to driver, as the staff service knows them.
pub(crate) fn drivers() -> BTreeMap<String, String> {
    ROSTER
        .iter()
        .map(|(vehicle, driver)| ((*vehicle).to_owned(), (*driver).to_owned()))
        .collect()
}

/// The state of vehicle `number` at step `step` of its round: each drives its own circle, so the
/// simulation needs no chance and looks the same on every machine.
pub(crate) fn drive(number: usize, step: u64) -> (Position, Telemetry) {
    const STEPS_PER_ROUND: u64 = 240;
    let (name, _) = ROSTER[number % ROSTER.len()];
    let place = f64::from(u32::try_from(number % ROSTER.len()).unwrap_or_default());
    let part = f64::from(u32::try_from(step % STEPS_PER_ROUND).unwrap_or_default())
        / f64::from(u32::try_from(STEPS_PER_ROUND).unwrap_or(1));
    let angle = TAU * (part + place / 8.0);
    let radius = 0.02 + place * 0.005;
    let position = Position {
        vehicle: name.to_owned(),
        latitude: 53.383 + radius * angle.sin(),
        longitude: -1.465 + radius * angle.cos(),
    };
    let telemetry = Telemetry {
        vehicle: name.to_owned(),
        speed_kmh: 30.0 + place * 5.0 + 8.0 * (angle * 3.0).sin(),
    };
    (position, telemetry)
}

/// How many vehicles there are to drive.
pub(crate) fn roster_len() -> usize {
    ROSTER.len()
}

/// Puts what three services know into one list, ordered as the positions are.
pub(crate) fn join(
    positions: Vec<Position>,
    telemetry: &[Telemetry],
    drivers: &BTreeMap<String, String>,
) -> Vec<Vehicle> {
    positions
        .into_iter()
        .map(|position| Vehicle {
            speed_kmh: telemetry
                .iter()
                .find(|telemetry| telemetry.vehicle == position.vehicle)
                .map(|telemetry| telemetry.speed_kmh),
            driver: drivers.get(&position.vehicle).cloned(),
            vehicle: position.vehicle,
            latitude: position.latitude,
            longitude: position.longitude,
        })
        .collect()
}

/// The last word on each vehicle.
#[derive(Debug)]
pub(crate) struct Latest<T> {
    by_vehicle: BTreeMap<String, T>,
}

// Derived, it would ask for `T: Default`.
impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self {
            by_vehicle: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Latest<T> {
    /// Remembers `value` for `vehicle`; false if there are too many vehicles already.
    #[must_use]
    pub(crate) fn put(&mut self, vehicle: &str, value: T) -> bool {
        if self.by_vehicle.len() >= MOST_VEHICLES && !self.by_vehicle.contains_key(vehicle) {
            return false;
        }
        self.by_vehicle.insert(vehicle.to_owned(), value);
        true
    }

    /// All of them, ordered by vehicle.
    pub(crate) fn all(&self) -> Vec<T> {
        self.by_vehicle.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vehicle_has_a_driver_and_moves() {
        let drivers = drivers();
        assert_eq!(drivers.len(), roster_len());
        for number in 0..roster_len() {
            let (first, telemetry) = drive(number, 0);
            let (later, _) = drive(number, 1);
            assert!(drivers.contains_key(&first.vehicle));
            assert_eq!(first.vehicle, telemetry.vehicle);
            assert_ne!(first, later);
            assert!(telemetry.speed_kmh > 0.0);
        }
    }

    #[test]
    fn what_is_missing_stays_empty_in_the_joined_list() {
        let positions = vec![drive(0, 0).0, drive(1, 0).0];
        let telemetry = [drive(1, 0).1];
        let joined = join(positions, &telemetry, &BTreeMap::new());
        assert_eq!(joined.len(), 2);
        assert_eq!(joined[0].speed_kmh, None);
        assert_eq!(joined[1].speed_kmh, Some(telemetry[0].speed_kmh));
        assert_eq!(joined[1].driver, None);
    }

    #[test]
    fn memory_is_bounded_and_known_vehicles_still_move() {
        let mut latest = Latest::default();
        for number in 0..MOST_VEHICLES {
            assert!(latest.put(&number.to_string(), 0));
        }
        assert!(!latest.put("one more", 0));
        assert!(latest.put("7", 1));
        assert_eq!(latest.all().len(), MOST_VEHICLES);
    }
}
