//! Being an endpoint: a lease at mesh-api's registry for as long as the proxy can serve.
//!
//! The lease is a stream: its first message registers the workload, each further one is a heartbeat. It
//! is opened once the proxy is ready, so that nobody is sent here too early, and closed in order before
//! the proxy drains, so that nobody is sent here too late. If it breaks, the registry keeps the endpoint
//! for a while, and the stream is opened anew.

use std::time::Duration;

use mesh_identity::Backoff;
use mesh_process::{Readiness, Shutdown};
use mesh_xds::mesh::registry_client::RegistryClient;
use mesh_xds::mesh::{Instance, RegisterRequest, RegisterResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::control::stream::{backoff, in_words};

/// Well within the registry's patience.
const HEARTBEAT: Duration = Duration::from_millis(2500);
/// How long the registry may take to confirm that we have left.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the other proxies may take to hear of it once it is confirmed.
const SPREAD: Duration = Duration::from_millis(500);

/// Keeps `instance` registered from readiness until `leave`; returns when others no longer send requests
/// here, or should not.
pub(crate) async fn keep(channel: Channel, instance: Instance, ready: Readiness, leave: Shutdown) {
    tokio::select! {
        () = ready.wait() => {}
        () = leave.wait() => return,
    }
    let mut backoff = backoff();
    let mut told = String::new();
    loop {
        let reason = match one_lease(channel.clone(), &instance, &leave, &mut backoff).await {
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

async fn one_lease(
    channel: Channel,
    instance: &Instance,
    leave: &Shutdown,
    backoff: &mut Backoff,
) -> Ended {
    let (requests, outgoing) = mpsc::channel(1);
    let first = RegisterRequest {
        instance: Some(instance.clone()),
    };
    let mut client = RegistryClient::new(channel);
    let open = async {
        // The channel is empty and its other end is alive: this cannot fail or wait.
        _ = requests.send(first).await;
        client.register(ReceiverStream::new(outgoing)).await
    };
    let opened = tokio::select! {
        opened = open => opened,
        () = leave.wait() => return Ended::Left,
    };
    let mut responses = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return Ended::Broken(in_words(&status)),
    };
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.tick().await;
    loop {
        tokio::select! {
            answer = responses.message() => match answer {
                Ok(Some(RegisterResponse { lease_ms })) => {
                    backoff.reset();
                    tracing::info!(name = instance.name, address = instance.address, lease_ms, "registered as an endpoint");
                }
                Ok(None) => return Ended::Broken("the registry ended the lease".to_owned()),
                Err(status) => return Ended::Broken(in_words(&status)),
            },
            _ = heartbeat.tick() => {
                // A full channel means that the stream is stuck; pings will tell.
                _ = requests.try_send(RegisterRequest::default());
            }
            () = leave.wait() => {
                drop(requests);
                say_goodbye(responses).await;
                return Ended::Left;
            }
        }
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
