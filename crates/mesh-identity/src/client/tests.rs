//! Starting with what is on disk, good and bad. No authority is there to ask.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::bundle::TrustBundle;
use crate::disk::Directory;
use crate::svid::Svid;
use crate::testing::{Authority, leaf_params, uri};

const HOUR: Duration = Duration::from_secs(3600);

struct Disk {
    state: tempfile::TempDir,
    root: Authority,
}

impl Disk {
    fn new() -> Self {
        let state = tempfile::tempdir().expect("a directory");
        Self {
            state,
            root: Authority::new("cluster.local"),
        }
    }

    fn store(&self) -> Store {
        Store::open(self.state.path()).expect("a store")
    }

    fn save(&self, svid: Svid, bundle: TrustBundle) {
        keep(self.state.path(), svid, bundle).expect("saved");
    }

    fn settings(&self) -> JoinSettings {
        JoinSettings {
            // A port at which nobody listens, since it is none.
            ca_address: "127.0.0.1:0".to_owned(),
            ca_fingerprint: None,
            token: None,
            state_dir: self.state.path().to_owned(),
        }
    }

    async fn obtain(&self) -> Result<Arc<Identity>, Error> {
        obtain(self.settings(), std::future::pending()).await
    }

    async fn failure(&self) -> String {
        self.obtain().await.expect_err("no identity").to_string()
    }

    fn file(&self) -> PathBuf {
        self.state.path().join("identity/identity.json")
    }
}

#[tokio::test]
async fn a_kept_identity_is_taken_as_it_is() {
    let disk = Disk::new();
    let svid = disk.root.svid("default", "web", HOUR);
    let (leaf, key) = (svid.leaf().clone(), svid.key.clone_key());
    disk.save(svid, disk.root.bundle());
    let identity = disk.obtain().await.expect("from disk");
    let current = identity.current();
    assert_eq!((current.generation, current.svid.leaf()), (1, &leaf));
    assert_eq!(current.svid.key.secret_der(), key.secret_der());
    assert_eq!(*current.bundle, disk.root.bundle());
    assert_eq!(identity.id(), disk.root.id("default", "web"));
}

#[tokio::test]
async fn without_one_and_without_a_token_the_way_out_is_told() {
    let text = Disk::new().failure().await;
    for part in ["identity.json", "mesh-ca token create", "MESH_JOIN_TOKEN"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_named_and_the_key_in_it_is_not_shown() {
    let disk = Disk::new();
    disk.save(disk.root.svid("default", "web", HOUR), disk.root.bundle());
    let good = fs::read_to_string(disk.file()).expect("the file");
    let other = Disk::new();
    other.save(other.root.svid("default", "web", HOUR), other.root.bundle());
    let foreign = fs::read_to_string(other.file()).expect("the file");
    let field = |text: &str, name: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value[name].as_str().expect("a text").to_owned()
    };
    let with = |name: &str, value: &str| {
        let mut content: serde_json::Value = serde_json::from_str(&good).expect("JSON");
        content[name] = value.into();
        content.to_string()
    };
    let cases = [
        (String::new(), "damaged at line"),
        (good[..good.len() / 2].to_owned(), "damaged at line"),
        (good.replace("\"key\"", "\"kez\""), "damaged at line"),
        (
            good.replace("\"version\": 1", "\"version\": 2"),
            "version is 2",
        ),
        (with("key", "none"), "private key is no PEM"),
        (
            with("key", &field(&foreign, "key")),
            "not that of the certificate",
        ),
        (with("chain", ""), "chain is empty"),
        (with("roots", ""), "no root certificate"),
        (
            with("roots", &field(&foreign, "roots")),
            "no root that we trust",
        ),
    ];
    for (text, expected) in cases {
        fs::write(disk.file(), &text).expect("written");
        let message = disk.failure().await;
        assert!(message.contains(expected), "{message}");
        for part in ["identity.json", "delete that file", "mesh-ca token create"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(
            !message.contains("BEGIN") && !message.contains("MIG"),
            "{message}"
        );
        assert_eq!(
            fs::read_to_string(disk.file()).expect("the file"),
            text,
            "it is left alone"
        );
    }
}

#[tokio::test]
async fn an_expired_certificate_needs_a_token() {
    let disk = Disk::new();
    let mut params = leaf_params(&[uri("spiffe://cluster.local/ns/default/sa/web")]);
    params.not_before = (UNIX_EPOCH + HOUR).into();
    params.not_after = (UNIX_EPOCH + HOUR + HOUR).into();
    let (leaf, key) = disk.root.sign(&params);
    disk.save(
        Svid::new(vec![leaf], key).expect("an SVID"),
        disk.root.bundle(),
    );
    let text = disk.failure().await;
    for part in [
        "1970-01-01T02:00:00Z",
        "mesh-ca token create",
        "--join-token-file",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // With one it is time to join, for which the fingerprint is missing here.
    let settings = JoinSettings {
        token: Some("x".to_owned().into()),
        ..disk.settings()
    };
    let error = obtain(settings, std::future::pending())
        .await
        .expect_err("no fingerprint");
    assert!(matches!(error, Error::NoFingerprint), "{error}");
}

#[tokio::test]
async fn a_certificate_from_the_future_points_to_the_clock() {
    let disk = Disk::new();
    let mut params = leaf_params(&[uri("spiffe://cluster.local/ns/default/sa/web")]);
    params.not_before = (SystemTime::now() + HOUR).into();
    params.not_after = (SystemTime::now() + HOUR + HOUR).into();
    let (leaf, key) = disk.root.sign(&params);
    disk.save(
        Svid::new(vec![leaf], key).expect("an SVID"),
        disk.root.bundle(),
    );
    assert!(disk.failure().await.contains("clock"));
}

#[tokio::test]
async fn a_token_file_that_cannot_be_used_is_named() {
    let disk = Disk::new();
    let path = disk.state.path().join("token");
    let settings = JoinSettings {
        ca_fingerprint: Some(disk.root.fingerprint()),
        token: Some(JoinToken::File(path.clone())),
        ..disk.settings()
    };
    let failure = async || {
        let error = obtain(settings.clone(), std::future::pending()).await;
        error.expect_err("no token").to_string()
    };
    let text = failure().await;
    assert!(
        text.contains("cannot read") && text.contains(&path.display().to_string()),
        "{text}"
    );
    fs::write(&path, " \n").expect("written");
    let text = failure().await;
    assert!(text.contains("no join token in it"), "{text}");
}

#[tokio::test]
async fn what_is_kept_can_be_looked_at_and_forgotten_and_nothing_is_made_for_it() {
    let disk = Disk::new();
    let state = Directory::open(disk.state.path()).expect("a directory");
    assert!(kept_svid(&state).expect("no error").is_none());
    forget(&state).expect("no error");
    assert!(!disk.state.path().join("identity").exists());
    disk.save(disk.root.svid("default", "web", HOUR), disk.root.bundle());
    let svid = kept_svid(&state).expect("readable");
    assert_eq!(svid.expect("kept").id, disk.root.id("default", "web"));
    forget(&state).expect("deleted");
    assert!(!disk.file().exists());
}

#[tokio::test]
async fn a_state_directory_that_is_none_is_named() {
    let disk = Disk::new();
    fs::write(disk.state.path().join("identity"), "a file").expect("written");
    let text = disk.failure().await;
    assert!(text.contains("--state-dir"), "{text}");
}

#[tokio::test]
async fn a_wrong_clock_at_joining_does_not_matter_later() {
    let disk = Disk::new();
    let svid = disk.root.svid("default", "web", HOUR);
    let not_after = svid.not_after;
    let obtained = UNIX_EPOCH + Duration::from_secs(1 << 40);
    let stored = Stored {
        svid,
        bundle: disk.root.bundle(),
        obtained,
    };
    disk.store().save(&stored).expect("saved");
    let loaded = disk.store().load().expect("readable").expect("kept");
    assert_eq!(loaded.obtained, not_after);
}
