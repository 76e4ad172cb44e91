//! A running authority: its listeners, its own certificate, and its chores.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use mesh_identity::proto::certificate_authority_server::CertificateAuthorityServer;
use mesh_identity::tls::{self, Peers};
use mesh_identity::{Fingerprint, Identity, grpc};
use mesh_process::{Process, Shutdown, admin, bind, write_addresses};
use tokio::task::JoinHandle;
use tonic::transport::Server;

use crate::authority::Authority;
use crate::metrics::{Method, Metrics};
use crate::root::Root;
use crate::service::{Service, Shared};
use crate::token::Tokens;
use crate::{SHORTEST_LEAF_LIFETIME, Settings};

/// A request is a public key and a few names.
const MAX_MESSAGE: usize = 64 * 1024;
const MAX_HEADERS: u32 = 16 * 1024;
const MAX_STREAMS: u32 = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody needs one for long; strangers may open them.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
const CONNECTION_GRACE: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How often tokens are counted and pruned; also the longest sleep before a look at the clock.
const CHORES: Duration = Duration::from_secs(10);
/// Lest a root in its last seconds makes us busy.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const READY: &str = "the certificate authority to listen";

/// An authority that serves, until its process is told to stop.
#[derive(Debug)]
pub struct Running {
    /// Where it serves gRPC.
    pub address: SocketAddr,
    /// Where it serves metrics and health.
    pub metrics_address: SocketAddr,
    /// By which a newcomer knows it.
    pub fingerprint: Fingerprint,
    serving: JoinHandle<anyhow::Result<()>>,
    shutdown: Shutdown,
    drain_timeout: Duration,
}

impl Running {
    /// Returns once it has stopped, with its ports free again: after the shutdown was triggered and
    /// the requests in flight are answered, or the drain timeout is over.
    ///
    /// # Errors
    /// If it stopped because it failed.
    pub async fn stopped(mut self) -> anyhow::Result<()> {
        tokio::select! {
            done = &mut self.serving => return done.context("the server panicked")?,
            () = self.shutdown.wait() => {}
        }
        if let Ok(done) = tokio::time::timeout(self.drain_timeout, &mut self.serving).await {
            return done.context("the server panicked")?;
        }
        tracing::warn!("stopping with connections still open");
        self.serving.abort();
        Ok(())
    }
}

/// Starts an authority, with a new root if its state directory has none.
///
/// # Errors
/// If an address is taken or the state cannot be used.
pub async fn start(settings: Settings, process: Process) -> anyhow::Result<Running> {
    ensure!(
        settings.leaf_lifetime >= SHORTEST_LEAF_LIFETIME,
        "--leaf-lifetime {} is too short to renew in time; the least is {}",
        humantime::format_duration(settings.leaf_lifetime),
        humantime::format_duration(SHORTEST_LEAF_LIFETIME)
    );
    process.readiness.expect(READY);
    let listener = bind("--listen", settings.listen).await?;
    let metrics_listener = bind("--listen-metrics", settings.listen_metrics).await?;
    let (address, metrics_address) = (listener.local_addr()?, metrics_listener.local_addr()?);

    let root = Root::open_or_create(&settings.state_dir, settings.trust_domain.as_ref())?;
    let tokens = Tokens::open(&settings.state_dir)?;
    let fingerprint = root.fingerprint();
    let trust_domain = root.trust_domain().clone();
    let metrics = Arc::new(Metrics::new(&process.registry)?);
    metrics.root_expires(root.not_after());
    metrics.count_tokens(
        tokens
            .prune(SystemTime::now())
            .context("cannot look through the join tokens")?,
    );
    let authority = Arc::new(Authority::new(root, settings.leaf_lifetime));
    let identity = authority.identity(SystemTime::now())?;
    metrics.issued(Method::Own);

    // Whoever reads it may connect from now on: the listeners queue.
    write_addresses(
        settings.addresses_file.as_deref(),
        &BTreeMap::from([("grpc", address), ("metrics", metrics_address)]),
    )?;

    let tls = tls::server_config_optional_client(&identity, Peers::TrustDomain, &[b"h2"]);
    let service = Service::new(authority.clone(), tokens.clone(), metrics.clone());
    let service = CertificateAuthorityServer::new(Shared(Arc::new(service)))
        .max_decoding_message_size(MAX_MESSAGE);
    let stop = process.shutdown.clone();
    let server = Server::builder()
        .timeout(REQUEST_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_connection_age(MAX_CONNECTION_AGE)
        .max_connection_age_grace(CONNECTION_GRACE)
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADERS)
        .add_service(service)
        .serve_with_incoming_shutdown(grpc::incoming(listener, tls), async move {
            stop.wait().await;
        });
    let router =
        admin::metrics(process.registry.clone()).merge(admin::health(process.readiness.clone()));
    let admin = mesh_process::serve(metrics_listener, router, process.shutdown.clone());
    let serving = tokio::spawn(async move {
        tokio::try_join!(
            async { server.await.context("cannot serve the authority") },
            async {
                admin.await;
                Ok(())
            },
        )?;
        Ok(())
    });

    let renewal = keep_own_certificate(authority, identity, metrics.clone(), SystemTime::now);
    let chores = keep_tokens(tokens, metrics);
    let stop = process.shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.wait() => {}
            () = async { tokio::join!(renewal, chores); } => {}
        }
    });

    process.readiness.set(READY, true);
    tracing::info!(
        %address,
        metrics = %metrics_address,
        %trust_domain,
        %fingerprint,
        leaf_lifetime = %humantime::format_duration(settings.leaf_lifetime),
        "issuing certificates"
    );
    Ok(Running {
        address,
        metrics_address,
        fingerprint,
        serving,
        shutdown: process.shutdown,
        drain_timeout: settings.drain_timeout,
    })
}

/// The authority renews its own certificate at half of its life, in memory.
async fn keep_own_certificate(
    authority: Arc<Authority>,
    identity: Arc<Identity>,
    metrics: Arc<Metrics>,
    clock: impl Fn() -> SystemTime,
) {
    let mut since = clock();
    loop {
        let life = identity
            .not_after()
            .duration_since(since)
            .unwrap_or_default();
        tokio::time::sleep((life / 2).clamp(SHORTEST_WAIT, CHORES)).await;
        let now = clock();
        if identity
            .not_after()
            .duration_since(now)
            .is_ok_and(|left| left > life / 2)
        {
            continue;
        }
        match authority.own(now) {
            Ok((svid, issued)) => {
                metrics.issued(Method::Own);
                tracing::debug!(
                    identity = %svid.id,
                    serial = issued.serial,
                    expires = %humantime::format_rfc3339_seconds(issued.not_after),
                    "renewed our own certificate"
                );
                identity.replace(svid, authority.bundle());
                since = now;
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(error, "cannot renew our own certificate");
            }
        }
    }
}

/// Counts the tokens, which other processes add, and forgets the old ones.
async fn keep_tokens(tokens: Tokens, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(CHORES);
    loop {
        ticks.tick().await;
        let tokens = tokens.clone();
        match tokio::task::spawn_blocking(move || tokens.prune(SystemTime::now())).await {
            Ok(Ok(count)) => metrics.count_tokens(count),
            Ok(Err(error)) => tracing::warn!(%error, "cannot look through the join tokens"),
            // The runtime is going down.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_own_certificate_never_runs_out() {
        for life in [10, 24 * 3600] {
            let life = Duration::from_secs(life);
            let state = tempfile::tempdir().expect("a directory");
            let root = Root::open_or_create(state.path(), None).expect("a root");
            let authority = Arc::new(Authority::new(root, life));
            let (start, epoch) = (Instant::now(), SystemTime::now());
            let clock = move || epoch + start.elapsed();
            let identity = authority.identity(clock()).expect("an identity");
            let metrics = Metrics::new(&prometheus::Registry::new()).expect("metrics");
            let task = tokio::spawn(keep_own_certificate(
                authority,
                identity.clone(),
                Arc::new(metrics),
                clock,
            ));
            let mut told = identity.subscribe();
            let slack = Duration::from_secs(2);
            for generation in 2..12 {
                let before = Instant::now();
                told.changed().await.expect("the identity lives");
                assert_eq!(identity.generation(), generation);
                let wait = before.elapsed();
                assert!(
                    wait + slack >= life / 2 && wait <= life / 2 + CHORES,
                    "{wait:?}"
                );
                let left = identity.not_after().duration_since(clock()).expect("valid");
                assert!(left + slack >= life, "a whole life is ahead: {left:?}");
            }
            task.abort();
        }
    }
}
