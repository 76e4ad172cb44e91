//! A stream is worth what the certificate is that opened it: it ends with it, and a renewed one takes its place
//! without anybody's notice.

use std::time::SystemTime;

use super::sessions::Reporting;
use super::*;

/// How often events of a kind and subject are on record.
async fn count(plane: &Plane, kind: &str, subject: &str) -> u64 {
    let answer = plane.get("/api/mesh/events").await;
    let events = answer["events"].as_array().unwrap();
    let of_both = |event: &&Value| event["kind"] == kind && event["subject"] == subject;
    let counts = events.iter().filter(of_both);
    counts.map(|event| event["count"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn every_stream_ends_with_the_certificate_that_opened_it() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let svid = plane.authority.svid("shop", "web", Duration::from_secs(5));
    let end = svid.not_after;
    let channel = plane.channel_of(&Identity::new(svid, plane.authority.bundle()));
    let mut lease = Lease::over(channel.clone(), instance("web-1", 1001))
        .await
        .unwrap();
    let mut xds = Xds::over(channel.clone(), &sidecar("web-v1"))
        .await
        .unwrap();
    let mut reports = Reporting::over(channel).await;
    reports.tell_all(Vec::new()).await;
    plane.event("proxy-connected", "shop/web-v1-1").await;

    assert!(
        timeout(PATIENCE, lease.answers.message())
            .await
            .unwrap()
            .is_err()
    );
    assert!(SystemTime::now() >= end);
    let cut = loop {
        match timeout(PATIENCE, xds.responses.message()).await.unwrap() {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert!(cut.is_err(), "{cut:?}");
    assert!(
        timeout(PATIENCE, reports.acks.message())
            .await
            .unwrap()
            .is_err()
    );
    plane.event("workload-lost", "shop/web-1").await;
    plane.event("proxy-disconnected", "shop/web-v1-1").await;
    plane.stop().await;
}

#[tokio::test]
async fn whoever_opens_the_next_streams_in_time_is_there_all_the_time() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let proxies = || async { plane.get("/api/mesh/proxies").await["proxies"].clone() };
    let node = sidecar("web-v1");
    let web = ("shop", "web");
    let old_lease = Lease::open(&plane, "web", instance("web-1", 1001))
        .await
        .unwrap();
    let mut old = Xds::open(&plane, web, &node).await.unwrap();
    let cluster = "outbound|80||web.shop.svc.cluster.local";
    let held = |client: &DeltaClient| {
        client.held().len(ResourceType::Listener) > 0 && endpoint_ports(client, cluster) == [1001]
    };
    old.until(None, held).await.unwrap();
    let before = proxies().await;

    let new_lease = Lease::open(&plane, "web", instance("web-1", 1001))
        .await
        .unwrap();
    let mut new = Xds::open(&plane, web, &node).await.unwrap();
    new.until(None, held).await.unwrap();
    let after = proxies().await;
    assert_eq!(after.as_array().unwrap().len(), 1);
    assert_ne!(before[0]["connectedSince"], after[0]["connectedSince"]);

    // The ends of the old ones are no events.
    let mut answers = old_lease.answers;
    drop(old_lease.requests);
    assert!(
        timeout(PATIENCE, answers.message())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    drop(old.requests);
    while let Some(response) = timeout(PATIENCE, old.responses.message())
        .await
        .unwrap()
        .unwrap()
    {
        assert!(response.removed_resources.is_empty(), "{response:?}");
    }
    assert_eq!(plane.endpoints().await, ["web-1"]);
    assert_eq!(
        proxies().await[0]["connectedSince"],
        after[0]["connectedSince"]
    );
    let (workload, proxy) = ("shop/web-1", "shop/web-v1-1");
    assert_eq!(count(&plane, "workload-joined", workload).await, 1);
    assert_eq!(count(&plane, "proxy-connected", proxy).await, 1);
    for kind in [
        "workload-left",
        "workload-lost",
        "workload-back",
        "workload-replaced",
    ] {
        assert_eq!(count(&plane, kind, workload).await, 0, "{kind}");
    }
    assert_eq!(count(&plane, "proxy-disconnected", proxy).await, 0);
    drop(new_lease);
    plane.stop().await;
}
