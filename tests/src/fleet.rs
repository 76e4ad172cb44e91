//! The demo's fleet as real processes: started, asked, broken, mended, stopped.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Started, eventually, tool};

/// How long a fleet may take to come up, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(90);

/// A running fleet. Dropping it stops every process.
#[derive(Debug)]
pub struct Fleet {
    /// Processes that a test started again; they are not the demo's children. Stopped before the others.
    restarted: Vec<Started>,
    demo: Started,
    /// What `demo up` wrote about it.
    pub state: State,
    state_file: PathBuf,
    // Holds the state file; removed last.
    _directory: tempfile::TempDir,
}

/// The state file of `demo up`.
#[derive(Debug, Deserialize)]
pub struct State {
    /// URL of the gateway.
    pub gateway: String,
    /// URL of the load balancer that sends straight to the apps.
    pub loadbalancer: String,
    /// URL of the config API.
    pub api: String,
    /// URL of the drawn graph.
    pub graph: String,
    /// `host:port` of the CA.
    pub ca: String,
    /// Process name to the URL of its metrics.
    pub metrics: BTreeMap<String, String>,
    /// Process name to its id.
    pub pids: BTreeMap<String, u32>,
    /// Process name to what starts it again.
    pub commands: BTreeMap<String, Invocation>,
    /// Directory of the logs.
    pub logs: PathBuf,
}

/// What starts a process.
#[derive(Debug, Deserialize)]
pub struct Invocation {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables on top of the inherited ones.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
}

impl Invocation {
    /// The value of a flag, whether written `--flag value` or `--flag=value`.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&str> {
        let mut words = self.argv.iter();
        while let Some(word) = words.next() {
            match word.strip_prefix(name) {
                Some("") => return words.next().map(String::as_str),
                Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
                _ => {}
            }
        }
        None
    }

    /// The address that a `--listen-…` flag was given.
    ///
    /// # Panics
    ///
    /// When the process was started without it.
    #[must_use]
    pub fn address(&self, flag: &str) -> &str {
        self.flag(flag)
            .unwrap_or_else(|| panic!("{:?} has no {flag}", self.argv))
    }
}

impl Fleet {
    /// Starts a fleet with workloads and Services only, on ports of its own.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn up() -> Self {
        Self::up_with(&[]).await
    }

    /// [`Fleet::up`] with more arguments.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn up_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let state_file = directory.path().join("fleet.json");
        let base_port = free_ports(3);
        let mut demo = Started::spawn(
            Command::new(binary("demo"))
                .args(["up", "--state"])
                .arg(&state_file)
                .args(["--base-port", &base_port.to_string(), "--bin-dir"])
                .arg(binaries())
                .args(arguments)
                .stdin(Stdio::null()),
        );
        let state = written(&mut demo, &state_file, START).await;
        Self {
            demo,
            state,
            restarted: Vec::new(),
            state_file,
            _directory: directory,
        }
    }

    /// Applies a file of manifests over HTTP, whole.
    ///
    /// # Errors
    ///
    /// The API's answer, if it refuses.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<serde_json::Value> {
        let url = format!("{}/apply", self.state.api);
        let answer = tool::curl_with_body(&["-X", "POST", &url], manifests).await?;
        ensure!(
            (200..300).contains(&answer.status),
            "{}: {}",
            answer.status,
            answer.body
        );
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// `count` requests to one URL over one kept-alive connection: titles of the pages and how often each came.
    ///
    /// # Errors
    ///
    /// When a request fails.
    pub async fn titles(&self, url: &str, count: u32) -> anyhow::Result<BTreeMap<String, u32>> {
        let pages = tool::run(
            "curl",
            &[
                "-sS",
                "--fail",
                "--max-time",
                "60",
                &format!("{url}/?n=[1-{count}]"),
            ],
        )
        .await?;
        let mut titles = BTreeMap::new();
        for page in pages.split("<title>").skip(1) {
            let (title, _) = page.split_once("</title>").context("a title ends")?;
            *titles.entry(title.to_owned()).or_default() += 1;
        }
        let total: u32 = titles.values().sum();
        ensure!(total == count, "{total} pages came, not {count}");
        Ok(titles)
    }

    /// Returns when the gateway answers with a page.
    pub async fn gateway_open(&self) {
        eventually("the gateway opens", Duration::from_secs(20), || async {
            tool::run(
                "curl",
                &["-sS", "--fail", "--max-time", "5", &self.state.gateway],
            )
            .await
            .map(drop)
        })
        .await;
    }

    /// The graph of all namespaces as Kiali's JSON.
    ///
    /// # Errors
    ///
    /// When the API does not answer with JSON.
    pub async fn graph(&self) -> anyhow::Result<serde_json::Value> {
        let url = format!(
            "{}/api/namespaces/graph?namespaces=default,istio-system&graphType=versionedApp&duration=60s",
            self.state.api
        );
        let text = tool::run("curl", &["-sS", "--fail", &url]).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// `kill -9`.
    ///
    /// # Panics
    ///
    /// When there is no such process.
    pub async fn kill(&self, name: &str) {
        let pid = self.state.pids[name].to_string();
        tool::run("kill", &["-9", &pid])
            .await
            .expect("the process is there");
        // Its ports are free when its parent, the demo, has collected it.
        let process = PathBuf::from(format!("/proc/{pid}"));
        eventually("the process dies", Duration::from_secs(10), || async {
            ensure!(!process.exists(), "{pid} lives");
            Ok(())
        })
        .await;
    }

    /// Starts a killed process again, as it was started first.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn restart(&mut self, name: &str) {
        let invocation = &self.state.commands[name];
        let mut command = Command::new(&invocation.argv[0]);
        command
            .args(&invocation.argv[1..])
            .envs(&invocation.env)
            .stdin(Stdio::null())
            .stderr(self.log(name));
        if let Some(directory) = &invocation.cwd {
            command.current_dir(directory);
        }
        let child = Started::spawn(&mut command);
        self.state.pids.insert(name.to_owned(), child.id());
        self.restarted.push(child);
    }

    /// The log of a process, to go on writing it.
    fn log(&self, name: &str) -> std::fs::File {
        std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.state.logs.join(format!("{name}.log")))
            .expect("the fleet's logs can be written")
    }

    /// Stops the fleet as Ctrl-C does, and says what it left behind: processes that live, and its files.
    ///
    /// # Errors
    ///
    /// When the demo fails or anything is left.
    pub fn down(mut self) -> anyhow::Result<()> {
        let pids: Vec<u32> = self.state.pids.values().copied().collect();
        let status = self.demo.stop()?;
        ensure!(status.success(), "the demo ended with {status}");
        for pid in pids {
            ensure!(
                !Path::new(&format!("/proc/{pid}")).exists(),
                "process {pid} was left behind"
            );
        }
        ensure!(!self.state_file.exists(), "the state file was left behind");
        if self.state.logs.exists() {
            bail!("{} was left behind", self.state.logs.display());
        }
        Ok(())
    }
}

/// What the demo writes about its fleet, when that is up.
///
/// # Panics
///
/// When the demo ends, or takes longer than `limit`.
pub(crate) async fn written<T: DeserializeOwned>(
    demo: &mut Started,
    state_file: &Path,
    limit: Duration,
) -> T {
    eventually("the fleet comes up", limit, || {
        let ended = demo.ended();
        let read = std::fs::read(state_file);
        async move {
            // A fleet that has failed will never write its file: stop asking.
            if let Some(status) = ended {
                panic!("the demo ended instead of coming up: {status}");
            }
            Ok(serde_json::from_slice(&read?)?)
        }
    })
    .await
}

/// Where cargo put the programs: beside the directory of this test's own.
pub(crate) fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its program");
    test.ancestors()
        .nth(2)
        .expect("a test is in target/PROFILE/deps")
        .to_owned()
}

/// One of the project's programs.
///
/// # Panics
///
/// When it has not been built: `cargo build --workspace --bins` does that.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = binaries().join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace --bins` first",
        path.display()
    );
    path
}

/// How many blocks of [`BLOCK`] ports there are from [`FIRST_BLOCK`] on. They end below the mesh's own ports, those in
/// which the demo looks for free ones (from 20,000 on), and those that the system gives to clients: one of these
/// could be taken between the look and the listening.
const BLOCKS: u32 = 150;
const BLOCK: u16 = 32;
const FIRST_BLOCK: u16 = 10_000;

/// The first of `count` neighbouring free ports, at most 32.
///
/// # Panics
///
/// When there are none.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(count <= BLOCK, "a block has {BLOCK} ports");
    // Tests of several processes at once begin at different places.
    let own = std::process::id().wrapping_mul(31);
    for _ in 0..BLOCKS {
        let block = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let block = u16::try_from(block).expect("there are few blocks");
        let first = FIRST_BLOCK + block * BLOCK;
        let ports = first..first + count;
        let bound: Result<Vec<_>, _> = ports
            .map(|port| TcpListener::bind(("127.0.0.1", port)))
            .collect();
        if bound.is_ok() {
            return first;
        }
    }
    panic!("no {count} neighbouring ports are free");
}
