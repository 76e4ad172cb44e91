//! The life of a workload with its authority: joining, waiting, renewing, starting again.

use std::time::{Duration, SystemTime};

use mesh_ca::{Settings, start};
use mesh_identity::client::{self, JoinSettings};
use mesh_identity::testing::Authority;
use mesh_process::{Process, Shutdown};

use super::{Asked, Ca};

fn never() -> impl Future<Output = ()> + Send + 'static {
    std::future::pending()
}

fn stopped(shutdown: &Shutdown) -> impl Future<Output = ()> + Send + 'static {
    let shutdown = shutdown.clone();
    async move { shutdown.wait().await }
}

#[tokio::test]
async fn a_workload_joins_and_starts_again_while_the_authority_is_down() {
    let ca = Ca::new().await;
    let settings = ca.join_settings("web", Some(ca.token("webapp")));
    let first = client::obtain(settings.clone(), never())
        .await
        .expect("joined");
    let file = settings.state_dir.join("identity/identity.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file)
            .expect("the identity is on disk")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let _state = ca.stop().await;

    let without = JoinSettings {
        token: None,
        ca_fingerprint: None,
        ..settings
    };
    let second = client::obtain(without, never()).await.expect("from disk");
    assert_eq!(second.current().svid.leaf(), first.current().svid.leaf());
}

#[tokio::test]
async fn a_workload_waits_for_an_authority_that_comes_later() {
    let ca = Ca::new().await;
    let (settings, address) = (
        ca.join_settings("web", Some(ca.token("webapp"))),
        ca.running.address,
    );
    let state = ca.stop().await;
    let joining = tokio::spawn(client::obtain(settings, never()));
    let mut later = Settings::local(state.path().join("ca"));
    later.listen = address;
    let running = start(later, Process::new("mesh-ca"))
        .await
        .expect("it starts again");
    let identity = joining.await.expect("no panic").expect("joined");
    assert_eq!(identity.id().service_account(), "webapp");
    assert!(
        identity.current().bundle.contains(&running.fingerprint),
        "it is the same root"
    );
}

#[tokio::test]
async fn a_workload_that_waits_can_be_stopped() {
    let ca = Ca::new().await;
    let settings = ca.join_settings("web", Some(ca.token("webapp")));
    let _state = ca.stop().await;
    let shutdown = Shutdown::new();
    let joining = tokio::spawn(client::obtain(settings, stopped(&shutdown)));
    shutdown.trigger();
    let error = joining.await.expect("no panic").expect_err("stopped");
    assert!(matches!(error, client::Error::Stopped), "{error}");
}

#[tokio::test]
async fn a_workload_is_told_at_once_what_only_a_person_can_mend() {
    let ca = Ca::new().await;
    let obtain = async |settings| {
        client::obtain(settings, never())
            .await
            .expect_err("no identity")
            .to_string()
    };
    let used = ca.token("webapp");
    ca.join(&used, &Asked::plain()).await.expect("used");
    let text = obtain(ca.join_settings("a", Some(used))).await;
    assert!(
        text.contains("has been used") && text.contains(&ca.address()),
        "{text}"
    );

    let foreign = Authority::new("cluster.local").fingerprint();
    let good = ca.token("webapp");
    let mut settings = ca.join_settings("b", Some(good.clone()));
    settings.ca_fingerprint = Some(foreign);
    let text = obtain(settings).await;
    for part in [
        foreign.to_string(),
        ca.running.fingerprint.to_string(),
        "mesh-ca fingerprint".into(),
    ] {
        assert!(text.contains(&part), "{text}");
    }
    let mut settings = ca.join_settings("c", Some(good.clone()));
    settings.ca_fingerprint = None;
    assert!(obtain(settings).await.contains("--ca-fingerprint"));
    assert!(
        obtain(ca.join_settings("d", None))
            .await
            .contains("mesh-ca token create")
    );
    // None of this used the token up.
    client::obtain(ca.join_settings("e", Some(good)), never())
        .await
        .expect("joined");
}

#[tokio::test]
async fn an_identity_is_renewed_in_time_and_kept() {
    let ca = Ca::with(|settings| settings.leaf_lifetime = Duration::from_secs(10)).await;
    let settings = ca.join_settings("web", Some(ca.token("webapp")));
    let identity = client::obtain(settings.clone(), never())
        .await
        .expect("joined");
    let first = identity.current();
    let mut told = identity.subscribe();
    told.changed()
        .await
        .expect("renewed after half of its ten seconds");
    let second = identity.current();
    assert_eq!((second.generation, &second.svid.id), (2, &first.svid.id));
    assert!(
        SystemTime::now() < first.svid.not_after,
        "long before it expired"
    );
    assert_ne!(
        second.svid.key.secret_der(),
        first.svid.key.secret_der(),
        "with a new key"
    );
    let kept = client::obtain(
        JoinSettings {
            token: None,
            ..settings
        },
        never(),
    )
    .await;
    assert_eq!(
        kept.expect("from disk").current().svid.leaf(),
        second.svid.leaf()
    );
    assert!(ca.metric("mesh_ca_certificates_issued_total", "renew") >= 1.0);
}
