//! Sessions whose principal several workloads share: whom the server's proxy takes their caller for.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use mesh_identity::Identity;
use mesh_identity::testing::Authority;
use mesh_identity::tls::{Peers, client_config, server_config};
use mesh_proxy::snapshot::Direction;
use mesh_xds::Workload;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app::{App, full};
use crate::client::Client;
use crate::mesh::{Proxy, Setup, endpoint, peers, soon, workload};
use crate::sessions::{NAME, connect, database, hear, inbound, only, outbound};

/// Opens a session as another proxy might, which offers these protocols.
async fn shake_hands(
    identity: &Arc<Identity>,
    server: SocketAddr,
    alpn: &[&str],
) -> TlsStream<TcpStream> {
    let alpn: Vec<_> = alpn.iter().map(|id| id.as_bytes()).collect();
    let connector = TlsConnector::from(client_config(identity, Peers::TrustDomain, &alpn));
    let name = NAME.try_into().expect("a server name");
    let shaken = connector.connect(name, connect(server).await).await;
    let mut stream = shaken.expect("mutual TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "none is selected");
    let mut heard = [0; 5];
    soon(stream.read_exact(&mut heard))
        .await
        .expect("a greeting");
    assert_eq!(&heard, b"hello");
    stream
}

#[tokio::test]
async fn a_caller_is_the_one_it_says_among_those_that_it_may_be() {
    let authority = Authority::new("cluster.local");
    let (shop, web) = (
        authority.identity("default", "shop"),
        authority.identity("default", "web"),
    );
    let (v1, v2) = (workload("shop", "v1"), workload("shop", "v2"));
    let admin = workload("admin", "v1");
    let common = Workload {
        name: String::new(),
        version: String::new(),
        canonical_revision: String::new(),
        ..Workload::clone(&v1)
    };
    let both = [v1.clone(), v2.clone(), admin.clone()];
    let one = [v1.clone(), admin];
    let cases: [(&[_], &[&str], &Workload); 7] = [
        (&both, &["mesh-workload/shop-v2"], &v2),
        (&both, &["h2", "mesh-workload/shop-v1"], &v1),
        (&both, &["mesh-workload/admin-v1"], &common),
        (&both, &["mesh-workload/"], &common),
        (&both, &["istio-peer-exchange", "istio"], &common),
        (&both, &[], &common),
        (&one, &["mesh-workload/admin-v1"], &v1),
    ];
    let app = database().await;
    for (known, alpn, source) in cases {
        let mut setup = inbound(&web, &app);
        setup.listener.peers = peers(known);
        let server = Proxy::start(setup);
        drop(shake_hands(&shop, server.address, alpn).await);
        let edge = only(server.finish().await);
        let said = edge.source.map(Workload::from);
        assert_eq!(said.as_ref(), Some(source), "{alpn:?}");
    }
}

#[tokio::test]
async fn a_proxy_does_not_pass_for_a_workload_that_its_principal_is_not() {
    let authority = Authority::new("cluster.local");
    let app = database().await;
    let server = Proxy::start(inbound(&authority.identity("default", "web"), &app));
    let mut setup = outbound(&authority.identity("default", "shop"), &server);
    setup.listener.workload = workload("admin", "v1");
    let client = Proxy::start(setup);
    hear(&mut connect(client.address).await, "hello").await;
    client.finish().await;
    let source = only(server.finish().await).source.expect("one");
    assert_eq!((source.name.as_str(), source.app.as_str()), ("", "shop"));
}

/// Proxies hear of a port's new protocol one after the other.
#[tokio::test]
async fn a_session_may_come_to_a_port_of_requests() {
    let authority = Authority::new("cluster.local");
    let web = authority.identity("default", "web");
    let app = App::start(|_| async { Response::new(full("fine")) }).await;
    let setup = Setup::new(1, web.clone(), Direction::Inbound);
    let mut setup = setup.to(vec![endpoint(app.address, "v1")]);
    let config = server_config(&web, Peers::TrustDomain, &[b"h2", b"http/1.1"]);
    setup.tls = Some((vec![NAME.into()], config));
    let server = Proxy::start(setup);
    let client = Proxy::start(outbound(&authority.identity("default", "shop"), &server));
    let mut user = Client::http1(client.address).await;
    assert_eq!(user.get("/").await.text(), "fine");
    drop(user);
    client.finish().await;
    server.finish().await;
}
