//! One root, whatever happens.

use std::fs;

use super::*;

fn state() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).expect("a trust domain")
}

#[test]
fn a_root_is_made_once_and_private() {
    let state = state();
    let directory = state.path().join("ca");
    let first = Root::open_or_create(&directory, Some(&domain("corp.mesh"))).expect("a root");
    let bytes = fs::read(directory.join(FILE)).expect("the file");
    let again = Root::open_or_create(&directory, None).expect("the root");
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_eq!(again.trust_domain().as_str(), "corp.mesh");
    assert_eq!(fs::read(directory.join(FILE)).expect("the file"), bytes);
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!(
        (mode(&directory), mode(&directory.join(FILE))),
        (0o700, 0o600)
    );
}

#[test]
fn a_root_signs_leaves_of_its_trust_domain_for_ten_years() {
    let state = state();
    let root = Root::open_or_create(state.path(), None).expect("a root");
    let (_, parsed) = X509Certificate::from_der(root.certificate()).expect("DER");
    let constraints = parsed
        .basic_constraints()
        .expect("unique")
        .expect("present")
        .value;
    assert!(constraints.ca && constraints.path_len_constraint == Some(0));
    let usage = parsed.key_usage().expect("unique").expect("present").value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert_eq!(
        TrustDomain::from_root(root.certificate()),
        Ok(domain("cluster.local"))
    );
    let days = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(days / (24 * 3600), 3650);
    let other = self::state();
    let other = Root::open_or_create(other.path(), None).expect("a root");
    let (_, of_other) = X509Certificate::from_der(other.certificate()).expect("DER");
    assert_ne!(
        parsed.subject(),
        of_other.subject(),
        "two roots are never taken for each other"
    );
}

#[test]
fn of_many_that_start_at_once_all_have_the_same_root() {
    let state = state();
    let fingerprints: std::collections::BTreeSet<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Root::open_or_create(state.path(), None).expect("a root")))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic").fingerprint())
            .collect()
    });
    assert_eq!(fingerprints.len(), 1);
}

#[test]
fn the_trust_domain_of_a_root_is_for_good() {
    let state = state();
    Root::open_or_create(state.path(), None).expect("a root");
    let error = Root::open_or_create(state.path(), Some(&domain("other"))).expect_err("another");
    let text = error.to_string();
    for part in ["cluster.local", "other", "--trust-domain", "--state-dir"] {
        assert!(text.contains(part), "{text}");
    }
    Root::open_or_create(state.path(), Some(&domain("cluster.local"))).expect("the same");
}

#[test]
fn reading_a_root_makes_none() {
    let state = state();
    let error = Root::open(state.path(), None).expect_err("nothing there");
    assert!(matches!(error, RootError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(state.path()).expect("list").count(), 0);
}

#[test]
fn tokens_without_a_root_are_no_reason_for_a_new_one() {
    let state = state();
    fs::create_dir(token::directory(state.path())).expect("a directory");
    let error = Root::open_or_create(state.path(), None).expect_err("it was lost");
    assert!(error.to_string().contains("backup"), "{error}");
    assert!(!state.path().join(FILE).exists());
}

#[test]
fn a_damaged_root_is_named_and_left_as_it_is() {
    let (state, other) = (state(), state());
    Root::open_or_create(state.path(), None).expect("a root");
    Root::open_or_create(other.path(), None).expect("another root");
    let path = state.path().join(FILE);
    let good = fs::read_to_string(&path).expect("the file");
    let foreign = fs::read_to_string(other.path().join(FILE)).expect("the file");
    let split = |text: &str| {
        let at = text.find("-----BEGIN CERTIFICATE").expect("both parts");
        (text[..at].to_owned(), text[at..].to_owned())
    };
    let ((key, certificate), (foreign_key, _)) = (split(&good), split(&foreign));
    let leaf = {
        let params = CertificateParams::new(["web".to_owned()]).expect("params");
        let key = KeyPair::generate().expect("a key");
        key.serialize_pem() + &params.self_signed(&key).expect("a leaf").pem()
    };
    let cases = [
        (String::new(), "no PRIVATE KEY"),
        ("garbage".to_owned(), "no PRIVATE KEY"),
        (key.clone(), "no CERTIFICATE"),
        (certificate.clone(), "no PRIVATE KEY"),
        (
            format!("{foreign_key}{certificate}"),
            "not that of its certificate",
        ),
        (format!("{good}{certificate}"), "unexpected CERTIFICATE"),
        (good[..good.len() / 2].to_owned(), "no"),
        (good.replace("MII", "AAA"), "cannot be read"),
        (leaf, "URI"),
    ];
    for (text, expected) in cases {
        fs::write(&path, &text).expect("written");
        let error = Root::open_or_create(state.path(), None)
            .expect_err(&text)
            .to_string();
        assert!(error.contains(expected) && error.contains(FILE), "{error}");
        assert!(error.contains("backup"), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
        assert_eq!(
            fs::read_to_string(&path).expect("the file"),
            text,
            "it is left alone"
        );
    }
    fs::write(&path, [0xff, 0xfe]).expect("written");
    let error = Root::open_or_create(state.path(), None)
        .expect_err("no text")
        .to_string();
    assert!(error.contains("no text"), "{error}");
}

#[test]
fn the_key_is_never_printed() {
    let state = state();
    let root = Root::open_or_create(state.path(), None).expect("a root");
    let text = format!("{root:?}");
    assert!(
        text.contains("sha256:") && !text.to_lowercase().contains("key"),
        "{text}"
    );
}
