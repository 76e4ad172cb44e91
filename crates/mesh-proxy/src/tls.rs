//! TLS towards clients: the server name in the first message chooses the chain, whose configuration
//! then verifies who the client is.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_identity::SpiffeId;
use mesh_identity::tls::{peer_id, peer_not_after};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use crate::alpn;
use crate::peer::Protocol;
use crate::snapshot::{Filter, Listener};

/// The first byte of a TLS connection: a handshake record.
const HANDSHAKE: u8 = 0x16;

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

/// A client behind TLS.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) server_name: Option<String>,
    /// The workload that it says it is.
    pub(crate) caller: Option<String>,
    /// Who it has proven to be.
    pub(crate) principal: Option<SpiffeId>,
    /// Until when that proof holds.
    pub(crate) proven_until: Option<SystemTime>,
    pub(crate) protocol: Protocol,
}

/// Does this connection begin with TLS? Only a listener that serves both has to look.
pub(crate) async fn is_expected(listener: &Listener, stream: &TcpStream) -> io::Result<bool> {
    let chains = &listener.chains;
    let named = chains
        .exact
        .values()
        .chain(chains.suffix.iter().map(|(_, chain)| chain));
    let mut all = named.chain(&chains.default);
    let plain = chains
        .default
        .as_ref()
        .is_some_and(|chain| chain.tls.is_none());
    if !all.any(|chain| chain.tls.is_some()) {
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
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
        .await
        .map_err(AcceptError::Handshake)?;
    let server_name = start.client_hello().server_name().map(str::to_owned);
    let caller = alpn::caller(&start.client_hello());
    let chain = listener.chain_for(server_name.as_deref());
    let Some((chain, mut config)) = chain.and_then(|chain| Some((chain, chain.tls.clone()?)))
    else {
        return Err(AcceptError::UnknownName(server_name));
    };
    if caller.is_some() && !config.alpn_protocols.is_empty() {
        // A session that came to requests: proxies hear of a port's new protocol one after the other. It
        // settles none, which rustls would refuse if we had some to choose from.
        config = without_alpn(&config);
    }
    let stream = start
        .into_stream(config)
        .await
        .map_err(AcceptError::Handshake)?;
    let session = stream.get_ref().1;
    let (principal, proven_until) = (peer_id(session), peer_not_after(session));
    let protocol = match chain.filter {
        Filter::Tcp(_) => Protocol::Tcp,
        Filter::Http(_) if session.alpn_protocol() == Some(b"h2") => Protocol::Http2,
        Filter::Http(_) => Protocol::Http1,
    };
    Ok(Accepted {
        stream: stream.into(),
        server_name,
        caller,
        principal,
        proven_until,
        protocol,
    })
}

/// Costs some reference counts: what is behind them is shared.
fn without_alpn(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}
