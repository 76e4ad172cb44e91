//! Opening a connection to an endpoint: name, TCP, TLS, and HTTP unless it is for a session, within one
//! deadline.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_identity::tls::peer_id;
use mesh_xds::Workload;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use tracing::debug;

use super::Outgoing;
use super::breaker::{self, Overflow, Permit, Resource};
use crate::alpn;
use crate::http::limits;
use crate::snapshot::{Cluster, Endpoint, UpstreamTls};
use crate::wire::{Socket, Watch};
use crate::worker::Worker;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot resolve {address}: {source}; check the name and the resolver of this machine")]
    Resolve {
        address: Arc<str>,
        source: io::Error,
    },
    #[error(
        "cannot connect to {address}: {source}; check that the workload and its agent run there"
    )]
    Connect {
        address: Arc<str>,
        source: io::Error,
    },
    #[error(
        "no connection to {address} within {after:?}; check the network and the firewall in between"
    )]
    Timeout { address: Arc<str>, after: Duration },
    #[error(
        "no TLS with {address}: {source}; check that it is the workload that the mesh knows there and that both certificates are valid"
    )]
    Tls {
        address: Arc<str>,
        source: io::Error,
    },
    #[error(
        "{address} is this machine itself, which no stranger is led to by a name; give the host a ServiceEntry of its own with its endpoints"
    )]
    Here { address: Arc<str> },
    #[error(transparent)]
    Overflow(#[from] Overflow),
    #[error("no HTTP with {address}: {source}; check which protocol its port speaks")]
    Http {
        address: Arc<str>,
        source: hyper::Error,
    },
}

/// A connection's sending half.
#[derive(Debug)]
pub(super) enum Sender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

/// What is true of a connection as long as it lives.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Who answers there, verified; `None` in plain text.
    pub(crate) principal: Option<Arc<str>>,
    /// The generation of our own identity that was shown; 0 in plain text.
    pub(super) generation: u64,
    opened: Instant,
    /// What it takes of the cluster's limits.
    permit: Permit,
}

impl Origin {
    /// What the connection takes of the cluster's limits, for what outlives this.
    pub(crate) fn into_permit(self) -> Permit {
        self.permit
    }

    /// Has it been there for longer than this?
    pub(super) fn is_older_than(&self, age: Option<Duration>, now: Instant) -> bool {
        age.is_some_and(|age| now.saturating_duration_since(self.opened) >= age)
    }
}

/// A fresh connection.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) sender: Sender,
    pub(super) origin: Arc<Origin>,
}

/// Connects for requests. In plain text the cluster decides about HTTP/2; over TLS, ALPN does.
pub(super) async fn connect(
    worker: &Arc<Worker>,
    cluster: &Cluster,
    endpoint: &Endpoint,
    permit: Permit,
) -> Result<Fresh, ConnectError> {
    let connecting = async {
        let (socket, origin) = open(worker, cluster, endpoint, Purpose::Http, permit).await?;
        let http2 = match &socket {
            Socket::Plain(_) => cluster.http2,
            Socket::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        };
        let sender = http(&endpoint.address, socket, http2).await?;
        Ok(Fresh {
            sender,
            origin: Arc::new(origin),
        })
    };
    within(cluster.connect_timeout, endpoint, connecting).await
}

/// Connects a session of this workload, for which no protocol is settled.
pub(crate) async fn connect_session(
    worker: &Arc<Worker>,
    cluster: &Cluster,
    endpoint: &Endpoint,
    caller: &Workload,
) -> Result<(Socket, Origin), ConnectError> {
    let permit = breaker::permit(cluster, Resource::Connection)?;
    let purpose = Purpose::Session { caller };
    let connecting = open(worker, cluster, endpoint, purpose, permit);
    within(cluster.connect_timeout, endpoint, connecting).await
}

/// What a connection is opened for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    Http,
    Session { caller: &'a Workload },
}

async fn within<T>(
    timeout: Duration,
    endpoint: &Endpoint,
    connecting: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    let timed_out = |_| ConnectError::Timeout {
        address: endpoint.address.clone(),
        after: timeout,
    };
    tokio::time::timeout(timeout, connecting)
        .await
        .map_err(timed_out)?
}

async fn open(
    worker: &Arc<Worker>,
    cluster: &Cluster,
    endpoint: &Endpoint,
    purpose: Purpose<'_>,
    permit: Permit,
) -> Result<(Socket, Origin), ConnectError> {
    let address = &endpoint.address;
    // Read before the handshake: if the identity changes meanwhile, the connection counts as
    // old and is replaced a little too early instead of too late.
    let generation = worker.identity.generation();
    let watch = match (purpose, &endpoint.tls) {
        (Purpose::Session { .. }, _) => Watch::Session,
        (Purpose::Http, Some(_)) => Watch::Proxy,
        (Purpose::Http, None) => Watch::Endpoint,
    };
    let stream = tcp(address, watch, cluster.connections.abroad).await?;
    if let Some(keepalive) = &cluster.connections.keepalive {
        let probing = Socket::probe(&stream, keepalive);
        probing.map_err(|source| ConnectError::Connect {
            address: address.clone(),
            source,
        })?;
    }
    let opened = Instant::now();
    let Some(with) = &endpoint.tls else {
        let origin = Origin {
            principal: None,
            generation: 0,
            opened,
            permit,
        };
        return Ok((Socket::Plain(stream), origin));
    };
    let stream = tls(address, with, purpose, stream).await?;
    let principal = peer_id(stream.get_ref().1).map(|id| worker.intern(id.as_str()));
    let origin = Origin {
        principal,
        generation,
        opened,
        permit,
    };
    Ok((Socket::Tls(Box::new(stream)), origin))
}

async fn tcp(address: &Arc<str>, watch: Watch, abroad: bool) -> Result<TcpStream, ConnectError> {
    let failed = |source| ConnectError::Connect {
        address: address.clone(),
        source,
    };
    let stream = match address.parse::<SocketAddr>() {
        Ok(address) => TcpStream::connect(address).await.map_err(failed)?,
        Err(_) => {
            let resolved = tokio::net::lookup_host(address.as_ref()).await;
            let resolved = resolved.map_err(|source| ConnectError::Resolve {
                address: address.clone(),
                source,
            })?;
            let resolved: Vec<_> = resolved.collect();
            // Tries one after the other.
            TcpStream::connect(resolved.as_slice())
                .await
                .map_err(failed)?
        }
    };
    // A free port in the range that clients' own ports come from can be its own client: TCP then connects
    // the socket to itself, and nobody would ever answer.
    let (here, there) = (
        stream.local_addr().map_err(failed)?,
        stream.peer_addr().map_err(failed)?,
    );
    if here == there {
        return Err(failed(io::ErrorKind::ConnectionRefused.into()));
    }
    // Between two addresses of one machine the system takes the same one for both ends, or loopback.
    if abroad && (here.ip() == there.ip() || there.ip().to_canonical().is_loopback()) {
        return Err(ConnectError::Here {
            address: address.clone(),
        });
    }
    Socket::tune(&stream, watch).map_err(failed)?;
    Ok(stream)
}

async fn tls(
    address: &Arc<str>,
    tls: &UpstreamTls,
    purpose: Purpose<'_>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let connector = TlsConnector::from(tls.config.clone());
    let name = tls.sni.clone();
    let stream = match purpose {
        Purpose::Http => connector.connect(name, stream).await,
        Purpose::Session { .. } if !tls.is_mesh => {
            connector.with_alpn(Vec::new()).connect(name, stream).await
        }
        Purpose::Session { caller } => {
            // Instead of what the cluster's requests may be sent in.
            let connector = connector.with_alpn(alpn::offer(&caller.name));
            connector.connect(name, stream).await
        }
    };
    let stream = stream.map_err(|source| ConnectError::Tls {
        address: address.clone(),
        source,
    })?;
    Ok(stream.into())
}

/// The connection's own task ends when its last sender and request are gone.
async fn http(address: &Arc<str>, socket: Socket, http2: bool) -> Result<Sender, ConnectError> {
    let failed = |source| ConnectError::Http {
        address: address.clone(),
        source,
    };
    let io = TokioIo::new(socket);
    if http2 {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_header_list_size(limits::HEADER_BYTES)
            .max_send_buf_size(limits::SEND_BUFFER)
            .handshake(io)
            .await
            .map_err(failed)?;
        let address = address.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%address, %error, "an HTTP/2 connection to an endpoint broke");
            }
        });
        Ok(Sender::Http2(sender))
    } else {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::HTTP1_BUFFER)
            .max_header_size(limits::HEADER_BYTES as usize)
            .handshake(io)
            .await
            .map_err(failed)?;
        let address = address.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%address, %error, "an HTTP/1 connection to an endpoint broke");
            }
        });
        Ok(Sender::Http1(sender))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_strangers_name_does_not_lead_to_this_machine() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let socket = socket.expect("a free port");
        let port = socket.local_addr().expect("it is bound").port();
        for host in [
            "localhost",
            "127.0.0.1",
            "127.0.0.2",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
        ] {
            let address: Arc<str> = format!("{host}:{port}").into();
            assert!(
                tcp(&address, Watch::Endpoint, true).await.is_err(),
                "{host}"
            );
        }
        let address: Arc<str> = format!("localhost:{port}").into();
        let here = tcp(&address, Watch::Endpoint, false).await;
        assert!(here.is_ok(), "{here:?}");
    }
}
