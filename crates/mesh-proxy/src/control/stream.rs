//! The one stream to the control plane, kept up: dials, sends, receives, and dials again.
//!
//! It knows nothing of resources. A stream that falls silent is noticed by the HTTP/2 pings of the
//! channel, within 15 s. When the certificate was renewed, the next stream is opened before this one is
//! closed; see `renewal.rs`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use mesh_identity::tls::{self, Peers};
use mesh_identity::{Backoff, Identity, SpiffeId, grpc};
use mesh_xds::envoy::discovery::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

use super::renewal::{self, Renewals};

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
    let mut next = Next::default();
    loop {
        let before = std::mem::take(&mut next);
        let ended = tokio::select! {
            ended = one_stream(&address, &identity, &events, &mut backoff, before) => ended,
            () = events.closed() => return,
        };
        let reason = match ended {
            Ended::Down(reason) => reason,
            Ended::Renewed(renewed) => {
                next = renewed;
                continue;
            }
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

enum Ended {
    /// The stream is gone, and why.
    Down(String),
    /// The certificate was renewed, and there is a connection for the next stream.
    Renewed(Next),
}

/// What the next stream begins with.
#[derive(Default)]
struct Next {
    /// A new connection, and who tells of the next renewal.
    connection: Option<(Channel, Renewals)>,
    /// The stream before it, which is not listened to any more. It stays open until the next one is
    /// answered, so that the proxy is connected all the time.
    earlier: Option<Exchange>,
}

/// The exchange on an open stream, which ends with it.
type Exchange = Pin<Box<dyn Future<Output = String> + Send>>;

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
    begin: Next,
) -> Ended {
    let (channel, mut renewals) = match begin.connection {
        Some(renewed) => renewed,
        None => {
            let renewals = Renewals::of(identity);
            match grpc::connect(address, control_plane(identity)).await {
                Ok(channel) => (channel, renewals),
                Err(error) => return Ended::Down(error.to_string()),
            }
        }
    };
    let (requests, (outgoing, closed)) = Requests::channel();
    // Before the call: a server may wait for the first request before it answers.
    if events.send(Event::Up(requests)).await.is_err() {
        return Ended::Down(String::new());
    }
    let answered = Arc::new(AtomicBool::new(false));
    let mut open: Exchange = Box::pin(exchange(
        channel,
        outgoing,
        events.clone(),
        begin.earlier,
        answered.clone(),
    ));
    let renewed = async {
        renewals.next().await;
        renewal::connect(address, identity).await
    };
    let ended = tokio::select! {
        reason = &mut open => Ended::Down(reason),
        reason = closed => {
            // What it brought was no success: whoever speaks nonsense is not dialled without end.
            let reason = reason.unwrap_or_else(|_| "the proxy closed the stream".to_owned());
            return Ended::Down(reason);
        }
        channel = renewed => {
            let connection = Some((channel, renewals));
            Ended::Renewed(Next { connection, earlier: Some(open) })
        }
    };
    if answered.load(Relaxed) {
        backoff.reset();
    }
    ended
}

/// Sends and receives until the control plane ends the stream; returns why it did.
async fn exchange(
    channel: Channel,
    outgoing: mpsc::UnboundedReceiver<DeltaDiscoveryRequest>,
    events: mpsc::Sender<Event>,
    mut earlier: Option<Exchange>,
    answered: Arc<AtomicBool>,
) -> String {
    let mut client =
        AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    // Our half ends with this future, and not earlier: when the loop already has the next stream's requests, this
    // one has to stay for a moment.
    let (_open, over) = oneshot::channel::<()>();
    let outgoing = UnboundedReceiverStream::new(outgoing)
        .chain(stream::pending())
        .take_until(over);
    let opened = client.delta_aggregated_resources(outgoing).await;
    let mut responses = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return in_words(&status),
    };
    loop {
        match responses.message().await {
            Ok(Some(response)) => {
                answered.store(true, Relaxed);
                drop(earlier.take());
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
