//! Steady requests while a test does something to the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// Requests in flight to one URL, over a few kept-alive connections.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers with status 200.
    pub good: u64,
    /// Everything else, by what it was.
    pub bad: BTreeMap<String, u64>,
}

impl Load {
    /// Starts `clients` that each send a request every `pause`.
    #[must_use]
    pub fn start(url: &str, clients: usize, pause: Duration) -> Self {
        Self::to(None, url, clients, pause)
    }

    /// [`Load::start`] to an agent's outbound port, for the service that `host` names.
    #[must_use]
    pub fn through(outbound: &str, host: &str, clients: usize, pause: Duration) -> Self {
        Self::to(Some(host), &format!("http://{outbound}/"), clients, pause)
    }

    fn to(host: Option<&str>, url: &str, clients: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let clients = (0..clients)
            .map(|_| {
                let (stop, tally) = (Arc::clone(&stop), Arc::clone(&tally));
                let mut request = http::Request::get(url);
                if let Some(host) = host {
                    request = request.header(http::header::HOST, host);
                }
                let request = request.body(Empty::new()).expect("a URL and a host");
                tokio::spawn(async move {
                    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
                    let mut beat = tokio::time::interval(pause);
                    while !stop.load(Ordering::Relaxed) {
                        beat.tick().await;
                        let result = one(&client, request.clone()).await;
                        let mut tally = tally.lock().expect("no client panics with it");
                        match result {
                            Ok(()) => tally.good += 1,
                            Err(reason) => *tally.bad.entry(reason).or_default() += 1,
                        }
                    }
                })
            })
            .collect();
        Self {
            stop,
            tally,
            clients,
        }
    }

    /// What has come back so far.
    ///
    /// # Panics
    ///
    /// When a client panicked.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.lock().expect("no client panics with it").clone()
    }

    /// Returns when `count` more good answers have come.
    pub async fn more(&self, count: u64) {
        let goal = self.tally().good + count;
        crate::eventually("requests go on", Duration::from_secs(60), || async {
            let tally = self.tally();
            anyhow::ensure!(tally.good >= goal, "{tally:?}, wanted {goal}");
            Ok(())
        })
        .await;
    }

    /// Ends it.
    ///
    /// # Panics
    ///
    /// When a client panicked.
    pub async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("no client panics");
        }
        self.tally.lock().expect("no client panics with it").clone()
    }
}

type HttpClient = Client<hyper_util::client::legacy::connect::HttpConnector, Empty<Bytes>>;

async fn one(client: &HttpClient, request: http::Request<Empty<Bytes>>) -> Result<(), String> {
    let answer = client
        .request(request)
        .await
        .map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|error| format!("the body broke off: {error}"))?
        .to_bytes();
    if status == http::StatusCode::OK {
        Ok(())
    } else {
        // The first line says what it was; a page of a thousand bytes would not say more.
        let said = String::from_utf8_lossy(&body);
        Err(format!(
            "{status}: {}",
            said.lines().next().unwrap_or_default()
        ))
    }
}
