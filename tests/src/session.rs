//! Connections to the apps that speak first ([`App::tcp`], [`App::tls`]): who is there, and whether it hears.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::echo::App;

/// How long a connection may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the app behind an address.
///
/// # Errors
///
/// When none answers.
pub async fn name(address: SocketAddr) -> anyhow::Result<String> {
    let asked = async { converse(TcpStream::connect(address).await?).await };
    tokio::time::timeout(PATIENCE, asked).await?
}

/// The name of the app behind an address that is asked for a host by TLS, and shows the certificate of one of
/// these.
///
/// # Errors
///
/// When none answers, or shows another certificate.
pub async fn tls_name(address: SocketAddr, host: &str, trusted: &[&App]) -> anyhow::Result<String> {
    let mut certificates = Vec::new();
    for app in trusted {
        let certificate = app.certificate().context("an app behind TLS")?;
        certificates.push(certificate.clone());
    }
    tls_name_by(address, host, certificates).await
}

/// [`tls_name`] for certificates of others, or what they have signed.
///
/// # Errors
///
/// As [`tls_name`].
pub async fn tls_name_by(
    address: SocketAddr,
    host: &str,
    trusted: Vec<CertificateDer<'static>>,
) -> anyhow::Result<String> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate)?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let host = ServerName::try_from(host.to_owned())?;
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(config));
        converse(connector.connect(host, stream).await?).await
    };
    tokio::time::timeout(PATIENCE, asked).await?
}

/// Which apps take `count` connections to an address, one after the other, and how many each.
///
/// # Errors
///
/// As [`name`].
pub async fn shares(address: SocketAddr, count: u32) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut shares = BTreeMap::new();
    for _ in 0..count {
        *shares.entry(name(address).await?).or_default() += 1;
    }
    Ok(shares)
}

/// The name that the other side says, once it has sent back what it was told.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin) -> anyhow::Result<String> {
    let mut stream = BufReader::new(stream);
    let mut name = String::new();
    stream.read_line(&mut name).await?;
    ensure!(name.ends_with('\n'), "it ended after {name:?}");
    stream.get_mut().write_all(b"hello\n").await?;
    stream.get_mut().flush().await?;
    let mut echo = String::new();
    stream.read_line(&mut echo).await?;
    ensure!(echo == "hello\n", "{name:?} answered {echo:?}");
    stream.get_mut().shutdown().await?;
    Ok(name.trim_end().to_owned())
}
