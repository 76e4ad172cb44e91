//! Promise: the request rows of the Gateway API's own conformance suite come out at our gateway, and between
//! workloads, as it demands.
//!
//! The rows are data in `../shared/corpus/gateway-api`; without it there is nothing to play. One mesh-gateway plays
//! the suite's Gateways in turn, since they ask for the same ports, and an agent plays the client of its rows between
//! workloads. A row that comes out otherwise, or that cannot be played here, stands with its reason in
//! `gateway_api/disagreements.txt`; any other row must come out right, and those that stand there must not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use mesh_tests::echo::App;
use mesh_tests::{Answer, Door, Mesh, Workload, session, tool};
use serde_json::Value;

/// The Deployments of the suite's base manifests that answer HTTP or gRPC, with their namespaces.
const BACKENDS: [(&str, &str); 9] = [
    ("infra-backend-v1", "gateway-conformance-infra"),
    ("infra-backend-v2", "gateway-conformance-infra"),
    ("infra-backend-v3", "gateway-conformance-infra"),
    ("app-backend-v1", "gateway-conformance-app-backend"),
    ("app-backend-v2", "gateway-conformance-app-backend"),
    ("web-backend", "gateway-conformance-web-backend"),
    ("grpc-infra-backend-v1", "gateway-conformance-infra"),
    ("grpc-infra-backend-v2", "gateway-conformance-infra"),
    ("grpc-infra-backend-v3", "gateway-conformance-infra"),
];

/// The Deployments of the suite's mesh: the names that tell them apart here, with their versions. They are all called
/// `echo`, and the first one is the suite's client.
const MESH: [(&str, &str); 2] = [("echo-v1", "v1"), ("echo-v2", "v2")];

const MESH_NAMESPACE: &str = "gateway-conformance-mesh";

/// What the calls between workloads carry besides `x-test-case`, by its value: the suite's code adds it to the rows.
const CARRIED: [(&str, &str, &str); 7] = [
    ("set", "some-other-header", "this-header-should-be-set"),
    ("set", "x-header-set", "this-value-should-be-overwritten"),
    ("add", "x-header-add", "this-value-should-be-appended"),
    ("remove", "x-header-remove", "this-should-be-removed"),
    ("multi", "x-header-set-2", "set-header-2"),
    ("multi", "x-header-add-2", "add-header-2"),
    ("multi", "x-header-remove-2", "should-be-removed-2"),
];

/// The Deployments that answer bytes, in the namespace of the first backends. Their port is also the service's name
/// for it.
const SPEAKERS: [&str; 4] = [
    "tcp-backend",
    "tcp-attach-backend-1",
    "tcp-attach-backend-2",
    "tcp-echo-attach-all",
];

/// Those that answer them behind TLS of their own.
const TLS_SPEAKERS: [&str; 2] = ["tls-backend", "tls-backend-2"];

/// The Secret with the certificate of the suite's HTTPS listeners.
const CERTIFICATE: &str = "tls-validity-checks-certificate";

/// Why rows are not played: told by what they need.
fn beyond_us(test: &Value, row: &Value) -> Option<&'static str> {
    let (request, raw) = (&row["request"], &row["raw"]);
    let name = test["test"].as_str().unwrap_or_default();
    if name.starts_with("BackendTLSPolicy") && row["via"]["tls"] == true
        || raw["BackendIsTLS"] == true
    {
        return Some("to a backend behind TLS");
    }
    if name.starts_with("UDPRoute") {
        return Some("by datagrams");
    }
    let is_expression = |value: &Value| value.as_str().is_some_and(|text| text.starts_with('$'));
    let path = request["path"].as_str().unwrap_or("/");
    if !path.starts_with('/') && !path.is_empty() || is_expression(&raw["Backend"]) {
        return Some("by what is an expression of Go");
    }
    None
}

/// The kinds of the suite's objects that are applied for every Gateway, beside the Gateway itself.
const PLAYED: [&str; 6] = [
    "HTTPRoute",
    "GRPCRoute",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
];

/// The Gateway of a row; none between workloads.
fn gateway_of(row: &Value) -> &str {
    row["via"]["gateway"].as_str().unwrap_or_default()
}

fn corpus() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/gateway-api");
    root.is_dir().then_some(root)
}

/// An object of a manifest.
struct Manifest {
    version: String,
    kind: String,
    namespace: String,
    name: String,
    text: String,
}

impl Manifest {
    fn all(text: &str) -> Vec<Self> {
        text.replace("{GATEWAY_CLASS_NAME}", "istio")
            .split("\n---")
            .filter_map(|text| {
                let field = |prefix: &str| {
                    text.lines()
                        .find_map(|line| line.strip_prefix(prefix))
                        .map(|value| {
                            value
                                .split('#')
                                .next()
                                .unwrap_or_default()
                                .trim()
                                .to_owned()
                        })
                };
                Some(Self {
                    version: field("apiVersion:")?,
                    kind: field("kind:")?,
                    namespace: field("  namespace:").unwrap_or_else(|| "default".to_owned()),
                    name: field("  name:")?,
                    text: format!("---\n{text}\n"),
                })
            })
            .collect()
    }

    fn path(&self) -> String {
        let plural = format!("{}s", self.kind.to_lowercase());
        let root = match self.kind.as_str() {
            "Service" => "/api/v1".to_owned(),
            _ => format!("/apis/{}", self.version),
        };
        format!(
            "{root}/namespaces/{}/{plural}/{}",
            self.namespace, self.name
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_conformance_suite_come_out_right() {
    let Some(root) = corpus() else {
        eprintln!("there is no corpus beside the project, so there is nothing to play");
        return;
    };
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("the corpus is whole");
    let tests: Value = serde_json::from_str(&read("tests.public.json")).unwrap();
    let tests = tests["tests"].as_array().unwrap();
    let base = Manifest::all(&read("manifests/base/manifests.yaml"));

    let mut plan = Mesh::plan();
    for port in ports(tests) {
        plan = plan.gateway_port(port);
    }
    for (name, namespace) in BACKENDS {
        let backend = Workload::http(name).namespace(namespace);
        plan = plan.workload(backend.port("3000").port("3001"));
    }
    let mut callees = Vec::new();
    for (name, version) in MESH {
        // What speaks gRPC has a port of its own, as in the suite: an app speaks one protocol at each.
        let callee = App::http(name).await;
        let echo = Workload::http(name)
            .namespace(MESH_NAMESPACE)
            .label("app", "echo")
            .label("version", version)
            .arg(&format!("--app-port=7070={}", callee.address.port()));
        plan = plan.workload(echo);
        callees.push(callee);
    }
    for name in SPEAKERS {
        plan = plan.workload(Workload::tcp(name).namespace(BACKENDS[0].1).port("3000"));
    }
    for name in TLS_SPEAKERS {
        plan = plan.workload(Workload::tls(name).namespace(BACKENDS[0].1).port("8443"));
    }
    let mesh = plan.start().await;
    let papers = Papers::make();
    let services: String = base
        .iter()
        .chain(&Manifest::all(&read("manifests/base/mesh-manifests.yaml")))
        .filter(|one| ["Namespace", "Service"].contains(&one.kind.as_str()))
        .map(|one| one.text.as_str())
        .collect();
    mesh.apply(&(services + &papers.objects())).await.unwrap();
    let stage = Stage { mesh, papers };
    let mesh = &stage.mesh;

    let mut outcomes: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    for test in tests {
        let rows = test["requests"].as_array().unwrap();
        let own: Vec<Manifest> = test["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|path| Manifest::all(&read(path.as_str().unwrap())))
            .collect();
        let gateways: BTreeSet<&str> = rows
            .iter()
            .filter(|row| beyond_us(test, row).is_none())
            .map(gateway_of)
            .collect();
        for gateway in gateways {
            let all = base.iter().chain(&own);
            let played: Vec<&Manifest> = all
                .filter(|one| match one.kind.as_str() {
                    "Gateway" => format!("{}/{}", one.namespace, one.name) == gateway,
                    "Service" => own.iter().any(|its| std::ptr::eq(its, *one)),
                    kind => PLAYED.contains(&kind),
                })
                .collect();
            let text: String = played.iter().map(|one| one.text.as_str()).collect();
            let applied = match text.is_empty() {
                true => Ok(Value::Null),
                false => mesh.apply(&text).await,
            };
            for (index, row) in rows.iter().enumerate() {
                if gateway_of(row) != gateway || beyond_us(test, row).is_some() {
                    continue;
                }
                let outcome = match &applied {
                    Ok(_) => stage
                        .play(test, row, index)
                        .await
                        .map_err(|error| format!("{error:#}")),
                    Err(error) => Err(format!("it does not apply: {error:#}")),
                };
                outcomes.insert(
                    format!("{}[{index}]", test["test"].as_str().unwrap()),
                    outcome,
                );
            }
            for one in played {
                let url = format!("{}{}", mesh.api, one.path());
                tool::curl(&["-X", "DELETE", &url]).await.unwrap();
            }
        }
        for (index, row) in rows.iter().enumerate() {
            if let Some(why) = beyond_us(test, row) {
                let id = format!("{}[{index}]", test["test"].as_str().unwrap());
                outcomes.insert(id, Err(format!("not played: {why}")));
            }
        }
    }
    judge(&outcomes);
}

/// Holds what came out against the list of what is known to come out otherwise.
fn judge(outcomes: &BTreeMap<String, Result<(), String>>) {
    let listed: BTreeSet<&str> = include_str!("gateway_api/disagreements.txt")
        .lines()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    let mut families: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    let mut surprises: Vec<String> = listed
        .iter()
        .filter(|id| !outcomes.contains_key(**id))
        .map(|id| format!("{id} stands on the list, and there is no such row"))
        .collect();
    for (id, outcome) in outcomes {
        let family = id.split('[').next().expect("a split has a first part");
        let (right, wrong, unplayed) = families.entry(family).or_default();
        match outcome {
            Ok(()) => *right += 1,
            Err(why) if why.starts_with("not played") => *unplayed += 1,
            Err(_) => *wrong += 1,
        }
        match (outcome, listed.contains(id.as_str())) {
            (Ok(()), true) => {
                surprises.push(format!("{id} comes out right; take it from the list"));
            }
            (Err(why), false) => surprises.push(format!("{id}: {why}")),
            _ => {}
        }
    }
    let mut table = String::new();
    for (family, (right, wrong, unplayed)) in &families {
        table +=
            &format!("{family:60} {right:4} right {wrong:4} otherwise {unplayed:4} not played\n");
    }
    let sum =
        |pick: fn(&(usize, usize, usize)) -> usize| families.values().map(pick).sum::<usize>();
    // It is read when the test is run for the numbers; a broken pipe is nobody's business.
    let _ = writeln!(
        std::io::stdout(),
        "{table}{} right, {} otherwise, {} not played",
        sum(|f| f.0),
        sum(|f| f.1),
        sum(|f| f.2)
    );
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// A certificate with its key.
struct Paper {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Paper {
    /// What signs itself, for these hosts.
    fn new(hosts: &[&str]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).expect("host names");
        Self {
            certificate: made.cert,
            key: made.signing_key,
        }
    }
}

/// The certificates that the suite's Go code makes: that of the listeners, and those of clients, which are trusted by
/// way of a ConfigMap each.
struct Papers {
    directory: tempfile::TempDir,
    server: Paper,
    clients: [Paper; 2],
}

impl Papers {
    fn make() -> Self {
        let hosts = [
            "example.org",
            "second-example.org",
            "unknown-example.org",
            "*.wildcard.org",
            "tls.example.com",
        ];
        let papers = Self {
            directory: tempfile::tempdir().expect("a temporary directory can be made"),
            server: Paper::new(&hosts),
            clients: [Paper::new(&["one.test"]), Paper::new(&["two.test"])],
        };
        let [one, two] = &papers.clients;
        let contents = [
            papers.server.certificate.pem(),
            one.certificate.pem(),
            one.key.serialize_pem(),
            two.certificate.pem(),
            two.key.serialize_pem(),
        ];
        for (file, content) in papers.files().iter().zip(contents) {
            std::fs::write(file, content).expect("a file can be written");
        }
        papers
    }

    /// The certificate of the listeners, then certificate and key of each client.
    fn files(&self) -> [String; 5] {
        ["server", "one.crt", "one.key", "two.crt", "two.key"]
            .map(|name| self.directory.path().join(name).display().to_string())
    }

    fn objects(&self) -> String {
        let namespace = BACKENDS[0].1;
        let object = |kind: &str, name: &str, data: &str, entries: Value| {
            let metadata = serde_json::json!({ "name": name, "namespace": namespace });
            let object = serde_json::json!({
                "apiVersion": "v1", "kind": kind, "metadata": metadata, data: entries,
            });
            format!("---\n{object}\n")
        };
        let entries = serde_json::json!({
            "tls.crt": self.server.certificate.pem(),
            "tls.key": self.server.key.serialize_pem(),
        });
        let secrets = [CERTIFICATE, "tls-terminate-checks-certificate"]
            .map(|name| object("Secret", name, "stringData", entries.clone()));
        let authorities = [
            "tls-validity-checks-ca-certificate",
            "tls-validity-checks-per-port-ca-certificate",
        ];
        let authorities = authorities.iter().zip(&self.clients).map(|(name, paper)| {
            let entries = serde_json::json!({ "ca.crt": paper.certificate.pem() });
            object("ConfigMap", name, "data", entries)
        });
        secrets.into_iter().chain(authorities).collect()
    }
}

/// The ports of all listeners that rows go to.
fn ports(tests: &[Value]) -> BTreeSet<u16> {
    let mut ports: BTreeSet<u16> = [443, 8080, 8090, 8443].into();
    for listeners in tests
        .iter()
        .filter_map(|test| test["gateways"].as_object())
        .flat_map(|all| all.values())
    {
        for listener in listeners.as_array().into_iter().flatten() {
            ports.extend(
                listener["port"]
                    .as_u64()
                    .and_then(|port| u16::try_from(port).ok()),
            );
        }
    }
    // The plan has this one anyway.
    ports.remove(&80);
    ports
}

/// What rows are played on.
struct Stage {
    mesh: Mesh,
    papers: Papers,
}

impl Stage {
    async fn play(&self, test: &Value, row: &Value, index: usize) -> anyhow::Result<()> {
        let host = row["request"]["host"].as_str().unwrap_or("gateway.test");
        let written = host
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        let port = port_of(test, row, written);
        if !row["raw"].is_null() {
            return self.bytes(&row["raw"], port).await;
        }
        if test["test"] == "TLSRouteHostnameIntersection" {
            let address = self.mesh.gateway_address(port);
            let apps = TLS_SPEAKERS.map(|name| self.mesh.app(name));
            let name = session::tls_name(address, host, &apps).await?;
            ensure!(row["expect"]["backend"] == *name, "{name} answered");
            return Ok(());
        }
        if row["via"]["tls"] == true {
            return self.over_tls(row, port, index).await;
        }
        let door = if test["mesh"] == true {
            self.mesh.from(MESH[0].0)
        } else {
            self.mesh.gateway(port)
        };
        if !row["request"]["grpc_method"].is_null() || row["request"]["protocol"] == "grpc" {
            return call(&door, row).await;
        }
        play(&self.mesh, &door, test, row).await
    }

    /// A connection of bytes, behind TLS where the gateway ends it.
    async fn bytes(&self, raw: &Value, port: u16) -> anyhow::Result<()> {
        let address = self.mesh.gateway_address(port);
        let name = match port {
            8443 => {
                let trusted = vec![self.papers.server.certificate.der().clone()];
                session::tls_name_by(address, "tls.example.com", trusted).await?
            }
            _ => session::name(address).await?,
        };
        ensure!(raw["Backend"] == *name, "{name} answered");
        Ok(())
    }

    /// A request by curl, whose host may be another one than the server name.
    async fn over_tls(&self, row: &Value, port: u16, index: usize) -> anyhow::Result<()> {
        let request = &row["request"];
        let host = request["host"].as_str().context("a host")?;
        let path = request["path"].as_str().context("a path")?;
        let server = row["server_name"]
            .as_str()
            .filter(|name| !name.starts_with('$'));
        let server = server.unwrap_or(host);
        let address = self.mesh.gateway_address(port);
        let connect = format!("{server}:{port}:{address}");
        let (url, header) = (
            format!("https://{server}:{port}{path}"),
            format!("host: {host}"),
        );
        let files = self.papers.files();
        let mut arguments = vec![
            "--connect-to",
            &connect,
            "-H",
            &header,
            "--cacert",
            &files[0],
        ];
        if request["protocol"] == "H2" {
            arguments.push("--http2");
        }
        // The suite's client shows the certificate that its authority has signed, and then the other one's.
        let client = match (port, index % 2) {
            (443, 0) | (8443, 1) => 1,
            _ => 3,
        };
        arguments.extend(["--cert", &files[client], "--key", &files[client + 1], &url]);
        let answer = tool::curl(&arguments).await;
        if row["expect"]["must_not_be_200"] == true {
            ensure!(
                answer.is_err(),
                "it is answered with {:?}",
                answer.map(|one| one.status)
            );
            return Ok(());
        }
        let answer = answer?;
        let mut headers = http::HeaderMap::new();
        for line in answer.headers.lines().skip(1) {
            if let Some((name, value)) = line.split_once(": ") {
                headers.append(
                    http::HeaderName::from_bytes(name.as_bytes())?,
                    value.parse()?,
                );
            }
        }
        let answer = Answer {
            status: answer.status.try_into()?,
            headers,
            body: answer.body.into(),
            trailers: http::HeaderMap::new(),
        };
        check(request, &row["expect"], &answer, path, "GET")
    }
}

/// A call by gRPC. The suite compares the status, the method and who answered. Of what a gateway did to the metadata
/// it compares nothing, and what its rows say of it is not what its routes do; between workloads it does compare.
async fn call(door: &Door, row: &Value) -> anyhow::Result<()> {
    let (request, expect) = (&row["request"], &row["expect"]);
    let text = |name: &str| request[name].as_str();
    let host = text("authority").or(text("host")).unwrap_or("gateway.test");
    // The one of the client of the rows between workloads, which name none.
    let method = text("grpc_method").unwrap_or("/proto.EchoTestService/Echo");
    let metadata = [&request["metadata"], &request["headers"]]
        .into_iter()
        .filter_map(Value::as_object)
        .flatten();
    let case = request["headers"]["x-test-case"].as_str();
    let carried = CARRIED.iter().filter(|(of, ..)| case == Some(of));
    let metadata: Vec<(&str, &str)> = metadata
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .chain(carried.map(|(_, name, value)| (*name, *value)))
        .collect();
    let answer = door.call(host, method, &metadata).await?;
    let status = answer.grpc_status()?;
    let wanted = expect["grpc_code"].as_str().unwrap_or("OK(0)");
    ensure!(
        wanted.ends_with(&format!("({status})")),
        "the status is {status} instead of {wanted}"
    );
    if status != 0 {
        return Ok(());
    }
    let seen = answer.echo()?.path;
    ensure!(seen == method, "the method is {seen} instead of {method}");
    let mut expect = expect.clone();
    if let Some(expect) = expect.as_object_mut() {
        expect.remove("response_headers");
    }
    check(request, &expect, &answer, method, "POST")
}

async fn play(mesh: &Mesh, door: &Door, test: &Value, row: &Value) -> anyhow::Result<()> {
    let request = &row["request"];
    let default = if test["mesh"] == true {
        "echo"
    } else {
        "gateway.test"
    };
    let host = request["host"].as_str().unwrap_or(default);
    let path = request["path"]
        .as_str()
        .filter(|path| !path.is_empty())
        .unwrap_or("/");
    let method = request["method"].as_str().unwrap_or("GET");
    static FRESH: AtomicU32 = AtomicU32::new(0);
    let ask = || async {
        let key = FRESH.fetch_add(1, Ordering::Relaxed).to_string();
        let path = path.replace("<fresh for every request>", &key);
        let mut message = Request::builder()
            .method(method)
            .uri(&path)
            .header("host", host);
        for (name, value) in request["headers"].as_object().into_iter().flatten() {
            message = message.header(name, value.as_str().unwrap_or_default());
        }
        for (name, value) in row["expect"]["backend_sets_response_headers"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let value = value.as_str().unwrap_or_default();
            message = message.header("x-echo-set-header", format!("{name}:{value}"));
        }
        door.send(message.body(Full::<Bytes>::default())?).await
    };
    if let Some(shares) = test["expected_weights"]
        .as_array()
        .and_then(|all| all.first())
    {
        let mut counts: BTreeMap<String, f64> = BTreeMap::new();
        for _ in 0..200 {
            *counts.entry(ask().await?.echo()?.app).or_default() += 1.0 / 200.0;
        }
        for (backend, share) in shares.as_object().context("shares")? {
            let got = counts.get(backend).copied().unwrap_or_default();
            let wanted = share.as_f64().context("a share")?;
            ensure!(
                (got - wanted).abs() <= 0.05,
                "{backend} got {got} instead of {wanted}"
            );
        }
        return Ok(());
    }
    let answer = ask().await?;
    check(request, &row["expect"], &answer, path, method)?;
    for mirror in row["expect"]["mirrored_to"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let app = mesh.app(mirror["name"].as_str().context("a name")?);
        let copies = || app.seen().iter().filter(|seen| seen.path == path).count();
        let (requests, low, high) = match mirror["percent"].as_f64() {
            None => (0, 1.0, f64::INFINITY),
            Some(percent) => (300, (percent - 15.0).max(1.0) * 3.0, (percent + 15.0) * 3.0),
        };
        for _ in 0..requests {
            ask().await?;
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while (copies() as f64) < low {
            ensure!(
                Instant::now() < deadline,
                "{} copies of {path} came",
                copies()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(
            copies() as f64 <= high,
            "{} copies of {path} came",
            copies()
        );
    }
    Ok(())
}

/// The port of the listener that a row names, or that a host names, or the first one.
fn port_of(test: &Value, row: &Value, written: Option<u64>) -> u16 {
    let gateway = row["via"]["gateway"].as_str().unwrap_or_default();
    let named = row["via"]["listener"]
        .as_array()
        .and_then(|names| names.first());
    let listeners = || test["gateways"][gateway].as_array().into_iter().flatten();
    let at_written =
        listeners().find_map(|one| one["port"].as_u64().filter(|port| Some(*port) == written));
    // Otherwise the suite's code says which it is; the row's host and protocol tell.
    let is_bytes = !row["raw"].is_null();
    let is_https = row["via"]["tls"] == true;
    let is_for_host = |one: &Value| {
        row["request"]["host"].is_string() && one["hostname"] == row["request"]["host"]
    };
    let fits = |one: &&Value| {
        named.is_none_or(|name| one["name"] == *name)
            && (is_bytes
                || ["HTTPS", "TLS"].contains(&one["protocol"].as_str().unwrap_or_default())
                    == is_https)
    };
    let candidates: Vec<&Value> = listeners().filter(fits).collect();
    let closest = candidates.iter().find(|one| is_for_host(one));
    let port = at_written.or_else(|| closest.or(candidates.first())?["port"].as_u64());
    let usual = if is_https { 443 } else { 80 };
    port.and_then(|port| u16::try_from(port).ok())
        .unwrap_or(usual)
}

fn check(
    request: &Value,
    expect: &Value,
    answer: &Answer,
    path: &str,
    method: &str,
) -> anyhow::Result<()> {
    let status = u64::from(answer.status.as_u16());
    if expect["must_not_be_200"] == true {
        ensure!(status != 200, "it is 200");
        return Ok(());
    }
    let wanted: Vec<u64> = match expect["status_any_of"].as_array() {
        Some(all) => all.iter().filter_map(Value::as_u64).collect(),
        None => vec![200],
    };
    ensure!(
        wanted.contains(&status),
        "{status} instead of {wanted:?}: {}",
        answer.text()
    );
    let plain = |text: &str| text.replace(' ', "").to_ascii_lowercase();
    for (name, value) in expect["response_headers"].as_object().into_iter().flatten() {
        let got = answer.header(name).map(plain);
        ensure!(
            got == value.as_str().map(plain),
            "{name} is {got:?} instead of {value}"
        );
    }
    for (name, values) in expect["response_headers_any_of"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let got = answer.header(name).map(plain);
        let fits = |value: &Value| got == value.as_str().map(plain);
        ensure!(
            values.as_array().context("values")?.iter().any(fits),
            "{name} is {got:?}, not of {values}"
        );
    }
    for name in expect["absent_response_headers"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let name = name.as_str().context("a name")?;
        ensure!(
            answer.header(name).is_none(),
            "there is {name}: {:?}",
            answer.header(name)
        );
    }
    if expect["redirect"].is_object() {
        return redirect(&expect["redirect"], answer, path);
    }
    // A preflight is answered by the gateway itself.
    if status != 200 || method == "OPTIONS" {
        return Ok(());
    }
    let echo = answer.echo()?;
    if let Some(backend) = expect["backend"].as_str() {
        ensure!(
            echo.app == backend,
            "{} answered instead of {backend}",
            echo.app
        );
    }
    if let Some(namespace) = expect["backend_namespace"]
        .as_str()
        .filter(|one| !one.is_empty())
    {
        let inside = MESH.map(|(name, _)| (name, MESH_NAMESPACE));
        let mut known = BACKENDS.iter().chain(&inside);
        ensure!(
            known.any(|(name, its)| *name == echo.app && *its == namespace),
            "{} is not of {namespace}",
            echo.app
        );
    }
    let seen = if expect["request_at_backend"].is_object() {
        &expect["request_at_backend"]
    } else {
        request
    };
    if let Some(path) = seen["path"]
        .as_str()
        .filter(|path| !path.is_empty() && !path.contains("uuid"))
    {
        ensure!(
            echo.path == path,
            "the path is {} instead of {path}",
            echo.path
        );
    }
    if let Some(host) = seen["host"].as_str().filter(|host| !host.is_empty()) {
        let host = host.split(':').next().unwrap_or_default();
        ensure!(
            echo.host.split(':').next() == Some(host),
            "the host is {} instead of {host}",
            echo.host
        );
    }
    for (name, value) in seen["headers"].as_object().into_iter().flatten() {
        let got = echo.header(&name.to_lowercase());
        ensure!(
            got.as_deref() == value.as_str(),
            "{name} is {got:?} instead of {value}"
        );
    }
    for name in seen["absent_headers"]
        .as_array()
        .or(expect["absent_headers"].as_array())
        .into_iter()
        .flatten()
    {
        let name = name.as_str().context("a name")?.to_lowercase();
        ensure!(echo.header(&name).is_none(), "there is {name}");
    }
    Ok(())
}

fn redirect(expect: &Value, answer: &Answer, path: &str) -> anyhow::Result<()> {
    let location = answer.header("location").context("there is no location")?;
    let uri: http::Uri = location.parse()?;
    let scheme = expect["scheme"]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or("http");
    ensure!(
        uri.scheme_str() == Some(scheme),
        "the scheme is of {location} instead of {scheme}"
    );
    if let Some(host) = expect["host"].as_str().filter(|text| !text.is_empty()) {
        ensure!(
            uri.host() == Some(host),
            "the host is of {location} instead of {host}"
        );
    }
    let port = match &expect["port"] {
        Value::String(port) if !port.is_empty() => Some(port.parse()?),
        Value::Number(port) => port.as_u64().and_then(|port| u16::try_from(port).ok()),
        _ => None,
    };
    ensure!(
        uri.port_u16() == port,
        "the port is of {location} instead of {port:?}"
    );
    let wanted = expect["path"]
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or(path);
    if uri.path() != wanted.split('?').next().unwrap_or_default() {
        bail!("the path is of {location} instead of {wanted}");
    }
    Ok(())
}
