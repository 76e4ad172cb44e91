//! Who gets a token, who keeps what it has, and who owns what was made.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use mesh_identity::Svid;
use mesh_identity::testing;
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::authority::Authority;
use crate::root::RootError;

const HOUR: Duration = Duration::from_secs(3600);

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// With the state of an authority that has been started.
    fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        Root::open_or_create(&place.ca(), None).expect("a root");
        Tokens::open(&place.ca()).expect("tokens");
        place
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca")
    }

    fn web(&self) -> PathBuf {
        self.directory.path().join("web")
    }

    fn file(&self) -> PathBuf {
        self.web().join(FILE)
    }

    fn root(&self) -> Root {
        Root::open(&self.ca(), None).expect("a root")
    }

    fn workload(&self) -> Workload {
        format!("shop/web={}", self.web().display())
            .parse()
            .expect("a workload")
    }

    fn leave(&self) -> Result<Done, ProvisionError> {
        leave_token(&self.ca(), None, &self.workload(), None, HOUR)
    }

    /// Returns what was wrong with the identity there.
    fn leave_new(&self) -> Option<String> {
        let before = self.token();
        match self.leave().expect("done") {
            Done::Invited {
                made_until: Some(until),
                because,
                ..
            } => {
                assert!(until > SystemTime::now() + HOUR / 2);
                assert_ne!(self.token(), before);
                because
            }
            other => panic!("{other}"),
        }
    }

    fn invitation(&self) -> Option<client::Invitation> {
        JoinToken::File(self.file()).read().ok()
    }

    fn token(&self) -> Option<String> {
        Some(self.invitation()?.token.to_string())
    }

    fn redeem(&self) -> SpiffeId {
        let tokens = Tokens::open(&self.ca()).expect("tokens");
        let invitation = self.invitation().expect("a token");
        assert_eq!(invitation.ca_fingerprint, Some(self.root().fingerprint()));
        let token = invitation.token;
        let found = tokens.find(&token, SystemTime::now()).expect("good");
        tokens.redeem(&found).expect("once");
        found.identity
    }

    fn keep(&self, svid: Svid, roots: TrustBundle) {
        client::keep(&self.web(), svid, roots).expect("kept");
    }

    /// Keeps an identity that the authority issued for an hour, at a time.
    fn join(&self, id: &str, at: SystemTime) {
        let authority = Authority::new(self.root(), HOUR);
        let key = rcgen::KeyPair::generate().expect("a key");
        let id = SpiffeId::parse(id).expect("an id");
        let leaf = authority.issue(&id, &key, at).expect("a leaf").leaf;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let svid = Svid::new(vec![leaf], key).expect("an SVID");
        self.keep(svid, authority.bundle());
    }

    fn has_identity(&self) -> bool {
        Directory::open(&self.web())
            .is_ok_and(|open| client::kept_svid(&open).is_ok_and(|svid| svid.is_some()))
    }
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

#[test]
fn a_newcomer_gets_a_token_once_and_a_new_one_when_it_is_used() {
    let place = Place::new();
    assert_eq!(place.leave_new(), None);
    let mode = |path: &Path| fs::metadata(path).expect("made").mode() & 0o777;
    assert_eq!((mode(&place.web()), mode(&place.file())), (0o700, 0o600));
    let left = Done::Invited {
        file: place.file(),
        made_until: None,
        because: None,
    };
    assert_eq!(place.leave().expect("done"), left);
    assert_eq!(place.redeem().as_str(), WEB);
    assert_eq!(place.leave_new(), None);
    assert_eq!(place.redeem().as_str(), WEB);
}

#[test]
fn a_token_that_would_not_do_is_replaced() {
    let place = Place::new();
    let create = |account: &str, ttl| {
        let created = token::create(&place.ca(), None, "shop", account, ttl).expect("a token");
        (created.to_json().to_string(), created.token.to_string())
    };
    let (soon_over, _) = create("web", HOUR / 2);
    let (of_another, _) = create("db", HOUR);
    let (_, bare) = create("web", HOUR);
    let foreign = Place::new();
    foreign.leave_new();
    let foreign = fs::read_to_string(foreign.file()).expect("a token");
    fs::create_dir(place.web()).expect("made");
    for content in [&soon_over, &of_another, &bare, &foreign, "{", ""] {
        fs::write(place.file(), content).expect("written");
        assert_eq!(place.leave_new(), None);
    }
    // A link is replaced, not followed.
    let elsewhere = place.directory.path().join("elsewhere");
    fs::write(&elsewhere, "as it was").expect("written");
    fs::remove_file(place.file()).expect("removed");
    symlink(&elsewhere, place.file()).expect("linked");
    assert_eq!(place.leave_new(), None);
    assert_eq!(fs::read_to_string(&elsewhere).expect("there"), "as it was");
}

#[test]
fn who_has_joined_is_left_alone() {
    let place = Place::new();
    let now = SystemTime::now();
    place.join(WEB, now);
    let Done::Joined { until } = place.leave().expect("done") else {
        panic!("it has an identity")
    };
    assert!(until > now + HOUR / 2 && until <= now + HOUR);
    assert_eq!(place.token(), None);
    assert!(place.has_identity());
}

#[test]
fn an_identity_that_ends_soon_or_has_ended_is_kept_beside_a_token() {
    let now = SystemTime::now();
    for (issued, expected) in [
        (now - HOUR + SOON / 2, "expires at"),
        (now - 3 * HOUR / 2, "expired at"),
    ] {
        let place = Place::new();
        place.join(WEB, issued);
        let because = place.leave_new().expect("a reason");
        assert!(because.contains(expected), "{because}");
        assert!(place.has_identity());
        assert!(matches!(
            place.leave(),
            Ok(Done::Invited {
                made_until: None,
                ..
            })
        ));
    }
}

#[test]
fn an_identity_that_leads_nowhere_gives_way_to_a_token() {
    let other = testing::Authority::new("cluster.local");
    for expected in ["present root", "that of spiffe", "damaged"] {
        let place = Place::new();
        match expected {
            "present root" => place.keep(other.svid("shop", "web", HOUR), other.bundle()),
            "that of spiffe" => {
                place.join("spiffe://cluster.local/ns/shop/sa/db", SystemTime::now());
            }
            _ => {
                place.join(WEB, SystemTime::now());
                fs::write(place.web().join("identity/identity.json"), "{").expect("written");
            }
        }
        let because = place.leave_new().expect("a reason");
        assert!(
            because.contains(expected) && because.contains("deleted"),
            "{because}"
        );
        assert!(!place.has_identity());
        assert!(matches!(
            place.leave(),
            Ok(Done::Invited {
                made_until: None,
                because: None,
                ..
            })
        ));
    }
}

#[test]
fn a_workload_leads_nobody_to_what_is_not_its_own() {
    let (place, victim) = (Place::new(), Place::new());
    victim.join("spiffe://cluster.local/ns/shop/sa/db", SystemTime::now());
    place.join(WEB, SystemTime::now());
    let identity = place.web().join("identity");
    // The directory, then the file, is a link to another workload's.
    fs::remove_dir_all(&identity).expect("removed");
    symlink(victim.web().join("identity"), &identity).expect("linked");
    assert!(place.leave_new().expect("a reason").contains("damaged"));
    assert!(!identity.exists());
    fs::create_dir(&identity).expect("made");
    let file = identity.join("identity.json");
    symlink(victim.web().join("identity/identity.json"), &file).expect("linked");
    let because = match place.leave().expect("done") {
        Done::Invited { because, .. } => because.expect("a reason"),
        other => panic!("{other}"),
    };
    assert!(because.contains("damaged"), "{because}");
    assert!(!file.exists() && victim.has_identity());

    // A state directory is none either.
    let link = place.directory.path().join("link");
    symlink(victim.web(), &link).expect("linked");
    let workload = format!("shop/web={}", link.display()).parse().expect("one");
    let error = leave_token(&place.ca(), None, &workload, None, HOUR).expect_err("a link");
    assert!(error.to_string().contains("not a link to one"), "{error}");
    assert!(!victim.file().exists());
}

#[test]
fn without_a_root_nothing_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let (ca, web) = (directory.path().join("ca"), directory.path().join("web"));
    let workload = format!("shop/web={}", web.display()).parse().expect("one");
    let error = leave_token(&ca, None, &workload, None, HOUR).expect_err("no root");
    assert!(
        matches!(
            error,
            ProvisionError::Token(TokenError::Root(RootError::Missing { .. }))
        ),
        "{error}"
    );
    assert!(!ca.exists() && !web.exists());
}

#[test]
fn the_owner_gets_the_directory_and_what_is_in_it() {
    let place = Place::new();
    let metadata = fs::metadata(place.directory.path()).expect("metadata");
    // Root gives things away; whoever else runs this can give them to themselves only.
    let owner = Owner {
        user: if metadata.uid() == 0 {
            65532
        } else {
            metadata.uid()
        },
        group: None,
    };
    fs::create_dir(place.web()).expect("made");
    fs::set_permissions(place.web(), Permissions::from_mode(0o755)).expect("ours");
    leave_token(&place.ca(), None, &place.workload(), Some(owner), HOUR).expect("done");
    for path in [place.web(), place.file()] {
        let data = fs::metadata(&path).expect("made");
        assert_eq!(data.uid(), owner.user, "{path:?}");
        assert_eq!(data.mode() & 0o077, 0, "{path:?}");
    }
}

#[test]
fn workloads_and_owners_are_read_strictly() {
    for (text, hint) in [
        ("web=/state", "NAMESPACE/SERVICE_ACCOUNT=DIR"),
        ("shop/web", "NAMESPACE/SERVICE_ACCOUNT=DIR"),
        ("shop/web=", "NAMESPACE/SERVICE_ACCOUNT=DIR"),
        ("/web=/state", "a part of the path is empty"),
        ("shop/w b=/state", "a path has only"),
    ] {
        let error = text.parse::<Workload>().expect_err(text);
        assert!(error.contains(hint), "{error}");
    }
    let owner = |text: &str| text.parse::<Owner>().map(|owner| owner.to_string());
    assert_eq!(owner("65532"), Ok("65532".to_owned()));
    assert_eq!(owner("65532:0"), Ok("65532:0".to_owned()));
    for text in ["", "mesh", "1:", ":1", "-1", "1:2:3"] {
        assert!(owner(text).expect_err(text).contains("65532:65532"));
    }
}
