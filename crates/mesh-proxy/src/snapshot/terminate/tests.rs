use mesh_xds::envoy::matcher::StringMatcher;

use super::*;

fn secret(name: &str) -> pb::SdsSecretConfig {
    pb::SdsSecretConfig {
        name: name.to_owned(),
        ..pb::SdsSecretConfig::default()
    }
}

fn context(parameters: pb::TlsParameters) -> pb::CommonTlsContext {
    pb::CommonTlsContext {
        tls_params: Some(parameters),
        tls_certificate_sds_secret_configs: vec![secret("kubernetes://shop")],
        ..pb::CommonTlsContext::default()
    }
}

fn of(oldest: TlsProtocol, newest: TlsProtocol, suites: &[&str]) -> pb::TlsParameters {
    pb::TlsParameters {
        tls_minimum_protocol_version: oldest as i32,
        tls_maximum_protocol_version: newest as i32,
        cipher_suites: suites.iter().map(|name| (*name).to_owned()).collect(),
        ..pb::TlsParameters::default()
    }
}

#[test]
fn versions_and_suites_are_those_asked_for() {
    use TlsProtocol::{TlSv11, TlSv12, TlSv13, TlsAuto};
    let versions = |oldest, newest| {
        let terms = read(&At::ROOT, &context(of(oldest, newest, &[])), false)?;
        Ok::<_, Refusal>(terms.versions.len())
    };
    assert_eq!(versions(TlSv12, TlsAuto), Ok(2));
    assert_eq!(versions(TlSv13, TlsAuto), Ok(1));
    assert_eq!(versions(TlsAuto, TlSv12), Ok(1));
    assert_eq!(versions(TlsAuto, TlSv11).unwrap_err().field, "tls_params");

    let chosen = context(of(
        TlSv12,
        TlSv12,
        &["ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"],
    ));
    let terms = read(&At::ROOT, &chosen, false).unwrap();
    let of_1_2 = terms.suites.iter().filter(|suite| suite.tls13().is_none());
    assert_eq!(of_1_2.count(), 1);
    let none = context(of(TlSv12, TlSv12, &["AES128-SHA"]));
    let field = read(&At::ROOT, &none, false).unwrap_err().field;
    assert_eq!(field, "tls_params.cipher_suites");
    // Each of them makes a configuration.
    terms.config(&Secrets::default());
}

#[test]
fn a_required_certificate_has_to_be_verified_by_something() {
    let simple = context(pb::TlsParameters::default());
    assert!(read(&At::ROOT, &simple, true).is_err());
    let matcher = pb::SubjectAltNameMatcher {
        san_type: SanType::Dns as i32,
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact("a.com".to_owned())),
            ..StringMatcher::default()
        }),
        ..pb::SubjectAltNameMatcher::default()
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(pb::CertificateValidationContext {
            match_typed_subject_alt_names: vec![matcher],
            verify_certificate_hash: vec!["AB:".repeat(31) + "AB"],
            ..pb::CertificateValidationContext::default()
        }),
        validation_context_sds_secret_config: Some(secret("kubernetes://shop-cacert")),
        ..CombinedCertificateValidationContext::default()
    };
    let mutual = pb::CommonTlsContext {
        validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
        ..simple
    };
    let terms = read(&At::ROOT, &mutual, true).unwrap();
    let secrets: Vec<_> = terms.secrets().collect();
    assert_eq!(secrets, ["kubernetes://shop", "kubernetes://shop-cacert"]);
    let clients = terms.clients.unwrap();
    assert_eq!(clients.constraints.hashes, [vec![0xab; 32]]);
    assert!(
        clients
            .constraints
            .names
            .contains(&Name::Dns("a.com".to_owned()))
    );
}

#[test]
fn clients_are_held_against_names_keys_and_hashes() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.com".to_owned()]).unwrap();
    let leaf = params.self_signed(&key).unwrap();
    let facts = Facts::of(leaf.der()).unwrap();
    let named = |name: &str| Constraints {
        names: [Name::Dns(name.to_owned())].into(),
        ..Constraints::default()
    };
    assert_eq!(Constraints::default().check(leaf.der()), Ok(()));
    assert_eq!(named("a.com").check(leaf.der()), Ok(()));
    assert!(named("b.com").check(leaf.der()).is_err());
    let pinned = |keys: Vec<u8>, hash: Vec<u8>| Constraints {
        keys: vec![keys],
        hashes: vec![hash],
        ..Constraints::default()
    };
    assert_eq!(
        pinned(facts.key_hash, vec![0; 32]).check(leaf.der()),
        Ok(())
    );
    assert_eq!(pinned(vec![0; 32], facts.hash).check(leaf.der()), Ok(()));
    assert!(pinned(vec![0; 32], vec![0; 32]).check(leaf.der()).is_err());
}
