//! A real browser without a screen: Chromium, spoken to in the DevTools protocol over a pipe.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a browser may think about a command, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page. Dropping it closes it.
#[derive(Debug)]
pub struct Browser {
    commands: ChildStdin,
    messages: BufReader<ChildStdout>,
    session: Value,
    last: u64,
    /// What the page complained about so far: errors and warnings of its console, and exceptions.
    pub complaints: Vec<String>,
    _process: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with an empty page.
    ///
    /// # Errors
    ///
    /// When Chromium is missing or does not answer.
    pub async fn start() -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        // Chromium reads commands from descriptor 3 and writes messages to 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"])
            .args(["chromium", "--headless", "--remote-debugging-pipe"])
            .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking"])
            .args([
                "--disable-component-update",
                "--disable-sync",
                "--window-size=1280,900",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("sh is missing")?;
        let mut browser = Self {
            commands: process.stdin.take().context("stdin is piped")?,
            messages: BufReader::new(process.stdout.take().context("stdout is piped")?),
            session: Value::Null,
            last: 0,
            complaints: Vec::new(),
            _process: process,
            _profile: profile,
        };
        let page = json!({ "url": "about:blank" });
        let page = browser.command("Target.createTarget", page).await?;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.command("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log"] {
            let method = format!("{domain}.enable");
            browser.command(&method, json!({})).await?;
        }
        Ok(browser)
    }

    /// Opens an address.
    ///
    /// # Errors
    ///
    /// When there is nothing.
    pub async fn open(&mut self, url: &str) -> anyhow::Result<()> {
        let opened = self.command("Page.navigate", json!({ "url": url })).await?;
        if let Some(error) = opened["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        Ok(())
    }

    /// The value of an expression in the page.
    ///
    /// # Errors
    ///
    /// When it throws.
    pub async fn evaluate(&mut self, expression: &str) -> anyhow::Result<Value> {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.command("Runtime.evaluate", asked).await?;
        if !answer["exceptionDetails"].is_null() {
            bail!("{expression}: {}", answer["exceptionDetails"]);
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Shows the page as on a light or dark screen.
    ///
    /// # Errors
    ///
    /// When the browser does not know how.
    pub async fn prefer(&mut self, scheme: &str) -> anyhow::Result<()> {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        let features = json!({ "features": [feature] });
        self.command("Emulation.setEmulatedMedia", features)
            .await
            .map(drop)
    }

    async fn command(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_null() {
            command["sessionId"] = self.session.clone();
        }
        let mut text = command.to_string().into_bytes();
        text.push(0);
        self.commands
            .write_all(&text)
            .await
            .context("Chromium has ended, or is missing: tests/run installs it")?;
        let answer = timeout(PATIENCE, self.answer());
        answer
            .await
            .with_context(|| format!("{method}: no answer"))?
            .with_context(|| method.to_owned())
    }

    /// The answer to the last command; what the page says meanwhile is noted.
    async fn answer(&mut self) -> anyhow::Result<Value> {
        loop {
            let mut text = Vec::new();
            let read = self.messages.read_until(0, &mut text).await?;
            if read == 0 {
                bail!("Chromium has ended, or is missing: tests/run installs it");
            }
            text.pop();
            let message: Value = serde_json::from_slice(&text)?;
            if message["id"].as_u64() == Some(self.last) {
                if !message["error"].is_null() {
                    bail!("{}", message["error"]);
                }
                return Ok(message["result"].clone());
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let params = &message["params"];
        let complaint = match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(&params["exceptionDetails"]),
            Some("Log.entryAdded") => Some(&params["entry"]),
            Some("Runtime.consoleAPICalled")
                if matches!(
                    params["type"].as_str(),
                    Some("error" | "warning" | "assert")
                ) =>
            {
                Some(&params["args"])
            }
            _ => None,
        };
        self.complaints.extend(complaint.map(ToString::to_string));
    }
}
