//! The client's side: a tonic channel that connects by TCP, then by our TLS.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

/// TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel to `host:port` that connects when first used, and again after the connection is lost.
///
/// A peer that is gone is noticed within 15 s by HTTP/2 pings. An address that is none makes each
/// call fail and say so. Needs a tokio runtime.
#[must_use]
pub fn channel(address: &str, tls: Arc<ClientConfig>) -> Channel {
    endpoint(address).connect_with_connector_lazy(connector(address, tls))
}

/// As [`channel`], and connected when it returns.
///
/// # Errors
/// If the server is out of reach, or not the one that `tls` expects.
pub async fn connect(address: &str, tls: Arc<ClientConfig>) -> Result<Channel, ConnectError> {
    endpoint(address)
        .connect_with_connector(connector(address, tls))
        .await
        .map_err(|error| ConnectError::new(address, &error))
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server showed a certificate that is not the expected one's: trying again will not help.
    #[error("whoever answers at {address} is not the expected server: {reason}")]
    Untrusted {
        /// Where it was tried.
        address: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// Nobody answered, or not in TLS.
    #[error("cannot connect to {address}: {reason}")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What the system or the protocol says.
        reason: String,
    },
}

impl ConnectError {
    fn new(address: &str, error: &(dyn Error + 'static)) -> Self {
        let address = address.to_owned();
        match find_tls_error(error) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                let reason = match reason {
                    rustls::CertificateError::Other(rustls::OtherError(reason)) => {
                        reason.to_string()
                    }
                    other => other.to_string(),
                };
                Self::Untrusted { address, reason }
            }
            _ => Self::Unreachable {
                address,
                reason: root_cause(error),
            },
        }
    }
}

fn endpoint(address: &str) -> Endpoint {
    // The URI gives requests their authority; the connector alone decides where they go, and is
    // the one to complain about an address that is none.
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap_or_else(|_| Endpoint::from_static("http://invalid"))
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
}

type Dial =
    std::pin::Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

fn connector(
    address: &str,
    tls: Arc<ClientConfig>,
) -> impl tower::Service<Uri, Response = TokioIo<TlsStream<TcpStream>>, Error = io::Error, Future = Dial>
+ Send
+ 'static {
    let address: Arc<str> = address.into();
    tower::service_fn(move |_: Uri| -> Dial {
        let (address, tls) = (address.clone(), tls.clone());
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIMEOUT, dial(&address, tls))
                .await
                .unwrap_or_else(|_| {
                    let seconds = CONNECT_TIMEOUT.as_secs();
                    Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("{address} did not answer within {seconds} s"),
                    ))
                })
                .map(TokioIo::new)
        })
    })
}

async fn dial(address: &str, tls: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let invalid = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{address}` is not of the form host:port"),
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    port.parse::<u16>().map_err(|_| invalid())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(tls).connect(name, stream).await
}

/// The TLS failure somewhere below an error, if that is what it is about.
fn find_tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // `io::Error::source` passes over the error that it holds itself.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

/// The innermost message, which is the one that says something.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
