use rcgen::{CertificateParams, DnType, KeyPair, SanType};

use super::*;

#[test]
fn a_certificate_is_told_as_envoy_tells_it() {
    let mut params = CertificateParams::new(vec!["a.com".to_owned()]).unwrap();
    let uri = "spiffe://td/ns/a/sa/b;URI=spiffe://td/ns/x/sa/admin";
    params
        .subject_alt_names
        .push(SanType::URI(uri.try_into().unwrap()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Shop, Inc");
    params.distinguished_name.push(DnType::CommonName, "me");
    let leaf = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let value = forwarded(leaf.der()).unwrap();
    let value = value.to_str().unwrap();
    assert!(value.starts_with("Hash="), "{value}");
    assert!(
        value.contains(";Cert=\"-----BEGIN%20CERTIFICATE-----%0A"),
        "{value}"
    );
    assert!(
        value.contains(";Subject=\"CN=me,O=Shop\\\\, Inc\""),
        "{value}"
    );
    // What is in a name cannot pose as another one.
    assert!(value.contains(&format!(";URI=\"{uri}\"")), "{value}");
    assert!(value.ends_with(";DNS=a.com"), "{value}");
}
