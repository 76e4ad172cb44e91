//! Each syntax with what it takes and what it refuses.

use proptest::prelude::*;

use super::*;

/// Holds a check against what it must take and what it must refuse.
fn holds(check: fn(&str) -> Verdict, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_eq!(check(text), Ok(()), "{text}");
    }
    for text in bad {
        let message = check(text).expect_err(text);
        assert!(
            message.contains("; ") || message.contains(": "),
            "no way out: {message}"
        );
    }
}

#[test]
fn names() {
    let long = "a".repeat(63);
    let too_long = "a".repeat(64);
    holds(
        dns_label,
        &["a", "a-b", "0", &long],
        &["", "A", "-a", "a-", "a.b", "a_b", "ä", &too_long],
    );
    holds(
        dns_subdomain,
        &["a", "a.b-c.0"],
        &["", ".", "a..b", "a.", "A.b", &"a.".repeat(127)],
    );
    holds(
        path_segment,
        &["system:node", "A_b"],
        &["", ".", "..", "a/b", "a%b"],
    );
    holds(
        port_name,
        &["http", "http-web", "a1"],
        &["", "80", "a--b", "-a", "Http", "sixteen-letters-"],
    );
    holds(visibility, &[".", "*", "~", "shop"], &["", "Shop", "a/b"]);
}

#[test]
fn labels() {
    holds(
        label_key,
        &["app", "app.kubernetes.io/name", "A_b.c-d"],
        &["", "/a", "a/", "a/b/c", "-a", "a b", "A/b/"],
    );
    holds(
        label_value,
        &["", "a", "v1.10", "A_b-c"],
        &["-a", "a-", "a b", "a/b", &"a".repeat(64)],
    );
}

#[test]
fn hosts() {
    let names = ["a", "A.b", "1.a", "a.b.", "xn--a.b"];
    let wrong = ["", ".", "a..b", "-a", "a_b", "a.1", "a b", "a.*"];
    holds(domain, &names, &wrong);
    holds(domain, &[], &["*", "*.a", &"a.".repeat(127)]);
    holds(domain_or_ip, &["10.0.0.1", "::1", "a.b"], &["10.0.0", "*"]);
    holds(wildcard_domain, &names, &wrong);
    holds(
        wildcard_domain,
        &["*", "*.a.b", "*a.b", "*-a.b"],
        &["**", "*.*", "*.", "a*.b"],
    );
    holds(destination_host, &["a", "*.a"], &["*", "a.*"]);
    holds(
        sni_domain,
        &["outbound_.80_._.a.b", "outbound_.80_.v1_.a.b", "*.a"],
        &["outbound_.x_._.a", "outbound_.80_.a", "a_b"],
    );
    holds(
        virtual_host,
        &["10.0.0.1", "*", "outbound_.80_._.a.b"],
        &["a_b"],
    );
    holds(
        subnet,
        &["10.0.0.1", "10.0.0.0/8", "fd00::/64"],
        &["", "a", "10.0.0.0/33", "10.0.0.0/", "::/129"],
    );
}

/// Whether two hosts or wildcards have a host in common.
fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

proptest! {
    /// However many there are, it is told as if each were held against each.
    #[test]
    fn distinct_hosts_do_not_overlap(hosts in prop::collection::vec("(\\*|\\*\\.)?([ab]{1,2}\\.)?[ab]", 0..12)) {
        let mut distinct = DistinctHosts::default();
        let mut kept: Vec<String> = Vec::new();
        for host in hosts {
            let expected = kept.iter().any(|other| overlap(other, &host));
            match distinct.insert(&host) {
                Ok(()) => prop_assert!(!expected, "{} {:?}", host, kept),
                Err(other) => {
                    prop_assert!(expected && overlap(&other, &host), "{} {} {:?}", host, other, kept);
                    continue;
                }
            }
            kept.push(host);
        }
    }
}

#[test]
fn wildcards_cover_and_overlap() {
    for (wide, narrow) in [
        ("*", "a"),
        ("*", "*.a"),
        ("*.a.b", "x.a.b"),
        ("*.a.b", "*.x.a.b"),
        ("*.a", "*.a"),
        ("a", "a"),
    ] {
        assert!(
            covers(wide, narrow) && overlap(narrow, wide),
            "{wide} {narrow}"
        );
    }
    for (one, other) in [("*.a.b", "a.b"), ("a", "b"), ("*.a", "*.b"), ("a", "*.a")] {
        assert!(!overlap(one, other), "{one} {other}");
    }
    assert!(!covers("x.a.b", "*.a.b"));
    assert!(
        is_partial_wildcard("*a.b") && !is_partial_wildcard("*") && !is_partial_wildcard("*.a")
    );
}

#[test]
fn headers() {
    holds(
        header_name,
        &["x-user", "Accept", "a!b"],
        &["", "a b", "a:b", "ä"],
    );
    holds(
        changeable_header,
        &["x-user"],
        &[":path", "Host", ":authority", ""],
    );
    holds(
        changeable_request_header,
        &["x-user", "Host", ":authority"],
        &[":path", ""],
    );
    holds(probe_header, &["x-user", "A_b"], &["", "**"]);
}

#[test]
fn regular_expressions() {
    holds(
        regular_expression,
        &[".*", "/v[0-9]+", "(?i)get", "a|b", "^/a$", "\\d{1,3}"],
        &[
            "",
            "(",
            "[a",
            "*",
            "(?=a)",
            "(a)\\1",
            "a{1000000}",
            &"a".repeat(1025),
        ],
    );
}

#[test]
fn paths_and_accounts_of_policies() {
    holds(
        policy_path,
        &[
            "/a",
            "/a*",
            "*.html",
            "*",
            "/a/{*}/b/{**}",
            "{**}",
            "/{*}/{*}/",
        ],
        &[
            "",
            "/a{*}",
            "/a/{name}",
            "/a/{",
            "/a/{***}",
            "/{**}/a/{*}",
            "/a/{*}/b*",
        ],
    );
    holds(
        service_account,
        &["a", "ns/a"],
        &["", "ns/", "/a", "a/b/c", "ns/*"],
    );
}
