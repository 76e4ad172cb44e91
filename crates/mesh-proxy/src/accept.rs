//! From a listening socket to connections of which is known what they speak.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::http::{self, limits};
use crate::peer::{Hello, Protocol};
use crate::snapshot::{Filter, Listener};
use crate::tcp;
use crate::tls::{self, AcceptError, Stream};
use crate::wire::{Socket, Watch, Wire};
use crate::worker::{Greeting, Worker};

/// How long to wait after an `accept` that failed for want of something, such as file descriptors.
const BACK_OFF: Duration = Duration::from_millis(50);

/// An accept loop, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Accept {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Accept {
    /// Ends the loop. When this returns, whoever had connected is being served, and the kernel refuses
    /// everybody else.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        if self.task.await.is_err() {
            warn!("an accept loop panicked");
        }
    }
}

/// Serves a listener on this worker.
pub(crate) fn start(worker: &Arc<Worker>, listener: &Arc<Listener>) -> io::Result<Accept> {
    let socket = listener.sockets.get(worker.id).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "the listener has no socket for this worker",
        )
    })?;
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    let (stop, stopped) = oneshot::channel();
    let accepting = Accepting {
        worker: worker.clone(),
        name: listener.name.clone(),
        listener: listener.clone(),
        seats: Arc::new(Semaphore::new(limits::CONNECTIONS)),
    };
    let task = tokio::spawn(accepting.run(socket, stopped));
    Ok(Accept { stop, task })
}

struct Accepting {
    worker: Arc<Worker>,
    name: Arc<str>,
    /// As it was when the loop began.
    listener: Arc<Listener>,
    seats: Arc<Semaphore>,
}

impl Accepting {
    async fn run(self, socket: TcpListener, mut stopped: oneshot::Receiver<()>) {
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = &mut stopped => break,
            };
            match accepted {
                Ok((stream, client)) => self.welcome(stream, client),
                Err(error) if is_the_clients(&error) => {}
                // Somebody shut the socket down: it will not come back.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    warn!(listener = %self.name, %error, "the socket does not listen any more");
                    return;
                }
                Err(error) => {
                    warn!(listener = %self.name, %error, "cannot accept connections for now");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
        if let Err(error) = self.finish(socket) {
            warn!(listener = %self.name, %error, "cannot close a listening socket");
        }
    }

    /// Takes in whoever is connected already; then the kernel refuses, also while others still hold the
    /// socket.
    fn finish(&self, socket: TcpListener) -> io::Result<()> {
        // The system is asked itself: the scheduler may not have heard of the last ones yet.
        let socket = socket.into_std()?;
        while let Ok((stream, client)) = socket.accept() {
            stream.set_nonblocking(true)?;
            self.welcome(TcpStream::from_std(stream)?, client);
        }
        SockRef::from(&socket).shutdown(std::net::Shutdown::Both)
    }

    fn welcome(&self, stream: TcpStream, client: SocketAddr) {
        let Ok(seat) = self.seats.clone().try_acquire_owned() else {
            self.worker.recorder.refused(&self.name, "limit");
            debug!(listener = %self.name, limit = limits::CONNECTIONS, "too many connections; a new one is closed");
            return;
        };
        let (worker, name) = (self.worker.clone(), self.name.clone());
        let greeting = worker.greet(&self.listener);
        tokio::spawn(async move {
            if let Err(error) = connection(&worker, &name, stream, client, seat, greeting).await {
                if let Some(reason) = error.reason() {
                    worker.recorder.refused(&name, reason);
                }
                debug!(listener = %name, %client, %error, "a connection came to nothing");
            }
        });
    }
}

/// Errors of the connection that was about to be accepted, not of the listener.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A connection's life: what it speaks, who is there, then its requests or its session until its end.
async fn connection(
    worker: &Arc<Worker>,
    name: &Arc<str>,
    stream: TcpStream,
    client: SocketAddr,
    _seat: OwnedSemaphorePermit,
    greeted: Greeting,
) -> Result<(), AcceptError> {
    Socket::tune(&stream, Watch::Client)?;
    let greeting = tokio::time::timeout(limits::GREETING, greet(worker, name, stream, client));
    let (hello, socket, read) = greeting.await.map_err(|_| AcceptError::Timeout)??;
    let admitted = worker.admit(hello).ok_or(AcceptError::NoPlace)?;
    drop(greeted);
    let (worker, peer) = (worker.clone(), admitted.peer.clone());
    if peer.hello.protocol == Protocol::Tcp {
        tcp::serve(worker, peer, socket, read).await;
    } else {
        let wire = Wire::new(socket, read, peer.clone());
        http::serve(worker, peer, wire).await;
    }
    Ok(())
}

/// Finds out who is there and what is spoken. HTTP in plain text is told by its first bytes; a session is
/// what its chain says, since with some protocols the server speaks first.
async fn greet(
    worker: &Worker,
    name: &Arc<str>,
    stream: TcpStream,
    address: SocketAddr,
) -> Result<(Hello, Socket, Bytes), AcceptError> {
    let listener = worker.listener(name).ok_or(AcceptError::NoPlace)?;
    if tls::is_expected(&listener, &stream).await? {
        let accepted = tls::accept(&listener, stream).await?;
        let hello = Hello {
            listener: name.clone(),
            server_name: accepted.server_name,
            caller: accepted.caller,
            address,
            tls: matches!(accepted.stream, Stream::Terminated(_)),
            certificate: accepted.certificate,
            clients: accepted.clients,
            principal: accepted.principal.map(|id| worker.intern(id.as_str())),
            proven_until: accepted.proven_until,
            protocol: accepted.protocol,
        };
        Ok(match accepted.stream {
            Stream::Terminated(stream) => (hello, Socket::Tls(stream), Bytes::new()),
            Stream::Passed(stream, read) => (hello, Socket::Plain(stream), read.into()),
        })
    } else {
        let chain = listener.chain_for(None).ok_or(AcceptError::NoPlace)?;
        let (protocol, read, stream) = match chain.filter {
            Filter::Http(_) => http::detect(stream).await?,
            Filter::Tcp(_) => (Protocol::Tcp, Bytes::new(), stream),
        };
        let hello = Hello {
            listener: name.clone(),
            server_name: None,
            caller: None,
            address,
            tls: false,
            clients: None,
            certificate: None,
            principal: None,
            proven_until: None,
            protocol,
        };
        Ok((hello, Socket::Plain(stream), read))
    }
}
