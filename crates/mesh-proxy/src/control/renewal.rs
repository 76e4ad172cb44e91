//! New connections to the control plane when the certificate has been renewed.
//!
//! A connection proves the identity that its certificate had when it was opened, and the control plane ends it when
//! that one expires. So each renewal has a new connection made before the old one is given up: its
//! streams are opened and answered first ([`super::stream`], [`crate::registration`], [`crate::report`]), and nobody
//! notices.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_identity::{Identity, grpc};
use tokio::sync::watch;
use tonic::transport::Channel;

use super::stream::{backoff, control_plane};

/// Each proxy waits for a moment of its own, so that a fleet whose certificates were renewed at one time does not
/// come at one time: at most this share of what the old certificate has left, and at most this long.
const JITTER: (f64, Duration) = (0.25, Duration::from_secs(10));

/// Follows the renewals of an identity, from the moment when it is made.
#[derive(Debug)]
pub(crate) struct Renewals {
    identity: Arc<Identity>,
    generations: watch::Receiver<u64>,
    /// When the connections end that were made before the next renewal.
    until: SystemTime,
}

impl Renewals {
    pub(crate) fn of(identity: &Arc<Identity>) -> Self {
        // In this order: what is renewed in between is noticed, with too early an end at worst.
        let generations = identity.subscribe();
        Self {
            identity: identity.clone(),
            generations,
            until: identity.not_after(),
        }
    }

    /// Returns when the certificate was renewed and it is time for new connections.
    pub(crate) async fn next(&mut self) {
        if self.generations.changed().await.is_err() {
            // The sender lives in the identity that is held here.
            std::future::pending::<()>().await;
        }
        let left = self.until.duration_since(SystemTime::now());
        let (share, longest) = JITTER;
        let wait = left.unwrap_or_default().mul_f64(share).min(longest);
        tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
        self.generations.mark_unchanged();
        self.until = self.identity.not_after();
    }
}

/// Opens a connection with the certificate of now, however long that takes.
pub(crate) async fn connect(address: &str, identity: &Arc<Identity>) -> Channel {
    let mut backoff = backoff();
    loop {
        match grpc::connect(address, control_plane(identity)).await {
            Ok(channel) => return channel,
            // Whoever uses the old connection tells of what is wrong.
            Err(error) => tracing::debug!(%error, "no connection with the renewed certificate yet"),
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// A channel to the control plane, and another one after each renewal. Needs a tokio runtime.
pub(crate) fn channels(address: String, identity: Arc<Identity>) -> watch::Receiver<Channel> {
    let mut renewals = Renewals::of(&identity);
    let first = grpc::channel(&address, control_plane(&identity));
    let (channels, followed) = watch::channel(first);
    tokio::spawn(async move {
        let renew = async {
            loop {
                renewals.next().await;
                channels.send_replace(connect(&address, &identity).await);
            }
        };
        tokio::select! {
            () = renew => {}
            () = channels.closed() => {}
        }
    });
    followed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures_util::FutureExt as _;
    use mesh_identity::tls::{self, Peers};
    use tokio::net::TcpListener;
    use tokio::time::Instant;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::snapshot::samples::AUTHORITY;

    /// A certificate with a life of so many seconds, and when it ends.
    fn renew(identity: &Arc<Identity>, seconds: u64) -> SystemTime {
        let svid = AUTHORITY.svid("default", "webapp", Duration::from_secs(seconds));
        let end = svid.not_after;
        identity.replace(svid, AUTHORITY.bundle());
        end
    }

    #[tokio::test(start_paused = true)]
    async fn each_renewal_is_followed_at_a_moment_of_its_own_in_time() {
        let identity = AUTHORITY.identity("default", "webapp");
        let mut renewals = Renewals::of(&identity);
        let mut waits = BTreeSet::new();
        for _ in 0..20 {
            assert!(renewals.next().now_or_never().is_none(), "nothing is new");
            renew(&identity, 3600);
            let begun = Instant::now();
            renewals.next().await;
            waits.insert(begun.elapsed());
        }
        assert!(waits.len() > 5, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= JITTER.1), "{waits:?}");
        // The shorter the old one's rest is, the sooner the new one is used.
        renew(&identity, 8);
        renewals.next().await;
        renew(&identity, 3600);
        let begun = Instant::now();
        renewals.next().await;
        assert!(begun.elapsed() <= Duration::from_millis(2001));
    }

    #[tokio::test]
    async fn the_old_connection_goes_on_until_there_is_a_new_one() {
        let identity = AUTHORITY.identity("default", "webapp");
        renew(&identity, 4);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut channels = channels(address, identity.clone());
        let end = renew(&identity, 3600);
        // One attempt fails.
        drop(listener.accept().await.unwrap());
        assert!(!channels.has_changed().unwrap());
        let api = AUTHORITY.identity("istio-system", "mesh-api");
        let tls = tls::server_config(&api, Peers::TrustDomain, &[b"h2"]);
        let mut incoming = grpc::incoming(listener, tls);
        let (connection, changed) = tokio::join!(incoming.next(), channels.changed());
        changed.unwrap();
        let connection = connection.unwrap().unwrap();
        assert_eq!(connection.peer().not_after, Some(end));
    }
}
