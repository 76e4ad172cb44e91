use mesh_xds::Resource;
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::snapshot::samples::context;

/// A self-signed certificate and its key, PEM.
fn pair(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn inline(text: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(text.to_owned())),
        ..DataSource::default()
    }
}

fn file(path: &Path) -> DataSource {
    DataSource {
        specifier: Some(Specifier::Filename(path.display().to_string())),
        ..DataSource::default()
    }
}

fn certificate_of(chain: DataSource, key: DataSource) -> pb::Secret {
    pb::Secret {
        name: "kubernetes://shop".to_owned(),
        r#type: Some(Type::TlsCertificate(pb::TlsCertificate {
            certificate_chain: Some(chain),
            private_key: Some(key),
            ..pb::TlsCertificate::default()
        })),
    }
}

fn held(message: &pb::Secret) -> BTreeMap<String, Held<SecretSpec>> {
    let spec = Arc::new(compile(&At::ROOT, message).unwrap());
    let resource = Some(Arc::new(Resource::new(message)));
    let since = std::time::Instant::now();
    let entry = Held {
        resource,
        spec,
        since,
    };
    [(message.name.clone(), entry)].into()
}

fn leaf(slot: &Slot) -> Vec<u8> {
    slot.certificate().unwrap().cert[0].to_vec()
}

/// Reads the files of all secrets; whether any has changed.
fn look(secrets: &Secrets, held: &BTreeMap<String, Held<SecretSpec>>) -> bool {
    let taken: Vec<bool> = secrets.looks(held).into_iter().map(Look::take).collect();
    taken.contains(&true)
}

#[test]
fn a_slot_has_the_newest_content_and_nothing_shows_the_key() {
    let secrets = context().secrets;
    let slot = secrets.slot("kubernetes://shop");
    assert!(!slot.is_filled());
    let (chain, key) = pair("a.com");
    let first = held(&certificate_of(inline(&chain), inline(&key)));
    assert!(secrets.refresh(&first));
    assert!(!secrets.refresh(&first), "nothing has changed");
    let before = leaf(&slot);
    let (other, other_key) = pair("a.com");
    assert!(secrets.refresh(&held(&certificate_of(inline(&other), inline(&other_key)))));
    assert_ne!(leaf(&slot), before);
    let shown = format!("{secrets:?} {first:?} {slot:?}");
    let body = key.lines().nth(1).unwrap();
    assert!(
        !shown.contains(body) && !shown.contains("PRIVATE"),
        "{shown}"
    );
    drop(slot);
    assert!(
        secrets.states().is_empty(),
        "what nobody needs is forgotten"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused_by_name() {
    let ((chain, _), (_, key)) = (pair("a.com"), pair("a.com"));
    let refusal = compile(&At::ROOT, &certificate_of(inline(&chain), inline(&key))).unwrap_err();
    assert!(
        refusal.message.contains("not that of the certificate"),
        "{refusal}"
    );
    let refusal = compile(&At::ROOT, &certificate_of(inline("x"), inline(&key))).unwrap_err();
    assert!(refusal.message.contains("PEM"), "{refusal}");
}

#[test]
fn files_are_followed_and_broken_ones_leave_the_last_good_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let (chain_file, key_file) = (directory.path().join("c"), directory.path().join("k"));
    let secrets = context().secrets;
    let slot = secrets.slot("kubernetes://shop");
    let held = held(&certificate_of(file(&chain_file), file(&key_file)));
    assert!(!look(&secrets, &held), "they have not come yet");
    assert!(secrets.states()["kubernetes://shop"].is_some());

    let (chain, key) = pair("a.com");
    std::fs::write(&chain_file, &chain).unwrap();
    std::fs::write(&key_file, &key).unwrap();
    assert!(look(&secrets, &held));
    let first = leaf(&slot);

    // The certificate is there before its key is.
    let (chain, key) = pair("a.com");
    std::fs::write(&chain_file, &chain).unwrap();
    assert!(!look(&secrets, &held));
    assert_eq!(leaf(&slot), first);
    // A link that leads elsewhere is a change as well.
    let elsewhere = directory.path().join("elsewhere");
    std::fs::write(&elsewhere, &key).unwrap();
    std::fs::remove_file(&key_file).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &key_file).unwrap();
    assert!(look(&secrets, &held));
    assert_ne!(leaf(&slot), first);
    assert_eq!(secrets.states()["kubernetes://shop"], None);
}

#[test]
fn what_is_no_file_or_has_no_end_is_not_read() {
    let (secrets, (chain, _)) = (context().secrets, pair("a.com"));
    let slot = secrets.slot("kubernetes://shop");
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("long");
    std::fs::write(&long, vec![b' '; (1 << 20) + 1]).unwrap();
    let cases = [
        (Path::new("/dev/zero"), "/dev/zero is no file"),
        (directory.path(), "is no file"),
        (&long, "has more than 1048576 bytes"),
    ];
    for (path, expected) in cases {
        let held = held(&certificate_of(inline(&chain), file(path)));
        assert!(!look(&secrets, &held));
        let state = secrets.states()[slot.name()].clone().unwrap();
        assert!(state.contains(expected), "{state}");
    }
}

#[test]
fn a_slot_is_looked_at_once_at_a_time_and_never_while_resources_are_applied() {
    let secrets = context().secrets;
    let slot = secrets.slot("kubernetes://shop");
    let directory = tempfile::tempdir().unwrap();
    let (chain_file, key_file) = (directory.path().join("c"), directory.path().join("k"));
    let (chain, key) = pair("a.com");
    std::fs::write(&chain_file, chain).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let held = held(&certificate_of(file(&chain_file), file(&key_file)));
    assert!(!secrets.refresh(&held));
    assert!(!slot.is_filled());
    let first = secrets.looks(&held);
    assert!(secrets.looks(&held).is_empty(), "the first one still looks");
    drop(first);
    assert!(look(&secrets, &held));
    assert!(slot.is_filled());
}
