//! One Compose project: its file, its name, and the commands that speak of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::command::{Failed, Run, output};
use crate::fleet::janitor::Stop;

/// The label by which Docker knows what belongs to a project.
pub(crate) const PROJECT_LABEL: &str = "com.docker.compose.project";
/// The label with the service of a container.
pub(crate) const SERVICE_LABEL: &str = "com.docker.compose.service";

/// A Compose project. Clones speak of the same one.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// Its name.
    pub(crate) name: String,
    /// The variables that its file takes from the demo.
    pub(crate) env: BTreeMap<String, String>,
    compose: Vec<String>,
    file: PathBuf,
}

impl Project {
    /// A project of this file; `compose` is `docker compose` or `docker-compose`.
    pub(crate) fn new(
        compose: Vec<String>,
        name: &str,
        file: &Path,
        env: BTreeMap<String, String>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            env,
            compose,
            file: file.to_owned(),
        }
    }

    /// A whole command of Compose.
    pub(crate) fn argv(&self, words: &[&str]) -> Vec<String> {
        let mut argv = self.compose.clone();
        let file = self.file.display().to_string();
        argv.extend(["-p", &self.name, "-f", &file].map(str::to_owned));
        argv.extend(words.iter().map(|word| (*word).to_owned()));
        argv
    }

    /// A command of Compose as a person types it.
    pub(crate) fn typed(&self, words: &[&str]) -> String {
        self.argv(words).join(" ")
    }

    /// Starts a command of Compose.
    pub(crate) fn start(&self, words: &[&str]) -> Result<Run, Failed> {
        Run::start(&self.argv(words), &self.env)
    }

    /// Runs a command of Compose. Returns its standard output.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String, Failed> {
        output(&self.argv(words), &self.env).await
    }

    /// What a service has said, or the end of it. Asked of Docker: the `logs` of docker-compose 1.29 repeat
    /// themselves for a container that keeps restarting.
    pub(crate) async fn log(&self, service: &str, lines: Option<usize>) -> Result<String, Failed> {
        let of_service = format!("label={SERVICE_LABEL}={service}");
        let words = ["ps", "--all", "--quiet", "--filter", &self.filter()];
        let ids = docker(&[&words[..], &["--filter", &of_service]].concat()).await?;
        let Some(id) = ids.lines().next() else {
            return Ok(String::new());
        };
        let lines = lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        // Both streams in the order of what was said.
        let script = r#"exec docker logs --tail "$1" "$2" 2>&1"#;
        let argv = ["sh", "-c", script, "sh", &lines, id].map(str::to_owned);
        output(&argv, &BTreeMap::new()).await
    }

    /// What removes all of it.
    pub(crate) fn down(&self) -> Stop {
        Stop {
            argv: self.argv(&["down", "--volumes", "--remove-orphans"]),
            env: self.env.clone(),
        }
    }

    /// The filter that selects what is this project's, for the commands of Docker.
    pub(crate) fn filter(&self) -> String {
        format!("label={PROJECT_LABEL}={}", self.name)
    }

    /// What of it Docker still has: containers, networks and volumes, by name.
    pub(crate) async fn left(&self) -> Result<Vec<String>, Failed> {
        let filter = self.filter();
        let mut left = Vec::new();
        for words in [
            ["ps", "--all", "--format", "{{.Names}}"].as_slice(),
            &["network", "ls", "--format", "{{.Name}}"],
            &["volume", "ls", "--format", "{{.Name}}"],
        ] {
            let found = docker(&[words, &["--filter", &filter]].concat()).await?;
            left.extend(found.lines().map(str::to_owned));
        }
        Ok(left)
    }
}

/// Runs a command of Docker. Returns its standard output.
pub(crate) async fn docker(words: &[&str]) -> Result<String, Failed> {
    let argv: Vec<String> = ["docker"]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect();
    output(&argv, &BTreeMap::new()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_names_the_project_and_its_file() {
        let compose = vec!["docker".to_owned(), "compose".to_owned()];
        let file = Path::new("/d/docker-compose.yml");
        let project = Project::new(compose, "mine", file, BTreeMap::new());
        assert_eq!(
            project.typed(&["logs", "mesh-api"]),
            "docker compose -p mine -f /d/docker-compose.yml logs mesh-api"
        );
        let down = project.down().argv.join(" ");
        assert!(down.starts_with("docker compose -p mine "), "{down}");
        assert!(down.contains("down --volumes"), "{down}");
        assert_eq!(project.filter(), "label=com.docker.compose.project=mine");
    }
}
