//! Asking a small stand-in for mesh-ca, over real TLS.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Response, Status};

use super::*;
use crate::client::request::Request;
use crate::proto::JoinRequest;
use crate::proto::certificate_authority_server::{
    CertificateAuthority, CertificateAuthorityServer,
};
use crate::testing::{Authority as Root, leaf_params, uri};
use crate::{CA_SERVICE_ACCOUNT, ROOT_NAMESPACE, Svid};

const HOUR: Duration = Duration::from_secs(3600);

/// Takes one token, and any certificate. Who brings another, `foreign`, gets roots that are not its own.
struct StandIn {
    root: Arc<Root>,
    joins: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl CertificateAuthority for StandIn {
    async fn join(
        &self,
        request: tonic::Request<JoinRequest>,
    ) -> Result<Response<SignedCertificate>, Status> {
        self.joins.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        let mut roots = None;
        if request.token == "foreign" {
            roots = Some(vec![
                Root::new("cluster.local").bundle().roots()[0].to_vec(),
            ]);
        } else if request.token != "good" {
            return Err(Status::unauthenticated("the join token is unknown here"));
        }
        let id = self.root.id("default", "web");
        let mut answer = self.root.answer(&request.csr, &id, HOUR, SystemTime::now());
        if let Some(roots) = roots {
            answer.roots = roots;
        }
        Ok(Response::new(answer))
    }

    async fn renew(
        &self,
        request: tonic::Request<RenewRequest>,
    ) -> Result<Response<SignedCertificate>, Status> {
        let id = grpc::peer(&request).and_then(|peer| peer.id.clone());
        let id = id.ok_or_else(|| Status::unauthenticated("who are you"))?;
        Ok(Response::new(self.root.answer(
            &request.get_ref().csr,
            &id,
            HOUR,
            SystemTime::now(),
        )))
    }
}

struct Scene {
    state: tempfile::TempDir,
    root: Arc<Root>,
    joins: Arc<AtomicUsize>,
    address: String,
}

impl Scene {
    async fn new() -> Self {
        let root = Arc::new(Root::new("cluster.local"));
        let joins = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let identity = root.identity(ROOT_NAMESPACE, CA_SERVICE_ACCOUNT);
        let tls = tls::server_config_optional_client(&identity, Peers::TrustDomain, &[b"h2"]);
        let service = StandIn {
            root: root.clone(),
            joins: joins.clone(),
        };
        let server = Server::builder()
            .add_service(CertificateAuthorityServer::new(service))
            .serve_with_incoming(grpc::incoming(listener, tls));
        tokio::spawn(async move { server.await.expect("it serves") });
        let state = tempfile::tempdir().expect("a directory");
        Self {
            state,
            root,
            joins,
            address,
        }
    }

    fn client(&self, svid: Svid, token: Option<&Path>) -> MeshCa {
        let settings = JoinSettings {
            ca_address: self.address.clone(),
            ca_fingerprint: Some(self.root.fingerprint()),
            token: token.map(|path| JoinToken::File(path.to_owned())),
            state_dir: self.state.path().to_owned(),
        };
        MeshCa::new(settings, Identity::new(svid, self.root.bundle()))
    }

    fn expired(&self) -> Svid {
        let mut params = leaf_params(&[uri(self.root.id("default", "web").as_str())]);
        params.not_before = (SystemTime::now() - HOUR).into();
        params.not_after = (SystemTime::now() - Duration::from_secs(2)).into();
        let (leaf, key) = self.root.sign(&params);
        Svid::new(vec![leaf], key).expect("an SVID")
    }
}

async fn ask(client: &MeshCa) -> Result<SpiffeId, String> {
    let request = Request::new().expect("a request");
    let answer = client.renew(request.csr.clone()).await?;
    let stored = request
        .accept(answer, SystemTime::now())
        .expect("it holds together");
    Ok(stored.svid.id.clone())
}

#[tokio::test]
async fn a_valid_certificate_renews_itself() {
    let scene = Scene::new().await;
    let client = scene.client(scene.root.svid("default", "web", HOUR), None);
    assert_eq!(ask(&client).await, Ok(scene.root.id("default", "web")));
    assert_eq!(scene.joins.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn with_an_expired_one_a_new_token_in_the_file_is_tried_and_each_once() {
    let scene = Scene::new().await;
    let file = scene.state.path().join("token");
    let client = scene.client(scene.expired(), Some(&file));
    let joins = || scene.joins.load(Ordering::Relaxed);

    let error = ask(&client).await.expect_err("there is no file");
    assert!(error.contains("new join token"), "{error}");
    std::fs::write(&file, "{").expect("written");
    let error = ask(&client).await.expect_err("half a token");
    assert!(error.contains("its JSON is wrong at line 1"), "{error}");
    std::fs::write(&file, "used\n").expect("written");
    let error = ask(&client).await.expect_err("it was used to join");
    assert!(
        error.contains("unknown here") && error.contains(&scene.address),
        "{error}"
    );
    let error = ask(&client).await.expect_err("not asked again");
    assert!(error.contains("new join token") && joins() == 1, "{error}");

    std::fs::write(&file, "foreign\n").expect("written");
    let error = ask(&client).await.expect_err("roots of another mesh");
    assert!(error.contains("pinned") && joins() == 2, "{error}");

    std::fs::write(&file, "good\n").expect("written");
    assert_eq!(ask(&client).await, Ok(scene.root.id("default", "web")));
    assert_eq!(joins(), 3);
}

#[tokio::test]
async fn an_authority_that_is_another_is_refused() {
    let scene = Scene::new().await;
    let other = Root::new("cluster.local");
    let client = MeshCa::new(
        JoinSettings {
            ca_address: scene.address.clone(),
            ca_fingerprint: None,
            token: None,
            state_dir: scene.state.path().to_owned(),
        },
        other.identity("default", "web"),
    );
    let error = ask(&client).await.expect_err("another mesh");
    assert!(error.contains("not the expected server"), "{error}");
}
