//! Ids that are, and the many that are not.

use proptest::prelude::*;

use super::*;

fn refusal(uri: &str) -> SpiffeIdError {
    SpiffeId::parse(uri).expect_err(uri)
}

#[test]
fn an_id_has_its_parts() {
    let id = SpiffeId::parse("spiffe://cluster.local/ns/default/sa/web-app_1.X").expect("valid");
    assert_eq!(id.trust_domain().as_str(), "cluster.local");
    assert_eq!(
        (id.namespace(), id.service_account()),
        ("default", "web-app_1.X")
    );
    assert_eq!(
        id.to_string(),
        "spiffe://cluster.local/ns/default/sa/web-app_1.X"
    );
    let domain = TrustDomain::new("cluster.local").expect("valid");
    assert_eq!(
        SpiffeId::workload(&domain, "default", "web-app_1.X"),
        Ok(id)
    );
    assert_eq!(
        SpiffeId::ca(&domain).as_str(),
        "spiffe://cluster.local/ns/istio-system/sa/mesh-ca"
    );
    assert_eq!(SpiffeId::api(&domain).service_account(), "mesh-api");
}

#[test]
fn other_spellings_are_refused_each_for_its_reason() {
    use SpiffeIdError as E;
    let long = |n: usize| "a".repeat(n);
    let cases = [
        ("", E::Scheme),
        ("cluster.local/ns/a/sa/b", E::Scheme),
        ("SPIFFE://cluster.local/ns/a/sa/b", E::Scheme),
        ("spiffe:/cluster.local/ns/a/sa/b", E::Scheme),
        ("http://cluster.local/ns/a/sa/b", E::Scheme),
        (" spiffe://cluster.local/ns/a/sa/b", E::Scheme),
        ("spiffe://", E::EmptyTrustDomain),
        ("spiffe:///ns/a/sa/b", E::EmptyTrustDomain),
        (
            "spiffe://Cluster.local/ns/a/sa/b",
            E::TrustDomainCharacter('C'),
        ),
        ("spiffe://td:80/ns/a/sa/b", E::TrustDomainCharacter(':')),
        ("spiffe://user@td/ns/a/sa/b", E::TrustDomainCharacter('@')),
        ("spiffe://t%64/ns/a/sa/b", E::TrustDomainCharacter('%')),
        ("spiffe://[::1]/ns/a/sa/b", E::TrustDomainCharacter('[')),
        ("spiffe://tÄ/ns/a/sa/b", E::TrustDomainCharacter('Ä')),
        ("spiffe://td?x/ns/a/sa/b", E::TrustDomainCharacter('?')),
        ("spiffe://td#x", E::TrustDomainCharacter('#')),
        ("spiffe://td", E::NotAWorkload),
        ("spiffe://td/", E::EmptySegment),
        ("spiffe://td/ns/a/sa/b/", E::EmptySegment),
        ("spiffe://td//ns/a/sa/b", E::EmptySegment),
        ("spiffe://td/ns//sa/b", E::EmptySegment),
        ("spiffe://td/ns/a/sa/", E::EmptySegment),
        ("spiffe://td/ns/./sa/b", E::RelativeSegment(".".to_owned())),
        (
            "spiffe://td/ns/a/sa/..",
            E::RelativeSegment("..".to_owned()),
        ),
        ("spiffe://td/ns/a/sa/b?q", E::SegmentCharacter('?')),
        ("spiffe://td/ns/a/sa/b#f", E::SegmentCharacter('#')),
        ("spiffe://td/ns/a/sa/%62", E::SegmentCharacter('%')),
        ("spiffe://td/ns/a/sa/b\n", E::SegmentCharacter('\n')),
        ("spiffe://td/ns/a/sa/b ", E::SegmentCharacter(' ')),
        ("spiffe://td/ns/a/sa/*", E::SegmentCharacter('*')),
        ("spiffe://td/ns/a/sa/é", E::SegmentCharacter('é')),
        ("spiffe://td/ns/a", E::NotAWorkload),
        ("spiffe://td/ns/a/sa", E::NotAWorkload),
        ("spiffe://td/ns/a/sa/b/c", E::NotAWorkload),
        ("spiffe://td/sa/b/ns/a", E::NotAWorkload),
        ("spiffe://td/NS/a/SA/b", E::NotAWorkload),
        ("spiffe://td/workload", E::NotAWorkload),
    ];
    for (uri, expected) in cases {
        assert_eq!(refusal(uri), expected, "{uri}");
    }
    let uri = |domain: usize, account: usize| {
        format!("spiffe://{}/ns/a/sa/{}", long(domain), long(account))
    };
    let rest = "spiffe://".len() + 255 + "/ns/a/sa/".len();
    let longest = uri(255, 2048 - rest);
    assert_eq!(longest.len(), 2048);
    assert_eq!(
        SpiffeId::parse(&longest).expect("at the limit").as_str(),
        longest
    );
    assert_eq!(refusal(&uri(255, 2049 - rest)), E::TooLong(2049));
    assert_eq!(refusal(&uri(256, 1)), E::TrustDomainTooLong(256));
}

#[test]
fn the_parts_of_an_id_cannot_smuggle_others_in() {
    let domain = TrustDomain::new("td").expect("valid");
    for part in ["", ".", "..", "a/b", "a/sa/b", "a?", "a b", "ä"] {
        assert!(SpiffeId::workload(&domain, part, "b").is_err(), "{part}");
        assert!(SpiffeId::workload(&domain, "a", part).is_err(), "{part}");
    }
}

#[test]
fn json_holds_ids_as_text_and_checks_them() {
    let id: SpiffeId = serde_json::from_str(r#""spiffe://td/ns/a/sa/b""#).expect("valid");
    assert_eq!(
        serde_json::to_string(&id).expect("text"),
        r#""spiffe://td/ns/a/sa/b""#
    );
    assert!(serde_json::from_str::<SpiffeId>(r#""spiffe://TD/ns/a/sa/b""#).is_err());
    assert!(serde_json::from_str::<TrustDomain>(r#""a:b""#).is_err());
}

#[test]
fn what_is_no_certificate_names_nobody() {
    for bytes in [
        vec![],
        vec![0x30, 0],
        b"-----BEGIN CERTIFICATE-----".to_vec(),
    ] {
        let error = SpiffeId::from_certificate(&CertificateDer::from(bytes)).expect_err("nobody");
        assert_eq!(error, CertificateNameError::Malformed);
    }
    // A certificate with something behind it is not that certificate.
    let root = crate::testing::Authority::new("td").root().clone();
    assert_eq!(
        TrustDomain::from_root(&root).expect("a root").as_str(),
        "td"
    );
    let longer = CertificateDer::from([root.as_ref(), b"\0"].concat());
    assert_eq!(
        TrustDomain::from_root(&longer),
        Err(CertificateNameError::Malformed)
    );
}

/// The rules once more, as a regular language spelled out by hand.
fn oracle(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://") else {
        return false;
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let segment = |s: &str| {
        !s.is_empty()
            && !matches!(s, "." | "..")
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    uri.len() <= 2048
        && parts.len() == 5
        && (1..=255).contains(&parts[0].len())
        && parts[0]
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && (parts[1], parts[3]) == ("ns", "sa")
        && segment(parts[2])
        && segment(parts[4])
}

proptest! {
    #[test]
    fn parsing_agrees_with_the_rules(
        uri in "spiffe://[a-zA-Z0-9:.%@_-]{0,4}(/(ns|sa|[a-zA-Z.%_?-]{0,3})){0,6}"
    ) {
        prop_assert_eq!(SpiffeId::parse(&uri).is_ok(), oracle(&uri));
    }

    #[test]
    fn a_change_of_one_character_is_judged_right(
        at in 0_usize..40, with in any::<char>(), uri in "spiffe://[a-z0-9._-]{1,8}/ns/[a-z-]{1,6}/sa/[a-zA-Z._-]{1,6}"
    ) {
        let mut changed: Vec<char> = uri.chars().collect();
        let at = at % changed.len();
        changed[at] = with;
        let changed: String = changed.into_iter().collect();
        prop_assert_eq!(SpiffeId::parse(&changed).is_ok(), oracle(&changed), "{}", changed);
    }

    #[test]
    fn any_text_is_read_without_panic_and_survives_the_round_trip(text in any::<String>()) {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), text);
        }
    }

    #[test]
    fn an_id_is_made_of_its_parts(
        domain in "[a-z0-9._-]{1,20}", namespace in "[a-zA-Z0-9_-]{1,20}", account in "[a-zA-Z0-9_-]{1,20}"
    ) {
        let domain = TrustDomain::new(&domain).expect("valid");
        let id = SpiffeId::workload(&domain, &namespace, &account).expect("valid");
        prop_assert_eq!(id.trust_domain(), &domain);
        prop_assert_eq!(id.namespace(), namespace);
        prop_assert_eq!(id.service_account(), account);
        prop_assert_eq!(SpiffeId::parse(id.as_str()), Ok(id.clone()));
    }
}
