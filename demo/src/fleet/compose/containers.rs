//! What Docker says of the project's containers: who is well, and what the others lack.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::project::{Project, SERVICE_LABEL, docker};

/// The services that do one thing and end.
pub(crate) const ONE_SHOTS: [&str; 2] = ["mesh-join", "mesh-config"];

/// A container as `docker inspect` describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    state: State,
    config: Config,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    exit_code: i64,
    #[serde(default)]
    health: Option<Health>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
    #[serde(default)]
    log: Option<Vec<Check>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(default)]
    output: String,
}

impl Container {
    /// The service that it is a container of.
    pub(crate) fn service(&self) -> &str {
        let labels = &self.config.labels;
        labels.get(SERVICE_LABEL).map_or("", String::as_str)
    }

    /// Whether it has ended badly or its health checks say no.
    fn failed(&self) -> bool {
        let unhealthy = |health: &Health| health.status == "unhealthy";
        self.state.health.as_ref().is_some_and(unhealthy)
            || self.state.status == "restarting"
            || (self.state.status == "exited" && self.state.exit_code != 0)
    }

    /// Nothing if it is as it should be, else what is missing.
    fn missing(&self) -> Option<String> {
        let State {
            status,
            exit_code,
            health,
        } = &self.state;
        if ONE_SHOTS.contains(&self.service()) {
            return match (status.as_str(), exit_code) {
                ("exited", 0) => None,
                ("exited", code) => Some(format!("has ended with exit code {code}")),
                (other, _) => Some(format!("is {other} and has not done its work yet")),
            };
        }
        if status != "running" {
            return Some(format!("is {status}"));
        }
        let health = health.as_ref()?;
        if health.status == "healthy" {
            return None;
        }
        let checks = health.log.as_deref().unwrap_or_default();
        let said = checks.last().map_or("", |check| check.output.trim());
        Some(match said {
            "" => format!("is {}", health.status),
            said => format!("is {}: {said}", health.status),
        })
    }
}

/// A service that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwell {
    /// The service.
    pub(crate) service: String,
    /// What it lacks, to stand behind its name.
    pub(crate) missing: String,
    why: bool,
}

impl Unwell {
    /// Whether it has failed by itself; others are unwell because they wait for such a one.
    pub(crate) fn is_why(&self) -> bool {
        self.why
    }
}

impl std::fmt::Display for Unwell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.service, self.missing)
    }
}

/// All containers of a project.
pub(crate) async fn list(project: &Project) -> anyhow::Result<Vec<Container>> {
    let filter = project.filter();
    let ids = docker(&["ps", "--all", "--quiet", "--filter", &filter]).await?;
    let ids: Vec<&str> = ids.lines().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let json = docker(&[&["inspect", "--type", "container"], &ids[..]].concat()).await?;
    serde_json::from_str(&json).context("what docker inspect says is not understood")
}

/// Those that are not well.
pub(crate) fn unwell(containers: &[Container]) -> Vec<Unwell> {
    let unwell = |container: &Container| {
        Some(Unwell {
            service: container.service().to_owned(),
            missing: container.missing()?,
            why: container.failed(),
        })
    };
    containers.iter().filter_map(unwell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container(service: &str, state: &Value) -> Container {
        let labels = json!({ SERVICE_LABEL: service });
        let json = json!({"Id": "1", "State": state, "Config": {"Labels": labels}});
        serde_json::from_value(json).unwrap()
    }

    fn seen(containers: &[Container]) -> Vec<String> {
        let unwell = unwell(containers);
        unwell.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whoever_serves_must_be_healthy_and_whoever_has_a_task_must_have_done_it() {
        let well = [
            container(
                "mesh-api",
                &json!({"Status": "running", "Health": {"Status": "healthy", "Log": []}}),
            ),
            container("prometheus", &json!({"Status": "running"})),
            container("mesh-join", &json!({"Status": "exited", "ExitCode": 0})),
        ];
        assert!(seen(&well).is_empty());
        let check = json!({"Output": "waiting for a certificate\n", "ExitCode": 1});
        let ill = [
            container(
                "mesh-api",
                &json!({"Status": "running", "Health": {"Status": "starting", "Log": [check]}}),
            ),
            container("mesh-ca", &json!({"Status": "exited", "ExitCode": 0})),
            container("mesh-join", &json!({"Status": "exited", "ExitCode": 1})),
            container("mesh-config", &json!({"Status": "created"})),
        ];
        assert_eq!(
            seen(&ill),
            [
                "mesh-api is starting: waiting for a certificate",
                "mesh-ca is exited",
                "mesh-join has ended with exit code 1",
                "mesh-config is created and has not done its work yet",
            ]
        );
        let why: Vec<bool> = unwell(&ill).iter().map(Unwell::is_why).collect();
        assert_eq!(why, [false, false, true, false]);
    }
}
