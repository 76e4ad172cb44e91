//! Being an endpoint: a lease at mesh-api's registry for as long as the proxy can serve.
//!
//! The lease is a stream: its first message registers the workload, each further one is a heartbeat. It
//! is opened once the proxy is ready, so that nobody is sent here too early, and closed in order before
//! the proxy drains, so that nobody is sent here too late. If it breaks, the registry keeps the endpoint
//! for a while, and the stream is opened anew. When the certificate was renewed, the next lease is taken before
//! this one is dropped; for the registry the newest stream of an instance is the one that counts.

use std::time::Duration;

use mesh_identity::Backoff;
use mesh_process::{Readiness, Shutdown};
use mesh_xds::mesh::registry_client::RegistryClient;
use mesh_xds::mesh::{Instance, RegisterRequest, RegisterResponse};
use tokio::sync::{mpsc, watch};
use tokio::time::Interval;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::control::stream::{backoff, in_words};

/// Well within the registry's patience.
const HEARTBEAT: Duration = Duration::from_millis(2500);
/// How long the registry may take to confirm that we are registered: shorter than its patience, so that another
/// attempt comes in time.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long the registry may take to confirm that we have left.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the other proxies may take to hear of it once it is confirmed.
const SPREAD: Duration = Duration::from_millis(500);
/// Why a lease is over that nobody explained.
const ENDED: &str = "the registry ended the lease";

/// Keeps `instance` registered from readiness until `leave`; returns when others no longer send requests
/// here, or should not. A new one of `channels` is one that proves a renewed certificate.
pub(crate) async fn keep(
    mut channels: watch::Receiver<Channel>,
    instance: Instance,
    ready: Readiness,
    leave: Shutdown,
) {
    tokio::select! {
        () = ready.wait() => {}
        () = leave.wait() => return,
    }
    let mut backoff = backoff();
    let mut told = String::new();
    loop {
        let reason = match be_registered(&mut channels, &instance, &leave, &mut backoff).await {
            Ended::Left => return,
            Ended::Broken(reason) => reason,
        };
        if reason == told {
            tracing::debug!(reason, "still not registered");
        } else {
            tracing::warn!(
                group = instance.workload_group,
                name = instance.name,
                reason,
                "not registered as an endpoint; trying again"
            );
            told = reason;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = leave.wait() => return,
        }
    }
}

enum Ended {
    Left,
    Broken(String),
}

/// Holds one lease after the other, without a gap, until one breaks.
async fn be_registered(
    channels: &mut watch::Receiver<Channel>,
    instance: &Instance,
    leave: &Shutdown,
    backoff: &mut Backoff,
) -> Ended {
    let channel = channels.borrow_and_update().clone();
    let opened = tokio::select! {
        opened = Lease::open(channel, instance) => opened,
        () = leave.wait() => return Ended::Left,
    };
    let mut lease = match opened {
        Ok((lease, lease_ms)) => {
            tracing::info!(
                name = instance.name,
                address = instance.address,
                lease_ms,
                "registered as an endpoint"
            );
            lease
        }
        Err(reason) => return Ended::Broken(reason),
    };
    backoff.reset();
    loop {
        let channel = tokio::select! {
            reason = lease.hold() => return Ended::Broken(reason),
            channel = next(channels) => channel,
            () = leave.wait() => {
                lease.give_up().await;
                return Ended::Left;
            }
        };
        // Who leaves in this moment waits: it has to be known which of the two leases is to be given up.
        let opened = tokio::select! {
            reason = lease.hold() => return Ended::Broken(reason),
            opened = Lease::open(channel, instance) => opened,
        };
        match opened {
            Ok((renewed, _)) => {
                tracing::debug!(
                    name = instance.name,
                    "registered with the renewed certificate"
                );
                lease = renewed;
                backoff.reset();
            }
            Err(reason) => {
                tracing::debug!(reason, "not registered with the renewed certificate yet");
                tokio::select! {
                    reason = lease.hold() => return Ended::Broken(reason),
                    () = tokio::time::sleep(backoff.wait()) => channels.mark_changed(),
                    () = leave.wait() => {}
                }
            }
        }
    }
}

/// The next channel, once there is one.
async fn next(channels: &mut watch::Receiver<Channel>) -> Channel {
    if channels.changed().await.is_err() {
        // No other one will come; this one goes on.
        std::future::pending::<()>().await;
    }
    channels.borrow_and_update().clone()
}

/// A place in the registry, for as long as this is held.
struct Lease {
    requests: mpsc::Sender<RegisterRequest>,
    responses: Streaming<RegisterResponse>,
    heartbeat: Interval,
}

impl Lease {
    /// Registers, and returns when the registry has confirmed it, with its patience in milliseconds.
    async fn open(channel: Channel, instance: &Instance) -> Result<(Self, u32), String> {
        let (requests, outgoing) = mpsc::channel(1);
        let first = RegisterRequest {
            instance: Some(instance.clone()),
        };
        let open = async {
            // The channel is empty and its other end is alive: this cannot fail or wait.
            _ = requests.send(first).await;
            let mut client = RegistryClient::new(channel);
            let opened = client.register(ReceiverStream::new(outgoing)).await;
            let mut responses = opened.map_err(|status| in_words(&status))?.into_inner();
            match responses.message().await {
                Ok(Some(RegisterResponse { lease_ms })) => Ok((responses, lease_ms)),
                Ok(None) => Err(ENDED.to_owned()),
                Err(status) => Err(in_words(&status)),
            }
        };
        let (responses, lease_ms) = tokio::time::timeout(PATIENCE, open)
            .await
            .unwrap_or_else(|_| Err("the registry does not answer".to_owned()))?;
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.reset();
        let lease = Self {
            requests,
            responses,
            heartbeat,
        };
        Ok((lease, lease_ms))
    }

    /// Renews it in time; returns why it ended. May be dropped and called again.
    async fn hold(&mut self) -> String {
        loop {
            tokio::select! {
                answer = self.responses.message() => match answer {
                    // The registry has nothing more to say, but may.
                    Ok(Some(_)) => {}
                    Ok(None) => return ENDED.to_owned(),
                    Err(status) => return in_words(&status),
                },
                _ = self.heartbeat.tick() => {
                    // A full channel means that the stream is stuck; pings will tell.
                    _ = self.requests.try_send(RegisterRequest::default());
                }
            }
        }
    }

    /// Leaves in order: returns when the others know.
    async fn give_up(self) {
        drop(self.requests);
        say_goodbye(self.responses).await;
    }
}

/// Waits until the registry has ended its half too.
async fn say_goodbye(mut responses: Streaming<RegisterResponse>) {
    let ended = async {
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err::<(), Status>(status),
            }
        }
    };
    match tokio::time::timeout(GOODBYE, ended).await {
        Ok(Ok(())) => tracing::info!("no endpoint any more"),
        Ok(Err(status)) => tracing::warn!(
            reason = in_words(&status),
            "left without the registry's word"
        ),
        Err(_) => tracing::warn!("the registry did not confirm in time that we have left"),
    }
    tokio::time::sleep(SPREAD).await;
}
