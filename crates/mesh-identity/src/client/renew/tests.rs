//! Rotation played through in days, by a clock that does not have to be waited for.

use std::sync::Mutex;

use tokio::time::Instant;

use super::*;
use crate::bundle::TrustBundle;
use crate::proto::SignedCertificate;
use crate::spiffe::SpiffeId;
use crate::testing::Authority as Root;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A wall clock that follows tokio's paused one.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
    epoch: SystemTime,
}

impl Clock {
    fn new() -> Self {
        // Whole seconds, as certificates have them.
        let epoch = SystemTime::UNIX_EPOCH
            + Duration::from_secs(
                SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .expect("now")
                    .as_secs(),
            );
        Self {
            start: Instant::now(),
            epoch,
        }
    }

    fn now(self) -> SystemTime {
        self.epoch + self.start.elapsed()
    }
}

/// What the authority does next, and when it was asked.
struct Played {
    clock: Clock,
    life: Duration,
    root: Mutex<Arc<Root>>,
    answers_as: Mutex<Option<SpiffeId>>,
    asked: Mutex<Vec<Duration>>,
}

impl Authority for Arc<Played> {
    async fn renew(&self, csr: Vec<u8>) -> Result<SignedCertificate, String> {
        self.asked
            .lock()
            .expect("no panic")
            .push(self.clock.start.elapsed());
        let id = self
            .answers_as
            .lock()
            .expect("no panic")
            .clone()
            .ok_or("it is down")?;
        let root = self.root.lock().expect("no panic").clone();
        Ok(root.answer(&csr, &id, self.life, self.clock.now()))
    }
}

impl Played {
    fn asked(&self) -> Vec<Duration> {
        self.asked.lock().expect("no panic").clone()
    }

    fn comes_back_as(&self, id: Option<SpiffeId>) {
        *self.answers_as.lock().expect("no panic") = id;
    }
}

/// A process with a fresh certificate and a rotation that runs.
struct Scene {
    _state: tempfile::TempDir,
    store: Arc<Store>,
    clock: Clock,
    id: SpiffeId,
    authority: Arc<Played>,
    identity: Arc<Identity>,
    rotation: tokio::task::JoinHandle<()>,
}

impl Scene {
    fn new(life: Duration) -> Self {
        let clock = Clock::new();
        let state = tempfile::tempdir().expect("a directory");
        let store = Arc::new(Store::open(state.path()).expect("a store"));
        let root = Arc::new(Root::new("cluster.local"));
        let id = root.id("default", "web");
        let request = Request::new().expect("a request");
        let answer = root.answer(&request.csr, &id, life, clock.now());
        let stored = request.accept(answer, clock.now()).expect("an identity");
        let identity = Identity::new(stored.svid, stored.bundle);
        let authority = Arc::new(Played {
            clock,
            life,
            root: Mutex::new(root),
            answers_as: Mutex::new(Some(id.clone())),
            asked: Mutex::new(Vec::new()),
        });
        let rotation = Rotation::new(
            identity.clone(),
            store.clone(),
            authority.clone(),
            stored.obtained,
            move || clock.now(),
        );
        let rotation = tokio::spawn(rotation.run());
        Self {
            _state: state,
            store,
            clock,
            id,
            authority,
            identity,
            rotation,
        }
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The next replacement, and how long it took.
    async fn replaced(&self) -> Duration {
        let before = Instant::now();
        let mut told = self.identity.subscribe();
        told.changed().await.expect("the identity lives");
        before.elapsed()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.rotation.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_between_half_and_two_thirds_of_its_life() {
    let scene = Scene::new(DAY);
    let mut waits = Vec::new();
    for generation in 2..12 {
        let first = scene.identity.current();
        let wait = scene.replaced().await;
        let second = scene.identity.current();
        assert_eq!(second.generation, generation);
        assert!((DAY / 2..DAY * 67 / 100).contains(&wait), "{wait:?}");
        assert_ne!(
            first.svid.key.secret_der(),
            second.svid.key.secret_der(),
            "a new key"
        );
        assert!(second.svid.not_after >= scene.clock.now() + DAY - Duration::from_secs(60));
        let kept = scene.store.load().expect("readable").expect("kept");
        assert_eq!(kept.svid.leaf(), second.svid.leaf());
        waits.push(wait);
    }
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 5, "each at a moment of its own: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_life_is_renewed_in_time_as_well() {
    let life = Duration::from_secs(10);
    let scene = Scene::new(life);
    for _ in 0..20 {
        let wait = scene.replaced().await;
        assert!((life / 2..life * 7 / 10).contains(&wait), "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_authority_is_down_the_old_certificate_serves_and_attempts_go_on() {
    let scene = Scene::new(DAY);
    scene.authority.comes_back_as(None);
    scene.pass(DAY * 3 / 4).await;
    assert_eq!(scene.identity.generation(), 1);
    let asked = scene.authority.asked();
    assert!(asked[0] >= DAY / 2, "{:?}", asked[0]);
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        pauses[0] <= Duration::from_secs(5),
        "the first is soon: {:?}",
        pauses[0]
    );
    let (shortest, longest) = (Duration::from_secs(30), Duration::from_secs(60));
    assert!(
        pauses[5..]
            .iter()
            .all(|pause| (shortest..=longest).contains(pause)),
        "{pauses:?}"
    );
    scene.authority.comes_back_as(Some(scene.id.clone()));
    assert!(scene.replaced().await <= longest, "soon after it is back");
}

#[tokio::test(start_paused = true)]
async fn an_expired_certificate_is_not_given_up() {
    let scene = Scene::new(DAY);
    scene.authority.comes_back_as(None);
    scene.pass(DAY + Duration::from_secs(3600)).await;
    assert!(scene.identity.not_after() < scene.clock.now());
    scene.authority.comes_back_as(Some(scene.id.clone()));
    scene.replaced().await;
    assert!(scene.identity.not_after() > scene.clock.now());
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_somebody_else_is_not_taken() {
    let scene = Scene::new(DAY);
    let other = SpiffeId::parse("spiffe://cluster.local/ns/default/sa/other").expect("an id");
    scene.authority.comes_back_as(Some(other));
    scene.pass(DAY * 9 / 10).await;
    assert!(scene.authority.asked().len() > 100, "it was asked");
    assert_eq!(scene.identity.generation(), 1);
    assert_eq!(scene.identity.id(), scene.id);
}

#[tokio::test(start_paused = true)]
async fn the_roots_of_an_answer_replace_those_before() {
    let scene = Scene::new(DAY);
    let before = scene.identity.current().bundle.clone();
    let next = Arc::new(Root::new("cluster.local"));
    *scene.authority.root.lock().expect("no panic") = next.clone();
    scene.replaced().await;
    let current = scene.identity.current();
    assert_eq!(*current.bundle, next.bundle());
    assert_ne!(current.bundle, before);
    current
        .svid
        .verify(&next.bundle(), scene.clock.now())
        .expect("it holds");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_does_not_stop_rotation() {
    let scene = Scene::new(DAY);
    std::fs::remove_dir_all(scene.store.path().parent().expect("a directory")).expect("removed");
    scene.replaced().await;
    scene.replaced().await;
    assert_eq!(scene.identity.generation(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_authority_of_very_short_lives_is_not_stormed() {
    let scene = Scene::new(Duration::from_secs(1));
    scene.pass(Duration::from_secs(100)).await;
    let asked = scene.authority.asked().len();
    assert!((5..=25).contains(&asked), "{asked} times in 100 s");
}

#[test]
fn an_answer_that_does_not_hold_is_no_identity() {
    let (ours, other) = (Root::new("cluster.local"), Root::new("cluster.local"));
    let id = ours.id("default", "web");
    let (request, now) = (Request::new().expect("a request"), SystemTime::now());
    let good = ours.answer(&request.csr, &id, DAY, now);
    assert!(request.accept(good.clone(), now).is_ok());
    let foreign_roots = SignedCertificate {
        roots: vec![other.root().to_vec()],
        ..good.clone()
    };
    let no_roots = SignedCertificate {
        roots: vec![],
        ..good.clone()
    };
    let no_chain = SignedCertificate {
        chain: vec![],
        ..good.clone()
    };
    let other_key = ours.answer(&Request::new().expect("a request").csr, &id, DAY, now);
    for (answer, expected) in [
        (foreign_roots, "no root that we trust"),
        (no_roots, "no root certificate"),
        (no_chain, "chain is empty"),
        (other_key, "not that of the certificate"),
    ] {
        let error = request.accept(answer, now).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = request
        .accept(good, now + DAY + DAY)
        .expect_err("expired")
        .to_string();
    assert!(error.contains("expired"), "{error}");
    assert!(TrustBundle::from_der([ours.root().clone()]).is_ok());
}
