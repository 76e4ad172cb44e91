//! The config API as a client sees it, over the router itself.

mod access;
mod analysis;
mod applying;
mod bodies;
mod derived;
mod objects;

use std::net::SocketAddr;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use http::{HeaderMap, Request, header};
use prometheus::{IntCounterVec, Opts};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::events::Events;
use crate::token::Token;

const TOKEN: &str = "0123456789abcdefABCDEF-token";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ROUTES: &str = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
";

const ROUTE: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http: [{route: [{destination: {host: web}}]}]
";

struct Api {
    store: Arc<Store>,
    /// For a client on this machine.
    router: Router,
    /// For one that has still to be placed.
    guarded: Router,
    refused: IntCounterVec,
    _state: tempfile::TempDir,
}

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Value,
    text: String,
}

async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = to_bytes(body, 16 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer {
        code: head.status.as_u16(),
        headers: head.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

impl Api {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(state.path(), Events::new()).unwrap());
        let refused = IntCounterVec::new(Opts::new("refused", "Refused."), &["reason"]).unwrap();
        std::fs::write(state.path().join("token"), TOKEN).unwrap();
        let token = Token::open(state.path()).unwrap();
        let access = Arc::new(Access::new(&token, refused.clone()));
        let guarded = closed(config_api(Arc::clone(&store), Readiness::new()), access);
        let near = SocketAddr::from(([127, 0, 0, 1], 40000));
        let router = guarded.clone().layer(Extension(ConnectInfo(near)));
        Self {
            store,
            router,
            guarded,
            refused,
            _state: state,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        send(self.router.clone(), request).await
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_as(method, path, body, None).await
    }

    async fn call_as(&self, method: &str, path: &str, body: &str, kind: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:15080");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }
}

impl Answer {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    fn warnings(&self) -> Vec<&str> {
        let all = self.headers.get_all(header::WARNING).iter();
        all.map(|value| str::from_utf8(value.as_bytes()).unwrap())
            .collect()
    }

    #[track_caller]
    fn refused(&self, code: u16, reason: &str, words: &[&str]) {
        assert_eq!((self.code, self.reason()), (code, reason), "{}", self.text);
        assert_eq!(self.body["kind"], "Status");
        assert_eq!(self.body["status"], "Failure");
        assert_eq!(self.body["code"], code);
        for word in words {
            assert!(self.text.contains(word), "{word:?} is not in {}", self.text);
        }
    }
}
