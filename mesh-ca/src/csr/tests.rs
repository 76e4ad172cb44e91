//! Requests of all sorts.

use proptest::prelude::*;
use rcgen::{BasicConstraints, DnType, KeyPair, PublicKeyData, RsaKeySize};

use super::*;

fn id() -> SpiffeId {
    SpiffeId::parse("spiffe://cluster.local/ns/default/sa/web").expect("an id")
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn request(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    change(&mut params);
    params
        .serialize_request(key)
        .expect("a request")
        .der()
        .to_vec()
}

fn refused(change: impl FnOnce(&mut CertificateParams)) -> CsrError {
    let key = KeyPair::generate().expect("a key");
    check(&request(&key, change), &id())
        .map(|_| ())
        .expect_err("refused")
}

#[test]
fn a_plain_request_brings_its_key() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let checked = check(&request(&key, |_| {}), &id()).expect("taken");
        assert_eq!(checked.der_bytes(), key.der_bytes());
    }
    let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    assert_eq!(
        check(&request(&key, |_| {}), &id())
            .expect("taken")
            .der_bytes(),
        key.der_bytes()
    );
}

#[test]
fn names_that_are_proved_or_mean_nothing_are_fine() {
    let key = KeyPair::generate().expect("a key");
    let asks = request(&key, |params| {
        params.subject_alt_names = vec![uri(id().as_str())];
        params.distinguished_name.push(DnType::CommonName, "admin");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    check(&asks, &id()).map(|_| ()).expect("taken");
}

#[test]
fn another_name_is_refused_and_both_are_told() {
    let dns = SanType::DnsName("web.default".try_into().expect("ASCII"));
    let admin = "spiffe://cluster.local/ns/default/sa/admin";
    for (names, asked) in [
        (vec![uri(admin)], admin),
        (vec![uri(id().as_str()), uri(admin)], admin),
        (vec![uri(id().as_str()), dns], "web.default"),
        (vec![SanType::IpAddress([127, 0, 0, 1].into())], "127.0.0.1"),
    ] {
        let error = refused(|params| params.subject_alt_names = names);
        assert_eq!(
            error,
            CsrError::Name {
                asked: asked.to_owned(),
                proved: id()
            }
        );
    }
    let text = refused(|params| params.subject_alt_names = vec![uri("x\n\u{1b}[31m")]).to_string();
    assert!(!text.contains(['\n', '\u{1b}']), "{text:?}");
}

#[test]
fn more_power_than_a_workload_has_is_refused() {
    let authority = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    assert_eq!(refused(authority), CsrError::Authority);
    let signs = |params: &mut CertificateParams| {
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ];
    };
    assert_eq!(refused(signs), CsrError::Authority);
    for usage in [
        ExtendedKeyUsagePurpose::Any,
        ExtendedKeyUsagePurpose::CodeSigning,
    ] {
        assert_eq!(
            refused(|params| params.extended_key_usages = vec![usage]),
            CsrError::Usage
        );
    }
}

#[test]
fn weak_keys_are_refused() {
    // RSA of 1,024 bits, made by `openssl req -new -newkey rsa:1024 -nodes -subj / -outform der`.
    let weak = include_bytes!("rsa1024.der");
    assert_eq!(check(weak, &id()).map(|_| ()), Err(CsrError::Weak));
}

#[test]
fn a_request_that_was_tampered_with_is_refused() {
    let key = KeyPair::generate().expect("a key");
    let good = request(&key, |params| {
        params.subject_alt_names = vec![uri(id().as_str())];
    });
    let at = good
        .windows(3)
        .position(|bytes| bytes == b"web")
        .expect("the name is in it");
    let mut changed = good.clone();
    changed[at] = b'W';
    assert_eq!(check(&changed, &id()).map(|_| ()), Err(CsrError::Signature));
    for broken in [
        &[][..],
        &good[..good.len() - 1],
        &[good.as_slice(), b"\0"].concat(),
        b"-----BEGIN",
    ] {
        assert!(check(broken, &id()).is_err());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(check(&bytes, &id()).is_err());
    }

    #[test]
    fn no_flipped_bit_changes_what_is_signed(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let key = KeyPair::generate().expect("a key");
        let good = request(&key, |params| params.subject_alt_names = vec![uri(id().as_str())]);
        let at = at.index(good.len());
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        if let Ok(taken) = check(&bytes, &id()) {
            // Around the request proper, a few bits of the encoding have no protection, and no
            // meaning for what is issued.
            prop_assert_eq!(taken.der_bytes(), key.der_bytes());
            let (_, parsed) = X509CertificationRequest::from_der(&good).expect("a request");
            let proper = parsed.certification_request_info.raw;
            let start = good.windows(proper.len()).position(|part| part == proper).expect("in it");
            prop_assert!(!(start..start + proper.len()).contains(&at), "byte {}", at);
        }
    }
}
