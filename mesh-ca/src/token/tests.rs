//! Each token once, for one identity, in time.

use std::fs;

use super::*;

const TTL: Duration = Duration::from_secs(600);

fn state() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn created(state: &Path) -> Created {
    create(state, None, "default", "webapp", TTL).expect("a token")
}

fn find(state: &Path, token: &str) -> Result<Found, TokenError> {
    Tokens::open(state)
        .expect("tokens")
        .find(token, SystemTime::now())
}

#[test]
fn a_token_is_for_one_identity_and_names_the_root() {
    let state = state();
    let created = created(state.path());
    assert_eq!(
        created.identity.as_str(),
        "spiffe://cluster.local/ns/default/sa/webapp"
    );
    let root = Root::open(state.path(), None).expect("the root was made before");
    assert_eq!(created.fingerprint, root.fingerprint());
    assert_eq!(
        find(state.path(), &created.token).expect("good").identity,
        created.identity
    );
    assert!(matches!(
        find(state.path(), "mesh-join-0"),
        Err(TokenError::Unknown)
    ));
    assert!(matches!(find(state.path(), ""), Err(TokenError::Unknown)));
    assert!(matches!(
        find(state.path(), "../root.pem"),
        Err(TokenError::Unknown)
    ));
}

#[test]
fn the_secret_is_nowhere_but_with_its_bearer() {
    let state = state();
    let created = created(state.path());
    let secret = created.token.strip_prefix(PREFIX).expect("the prefix");
    assert_eq!(secret.len(), 2 * SECRET_BYTES);
    assert!(!format!("{created:?}").contains(secret));
    for entry in fs::read_dir(directory(state.path())).expect("list") {
        let path = entry.expect("an entry").path();
        let text = format!(
            "{} {}",
            path.display(),
            fs::read_to_string(&path).expect("text")
        );
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_token_works_once_and_then_says_so() {
    let state = state();
    let token = created(state.path()).token;
    let tokens = Tokens::open(state.path()).expect("tokens");
    let (first, second) = (find(state.path(), &token), find(state.path(), &token));
    tokens.redeem(&first.expect("good")).expect("once");
    assert!(matches!(
        tokens.redeem(&second.expect("found before")),
        Err(TokenError::Used)
    ));
    let error = find(state.path(), &token).expect_err("used");
    assert!(error.to_string().contains("create a new one"), "{error}");
}

#[test]
fn of_many_that_redeem_at_once_one_wins() {
    let state = state();
    for _ in 0..20 {
        let token = created(state.path()).token;
        let start = std::sync::Barrier::new(8);
        let won = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        // Each with a view of its own, as another process would have.
                        let tokens = Tokens::open(state.path()).expect("tokens");
                        let found = tokens.find(&token, SystemTime::now()).expect("good");
                        start.wait();
                        tokens.redeem(&found).is_ok()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panic"))
                .filter(|won| *won)
                .count()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn an_expired_token_says_when_and_is_forgotten_in_the_end() {
    let state = state();
    let created = created(state.path());
    let tokens = Tokens::open(state.path()).expect("tokens");
    let count = || fs::read_dir(&tokens.directory).expect("list").count();
    let end = UNIX_EPOCH
        + Duration::from_secs(
            created
                .expires_at
                .duration_since(UNIX_EPOCH)
                .expect("after 1970")
                .as_secs(),
        );
    let second = Duration::from_secs(1);
    assert!(tokens.find(&created.token, end - second).is_ok());
    let error = tokens.find(&created.token, end).expect_err("expired");
    assert!(
        matches!(error, TokenError::Expired(at) if at == end),
        "{error}"
    );
    assert_eq!(
        tokens.prune(end - second).expect("list"),
        1,
        "still outstanding"
    );
    assert_eq!(
        (tokens.prune(end).expect("list"), count()),
        (0, 1),
        "remembered"
    );
    assert_eq!(
        (tokens.prune(end + REMEMBERED).expect("list"), count()),
        (0, 0),
        "forgotten"
    );
    assert!(matches!(
        tokens.find(&created.token, end),
        Err(TokenError::Unknown)
    ));
}

#[test]
fn used_tokens_are_not_outstanding_and_forgotten_too() {
    let state = state();
    let (used, open) = (created(state.path()), created(state.path()));
    let tokens = Tokens::open(state.path()).expect("tokens");
    tokens
        .redeem(&find(state.path(), &used.token).expect("good"))
        .expect("once");
    assert_eq!(tokens.prune(SystemTime::now()).expect("list"), 1);
    let later = open.expires_at + REMEMBERED;
    assert_eq!(tokens.prune(later).expect("list"), 0);
    assert_eq!(fs::read_dir(&tokens.directory).expect("list").count(), 0);
}

#[test]
fn a_damaged_file_is_named_and_does_not_disturb_the_others() {
    let state = state();
    let (bad, good) = (created(state.path()), created(state.path()));
    let tokens = Tokens::open(state.path()).expect("tokens");
    let path = tokens.file(&bad.token, OPEN);
    fs::write(&path, b"{}").expect("written");
    let error = tokens
        .find(&bad.token, SystemTime::now())
        .expect_err("damaged")
        .to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
    assert_eq!(tokens.prune(SystemTime::now()).expect("list"), 1);
    assert!(tokens.find(&good.token, SystemTime::now()).is_ok());
}

#[test]
fn identities_that_cannot_be_and_the_authoritys_own_get_no_token() {
    let state = state();
    let create = |namespace: &str, account: &str, ttl| {
        create(state.path(), None, namespace, account, ttl)
            .map(|_| ())
            .expect_err("refused")
    };
    assert!(matches!(
        create("default", "a/b", TTL),
        TokenError::Identity(_)
    ));
    assert!(matches!(create("", "web", TTL), TokenError::Identity(_)));
    assert!(matches!(
        create("default", "web", Duration::ZERO),
        TokenError::Ttl
    ));
    assert!(!state.path().join("root.pem").exists(), "nothing was made");
    assert!(matches!(
        create("default", "web", Duration::MAX),
        TokenError::Ttl
    ));
    assert!(matches!(
        create("istio-system", "mesh-ca", TTL),
        TokenError::Authority(_)
    ));
}
