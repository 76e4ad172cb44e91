//! A mesh of a test's own: CA, config API, one gateway, and the workloads that the test names, with apps
//! that live in the test. Lighter than the demo's fleet, and every app says what it saw.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::door::Door;
use crate::echo::App;
use crate::fleet::{binary, free_ports};
use crate::{Started, eventually, tool};

/// How long a program may take to come up, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);

/// How long a change may take to reach every proxy.
const SETTLE: Duration = Duration::from_secs(30);

const GATEWAY: &str = "istio-ingressgateway";

/// A workload: an app, its agent, and the WorkloadGroup that makes it a member.
#[derive(Clone, Debug)]
pub struct Workload {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    app: Kind,
    ports: Vec<String>,
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Http,
    Tcp,
    Tls,
    Client,
}

impl Workload {
    fn new(name: &str, app: Kind, ports: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            app,
            ports: ports.iter().map(|port| (*port).to_owned()).collect(),
            arguments: Vec::new(),
        }
    }

    /// An app that speaks HTTP at the target ports `http`, `80` and `8080`.
    #[must_use]
    pub fn http(name: &str) -> Self {
        Self::new(name, Kind::Http, &["http", "80", "8080"])
    }

    /// An app that speaks first, at the target ports `tcp` and `9000`.
    #[must_use]
    pub fn tcp(name: &str) -> Self {
        Self::new(name, Kind::Tcp, &["tcp", "9000"])
    }

    /// An app as [`Workload::tcp`]'s behind TLS of its own, at the target ports `tls` and `443`. Its certificate is
    /// for `NAME.example.com`.
    #[must_use]
    pub fn tls(name: &str) -> Self {
        Self::new(name, Kind::Tls, &["tls", "443"])
    }

    /// A workload that only asks others.
    #[must_use]
    pub fn client(name: &str) -> Self {
        Self::new(name, Kind::Client, &[])
    }

    /// A label; `app` is the workload's name unless this says otherwise.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Its namespace, `default` otherwise.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// One more target port of its app, by name or number.
    #[must_use]
    pub fn port(mut self, port: &str) -> Self {
        self.ports.push(port.to_owned());
        self
    }

    /// One more argument of its agent.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    fn group(&self) -> String {
        let mut labels = String::new();
        for (key, value) in &self.labels {
            let _ = write!(labels, "{key:?}: {value:?}, ");
        }
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {{name: {0}, namespace: {1}}}\n\
             spec:\n  metadata: {{labels: {{{labels}}}}}\n  template: {{serviceAccount: {0}}}\n",
            self.name, self.namespace
        )
    }
}

/// What a mesh is to be.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    workloads: Vec<Workload>,
    gateway_ports: Vec<u16>,
    api: Vec<String>,
    gateway: Vec<String>,
}

impl Plan {
    /// One more workload.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.workloads.push(workload);
        self
    }

    /// A port that Gateways of the test open; 80 is always there.
    #[must_use]
    pub fn gateway_port(mut self, port: u16) -> Self {
        self.gateway_ports.push(port);
        self
    }

    /// One more argument of mesh-api.
    #[must_use]
    pub fn api_arg(mut self, argument: &str) -> Self {
        self.api.push(argument.to_owned());
        self
    }

    /// One more argument of the gateway.
    #[must_use]
    pub fn gateway_arg(mut self, argument: &str) -> Self {
        self.gateway.push(argument.to_owned());
        self
    }

    /// Starts it. When this returns, every proxy is ready.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn start(self) -> Mesh {
        Mesh::start(self).await
    }
}

/// A running mesh. Dropping it stops every process.
#[derive(Debug)]
pub struct Mesh {
    /// URL of the config API.
    pub api: String,
    gateway_ports: BTreeMap<u16, SocketAddr>,
    proxies: BTreeMap<String, Proxy>,
    apps: BTreeMap<String, App>,
    // The proxies' connections end before what they are connected to.
    _processes: Vec<Started>,
    // Removed last.
    directory: tempfile::TempDir,
}

/// A proxy of a mesh.
#[derive(Debug)]
pub struct Proxy {
    addresses: BTreeMap<String, SocketAddr>,
}

impl Proxy {
    /// What it has bound for a purpose: `admin`, `metrics`, `ready`, `outbound`, `inbound`.
    ///
    /// # Panics
    ///
    /// When it has bound nothing for it.
    #[must_use]
    pub fn address(&self, purpose: &str) -> SocketAddr {
        *self
            .addresses
            .get(purpose)
            .unwrap_or_else(|| panic!("no {purpose} among {:?}", self.addresses))
    }
}

impl Mesh {
    /// A mesh with a gateway and nothing else.
    #[must_use]
    pub fn plan() -> Plan {
        Plan {
            gateway_ports: vec![80],
            ..Plan::default()
        }
    }

    async fn start(plan: Plan) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let site = Site {
            directory: directory.path().to_owned(),
        };
        let (ca, addresses) = site
            .started(
                "mesh-ca",
                "ca",
                &[
                    ("--listen", "127.0.0.1:0"),
                    ("--listen-metrics", "127.0.0.1:0"),
                ],
                &[],
            )
            .await;
        let authority = addresses["grpc"].to_string();
        site.tokens(&plan.workloads).await;
        let (api, addresses) = site
            .started(
                "mesh-api",
                "api",
                &[
                    ("--ca-address", &authority),
                    ("--join-token-file", &site.token("api")),
                    ("--listen-xds", "127.0.0.1:0"),
                    ("--listen-http", "127.0.0.1:0"),
                    ("--listen-metrics", "127.0.0.1:0"),
                ],
                &plan.api,
            )
            .await;
        let control_plane = addresses["xds"].to_string();
        let mut mesh = Self {
            api: format!("http://{}", addresses["http"]),
            gateway_ports: BTreeMap::new(),
            proxies: BTreeMap::new(),
            apps: BTreeMap::new(),
            _processes: Vec::new(),
            directory,
        };
        let groups: String = plan.workloads.iter().map(Workload::group).collect();
        if !groups.is_empty() {
            mesh.write(&groups).await.expect("the groups are right");
        }

        let proxy = [
            ("--ca-address", authority.as_str()),
            ("--xds-address", &control_plane),
            ("--listen-admin", "127.0.0.1:0"),
            ("--listen-metrics", "127.0.0.1:0"),
            ("--listen-ready", "127.0.0.1:0"),
            ("--workers", "1"),
        ];
        let first = free_ports(u16::try_from(plan.gateway_ports.len()).expect("few ports"));
        let mut own = plan.gateway.clone();
        for (port, bound) in plan.gateway_ports.iter().zip(first..) {
            mesh.gateway_ports
                .insert(*port, SocketAddr::from(([127, 0, 0, 1], bound)));
            own.push(format!("--port-map={port}=127.0.0.1:{bound}"));
        }
        own.push(format!("--join-token-file={}", site.token(GATEWAY)));
        let mut processes = vec![site.spawn("mesh-gateway", GATEWAY, &proxy, &own)];
        for workload in &plan.workloads {
            let mut own = workload.arguments.clone();
            let app = match workload.app {
                Kind::Http => Some(App::http(&workload.name).await),
                Kind::Tcp => Some(App::tcp(&workload.name).await),
                Kind::Tls => Some(App::tls(&workload.name).await),
                Kind::Client => None,
            };
            if let Some(app) = app {
                let ports = workload.ports.iter();
                own.extend(ports.map(|port| format!("--app-port={port}={}", app.address.port())));
                mesh.apps.insert(workload.name.clone(), app);
            }
            own.extend([
                format!("--join-token-file={}", site.token(&workload.name)),
                format!("--namespace={}", workload.namespace),
                format!("--workload-group={}", workload.name),
                "--listen-outbound=127.0.0.1:0".to_owned(),
                "--listen-inbound=127.0.0.1:0".to_owned(),
            ]);
            processes.push(site.spawn("mesh-agent", &workload.name, &proxy, &own));
        }
        let names = plan.workloads.iter().map(|workload| workload.name.as_str());
        for (name, process) in names.chain([GATEWAY]).zip(rotated(&mut processes)) {
            let addresses = site.addresses(name, process).await;
            ready(name, addresses["ready"]).await;
            mesh.proxies.insert(name.to_owned(), Proxy { addresses });
        }
        processes.extend([api, ca]);
        mesh._processes = processes;
        mesh
    }

    /// A port that a Gateway opens.
    ///
    /// # Panics
    ///
    /// When the plan does not have it.
    #[must_use]
    pub fn gateway(&self, port: u16) -> Door {
        Door::new(self.gateway_address(port))
    }

    /// Where a Gateway's port is bound.
    ///
    /// # Panics
    ///
    /// When the plan does not have it.
    #[must_use]
    pub fn gateway_address(&self, port: u16) -> SocketAddr {
        self.gateway_ports[&port]
    }

    /// What a workload asks of others.
    ///
    /// # Panics
    ///
    /// When there is no such workload.
    #[must_use]
    pub fn from(&self, workload: &str) -> Door {
        Door::new(self.proxy(workload).address("outbound"))
    }

    /// A workload's agent, or `istio-ingressgateway`.
    ///
    /// # Panics
    ///
    /// When there is no such workload.
    #[must_use]
    pub fn proxy(&self, name: &str) -> &Proxy {
        &self.proxies[name]
    }

    /// The certificate chain and the key by which a workload's agent is known in the mesh, both PEM.
    ///
    /// # Panics
    ///
    /// When there is no such workload.
    #[must_use]
    pub fn identity(&self, workload: &str) -> (String, String) {
        let file = self
            .directory
            .path()
            .join(workload)
            .join("identity/identity.json");
        let text = std::fs::read_to_string(file).expect("an agent keeps its identity");
        let kept: Value = serde_json::from_str(&text).expect("it is JSON");
        let part = |name: &str| kept[name].as_str().expect("it is PEM").to_owned();
        (part("chain"), part("key"))
    }

    /// The metrics with this name of a proxy: their labels as they are written, and what they count.
    ///
    /// # Errors
    ///
    /// When the proxy does not say.
    ///
    /// # Panics
    ///
    /// When there is no such proxy.
    pub async fn metrics(&self, proxy: &str, name: &str) -> anyhow::Result<Vec<(String, f64)>> {
        let address = self.proxy(proxy).address("metrics");
        let text = tool::curl(&[&format!("http://{address}/metrics")]).await?;
        let lines = text.body.lines().filter_map(|line| {
            let (labels, value) = line
                .strip_prefix(name)?
                .strip_prefix('{')?
                .split_once("} ")?;
            let count = value.parse().context("a metric is a number");
            Some(count.map(|count| (labels.to_owned(), count)))
        });
        lines.collect()
    }

    /// A workload's app.
    ///
    /// # Panics
    ///
    /// When there is no such app.
    #[must_use]
    pub fn app(&self, workload: &str) -> &App {
        &self.apps[workload]
    }

    /// Stops a workload's app, as if it had crashed.
    pub fn kill_app(&mut self, workload: &str) {
        self.apps.remove(workload);
    }

    /// Applies manifests; when this returns, every proxy has what follows from them.
    ///
    /// # Errors
    ///
    /// The API's answer, if it refuses.
    ///
    /// # Panics
    ///
    /// When a proxy rejects what it is told, or does not get it in time.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<Value> {
        let answer = self.write(manifests).await?;
        let revision = answer["revision"].as_u64().context("a revision")?;
        self.settled_at(revision).await;
        Ok(answer)
    }

    /// Deletes an object by its path in the API; when this returns, every proxy has what follows from it.
    ///
    /// # Errors
    ///
    /// The API's answer, if it refuses.
    ///
    /// # Panics
    ///
    /// As [`Mesh::apply`].
    pub async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let answer = tool::curl(&["-X", "DELETE", &format!("{}{path}", self.api)]).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let list = tool::curl(&[&format!("{}/api/v1/services", self.api)]).await?;
        let list: Value = serde_json::from_str(&list.body)?;
        let revision = list["metadata"]["resourceVersion"].as_str();
        let revision = revision.context("a list has a revision")?.parse()?;
        self.settled_at(revision).await;
        Ok(())
    }

    async fn write(&self, manifests: &str) -> anyhow::Result<Value> {
        let url = format!("{}/apply", self.api);
        let answer = tool::curl_with_body(&["-X", "POST", &url], manifests).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        Ok(serde_json::from_str(&answer.body)?)
    }

    async fn settled_at(&self, revision: u64) {
        let url = format!("{}/api/mesh/proxies", self.api);
        eventually("every proxy has the configuration", SETTLE, || async {
            let list = tool::curl(&[&url]).await?;
            let list: Value = serde_json::from_str(&list.body)?;
            let proxies = list["proxies"].as_array().context("a list")?;
            ensure!(proxies.len() == self.proxies.len(), "proxies: {list:#}");
            for proxy in proxies {
                ensure!(
                    proxy["revision"].as_u64() >= Some(revision),
                    "behind: {proxy:#}"
                );
                for status in proxy["types"].as_object().context("types")?.values() {
                    let word = status["status"].as_str().context("a status")?;
                    assert_ne!(word, "REJECTED", "{proxy:#}");
                    ensure!(word != "STALE", "on its way: {proxy:#}");
                }
            }
            Ok(())
        })
        .await;
    }
}

/// The gateway was spawned first, and is asked last.
fn rotated(processes: &mut [Started]) -> impl Iterator<Item = &mut Started> {
    let (gateway, agents) = processes.split_at_mut(1);
    agents.iter_mut().chain(gateway)
}

/// Returns when a proxy says that it is ready.
async fn ready(name: &str, address: SocketAddr) {
    let url = format!("http://{address}/healthz/ready");
    eventually(&format!("{name} is ready"), START, || async {
        let answer = tool::curl(&[&url]).await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
    .await;
}

/// Where a mesh keeps its files.
struct Site {
    directory: PathBuf,
}

impl Site {
    fn state(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// What a process joins with.
    fn token(&self, name: &str) -> String {
        self.state(name).join("join-token").display().to_string()
    }

    /// Leaves a join token for everybody.
    async fn tokens(&self, workloads: &[Workload]) {
        let place = |name: &str, namespace: &str, account: &str| {
            format!("--to={namespace}/{account}={}", self.state(name).display())
        };
        let mut arguments = vec![
            "token".to_owned(),
            "create".to_owned(),
            format!("--state-dir={}", self.state("ca").display()),
            place("api", "istio-system", "mesh-api"),
            place(
                GATEWAY,
                "istio-system",
                "istio-ingressgateway-service-account",
            ),
        ];
        for workload in workloads {
            arguments.push(place(&workload.name, &workload.namespace, &workload.name));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = binary("mesh-ca").display().to_string();
        tool::run(&program, &arguments)
            .await
            .expect("the CA makes tokens");
    }

    fn spawn(&self, program: &str, name: &str, flags: &[(&str, &str)], more: &[String]) -> Started {
        let log = self.directory.join(format!("{name}.log"));
        let log = std::fs::File::create(log).expect("a log can be written");
        let mut command = Command::new(binary(program));
        command
            .arg("--state-dir")
            .arg(self.state(name))
            .arg("--addresses-file")
            .arg(self.file(name))
            .args(["--drain-timeout", "1s"])
            .args(flags.iter().flat_map(|(flag, value)| [flag, value]))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        Started::spawn(&mut command)
    }

    /// Starts a process, and returns when it listens.
    async fn started(
        &self,
        program: &str,
        name: &str,
        flags: &[(&str, &str)],
        more: &[String],
    ) -> (Started, BTreeMap<String, SocketAddr>) {
        let mut process = self.spawn(program, name, flags, more);
        let addresses = self.addresses(name, &mut process).await;
        (process, addresses)
    }

    async fn addresses(&self, name: &str, process: &mut Started) -> BTreeMap<String, SocketAddr> {
        let file = self.file(name);
        eventually(&format!("{name} listens"), START, || {
            let ended = process.ended();
            let read = std::fs::read(&file);
            let log = ended.map(|_| self.log(name));
            async move {
                if let Some(status) = ended {
                    panic!(
                        "{name} ended instead of coming up: {status}: {}",
                        log.unwrap_or_default()
                    );
                }
                Ok(serde_json::from_slice(&read?)?)
            }
        })
        .await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.addresses.json"))
    }

    fn log(&self, name: &str) -> String {
        let file: &Path = &self.directory.join(format!("{name}.log"));
        std::fs::read_to_string(file).unwrap_or_default()
    }
}
