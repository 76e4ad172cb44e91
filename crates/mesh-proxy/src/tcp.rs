//! A session's way: an endpoint is chosen and connected once, then bytes go both ways until both ends have said
//! all.
//!
//! Nothing is read before there is a connection, and nothing is waited for: with some protocols the server
//! speaks first. Each direction ends by itself. What breaks off is passed on as a reset, since an end in peace
//! would make a truncated stream look whole.

mod flow;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tracing::debug;

use crate::fail::{Fail, Flag};
use crate::peer::{Order, Peer, Standing};
use crate::session::Session;
use crate::snapshot::Filter;
use crate::steps::{hash, split};
use crate::upstream::outlier::{self, Outcome};
use crate::upstream::{Active, ConnectError, balance, connect_session};
use crate::wire::{Socket, Watch};
use crate::worker::Worker;

use flow::{Flow, Side};

/// How long both ends may take to hear that an idle session is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// Carries a session until its end. What was `read` of it already goes first.
pub(crate) async fn serve(worker: Arc<Worker>, peer: Arc<Peer>, client: Socket, read: Bytes) {
    if let Err(error) = Socket::tune(client.tcp(), Watch::Session) {
        debug!(client = %peer.hello.address, %error, "a client's connection broke at once");
        return;
    }
    let mut client = Side::new(client);
    let at = worker.standing(&peer);
    let mut session = Session::begin(worker, peer, &at);
    match connect(&mut session, &at).await {
        Ok((endpoint, _active)) => {
            // From here on no snapshot is needed.
            drop(at);
            let mut endpoint = Side::new(endpoint);
            if let Err(error) = endpoint.socket.write_all(&read).await {
                let cause = format!("the endpoint broke the connection off: {error}");
                session.broke(Flag::UpstreamClosed, cause);
                return;
            }
            if !read.is_empty() {
                session.received(read.len());
            }
            relay(&mut session, &mut client, &mut endpoint).await;
        }
        Err(fail) => session.failed(fail),
    }
}

/// Tries one endpoint after the other until there is a connection.
async fn connect(s: &mut Session, at: &Standing) -> Result<(Socket, Active), Fail> {
    let Filter::Tcp(proxy) = &at.filter else {
        // Connections are placed by what they speak.
        return Err(Fail::no_route());
    };
    let worker = s.worker.clone();
    let name = split::pick(&proxy.split, worker.id).ok_or_else(Fail::no_target)?;
    let clusters = &at.snapshot.clusters;
    let cluster = clusters.get(name).ok_or_else(|| s.missing(name))?;
    s.chosen(cluster);
    let source = s.peer.hello.address.ip();
    let hash = proxy.by_source.then(|| hash::of_source(source));
    let mut tried = Vec::new();
    loop {
        let endpoint = balance::pick(cluster, worker.id, &tried, hash)
            .ok_or_else(|| Fail::no_endpoint(&cluster.name))?;
        s.attempt(endpoint);
        let active = Active::begin(&endpoint.state, worker.id);
        match connect_session(&worker, cluster, endpoint, &at.listener.workload).await {
            Ok((socket, origin)) => {
                outlier::record(cluster, endpoint, Outcome::Connected);
                s.connected(origin.principal.clone());
                return Ok((socket, active.with(origin.into_permit())));
            }
            Err(ConnectError::Overflow(overflow)) => {
                return Err(Fail::new(Flag::Overflow, overflow.to_string()));
            }
            Err(error) => {
                outlier::record(cluster, endpoint, Outcome::Unreachable);
                tried.push(endpoint.clone());
                if tried.len() >= proxy.attempts as usize {
                    let fail = Fail::new(Flag::ConnectFailure, error.to_string());
                    return Err(fail.after_retries(proxy.attempts - 1));
                }
            }
        }
    }
}

/// How a session ends.
enum End {
    Complete,
    ClientBroke(std::io::Error),
    EndpointBroke(std::io::Error),
    /// It was told to; then one end may not have taken all that the other has said.
    Ordered {
        under_way: bool,
    },
}

async fn relay(session: &mut Session, client: &mut Side, endpoint: &mut Side) {
    let end = copy(session, client, endpoint).await;
    match end {
        End::Complete => session.completed(),
        End::ClientBroke(error) => {
            let cause = format!("the client broke the connection off: {error}");
            session.broke(Flag::ClientGone, cause);
            return;
        }
        End::EndpointBroke(error) => {
            let cause = format!("the endpoint broke the connection off: {error}");
            session.broke(Flag::UpstreamClosed, cause);
            return;
        }
        End::Ordered { .. } if session.peer.has_expired() => {
            session.closed("the certificate that the client had shown is over".to_owned());
            return;
        }
        End::Ordered { under_way: true } => {
            let cause = "one end took nothing more for as long as the idle timeout";
            session.closed(cause.to_owned());
            return;
        }
        End::Ordered { under_way: false } => {
            session.closed("nothing moved for as long as the idle timeout".to_owned());
            let both = async {
                // Whoever is gone already needs no farewell.
                let (_, _) = tokio::join!(client.socket.shutdown(), endpoint.socket.shutdown());
            };
            tokio::time::timeout(FAREWELL, both)
                .await
                .unwrap_or_default();
        }
    }
    client.rest();
    endpoint.rest();
}

/// Copies both ways until the session ends.
async fn copy(session: &mut Session, client: &mut Side, endpoint: &mut Side) -> End {
    let peer = session.peer.clone();
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let mut waker: Option<Waker> = None;
    poll_fn(move |cx| {
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            waker = Some(cx.waker().clone());
            peer.listen(cx);
        }
        let (client, endpoint) = (&mut client.socket, &mut endpoint.socket);
        let down_done = match down.poll(cx, endpoint, client, |bytes| session.sent(bytes)) {
            Poll::Ready(Err(flow::Broken::From(error))) => {
                return Poll::Ready(End::EndpointBroke(error));
            }
            Poll::Ready(Err(flow::Broken::To(error))) => {
                return Poll::Ready(End::ClientBroke(error));
            }
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        let up_done = match up.poll(cx, client, endpoint, |bytes| session.received(bytes)) {
            Poll::Ready(Err(flow::Broken::From(error))) => {
                return Poll::Ready(End::ClientBroke(error));
            }
            Poll::Ready(Err(flow::Broken::To(error))) => {
                return Poll::Ready(End::EndpointBroke(error));
            }
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        match peer.orders() {
            _ if up_done && down_done => Poll::Ready(End::Complete),
            // A session is under way until its ends say otherwise.
            Order::None | Order::Drain => Poll::Pending,
            Order::Close => Poll::Ready(End::Ordered {
                under_way: up.is_under_way() || down.is_under_way(),
            }),
        }
    })
    .await
}
