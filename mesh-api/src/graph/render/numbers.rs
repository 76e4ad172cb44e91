//! Numbers and times, short enough for a label.

use time::OffsetDateTime;

use crate::graph::traffic::Protocol;

/// `60 s`, `10 min`, `1 h 30 min`
pub(super) fn window(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    if seconds < 120 || !seconds.is_multiple_of(60) {
        return format!("{seconds} s");
    }
    match (hours, minutes) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// `2026-11-24 12:00:00 UTC`
pub(super) fn time(seconds: u64) -> String {
    let known = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    known.map_or_else(
        || format!("second {seconds}"),
        |time| {
            let (hour, minute, second) = time.to_hms();
            let date = time.date();
            format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
        },
    )
}

/// Requests, messages or bytes per second, short.
pub(super) fn rate(protocol: Protocol, rate: f64) -> String {
    if protocol == Protocol::Tcp {
        return bytes(rate);
    }
    format!("{} rps", short(rate))
}

fn bytes(rate: f64) -> String {
    let mut value = rate;
    let mut units = ["B/s", "kB/s", "MB/s", "GB/s"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{} {unit}", short(value))
}

/// Three significant digits, and no zeros behind the point.
fn short(value: f64) -> String {
    let decimals = if value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else if value >= 0.01 || value <= 0.0 {
        2
    } else {
        4
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "0" && value > 0.0 {
            return "<0.0001".to_owned();
        }
        return text.to_owned();
    }
    text
}

/// Whole percents, with a decimal only near the ends, where it matters.
pub(super) fn percent(value: f64) -> String {
    if value >= 99.95 {
        "100%".to_owned()
    } else if !(1.0..99.0).contains(&value) {
        format!("{value:.1}%")
    } else {
        format!("{value:.0}%")
    }
}

pub(super) fn milliseconds(time: f64) -> String {
    if time >= 9_950.0 {
        format!("{:.0} s", time / 1000.0)
    } else if time >= 995.0 {
        format!("{:.1} s", time / 1000.0)
    } else if time >= 9.95 {
        format!("{time:.0} ms")
    } else {
        format!("{time:.1} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, milliseconds, percent, short, time, window};

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.000_01, "<0.0001"),
            (0.004, "0.004"),
            (0.5, "0.5"),
            (4.5, "4.5"),
            (9.999, "10"),
            (12.345, "12.3"),
            (100.0, "100"),
            (12_345.6, "12346"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text, "{value}");
        }
        assert_eq!(bytes(999.0), "999 B/s");
        assert_eq!(bytes(1_024_000.0), "1.02 MB/s");
        assert_eq!(bytes(5e13), "50000 GB/s");
    }

    #[test]
    fn percents_are_exact_only_near_the_ends() {
        let cases = [
            (0.2, "0.2%"),
            (10.0, "10%"),
            (99.4, "99.4%"),
            (99.99, "100%"),
        ];
        for (value, text) in cases {
            assert_eq!(percent(value), text);
        }
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(milliseconds(4.75), "4.8 ms");
        assert_eq!(milliseconds(48.0), "48 ms");
        assert_eq!(milliseconds(1_250.0), "1.2 s");
        assert_eq!(milliseconds(30_000.0), "30 s");
        assert_eq!(window(60), "60 s");
        assert_eq!(window(600), "10 min");
        assert_eq!(window(5400), "1 h 30 min");
        assert_eq!(window(90), "90 s");
        assert_eq!(window(121), "121 s");
        assert_eq!(time(1_764_000_000), "2025-11-24 16:00:00 UTC");
        assert_eq!(time(u64::MAX), format!("second {}", u64::MAX));
    }
}
