//! Programs that others wrote.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Runs a program and returns what it prints.
///
/// # Errors
///
/// When it is missing or fails, with what it said.
pub async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with_input(program, arguments, "").await
}

/// [`run`] with something to read.
///
/// # Errors
///
/// As [`run`].
pub async fn run_with_input(
    program: &str,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<String> {
    let output = output(program, arguments, input).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}{text}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

/// Runs a program to its end, whatever it thinks of what it saw.
///
/// # Errors
///
/// When it is missing.
pub async fn output(
    program: &str,
    arguments: &[&str],
    input: &str,
) -> anyhow::Result<std::process::Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{program} is missing: tests/run installs it"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let input = input.to_owned();
    // Writing and reading at once, so that neither side fills a pipe and waits for the other.
    let writer = tokio::spawn(async move {
        // A program may end without reading everything.
        let _ = stdin.write_all(input.as_bytes()).await;
    });
    let output = child.wait_with_output().await?;
    writer.await?;
    Ok(output)
}

/// What an HTTP server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, in lower case.
    pub headers: String,
    /// The body.
    pub body: String,
}

/// Asks with curl; an answer of any status is an answer.
///
/// # Errors
///
/// When none comes.
pub async fn curl(arguments: &[&str]) -> anyhow::Result<Answer> {
    curl_with_body(arguments, "").await
}

/// [`curl`] with a body, unless it is empty.
///
/// # Errors
///
/// When no answer comes.
pub async fn curl_with_body(arguments: &[&str], body: &str) -> anyhow::Result<Answer> {
    let mut all = vec!["-sS", "--max-time", "30", "-D", "-"];
    if !body.is_empty() {
        all.extend([
            "-H",
            "content-type: application/yaml",
            "-H",
            "expect:",
            "--data-binary",
            "@-",
        ]);
    }
    all.extend(arguments);
    let text = run_with_input("curl", &all, body).await?;
    let (headers, body) = text
        .split_once("\r\n\r\n")
        .context("an HTTP answer has a head")?;
    let status = headers
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("a status line: {headers}"))?;
    Ok(Answer {
        status,
        headers: headers.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}
