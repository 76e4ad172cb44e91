//! Promise: traffic does not notice that the control plane or the CA is gone, nor that it comes back.

use std::time::Duration;

use mesh_tests::load::Load;
use mesh_tests::{Fleet, SCENARIO, eventually, tool};

/// Longer than a lease: a proxy that had not found its way back would be gone from the endpoints by then.
const BEYOND_THE_LEASE: Duration = Duration::from_secs(17);

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_they_are_killed_and_return() {
    let mut fleet = Fleet::up().await;
    fleet.apply(SCENARIO[2]).await.unwrap();
    fleet.gateway_open().await;
    let load = Load::start(&fleet.state.gateway, 4, Duration::from_millis(10));
    load.more(50).await;

    for name in ["mesh-api", "mesh-ca"] {
        fleet.kill(name).await;
        load.more(200).await;
        fleet.restart(name);
        let health = fleet.state.metrics[name].replace("/metrics", "/healthz/ready");
        eventually(name, Duration::from_secs(20), || async {
            tool::run("curl", &["-sS", "--fail", &health])
                .await
                .map(drop)
        })
        .await;
        let back = tokio::time::Instant::now() + BEYOND_THE_LEASE;
        while tokio::time::Instant::now() < back {
            load.more(100).await;
        }
    }

    let tally = load.stop().await;
    assert!(tally.bad.is_empty(), "{tally:?}");

    // And it is the old mesh in every way: the objects are there, and a change still reaches the gateway.
    let url = format!(
        "{}/apis/networking.istio.io/v1/namespaces/default/gateways/ingress-gateway-configuration",
        fleet.state.api
    );
    let deleted = tool::curl(&["-X", "DELETE", &url]).await.unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    eventually("the gateway closes", Duration::from_secs(20), || async {
        match tool::run("curl", &["-sS", "--max-time", "5", &fleet.state.gateway]).await {
            Ok(page) => anyhow::bail!("it answers: {page}"),
            Err(_) => Ok(()),
        }
    })
    .await;
}

/// An agent that restarts while the control plane is down serves from what it kept on disk.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_restarts_without_a_control_plane() {
    let mut fleet = Fleet::up().await;
    for name in ["mesh-api", "mesh-ca", "staff-service-agent"] {
        fleet.kill(name).await;
    }
    fleet.restart("staff-service-agent");
    let proxy = fleet.state.commands["api-gateway-agent"].address("--listen-outbound");
    eventually(
        "the agent serves again",
        Duration::from_secs(20),
        || async {
            let answer =
                tool::curl(&["-x", proxy, "http://fleetman-staff-service/drivers"]).await?;
            anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
            Ok(())
        },
    )
    .await;
}
