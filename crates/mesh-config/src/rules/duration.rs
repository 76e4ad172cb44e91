//! Lengths of time as Go writes them.

use super::Verdict;
use crate::yaml::quoted;

const MILLISECOND: u128 = 1_000_000;

/// A length of time that Istio takes: whole milliseconds, at least one unless 0 has a meaning.
pub(crate) fn duration(text: &str, zero_is_fine: bool) -> Verdict {
    let Some(nanoseconds) = nanoseconds(text) else {
        return Err(format!(
            "{} is no length of time; write it like 1.5s, 200ms or 1h30m",
            quoted(text)
        ));
    };
    if nanoseconds == 0 && zero_is_fine {
        return Ok(());
    }
    if nanoseconds < MILLISECOND {
        return Err(format!("{text} is too short; use at least 1ms"));
    }
    if !nanoseconds.is_multiple_of(MILLISECOND) {
        return Err(format!("{text} is too fine; use whole milliseconds"));
    }
    Ok(())
}

/// Whether a length of time has no fraction of a second.
pub(crate) fn whole_seconds(text: &str) -> bool {
    nanoseconds(text).is_some_and(|length| length.is_multiple_of(1_000 * MILLISECOND))
}

/// A length of time that [`duration`] finds nothing wrong with.
pub(crate) fn length_of_time(text: &str) -> Option<std::time::Duration> {
    let nanoseconds = u64::try_from(nanoseconds(text)?).ok()?;
    Some(std::time::Duration::from_nanos(nanoseconds))
}

/// Go's `time.ParseDuration` without a sign; fractions of a nanosecond are cut off.
fn nanoseconds(text: &str) -> Option<u128> {
    match text {
        "" => return None,
        "0" => return Some(0),
        _ => {}
    }
    let mut rest = text;
    let mut sum: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let (unit, length) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        sum = sum.checked_add(scaled(number, *length)?)?;
        rest = &tail[unit.len()..];
    }
    // Go's durations end at 292 years.
    (sum <= i64::MAX as u128).then_some(sum)
}

/// Longer names first where one begins with another.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", MILLISECOND),
    ("s", 1_000 * MILLISECOND),
    ("m", 60_000 * MILLISECOND),
    ("h", 3_600_000 * MILLISECOND),
];

/// `digits[.digits]` times a unit.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 20 || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut sum = whole.checked_mul(unit)?;
    let mut part = unit;
    for digit in fraction.bytes() {
        part /= 10;
        sum += u128::from(digit - b'0') * part;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_gos() {
        let table = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("5s", Some(5_000 * MILLISECOND)),
            ("1.5s", Some(1_500 * MILLISECOND)),
            (".5s", Some(500 * MILLISECOND)),
            ("1.s", Some(1_000 * MILLISECOND)),
            ("200ms", Some(200 * MILLISECOND)),
            ("1h30m", Some(5_400_000 * MILLISECOND)),
            ("1m0.5s", Some(60_500 * MILLISECOND)),
            ("7\u{b5}s", Some(7_000)),
            ("2.000000005s", Some(2_000_000_005)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("5 s", None),
            ("1d", None),
            ("5sec", None),
            ("1..5s", None),
            (".s", None),
            ("1h30", None),
            ("99999999h", None),
            ("9999999999999999999999s", None),
        ];
        for (text, expected) in table {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn istio_takes_whole_milliseconds() {
        assert_eq!(duration("1ms", false), Ok(()));
        assert_eq!(duration("0s", true), Ok(()));
        for bad in ["0s", "999us", "1.0005ms", "2.000000005s", "soon"] {
            duration(bad, false).expect_err(bad);
        }
        assert!(whole_seconds("2s") && !whole_seconds("2.5s"));
    }
}
