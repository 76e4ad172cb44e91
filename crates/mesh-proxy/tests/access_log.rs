//! The access log: one line of JSON per request or session, with Envoy's names, whatever becomes of it.
//!
//! In a program of its own, since a program has one log.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_identity::testing::Authority;
use mesh_proxy::runtime::Workers;
use mesh_proxy::snapshot::{
    Direction, Filter, FilterChain, FilterChains, Http, Listener, Snapshot, Split, TcpProxy,
};
use mesh_proxy::telemetry::Telemetry;
use tokio::sync::watch;

/// Collects what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// The only line since this was last asked.
    fn take(&self) -> serde_json::Value {
        let logged = std::mem::take(&mut *self.0.lock().expect("not poisoned"));
        serde_json::from_slice(&logged).expect("one line of JSON")
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listener(filter: Filter) -> (SocketAddr, Listener) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    let chain = FilterChain::plain(filter);
    let listener = Listener {
        name: "virtualOutbound".into(),
        address,
        sockets: Arc::new(vec![socket]),
        direction: Direction::Outbound,
        edge: false,
        chains: FilterChains {
            default: Some(Arc::new(chain)),
            ..FilterChains::default()
        },
        workload: Arc::default(),
        peers: Arc::default(),
    };
    (address, listener)
}

/// Serves one listener until its client is done.
async fn serve(filter: Filter, client: impl FnOnce(io::Result<TcpStream>) + Send + 'static) {
    let (address, listener) = listener(filter);
    let snapshot = Snapshot {
        listeners: [("virtualOutbound".to_owned(), Arc::new(listener))].into(),
        ..Snapshot::default()
    };
    let identity = Authority::new("cluster.local").identity("default", "shop");
    let telemetry = Telemetry::new(&prometheus::Registry::new()).expect("a fresh registry");
    let snapshots = watch::Sender::new(Arc::new(snapshot));
    let workers = Workers::start(1, snapshots.subscribe(), identity, telemetry).expect("it starts");
    let asked = tokio::task::spawn_blocking(move || {
        client(TcpStream::connect(address));
    });
    asked.await.expect("no panic");
    workers.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn each_request_and_each_session_is_one_line_that_nobody_can_forge() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter("access=info")
        .with_writer(move || writer.clone())
        .init();
    let asked = |stream: io::Result<TcpStream>| {
        let mut stream = stream.expect("it listens");
        let request = b"GET /\"a\xc3\xa9 HTTP/1.1\r\nHost: Shop:80\r\n\
                        Connection: close\r\nX-Request-Id: my-id\r\n\r\n";
        stream.write_all(request).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    };
    serve(Filter::Http(Http::default()), asked).await;
    let line = lines.take();
    for (field, value) in [
        ("target", "access"),
        ("method", "GET"),
        ("path", "/\\\"a\\u{e9}"),
        ("protocol", "HTTP/1.1"),
        ("response_flags", "NR"),
        ("authority", "Shop:80"),
        ("request_id", "my-id"),
        ("upstream_host", "-"),
        ("cause", "no route matches this host and path"),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert_eq!(line["response_code"], 404);
    assert!(
        line["start_time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    );
    for number in ["duration", "bytes_received", "bytes_sent"] {
        assert!(line[number].is_u64(), "{number} in {line}");
    }

    let nowhere = TcpProxy {
        split: Split::new(vec![("outbound|3306||db".into(), 1)], 1),
        attempts: 1,
        idle_timeout: None,
        by_source: false,
    };
    let reset = |stream: io::Result<TcpStream>| {
        // Perhaps before the client has noticed that it is connected.
        let ended = stream.and_then(|mut stream| stream.read_to_end(&mut Vec::new()));
        ended.expect_err("a reset");
    };
    serve(Filter::Tcp(Arc::new(nowhere)), reset).await;
    let line = lines.take();
    for (field, value) in [
        ("target", "access"),
        ("protocol", "TCP"),
        ("response_flags", "NC"),
        ("upstream_cluster", "-"),
        ("upstream_host", "-"),
        ("requested_server_name", "-"),
        ("cause", r#"the cluster "outbound|3306||db" does not exist"#),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    for number in ["duration", "bytes_received", "bytes_sent"] {
        assert!(line[number].is_u64(), "{number} in {line}");
    }
}
