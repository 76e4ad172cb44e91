//! Servers and channels over real sockets of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;
use tokio_stream::StreamExt;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::*;
use crate::proto::certificate_authority_client::CertificateAuthorityClient;
use crate::proto::certificate_authority_server::{
    CertificateAuthority, CertificateAuthorityServer,
};
use crate::proto::{JoinRequest, RenewRequest, SignedCertificate};
use crate::testing::Authority;
use crate::tls::{self, Peers};
use crate::{Identity, SpiffeId};

const H2: &[&[u8]] = &[b"h2"];

/// Answers with the caller's id where certificates are expected: enough to see who called.
struct WhoAmI;

#[tonic::async_trait]
impl CertificateAuthority for WhoAmI {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<SignedCertificate>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<SignedCertificate>, Status> {
        let peer = peer(&request).ok_or_else(|| Status::internal("no peer"))?;
        let id = peer.id.as_ref().ok_or_else(|| Status::internal("no id"))?;
        assert!(peer.addr.ip().is_loopback() && peer.not_after.is_some());
        let chain = vec![id.as_str().as_bytes().to_vec()];
        Ok(Response::new(SignedCertificate {
            chain,
            roots: vec![],
        }))
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// A server that stops, and ends its connections, when told to.
struct Serving {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    fn start(listener: TcpListener, identity: &Arc<Identity>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let tls = tls::server_config(identity, Peers::TrustDomain, H2);
        let server = Server::builder()
            .add_service(CertificateAuthorityServer::new(WhoAmI))
            .serve_with_incoming_shutdown(incoming(listener, tls), async {
                drop(stopped.await);
            });
        let task = tokio::spawn(async move { server.await.expect("it serves") });
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.task.await.expect("no panic");
    }
}

async fn who_am_i(channel: tonic::transport::Channel) -> Result<String, Status> {
    let request = RenewRequest { csr: vec![] };
    let answer = CertificateAuthorityClient::new(channel)
        .renew(request)
        .await?
        .into_inner();
    Ok(String::from_utf8(answer.chain[0].clone()).expect("an id"))
}

/// Polls until it comes true; bounded by the clock, so that a failure is one.
async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    let polled = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polled)
        .await
        .expect("it comes true");
}

#[tokio::test]
async fn a_server_knows_its_caller_and_a_lazy_channel_survives_its_restart() {
    let mesh = Authority::new("cluster.local");
    let server = mesh.identity("istio-system", "mesh-api");
    let first = listener().await;
    let address = first.local_addr().expect("an address");
    let tls = tls::client_config(
        &mesh.identity("default", "web"),
        Peers::one(SpiffeId::api(server.id().trust_domain())),
        H2,
    );
    let channel = channel(&address.to_string(), tls);
    let serving = Serving::start(first, &server);
    let expected = mesh.id("default", "web").to_string();
    assert_eq!(
        who_am_i(channel.clone()).await.expect("an answer"),
        expected
    );

    serving.stop().await;
    eventually(async || TcpStream::connect(address).await.is_err()).await;
    who_am_i(channel.clone())
        .await
        .expect_err("nobody is there");
    let again = TcpListener::bind(address)
        .await
        .expect("the port is free again");
    let _serving = Serving::start(again, &server);
    eventually(async || {
        who_am_i(channel.clone())
            .await
            .is_ok_and(|id| id == expected)
    })
    .await;
}

#[tokio::test]
async fn it_is_told_apart_whether_nobody_or_somebody_else_answers() {
    let mesh = Authority::new("cluster.local");
    let listener = listener().await;
    let address = listener.local_addr().expect("an address").to_string();
    let client = |peer: &str| {
        let peers = Peers::one(mesh.id("istio-system", peer));
        tls::client_config(&mesh.identity("default", "web"), peers, H2)
    };
    let serving = Serving::start(listener, &mesh.identity("istio-system", "mesh-api"));
    let error = connect(&address, client("mesh-ca"))
        .await
        .expect_err("another");
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error}");
    for part in [&address, "mesh-api", "mesh-ca"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    connect(&address, client("mesh-api"))
        .await
        .expect("the expected one");
    serving.stop().await;
    eventually(async || TcpStream::connect(&address).await.is_err()).await;
    let error = connect(&address, client("mesh-api"))
        .await
        .expect_err("nobody");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn an_address_that_is_none_is_named_by_every_call() {
    let mesh = Authority::new("cluster.local");
    let tls = tls::client_config(&mesh.identity("default", "web"), Peers::TrustDomain, H2);
    for address in [
        "",
        "host",
        "host:",
        "host:99999",
        "a b:80",
        "host:80/path",
        ":80",
    ] {
        let error = connect(address, tls.clone())
            .await
            .expect_err(address)
            .to_string();
        assert!(error.contains("host:port"), "{address}: {error}");
        who_am_i(channel(address, tls.clone()))
            .await
            .expect_err(address);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stalls_the_handshake_delays_nobody_and_is_dropped() {
    let mesh = Authority::new("cluster.local");
    let shop = mesh.identity("default", "shop");
    let listener = listener().await;
    let address = listener.local_addr().expect("an address");
    let mut connections = incoming(listener, tls::server_config(&shop, Peers::TrustDomain, H2));
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(TcpStream::connect(address).await.expect("accepted"));
    }
    let mut plain = TcpStream::connect(address).await.expect("accepted");
    plain
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("written");

    let tls = tls::client_config(&mesh.identity("default", "web"), Peers::TrustDomain, H2);
    let connector = tokio_rustls::TlsConnector::from(tls);
    let name = rustls_pki_types::ServerName::try_from("shop").expect("a name");
    let tcp = TcpStream::connect(address).await.expect("accepted");
    let (client, server) = tokio::join!(connector.connect(name, tcp), connections.next());
    client.expect("a handshake");
    let server = server.expect("a connection").expect("never an error");
    assert_eq!(server.peer().id, Some(mesh.id("default", "web")));

    // Time passes only while everybody waits, so these are seen to be dropped by the deadline.
    for stream in &mut stalled {
        assert_eq!(stream.read(&mut [0]).await.expect("an orderly end"), 0);
    }
    let mut rest = Vec::new();
    // An alert, or a reset by the time it is read: in any case an end.
    let _ = plain.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
}

/// A client's certificate that is good for five seconds at most, and when it ends.
fn short_lived(mesh: &Authority) -> (Arc<Identity>, SystemTime) {
    let svid = mesh.svid("default", "web", Duration::from_secs(5));
    let end = svid.not_after;
    (Identity::new(svid, mesh.bundle()), end)
}

async fn connect_raw(address: SocketAddr, identity: &Arc<Identity>) -> TlsStream<TcpStream> {
    let tls = tls::client_config(identity, Peers::TrustDomain, H2);
    let name = rustls_pki_types::ServerName::try_from("shop").expect("a name");
    let tcp = TcpStream::connect(address).await.expect("accepted");
    let connector = tokio_rustls::TlsConnector::from(tls);
    connector.connect(name, tcp).await.expect("a handshake")
}

#[tokio::test]
async fn a_connection_ends_in_order_with_the_certificate_that_opened_it() {
    let mesh = Authority::new("cluster.local");
    let listener = listener().await;
    let address = listener.local_addr().expect("an address");
    let _serving = Serving::start(listener, &mesh.identity("istio-system", "mesh-api"));
    let (identity, end) = short_lived(&mesh);
    let mut client = connect_raw(address, &identity).await;
    client
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("written");
    // A new certificate is that of the next connection.
    identity.replace(
        mesh.svid("default", "web", Duration::from_secs(3600)),
        mesh.bundle(),
    );
    let mut said = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), client.read_to_end(&mut said)).await;
    ended.expect("it ends").expect("in order");
    assert!(SystemTime::now() >= end);
    assert!(!said.is_empty(), "until then it was served");
    let tls = tls::client_config(&identity, Peers::TrustDomain, H2);
    let channel = channel(&address.to_string(), tls);
    who_am_i(channel).await.expect("a new one is let in");
}

#[tokio::test]
async fn whoever_does_not_read_keeps_no_connection_open() {
    let mesh = Authority::new("cluster.local");
    let shop = mesh.identity("default", "shop");
    let listener = listener().await;
    let address = listener.local_addr().expect("an address");
    let mut connections = incoming(listener, tls::server_config(&shop, Peers::TrustDomain, H2));
    let (identity, end) = short_lived(&mesh);
    let (_client, server) = tokio::join!(connect_raw(address, &identity), connections.next());
    let mut server = server.expect("a connection").expect("never an error");
    assert_eq!(server.peer().not_after, Some(end));
    let stuck = async {
        loop {
            if let Err(error) = server.write_all(&[0; 65536]).await {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), stuck).await;
    let error = error.expect("it ends").to_string();
    assert!(error.contains("expired"), "{error}");
    assert!(SystemTime::now() >= end);
    assert_eq!(server.read(&mut [0]).await.expect("an end"), 0);
    let shut = tokio::time::timeout(Duration::from_secs(20), server.shutdown()).await;
    shut.expect("nobody waits for room")
        .expect_err("there was none");
}

#[tokio::test]
async fn dropping_the_stream_frees_the_port() {
    let mesh = Authority::new("cluster.local");
    let listener = listener().await;
    let address = listener.local_addr().expect("an address");
    let tls = tls::server_config(&mesh.identity("default", "shop"), Peers::TrustDomain, H2);
    drop(incoming(listener, tls));
    eventually(async || TcpStream::connect(address).await.is_err()).await;
}
