//! Who of the containers ends unasked, as Docker tells it.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::command::Group;
use super::containers::ONE_SHOTS;
use super::project::{Project, SERVICE_LABEL};
use crate::fleet::deaths::{Death, Deaths};

/// Listens as long as it is held.
#[derive(Debug)]
pub(crate) struct Watch {
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells of every container of the project that ends from now on.
pub(crate) fn watch(project: &Project, deaths: Deaths) -> anyhow::Result<Watch> {
    // Docker may take a moment to listen; it looks back to here then.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock of this machine is before 1970")?
        .as_secs();
    let mut child = Command::new("docker")
        .args(["events", "--format", "{{json .}}"])
        .args(["--since", &since.to_string()])
        .args(["--filter", "type=container", "--filter", "event=die"])
        .args(["--filter", &project.filter()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot run docker events")?;
    let group = Group(child.id());
    let output = child.stdout.take().context("the output is piped")?;
    let task = tokio::spawn(async move {
        // Both end with the task.
        let _running = (child, group);
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(death) = death(&line) {
                deaths.send_modify(|deaths| deaths.push(death));
            }
        }
        let death = Death {
            name: "docker".to_owned(),
            pid: None,
            how: "no longer tells what happens to the containers".to_owned(),
        };
        deaths.send_modify(|deaths| deaths.push(death));
    });
    Ok(Watch { task })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    actor: Actor,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Actor {
    attributes: BTreeMap<String, String>,
}

/// The end of a container in Docker's words; nothing for a one-shot that has done its work.
fn death(line: &str) -> Option<Death> {
    let event: Event = serde_json::from_str(line).ok()?;
    let attributes = event.actor.attributes;
    let service = attributes.get(SERVICE_LABEL)?;
    let code = attributes.get("exitCode").map_or("unknown", String::as_str);
    if code == "0" && ONE_SHOTS.contains(&service.as_str()) {
        return None;
    }
    Some(Death {
        name: service.clone(),
        pid: None,
        how: format!("ended with exit code {code}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &str, code: &str) -> String {
        let attributes = serde_json::json!({SERVICE_LABEL: service, "exitCode": code});
        serde_json::json!({"status": "die", "Actor": {"ID": "1", "Attributes": attributes}})
            .to_string()
    }

    #[test]
    fn an_end_is_told_unless_the_work_is_done() {
        let told = death(&line("mesh-api", "137")).unwrap();
        assert_eq!(told.to_string(), "mesh-api ended with exit code 137");
        assert!(death(&line("mesh-api", "0")).is_some());
        assert!(death(&line("mesh-join", "0")).is_none());
        assert!(death(&line("mesh-join", "1")).is_some());
        assert!(death("not json").is_none());
    }
}
