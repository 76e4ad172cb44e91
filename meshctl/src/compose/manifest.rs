//! What the control plane is told about the labelled services: Istio's and Kubernetes' own YAML.

use std::fmt::Write as _;

use super::project::{Member, Project};

/// A WorkloadGroup for each labelled service, and a Service for each name by which others call them.
pub(super) fn of(project: &Project<'_>) -> String {
    let mut documents: Vec<String> = project.members.iter().map(workload_group).collect();
    let services = project.callable();
    documents.extend(services.values().map(|members| service(members[0])));
    documents.join("---\n")
}

fn workload_group(member: &Member<'_>) -> String {
    let labels = &member.labels;
    let mut text = format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata:
  name: {}
  namespace: {}
spec:
  metadata:
    labels:
      app: {}
",
        word(&member.group),
        word(&labels.namespace),
        word(&labels.service),
    );
    // Writing to a String cannot fail.
    if let Some(version) = &labels.version {
        let _ = writeln!(text, "      version: {version:?}");
    }
    let _ = writeln!(
        text,
        "  template:\n    serviceAccount: {}",
        word(&member.account)
    );
    if !labels.ports.is_empty() {
        text += "    ports:\n";
        for port in &labels.ports {
            let _ = writeln!(text, "      {}: {}", word(&port.name), port.number);
        }
    }
    text
}

fn service(member: &Member<'_>) -> String {
    let labels = &member.labels;
    let mut text = format!(
        "apiVersion: v1
kind: Service
metadata:
  name: {0}
  namespace: {1}
spec:
  selector:
    app: {0}
  ports:
",
        word(&labels.service),
        word(&labels.namespace),
    );
    for port in &labels.ports {
        let name = word(&port.name);
        let _ = writeln!(
            text,
            "  - name: {name}\n    port: {}\n    targetPort: {name}",
            port.number
        );
    }
    text
}

/// A name as YAML: in quotes where it could be read as a number or a boolean.
pub(super) fn word(name: &str) -> String {
    const NOT_TEXT: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_text = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !NOT_TEXT.contains(&name.to_ascii_lowercase().as_str());
    if is_text {
        name.to_owned()
    } else {
        format!("\"{name}\"")
    }
}
