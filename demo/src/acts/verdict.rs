//! What an act's counts must be. Pure, so that a wrong count is known to fail.

use super::count::Counts;
use crate::app::role::Version;
use crate::client::Lost;

/// Each version got half, give or take `tolerance` requests, and nothing failed.
pub(crate) fn half_and_half(counts: &Counts, tolerance: u32) -> Result<(), String> {
    let half = counts.requests / 2;
    split(counts, half, counts.requests - half, tolerance)
}

/// The original got nine of ten, give or take `tolerance` requests, and nothing failed.
pub(crate) fn nine_to_one(counts: &Counts, tolerance: u32) -> Result<(), String> {
    let tenth = counts.requests / 10;
    split(counts, counts.requests - tenth, tenth, tolerance)
}

fn split(counts: &Counts, original: u32, experimental: u32, tolerance: u32) -> Result<(), String> {
    if counts.requests == 0 {
        return Err("no request was sent".to_owned());
    }
    if let Some((failure, count)) = counts.failures.first_key_value() {
        return Err(format!(
            "{count} of {} requests failed: {failure}",
            counts.requests
        ));
    }
    for (version, expected) in [
        (Version::Original, original),
        (Version::Experimental, experimental),
    ] {
        let got = counts.of(version.title());
        if got.abs_diff(expected) > tolerance {
            return Err(format!(
                "the {version} version answered {got} times, not {expected} (give or take {tolerance})"
            ));
        }
    }
    let known = counts.of(Version::Original.title()) + counts.of(Version::Experimental.title());
    if known != counts.requests {
        return Err("a page came that is of neither version".to_owned());
    }
    Ok(())
}

/// Nobody was let in: each request was refused or answered 404. Where connections are `forwarded`, whoever
/// forwards them takes each and closes it when nobody listens behind: that is a refusal too.
pub(crate) fn nobody_let_in(counts: &Counts, forwarded: bool) -> Result<(), String> {
    if counts.requests == 0 {
        return Err("no request was sent".to_owned());
    }
    if let Some((title, count)) = counts.titles.first_key_value() {
        return Err(format!("{count} requests were let in, to \"{title}\""));
    }
    let mut shut = vec![Lost::Refused.to_string(), "404 Not Found".to_owned()];
    if forwarded {
        shut.push(Lost::Closed.to_string());
    }
    match counts
        .failures
        .iter()
        .find(|(failure, _)| !shut.contains(failure))
    {
        None => Ok(()),
        Some((failure, count)) => Err(format!(
            "{count} requests got neither a refusal nor a 404: {failure}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn counts(original: u32, experimental: u32, failures: &[(&str, u32)]) -> Counts {
        let titles = [
            (Version::Original, original),
            (Version::Experimental, experimental),
        ];
        let titles: BTreeMap<String, u32> = titles
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(version, count)| (version.title().to_owned(), count))
            .collect();
        let failures: BTreeMap<String, u32> = failures
            .iter()
            .map(|(failure, count)| ((*failure).to_owned(), *count))
            .collect();
        Counts {
            requests: titles.values().sum::<u32>() + failures.values().sum::<u32>(),
            titles,
            failures,
        }
    }

    #[test]
    fn half_and_half_is_exact_to_the_tolerance() {
        assert!(half_and_half(&counts(100, 100, &[]), 2).is_ok());
        assert!(half_and_half(&counts(102, 98, &[]), 2).is_ok());
        assert!(half_and_half(&counts(103, 97, &[]), 2).is_err());
        assert!(half_and_half(&counts(180, 20, &[]), 2).is_err());
        assert!(half_and_half(&counts(0, 0, &[]), 2).is_err());
    }

    #[test]
    fn nine_to_one_knows_which_is_which() {
        assert!(nine_to_one(&counts(900, 100, &[]), 10).is_ok());
        assert!(nine_to_one(&counts(890, 110, &[]), 10).is_ok());
        assert!(nine_to_one(&counts(889, 111, &[]), 10).is_err());
        assert!(nine_to_one(&counts(100, 900, &[]), 10).is_err());
        assert!(nine_to_one(&counts(500, 500, &[]), 10).is_err());
    }

    #[test]
    fn one_failure_or_one_strange_page_is_too_many() {
        let error = nine_to_one(&counts(900, 99, &[("503 Service Unavailable", 1)]), 10);
        assert!(error.unwrap_err().contains("503"));
        let mut strange = counts(100, 99, &[]);
        strange.titles.insert("Welcome to nginx!".to_owned(), 1);
        strange.requests += 1;
        assert!(half_and_half(&strange, 2).is_err());
    }

    #[test]
    fn the_edge_is_shut_by_refusal_or_404_only() {
        let verdict =
            |count, failures: &[(&str, u32)]| nobody_let_in(&counts(count, 0, failures), false);
        assert!(verdict(0, &[("connection refused", 20)]).is_ok());
        assert!(verdict(0, &[("404 Not Found", 20)]).is_ok());
        assert!(verdict(1, &[("connection refused", 19)]).is_err());
        assert!(verdict(0, &[("503 Service Unavailable", 20)]).is_err());
        assert!(verdict(0, &[]).is_err());
    }

    #[test]
    fn a_forwarded_connection_that_is_closed_was_refused_behind() {
        let closed = counts(0, 0, &[("connection closed without an answer", 20)]);
        assert!(nobody_let_in(&closed, true).is_ok());
        assert!(nobody_let_in(&closed, false).is_err());
    }
}
