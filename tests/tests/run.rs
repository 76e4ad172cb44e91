//! Promise: `mesh-agent run -- CMD` starts an app when the mesh is ready for it, stops it without a lost request, and ends
//! as the app does.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mesh_tests::load::Load;
use mesh_tests::{Fleet, Started, eventually, tool};

const APP: &str = "webapp-experimental";
const AGENT: &str = "webapp-experimental-agent";
/// How long an agent and its app may take to end, once they are asked or have nothing more to do.
const END: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_app_comes_and_goes_under_load_without_a_failed_request() {
    let fleet = Fleet::up().await;
    make_room(&fleet).await;
    let outbound = fleet.state.commands["api-gateway-agent"].address("--listen-outbound");
    let load = Load::through(outbound, "fleetman-webapp", 8, Duration::from_millis(10));
    load.more(100).await;
    for _ in 0..2 {
        let invocation = &fleet.state.commands[APP];
        let mut child = Started::spawn(
            run(&fleet, &[], &invocation.argv)
                .envs(&invocation.env)
                .current_dir(invocation.cwd.as_ref().unwrap()),
        );
        eventually("it gets its share", Duration::from_secs(30), || async {
            let requests =
                tool::run("curl", &["-sS", "--fail", &fleet.state.metrics[AGENT]]).await?;
            let inbound = r#"istio_requests_total{reporter="destination""#;
            anyhow::ensure!(requests.contains(inbound), "{requests}");
            Ok(())
        })
        .await;
        load.more(500).await;
        tool::run("kill", &["-TERM", &child.id().to_string()])
            .await
            .unwrap();
        assert_eq!(child.end(END).await.code(), Some(0));
        load.more(100).await;
    }
    let tally = load.stop().await;
    assert!(tally.bad.is_empty(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_reaches_the_mesh_at_once_and_its_end_is_the_agents() {
    let fleet = Fleet::up().await;
    make_room(&fleet).await;
    let sh = |script: &str| ["sh", "-c", script].map(str::to_owned);

    // The first request of a cold app, by no more than the environment that it was given.
    let script = "env | grep ^MESH_ && exit 9; exec curl -sS --fail http://fleetman-webapp/";
    let mut job = run(&fleet, &[], &sh(script));
    job.env("MESH_JOIN_TOKEN", "secret");
    let job = finish(job).await;
    assert!(job.status.success(), "{job:?}");
    assert!(
        String::from_utf8_lossy(&job.stdout).contains("<title>"),
        "{job:?}"
    );

    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137)] {
        let job = finish(run(&fleet, &[], &sh(script))).await;
        assert_eq!(job.status.code(), Some(code), "{job:?}");
    }
    let job = finish(run(&fleet, &[], &["no-such-program".to_owned()])).await;
    assert_eq!(job.status.code(), Some(127), "{job:?}");
    assert!(
        String::from_utf8_lossy(&job.stderr).contains("no-such-program"),
        "{job:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_app_and_a_deaf_one_is_killed_in_time() {
    let fleet = Fleet::up().await;
    make_room(&fleet).await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let script = r#"
        for name in HUP USR1 USR2 WINCH; do trap "echo > $DIR/$name" $name; done
        trap 'echo > $DIR/TERM' TERM
        echo > $DIR/up
        while :; do sleep 0.1; done
    "#;
    let words = ["sh", "-c", script].map(str::to_owned);
    let mut child = Started::spawn(
        run(&fleet, &["--drain-timeout", "2s"], &words).env("DIR", directory.path()),
    );
    let pid = child.id().to_string();
    written(&file("up")).await;
    for name in ["HUP", "USR1", "USR2", "WINCH", "TERM"] {
        tool::run("kill", &[&format!("-{name}"), &pid])
            .await
            .unwrap();
        written(&file(name)).await;
    }
    assert_eq!(child.end(END).await.code(), Some(137));
}

async fn written(file: &Path) {
    eventually(
        &file.display().to_string(),
        Duration::from_secs(30),
        || async {
            anyhow::ensure!(file.exists(), "it is not there");
            Ok(())
        },
    )
    .await;
}

/// Ends an app and its agent, which a test starts again as one.
async fn make_room(fleet: &Fleet) {
    let pid = fleet.state.pids[AGENT].to_string();
    tool::run("kill", &["-TERM", &pid]).await.unwrap();
    let process = Path::new("/proc").join(pid);
    eventually("the agent ends", Duration::from_secs(20), || async {
        anyhow::ensure!(!process.exists(), "it lives");
        Ok(())
    })
    .await;
    fleet.kill(APP).await;
}

/// `mesh-agent run` with the flags of the agent that the fleet had.
fn run(fleet: &Fleet, flags: &[&str], app: &[String]) -> Command {
    let agent = &fleet.state.commands[AGENT].argv;
    let mut command = Command::new(&agent[0]);
    command
        .arg("run")
        .args(&agent[1..])
        .args(["--log-level", "warn"])
        .args(flags)
        .arg("--")
        .args(app)
        .stdin(Stdio::null());
    command
}

async fn finish(command: Command) -> Output {
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(END, output)
        .await
        .expect("it ends")
        .unwrap()
}
