//! TLS towards clients: the server name in the first message chooses the chain. Most terminate TLS, and verify who
//! the client is; some pass it on as it came.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderValue;
use mesh_identity::SpiffeId;
use mesh_identity::tls::{peer_id, peer_not_after};
use rustls::ServerConfig;
use rustls::server::{Accepted as Greeted, Acceptor, ClientHello};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{StartHandshake, TlsStream};

use crate::alpn;
use crate::certificate;
use crate::peer::Protocol;
use crate::snapshot::{ClientCertificate, Clients, Filter, FilterChain, Listener};

/// The first byte of a TLS connection: a handshake record.
const HANDSHAKE: u8 = 0x16;
/// Room for a first message with keys of a post-quantum exchange.
const FIRST_READ: usize = 2048;

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("the client did not say what it wants in time")]
    Timeout,
    #[error("no filter chain is for this connection")]
    NoPlace,
    #[error("no filter chain serves TLS for the server name {0:?}")]
    UnknownName(Option<String>),
    #[error("no TLS: {0}")]
    Handshake(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl AcceptError {
    /// How the metrics count it; a client that only knocked is not counted.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Timeout => Some("timeout"),
            Self::NoPlace | Self::UnknownName(_) => Some("no_filter_chain"),
            Self::Handshake(_) => Some("tls_handshake"),
            Self::Io(_) => None,
        }
    }
}

/// A client that began with TLS.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) server_name: Option<String>,
    /// The workload that it says it is.
    pub(crate) caller: Option<String>,
    /// Who it has proven to be.
    pub(crate) principal: Option<SpiffeId>,
    /// What it has proven, as the services behind are told.
    pub(crate) certificate: Option<HeaderValue>,
    /// What it had to prove to the user's own authorities.
    pub(crate) clients: Option<Arc<Clients>>,
    /// Until when that proof holds.
    pub(crate) proven_until: Option<SystemTime>,
    pub(crate) protocol: Protocol,
}

/// The bytes after the greeting.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In plain text: TLS ends here.
    Terminated(Box<TlsStream<TcpStream>>),
    /// As they are, after those that were read to find out where they go.
    Passed(TcpStream, Vec<u8>),
}

/// Does this connection begin with TLS? Only a listener that serves both has to look.
pub(crate) async fn is_expected(listener: &Listener, stream: &TcpStream) -> io::Result<bool> {
    let chains = &listener.chains;
    let named = chains.exact.values().chain(chains.suffix.values());
    let mut all = named.chain(&chains.default);
    let plain = chains
        .default
        .as_ref()
        .is_some_and(|chain| !chain.takes_tls());
    if !all.any(|chain| chain.takes_tls()) {
        return Ok(false);
    }
    if !plain {
        return Ok(true);
    }
    let mut first = [0];
    let read = stream.peek(&mut first).await?;
    Ok(read == 1 && first[0] == HANDSHAKE)
}

/// Shakes hands. What does not begin like TLS, or asks for a name that nobody serves, is closed.
pub(crate) async fn accept(
    listener: &Listener,
    stream: TcpStream,
) -> Result<Accepted, AcceptError> {
    let (greeted, stream, read) = greeting(stream).await?;
    let hello = greeted.client_hello();
    let server_name = hello.server_name().map(str::to_owned);
    let chain = listener.chain_for(server_name.as_deref());
    let Some(chain) = chain.filter(|chain| chain.takes_tls()) else {
        return Err(AcceptError::UnknownName(server_name));
    };
    let Some(config) = &chain.tls else {
        return Ok(Accepted {
            stream: Stream::Passed(stream, read),
            server_name,
            caller: None,
            principal: None,
            certificate: None,
            clients: None,
            proven_until: None,
            protocol: Protocol::Tcp,
        });
    };
    let caller = alpn::caller(&hello).filter(|_| chain.mesh);
    let mut config = config.clone();
    if !config.alpn_protocols.is_empty()
        && (caller.is_some() || (!chain.mesh && offers_others_only(&hello, &config)))
    {
        // A session that came to requests: proxies hear of a port's new protocol one after the other. And
        // strangers may offer what we don't know. No protocol is settled then, which rustls would refuse if we
        // had some to choose from.
        config = without_alpn(&config);
    }
    let stream = StartHandshake::from_parts(greeted, stream)
        .into_stream(config)
        .await
        .map_err(AcceptError::Handshake)?;
    let session = stream.get_ref().1;
    let protocol = match chain.filter {
        Filter::Tcp(_) => Protocol::Tcp,
        Filter::Http(_) if session.alpn_protocol() == Some(b"h2") => Protocol::Http2,
        Filter::Http(_) => Protocol::Http1,
    };
    Ok(Accepted {
        server_name,
        caller,
        // Whoever the user's own authorities vouch for is nobody in the mesh.
        principal: peer_id(session).filter(|_| chain.mesh),
        certificate: forwarded(chain, session),
        clients: chain.clients.clone(),
        proven_until: peer_not_after(session),
        protocol,
        stream: Stream::Terminated(Box::new(stream.into())),
    })
}

fn forwarded(chain: &FilterChain, session: &rustls::ServerConnection) -> Option<HeaderValue> {
    let Filter::Http(http) = &chain.filter else {
        return None;
    };
    let leaf = session.peer_certificates()?.first()?;
    (http.client_certificate == ClientCertificate::Set)
        .then(|| certificate::forwarded(leaf))
        .flatten()
}

/// Reads the first message, and keeps its bytes: they may have to go on as they came.
async fn greeting(mut stream: TcpStream) -> Result<(Greeted, TcpStream, Vec<u8>), AcceptError> {
    let mut acceptor = Acceptor::default();
    let mut read = Vec::with_capacity(FIRST_READ);
    loop {
        let before = read.len();
        if stream.read_buf(&mut read).await? == 0 {
            let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(AcceptError::Handshake(ended));
        }
        let mut fresh = &read[before..];
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh)?;
        }
        match acceptor.accept() {
            Ok(Some(greeted)) => return Ok((greeted, stream, read)),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                // If the client has gone, nobody needs to be told.
                _ = stream.write_all(&bytes).await;
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                return Err(AcceptError::Handshake(error));
            }
        }
    }
}

/// Whether a client offers protocols, and none of ours is among them.
fn offers_others_only(hello: &ClientHello<'_>, config: &ServerConfig) -> bool {
    hello.alpn().is_some_and(|mut offered| {
        !offered.any(|offer| config.alpn_protocols.iter().any(|own| own == offer))
    })
}

/// Costs some reference counts: what is behind them is shared.
fn without_alpn(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}
