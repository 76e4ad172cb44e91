//! `mesh-agent run` where there is no mesh: it says what is missing, and ends when it is told to.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// An authority that never answers keeps the start waiting.
fn run(state: &std::path::Path, authority: &TcpListener, flags: &[&str]) -> Child {
    let authority = authority.local_addr().expect("it is bound");
    let local = "127.0.0.1:0";
    Command::new(env!("CARGO_BIN_EXE_mesh-agent"))
        .args([
            "run",
            "--workload-group",
            "webapp",
            "--ca-address",
            &authority.to_string(),
        ])
        .args(["--ca-fingerprint", &format!("sha256:{}", "a".repeat(64))])
        .arg("--state-dir")
        .arg(state)
        .args([
            "--listen-admin",
            local,
            "--listen-metrics",
            local,
            "--listen-ready",
            local,
        ])
        .args(flags)
        .args(["--", "sh", "-c", "echo started"])
        .env("MESH_JOIN_TOKEN", "secret")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is a program")
}

#[test]
fn a_mesh_that_is_not_ready_in_time_is_named_with_what_is_missing() {
    let state = tempfile::tempdir().expect("a directory can be made");
    let authority = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let child = run(state.path(), &authority, &["--start-timeout", "200ms"]);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(output.stdout.is_empty(), "the app was started");
    let address = authority.local_addr().expect("it is bound").to_string();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.contains("--start-timeout") && last.contains(&address),
        "{said}"
    );
}

#[test]
fn a_stop_before_the_start_is_told_as_a_shell_would() {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("QUIT", 131), ("HUP", 129)] {
        let state = tempfile::tempdir().expect("a directory can be made");
        let authority = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let mut child = run(
            state.path(),
            &authority,
            &["--start-timeout", "10000000000y"],
        );
        // It joins, so it has heard of signals.
        drop(authority.accept().expect("it connects"));
        let pid = child.id().to_string();
        let killed = Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(killed.expect("kill is a program").success());
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(code), "{signal}");
        let app = child
            .stdout
            .take()
            .map(BufReader::new)
            .expect("it is piped");
        assert_eq!(app.lines().count(), 0, "the app was started");
    }
}

#[test]
fn a_command_is_needed() {
    let output = Command::new(env!("CARGO_BIN_EXE_mesh-agent"))
        .args(["run", "--workload-group", "webapp"])
        .output()
        .expect("it is a program");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("<CMD>"));
}
