//! What the parts of a fleet say, and where to read it.

use std::path::PathBuf;

use super::compose::project::Project;

/// The logs of a fleet.
#[derive(Clone, Debug)]
pub(crate) enum Logs {
    /// A file for each part, in this directory.
    Files(PathBuf),
    /// Docker keeps them.
    Containers(Project),
}

impl Logs {
    /// The log of a part: its file, or the command that shows it.
    pub(crate) fn of(&self, part: &str) -> String {
        match self {
            Self::Files(directory) => directory.join(format!("{part}.log")).display().to_string(),
            Self::Containers(project) => project.typed(&["logs", part]),
        }
    }

    /// Its last lines, for a report of what went wrong.
    pub(crate) async fn tail(&self, part: &str, lines: usize) -> String {
        let text = match self {
            Self::Files(_) => {
                let file = self.of(part);
                match tokio::fs::read(&file).await {
                    Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Err(error) => return format!("({file} cannot be read: {error})"),
                }
            }
            Self::Containers(project) => match project.log(part, Some(lines)).await {
                Ok(text) => text,
                Err(error) => return format!("(the log of {part} cannot be read: {error})"),
            },
        };
        last(&text, lines)
    }
}

/// Where all of them are.
impl std::fmt::Display for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files(directory) => write!(f, "{}", directory.display()),
            Self::Containers(project) => f.write_str(&project.typed(&["logs"])),
        }
    }
}

fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    if all.is_empty() {
        return "(the log is empty)".to_owned();
    }
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_tail_is_short() {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::Files(directory.path().to_owned());
        std::fs::write(logs.of("x"), "1\n2\n3\n").unwrap();
        assert_eq!(logs.tail("x", 2).await, "2\n3");
        std::fs::write(logs.of("silent"), "").unwrap();
        assert!(logs.tail("silent", 2).await.contains("empty"));
        assert!(logs.tail("none", 2).await.contains("cannot be read"));
    }
}
