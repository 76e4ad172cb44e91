//! The program itself: its commands, its exit codes, and what a crash leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use mesh_identity::client::{self, JoinSettings, JoinToken};
use serde_json::Value;

/// A serving `mesh-ca`, killed when it is dropped.
struct Serving {
    child: Child,
    addresses: Value,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Serving {
    /// Returns once it says that it issues certificates.
    fn start(state: &Path) -> Self {
        Self::with(state, "info")
    }

    fn with(state: &Path, level: &str) -> Self {
        let file = state.with_extension("addresses");
        let mut child = program(state)
            .args(["--listen", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0"])
            .args(["--log-level", level])
            .arg("--addresses-file")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = String::new();
        while !lines.contains("issuing certificates") {
            assert_ne!(
                log.read_line(&mut lines).expect("a log"),
                0,
                "it ended: {lines}"
            );
        }
        // Read for as long as the program runs, so that it never waits for us.
        let log = std::thread::spawn(move || {
            log.read_to_string(&mut lines).expect("a log");
            lines
        });
        let addresses = std::fs::read(&file).expect("the addresses are written before");
        Self {
            child,
            addresses: serde_json::from_slice(&addresses).expect("JSON"),
            log: Some(log),
        }
    }

    fn address(&self) -> String {
        self.addresses["grpc"]
            .as_str()
            .expect("an address")
            .to_owned()
    }

    fn signal(&mut self, name: &str) -> std::process::ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .expect("kill")
                .success()
        );
        self.child.wait().expect("it ends")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-ca"));
    command
        .arg("--state-dir")
        .arg(state)
        .args(["--log-format", "text"])
        .env_remove("RUST_LOG");
    command
}

fn output(state: &Path, arguments: &[&str]) -> Output {
    program(state).args(arguments).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The one line that a failure prints.
fn failure(state: &Path, arguments: &[&str]) -> String {
    let output = output(state, arguments);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    text(&output.stderr)
        .lines()
        .last()
        .expect("a line")
        .to_owned()
}

fn create(state: &Path) -> Value {
    let arguments = [
        "token",
        "create",
        "--service-account",
        "webapp",
        "--namespace",
        "shop",
        "-o",
        "json",
    ];
    let output = output(state, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn settings(state: &Path, serving: &Serving, created: &Value) -> JoinSettings {
    let text = |key: &str| created[key].as_str().expect(key).to_owned();
    JoinSettings {
        ca_address: serving.address(),
        ca_fingerprint: Some(text("caFingerprint").parse().expect("a fingerprint")),
        token: Some(JoinToken::from(text("token"))),
        state_dir: state.to_owned(),
    }
}

#[test]
fn tokens_and_the_fingerprint_come_before_the_first_start() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("ca");
    assert!(failure(&state, &["fingerprint"]).contains("no root"));
    let created = create(&state);
    assert_eq!(
        created["identity"],
        "spiffe://cluster.local/ns/shop/sa/webapp"
    );
    assert!(
        created["expiresAt"]
            .as_str()
            .expect("a time")
            .ends_with('Z')
    );
    let fingerprint = output(&state, &["fingerprint"]);
    assert_eq!(text(&fingerprint.stdout).trim(), created["caFingerprint"]);
    let plain = output(&state, &["token", "create", "--service-account", "webapp"]);
    let plain = text(&plain.stdout);
    assert_eq!(plain.lines().count(), 1);
    assert!(plain.starts_with("mesh-join-"), "{plain}");
    // The directory may be named behind the command too.
    let behind = Command::new(env!("CARGO_BIN_EXE_mesh-ca"))
        .args(["fingerprint", "--state-dir"])
        .arg(&state)
        .output()
        .expect("it runs");
    assert_eq!(behind.stdout, fingerprint.stdout);
}

#[test]
fn processes_that_make_the_first_token_at_once_agree_on_the_root() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("ca");
    let children: Vec<_> = (0..6)
        .map(|_| {
            program(&state)
                .args([
                    "token",
                    "create",
                    "--service-account",
                    "webapp",
                    "-o",
                    "json",
                ])
                .stdout(Stdio::piped())
                .spawn()
                .expect("it starts")
        })
        .collect();
    let fingerprints: std::collections::BTreeSet<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("it ends");
            let created: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            created["caFingerprint"]
                .as_str()
                .expect("a fingerprint")
                .to_owned()
        })
        .collect();
    assert_eq!(fingerprints.len(), 1);
}

#[tokio::test]
async fn a_kill_loses_neither_the_root_nor_the_memory_of_a_token() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("ca");
    let mut serving = Serving::start(&state);
    let created = create(&state);
    let first = settings(&root.path().join("first"), &serving, &created);
    let identity = client::obtain(first, std::future::pending())
        .await
        .expect("joined");
    assert_eq!(identity.id().namespace(), "shop");
    assert_eq!(serving.signal("KILL").code(), None);

    let serving = Serving::start(&state);
    let second = settings(&root.path().join("second"), &serving, &created);
    let error = client::obtain(second, std::future::pending())
        .await
        .expect_err("used");
    assert!(error.to_string().contains("has been used"), "{error}");
    assert_eq!(create(&state)["caFingerprint"], created["caFingerprint"]);
}

// The client's connection has to be able to close while this thread waits for the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_log_shows_a_secret() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("ca");
    let mut serving = Serving::with(&state, "trace");
    let created = create(&state);
    let settings = settings(&root.path().join("web"), &serving, &created);
    client::obtain(settings, std::future::pending())
        .await
        .expect("joined");
    serving.signal("TERM");
    let log = serving.log.take().expect("once").join().expect("the log");
    assert!(
        log.contains("spiffe://cluster.local/ns/shop/sa/webapp"),
        "it tells who joined"
    );
    let token = created["token"].as_str().expect("a token");
    let (_, secret) = token.rsplit_once('-').expect("a prefix");
    assert!(!log.contains(secret), "the token is in the log");
    assert!(!log.contains("PRIVATE KEY"), "a key is in the log");
    let keys = std::fs::read_to_string(state.join("root.pem")).expect("the root");
    for line in keys.lines().skip(1).take(2) {
        assert!(
            !log.contains(line),
            "a part of the root's file is in the log"
        );
    }
}

#[test]
fn a_termination_is_an_orderly_stop() {
    let root = tempfile::tempdir().expect("a directory");
    let mut serving = Serving::start(&root.path().join("ca"));
    assert_eq!(serving.signal("TERM").code(), Some(0));
}

#[test]
fn what_is_wrong_is_said_in_one_sentence() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("ca");
    let serving = Serving::start(&state);
    let busy = failure(
        &root.path().join("other"),
        &["--listen", &serving.address()],
    );
    assert!(
        busy.contains("--listen") && busy.contains(&serving.address()),
        "{busy}"
    );
    drop(serving);

    let file = state.join("root.pem");
    std::fs::write(&file, "damaged").expect("written");
    for arguments in [
        &["--listen", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0"][..],
        &["fingerprint"],
        &["token", "create", "--service-account", "webapp"],
    ] {
        let damaged = failure(&state, arguments);
        assert!(
            damaged.contains("root.pem") && damaged.contains("backup"),
            "{damaged}"
        );
        assert_eq!(std::fs::read_to_string(&file).expect("the file"), "damaged");
    }
    let wrong = failure(
        &root.path().join("new"),
        &["token", "create", "--service-account", "a/b"],
    );
    assert_eq!(
        wrong.matches("a path has only").count(),
        1,
        "said once: {wrong}"
    );
    let usage = output(&state, &["token", "create"]);
    assert_eq!(usage.status.code(), Some(64), "{}", text(&usage.stderr));
}

#[tokio::test]
async fn tokens_are_left_where_workloads_look_beside_a_running_authority() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("ca");
    let to = |name: &str| format!("shop/{name}={}", root.path().join(name).display());
    let (web, db) = (to("web"), to("db"));
    let leave = ["token", "create", "--to", &web, "--to", &db];
    assert!(failure(&state, &leave).contains("there is no root"));

    let serving = Serving::start(&state);
    let lines = || {
        let output = output(&state, &leave);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("shop/web: ") && lines[1].starts_with("shop/db: "));
        lines
    };
    assert!(lines().iter().all(|line| line.contains(": made ")));
    let again = lines();
    assert!(
        again.iter().all(|line| line.contains("still good")),
        "{again:?}"
    );

    // The file alone is enough to join.
    let settings = JoinSettings {
        ca_address: serving.address(),
        ca_fingerprint: None,
        token: Some(JoinToken::File(root.path().join("web/join-token"))),
        state_dir: root.path().join("web"),
    };
    let identity = client::obtain(settings, std::future::pending())
        .await
        .expect("joined");
    assert_eq!(
        identity.id().as_str(),
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    let after = lines();
    assert!(after[0].contains("has joined already"), "{after:?}");
    assert!(after[1].contains("still good"), "{after:?}");

    let twice = failure(&state, &["token", "create", "--to", &web, "--to", &web]);
    assert!(twice.contains("twice"), "{twice}");
    for more in [
        &["--service-account", "x"][..],
        &["--namespace", "x"],
        &["-o", "json"],
        &["--to", "x"],
        &["--owner", "x"],
    ] {
        let usage = output(&state, &[&leave[..], more].concat());
        assert_eq!(usage.status.code(), Some(64), "{}", text(&usage.stderr));
    }
}

#[test]
fn the_program_tells_by_its_exit_code_whether_the_one_that_serves_is_ready() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("ca");
    let mut serving = Serving::start(&state);
    let metrics = serving.addresses["metrics"].as_str().expect("an address");
    let address = metrics.to_owned();
    let ask = ["healthcheck", "--listen-metrics", &address];
    let asked = output(&state, &ask);
    assert_eq!(asked.status.code(), Some(0), "{}", text(&asked.stderr));
    serving.signal("KILL");
    let dead = failure(&state, &ask);
    assert!(
        dead.contains(&address) && dead.contains("--listen-metrics"),
        "{dead}"
    );
    let no_port = failure(&state, &["healthcheck", "--listen-metrics", "127.0.0.1:0"]);
    assert!(no_port.contains("give it a port"), "{no_port}");
}
