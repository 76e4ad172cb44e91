//! Placeholders in the values of headers, `%DOWNSTREAM_REMOTE_ADDRESS%`: Istio passes them on, Envoy fills them in.

/// Those without an argument that the mesh's proxies fill in.
const PLAIN: [&str; 13] = [
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "RESPONSE_CODE",
    "ROUTE_NAME",
    "START_TIME",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_HOST",
];

/// What stands in a value that no proxy of the mesh can fill in; the error says what and why.
pub(crate) fn placeholders(value: &str) -> super::Verdict {
    if value
        .bytes()
        .any(|byte| byte != b'\t' && byte.is_ascii_control())
    {
        return Err("its value has a control character in it".to_owned());
    }
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        let end = end(rest).ok_or(
            "a lone % begins a placeholder that does not end; write %% for a percent sign",
        )?;
        let name = &rest[..end];
        if !is_known(name) {
            return Err(format!(
                "the placeholder %{name}% is none that the proxies fill in"
            ));
        }
        rest = &rest[end + 1..];
    }
    Ok(())
}

/// Where the percent sign is that ends a placeholder; one in parentheses does not.
fn end(text: &str) -> Option<usize> {
    let mut inside = false;
    text.bytes().position(|byte| {
        match byte {
            b'(' => inside = true,
            b')' => inside = false,
            _ => {}
        }
        byte == b'%' && !inside
    })
}

fn is_known(name: &str) -> bool {
    let of_header = || {
        let named = name
            .strip_prefix("REQ(")
            .and_then(|rest| rest.strip_suffix(')'));
        named.is_some_and(|named| {
            named
                .split('?')
                .map(|name| name.strip_prefix(':').unwrap_or(name))
                .all(|name| super::header_name(name).is_ok())
                && named.split('?').count() <= 2
        })
    };
    PLAIN.contains(&name) || of_header()
}

/// What stands in for the parts of a path that an expression finds: `\\1` is its first group.
pub(crate) fn substitution(pattern: &str, text: &str) -> super::Verdict {
    let groups = regex::Regex::new(pattern).map_or(1, |regex| regex.captures_len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            continue;
        }
        let fits = match chars.next() {
            Some('\\') => true,
            Some(digit) => digit
                .to_digit(10)
                .is_some_and(|group| (group as usize) < groups),
            None => false,
        };
        if !fits {
            return Err(
                "a backslash in it names no group of match; write \\1 for the first one, or two for itself"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_there() {
        assert_eq!(substitution("/(a)", r"/\1\\\0"), Ok(()));
        for bad in [r"\2", r"\x", r"a\"] {
            substitution("/(a)", bad).expect_err(bad);
        }
    }

    #[test]
    fn what_proxies_fill_in_is_known_by_name() {
        for fine in [
            "",
            "plain",
            "100%%",
            "%DOWNSTREAM_REMOTE_ADDRESS%",
            "a %PROTOCOL% b %REQ(x-a)%",
            "%REQ(:path)%%REQ(x-a?:authority)%",
            "%START_TIME%",
        ] {
            assert_eq!(placeholders(fine), Ok(()), "{fine}");
        }
        for bad in [
            "a\nb",
            "100%",
            "%x",
            "%UPSTREAM_METADATA(a)%",
            "%REQ()%",
            "%REQ(a?b?c)%",
            "%START_TIME(%s)%",
        ] {
            placeholders(bad).expect_err(bad);
        }
    }
}
