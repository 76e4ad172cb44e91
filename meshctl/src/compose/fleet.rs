//! The services and volumes that are added: an agent beside each labelled service, and the control plane.

use super::manifest;
use super::project::{DEFAULT_NETWORK, Member, Project};

/// One line, and how many levels it is indented.
pub(super) type Line = (usize, String);

pub(super) const CA: &str = "mesh-ca";
pub(super) const JOIN: &str = "mesh-join";
pub(super) const API: &str = "mesh-api";
pub(super) const CONFIG: &str = "mesh-config";

/// The user and group of the images, who owns the state.
const OWNER: &str = "65532:65532";
/// The control plane's namespace and service account, as every proxy expects them.
const API_IDENTITY: &str = "istio-system/mesh-api";

/// The agent beside a service.
pub(super) fn agent_name(member: &Member<'_>) -> String {
    format!("{}-agent", member.name)
}

/// The volume with an agent's key, certificate and last configuration.
pub(super) fn volume_name(member: &Member<'_>) -> String {
    format!("{}-mesh", member.name)
}

/// The names of all services that are added.
pub(super) fn service_names(project: &Project<'_>) -> Vec<String> {
    let agents = project.members.iter().map(agent_name);
    agents
        .chain([CA, JOIN, API, CONFIG].map(str::to_owned))
        .collect()
}

/// The names of all volumes that are added.
pub(super) fn volume_names(project: &Project<'_>) -> Vec<String> {
    let agents = project.members.iter().map(volume_name);
    agents.chain([CA, API].map(str::to_owned)).collect()
}

/// A service as lines, its name at level 0.
struct Service(Vec<Line>);

impl Service {
    fn new(name: &str, program: &str) -> Self {
        let mut service = Self(vec![(0, format!("{name}:"))]);
        service.line(1, format!("image: \"{program}:${{MESH_VERSION:-latest}}\""));
        service
    }

    fn line(&mut self, level: usize, text: impl Into<String>) {
        self.0.push((level, text.into()));
    }

    /// Nothing that a program of the mesh does needs more.
    fn confined(&mut self, restart: &str) {
        self.line(1, format!("restart: {restart}"));
        self.line(1, "read_only: true");
        self.line(1, "cap_drop: [ALL]");
        self.line(1, "security_opt: [\"no-new-privileges:true\"]");
    }

    fn environment(&mut self, variables: &[(&str, String)]) {
        self.line(1, "environment:");
        for (name, value) in variables {
            self.line(2, format!("{name}: \"{value}\""));
        }
    }

    fn depends_on(&mut self, others: &[(&str, &str)]) {
        self.line(1, "depends_on:");
        for (name, condition) in others {
            self.line(2, format!("{}:", manifest::word(name)));
            self.line(3, format!("condition: service_{condition}"));
        }
    }
}

/// All services that are added. `redirected` says of which members a published port leads to the agent.
pub(super) fn services(project: &Project<'_>, network: &str, redirected: &[bool]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (member, redirected) in project.members.iter().zip(redirected) {
        lines.extend(agent(member, *redirected).0);
    }
    let mut networks = vec![network];
    if project.is_internal(network) {
        // Nothing can be published on it; the config API shall be.
        networks.push(DEFAULT_NETWORK);
    }
    for service in [ca(network), join(project), api(&networks), config(project)] {
        lines.extend(service.0);
    }
    lines
}

fn agent(member: &Member<'_>, redirected: bool) -> Service {
    let labels = &member.labels;
    let mut agent = Service::new(&agent_name(member), "mesh-agent");
    agent.line(1, format!("network_mode: \"service:{}\"", member.name));
    if !member.profiles.is_empty() {
        let profiles: Vec<String> = member
            .profiles
            .iter()
            .map(|name| format!("{name:?}"))
            .collect();
        agent.line(1, format!("profiles: [{}]", profiles.join(", ")));
    }
    agent.confined("unless-stopped");
    let mut variables = vec![
        ("MESH_WORKLOAD_GROUP", member.group.clone()),
        ("MESH_NAMESPACE", labels.namespace.clone()),
    ];
    if !labels.ports.is_empty() {
        let ports = labels
            .ports
            .iter()
            .map(|port| format!("{}={}", port.name, port.number));
        variables.push(("MESH_APP_PORT", ports.collect::<Vec<_>>().join(",")));
    }
    variables.push(("MESH_LISTEN_SERVICES", "true".to_owned()));
    if redirected {
        variables.push((
            "MESH_LISTEN_PLAIN",
            format!("0.0.0.0:{}", super::ports::PLAIN_PORT),
        ));
    }
    let state = "/var/lib/mesh/agent";
    variables.extend([
        ("MESH_LISTEN_METRICS", "0.0.0.0:15020".to_owned()),
        ("MESH_XDS_ADDRESS", format!("{API}:15012")),
        ("MESH_CA_ADDRESS", format!("{CA}:15011")),
        ("MESH_JOIN_TOKEN_FILE", format!("{state}/join-token")),
    ]);
    agent.environment(&variables);
    agent.line(1, format!("volumes: [\"{}:{state}\"]", volume_name(member)));
    // `up --wait` takes the end of a service for a failure, unless another one waits for its success.
    agent.depends_on(&[(member.name, "started"), (CONFIG, "completed_successfully")]);
    agent
}

fn ca(network: &str) -> Service {
    let mut ca = Service::new(CA, "mesh-ca");
    ca.confined("unless-stopped");
    ca.line(1, format!("networks: [{network:?}]"));
    ca.environment(&[("MESH_LISTEN_METRICS", "0.0.0.0:15013".to_owned())]);
    ca.line(1, format!("volumes: [\"{CA}:/var/lib/mesh/ca\"]"));
    ca
}

/// Hands each workload that has no identity yet its one-time token, and ends.
fn join(project: &Project<'_>) -> Service {
    let mut join = Service::new(JOIN, "mesh-ca");
    join.line(1, "user: \"0:0\"");
    join.line(1, "network_mode: none");
    join.confined("\"no\"");
    join.line(1, "cap_add: [CHOWN, DAC_OVERRIDE, FOWNER]");
    join.line(1, "command:");
    for word in ["token", "create", "--owner", OWNER] {
        join.line(2, format!("- {word:?}"));
    }
    let mut to = vec![(API_IDENTITY.to_owned(), API.to_owned(), API.to_owned())];
    to.extend(project.members.iter().map(|member| {
        let identity = format!("{}/{}", member.labels.namespace, member.account);
        (identity, member.name.to_owned(), volume_name(member))
    }));
    for (identity, directory, _) in &to {
        join.line(2, "- \"--to\"");
        join.line(2, format!("- \"{identity}=/join/{directory}\""));
    }
    join.line(1, "volumes:");
    join.line(2, format!("- \"{CA}:/var/lib/mesh/ca\""));
    for (_, directory, volume) in &to {
        join.line(2, format!("- \"{volume}:/join/{directory}\""));
    }
    join.depends_on(&[(CA, "healthy")]);
    join
}

fn api(networks: &[&str]) -> Service {
    let mut api = Service::new(API, "mesh-api");
    api.confined("unless-stopped");
    let networks: Vec<String> = networks.iter().map(|name| format!("{name:?}")).collect();
    api.line(1, format!("networks: [{}]", networks.join(", ")));
    api.line(1, "ports: [\"127.0.0.1:${MESH_API_PORT:-15080}:15080\"]");
    api.environment(&[
        ("MESH_LISTEN_HTTP", "0.0.0.0:15080".to_owned()),
        ("MESH_LISTEN_METRICS", "0.0.0.0:15014".to_owned()),
        ("MESH_CA_ADDRESS", format!("{CA}:15011")),
        (
            "MESH_JOIN_TOKEN_FILE",
            "/var/lib/mesh/api/join-token".to_owned(),
        ),
    ]);
    api.line(1, format!("volumes: [\"{API}:/var/lib/mesh/api\"]"));
    api.depends_on(&[(JOIN, "completed_successfully")]);
    api
}

/// Tells the control plane which workloads and services there are, and ends.
fn config(project: &Project<'_>) -> Service {
    let mut config = Service::new(CONFIG, "meshctl");
    config.line(1, format!("network_mode: \"service:{API}\""));
    config.confined("\"no\"");
    config.line(
        1,
        "command: [\"apply\", \"--from-env\", \"MESH_MANIFEST\", \"--wait\", \"60s\"]",
    );
    config.line(1, "environment:");
    config.line(2, "MESH_MANIFEST: |");
    for line in manifest::of(project).lines() {
        config.line(3, line);
    }
    config.depends_on(&[(API, "started")]);
    config
}
