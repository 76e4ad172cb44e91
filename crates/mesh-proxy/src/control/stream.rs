//! The one stream to the control plane, kept up: dials, sends, receives, and dials again.
//!
//! It knows nothing of resources. A stream that falls silent is noticed by the HTTP/2 pings of the
//! channel, within 15 s.

use std::sync::Arc;
use std::time::Duration;

use mesh_identity::tls::{self, Peers};
use mesh_identity::{Backoff, Identity, SpiffeId, grpc};
use mesh_xds::envoy::discovery::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

/// A whole mesh's resources may come in one message.
const MAX_MESSAGE: usize = 64 << 20;

/// The waits between tries to reach the control plane.
pub(crate) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(3))
}

/// What happens at the stream.
#[derive(Debug)]
pub(crate) enum Event {
    /// A new stream takes requests.
    Up(Requests),
    /// The control plane said something.
    Response(Box<DeltaDiscoveryResponse>),
    /// The stream is gone, or could not be opened, and why.
    Down(String),
}

/// The control loop's end of a stream. The stream ends with it, in both directions.
#[derive(Debug)]
pub(crate) struct Requests {
    outgoing: mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    close: oneshot::Sender<String>,
}

/// The stream's end: what is to be sent, and why it is to end.
pub(crate) type Asked = (
    mpsc::UnboundedReceiver<DeltaDiscoveryRequest>,
    oneshot::Receiver<String>,
);

impl Requests {
    pub(crate) fn channel() -> (Self, Asked) {
        let (outgoing, requests) = mpsc::unbounded_channel();
        let (close, closed) = oneshot::channel();
        (Self { outgoing, close }, (requests, closed))
    }

    pub(crate) fn send(&self, request: DeltaDiscoveryRequest) {
        // If the stream has just gone, the next one begins with all that there is to say.
        _ = self.outgoing.send(request);
    }

    /// Ends the stream: nothing that it brings is wanted any more.
    pub(crate) fn close(self, reason: String) {
        // If it has just gone by itself, that will do.
        _ = self.close.send(reason);
    }
}

/// Keeps the stream up until the receiver of its events is gone.
pub(crate) async fn keep_up(address: String, identity: Arc<Identity>, events: mpsc::Sender<Event>) {
    let mut backoff = backoff();
    loop {
        let reason = tokio::select! {
            reason = one_stream(&address, &identity, &events, &mut backoff) => reason,
            () = events.closed() => return,
        };
        if events.send(Event::Down(reason)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = events.closed() => return,
        }
    }
}

/// A channel that nobody but the control plane answers.
pub(crate) fn control_plane(identity: &Arc<Identity>) -> Arc<rustls::ClientConfig> {
    let id = SpiffeId::api(identity.id().trust_domain());
    tls::client_config(identity, Peers::one(id), &[b"h2"])
}

/// Returns why the stream ended.
async fn one_stream(
    address: &str,
    identity: &Arc<Identity>,
    events: &mpsc::Sender<Event>,
    backoff: &mut Backoff,
) -> String {
    let channel = match grpc::connect(address, control_plane(identity)).await {
        Ok(channel) => channel,
        Err(error) => return error.to_string(),
    };
    let (requests, (outgoing, closed)) = Requests::channel();
    // Before the call: a server may wait for the first request before it answers.
    if events.send(Event::Up(requests)).await.is_err() {
        return String::new();
    }
    let before = backoff.clone();
    tokio::select! {
        reason = exchange(channel, outgoing, events, backoff) => reason,
        reason = closed => {
            // What it brought was no success: whoever speaks nonsense is not dialled without end.
            *backoff = before;
            reason.unwrap_or_else(|_| "the proxy closed the stream".to_owned())
        }
    }
}

/// Sends and receives until the control plane ends the stream; returns why it did.
async fn exchange(
    channel: Channel,
    outgoing: mpsc::UnboundedReceiver<DeltaDiscoveryRequest>,
    events: &mpsc::Sender<Event>,
    backoff: &mut Backoff,
) -> String {
    let mut client =
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let opened = client
        .delta_aggregated_resources(UnboundedReceiverStream::new(outgoing))
        .await;
    let mut responses = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return in_words(&status),
    };
    loop {
        match responses.message().await {
            Ok(Some(response)) => {
                backoff.reset();
                if events
                    .send(Event::Response(Box::new(response)))
                    .await
                    .is_err()
                {
                    return String::new();
                }
            }
            Ok(None) => return "the control plane closed the stream".to_owned(),
            Err(status) => return in_words(&status),
        }
    }
}

/// A status in words: its message and causes, without what says nothing.
pub(crate) fn in_words(status: &tonic::Status) -> String {
    let mut words: Vec<String> = vec![status.message().to_owned()];
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    let mut sentence = String::new();
    for word in words {
        // Links to manuals are for those who write programs.
        let word = word.split(": https://").next().unwrap_or_default();
        if word.is_empty() || word == "transport error" || sentence.contains(word) {
            continue;
        }
        if !sentence.is_empty() {
            sentence.push_str(": ");
        }
        sentence.push_str(word);
    }
    if sentence.is_empty() {
        status.code().to_string()
    } else {
        sentence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_is_wrong_and_no_more() {
        let words = |message: &str| in_words(&tonic::Status::unavailable(message));
        assert_eq!(
            words("transport error"),
            tonic::Code::Unavailable.to_string()
        );
        assert_eq!(words("gone: https://docs.rs/x"), "gone");
        let refused = std::io::Error::other("Connection refused");
        let status = tonic::Status::from_error(Box::new(refused));
        assert_eq!(in_words(&status), "Connection refused");
    }
}
