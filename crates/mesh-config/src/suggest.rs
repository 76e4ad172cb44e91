//! "Did you mean …?"

/// The candidate that was most probably meant by `written`, where one is near enough.
pub(crate) fn suggest<'c>(
    written: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    const LONGEST: usize = 64;
    if written.len() > LONGEST {
        return None;
    }
    let lower = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().min(written.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let fields = ["host", "subset", "port", "weight"];
        assert_eq!(suggest("wieght", fields), Some("weight"));
        assert_eq!(suggest("Host", fields), Some("host"));
        assert_eq!(suggest("hosts", fields), Some("host"));
        assert_eq!(suggest("timeout", fields), None);
        assert_eq!(suggest("x", fields), None);
        assert_eq!(suggest(&"w".repeat(1000), fields), None);
    }
}
