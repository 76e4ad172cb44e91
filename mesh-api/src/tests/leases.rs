//! Registration over mutual TLS: who becomes an endpoint, and for how long.

use super::*;

#[tokio::test]
async fn registered_instances_are_endpoints_until_they_leave() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let mut proxy = Xds::open(&plane, ("shop", "client"), &sidecar("client"))
        .await
        .unwrap();
    let cluster = "outbound|80||web.shop.svc.cluster.local";
    proxy
        .until(None, |client| {
            client.held().get(ResourceType::Endpoint, cluster).is_some()
        })
        .await
        .unwrap();
    assert!(endpoint_ports(&proxy.client, cluster).is_empty());

    let one = Lease::open(&plane, "web", instance("web-1", 1001))
        .await
        .unwrap();
    let two = Lease::open(&plane, "web", instance("web-2", 1002))
        .await
        .unwrap();
    proxy
        .until(None, |client| {
            endpoint_ports(client, cluster) == [1001, 1002]
        })
        .await
        .unwrap();
    let services = plane.get("/api/mesh/services").await;
    let service = &services["services"][0];
    assert_eq!(service["host"], "web.shop.svc.cluster.local");
    assert_eq!(
        service["ports"],
        json!([{ "name": "http", "number": 80, "protocol": "http" }])
    );
    assert_eq!(
        service["endpoints"][0],
        json!({
            "workload": "web-1",
            "address": "127.0.0.1:1001",
            "plainAddress": "127.0.0.1:7777",
            "mutualTls": true,
            "labels": { "app": "web", "version": "v1" },
        })
    );

    // A second process of the name replaces the first, whose end then means nothing.
    let again = Lease::open(&plane, "web", instance("web-1", 1003))
        .await
        .unwrap();
    proxy
        .until(None, |client| {
            endpoint_ports(client, cluster) == [1002, 1003]
        })
        .await
        .unwrap();
    drop(one.requests);
    let mut answers = one.answers;
    assert!(
        timeout(PATIENCE, answers.message())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    assert_eq!(plane.endpoints().await, ["web-1", "web-2"]);

    // Leaving takes effect at once.
    drop(again.requests);
    let mut answers = again.answers;
    assert!(
        timeout(PATIENCE, answers.message())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    proxy
        .until(None, |client| endpoint_ports(client, cluster) == [1002])
        .await
        .unwrap();

    // Without its group nobody is an endpoint.
    let path = "/apis/networking.istio.io/v1/namespaces/shop/workloadgroups/web-v1";
    assert_eq!(plane.call("http", "DELETE", path, "").await.0, 200);
    proxy
        .until(None, |client| endpoint_ports(client, cluster).is_empty())
        .await
        .unwrap();
    drop(two);
    plane.stop().await;
}

#[tokio::test]
async fn whoever_registers_must_be_who_they_say() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    let code = |result: Result<Lease, Status>| result.err().map(|status| status.code());
    let foreign = Lease::open(&plane, "client", instance("web-1", 1001)).await;
    assert_eq!(code(foreign), Some(Code::PermissionDenied));
    let mut unknown = instance("web-1", 1001);
    unknown.workload_group = "web-v9".to_owned();
    assert_eq!(
        code(Lease::open(&plane, "web", unknown).await),
        Some(Code::NotFound)
    );
    assert!(plane.endpoints().await.is_empty());

    // A certificate of another root gets nowhere.
    let other = Authority::new("cluster.local").identity("shop", "web");
    let mut client = RegistryClient::new(plane.channel_of(&other));
    let stream = tokio_stream::iter([RegisterRequest {
        instance: Some(instance("web-1", 1001)),
    }]);
    assert!(client.register(stream).await.is_err());
    plane.stop().await;
}

#[tokio::test]
async fn a_broken_connection_leaves_the_instance_to_its_lease() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;
    // A relay that can be cut, as a process that is killed or a cable that is.
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let target = plane.running.addresses["xds"];
    let (cut, is_cut) = tokio::sync::oneshot::channel::<()>();
    let relaying = tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = is_cut => {}
        }
    });
    let identity = plane.authority.identity("shop", "web");
    let api = SpiffeId::api(identity.id().trust_domain());
    let tls = client_config(&identity, Peers::one(api), &[b"h2"]);
    let channel = grpc::channel(&address.to_string(), tls);
    let (requests, stream) = mpsc::channel(4);
    let first = RegisterRequest {
        instance: Some(instance("web-1", 1001)),
    };
    requests.send(first).await.unwrap();
    let answers = RegistryClient::new(channel)
        .register(ReceiverStream::new(stream))
        .await;
    let mut answers = answers.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    cut.send(()).unwrap();
    relaying.await.unwrap();
    assert!(timeout(PATIENCE, answers.message()).await.unwrap().is_err());

    // Whatever the control plane does next, it does after it saw the end of that connection: the second
    // registration is compiled later than the first one's end would have been.
    let mut proxy = Xds::open(&plane, ("shop", "client"), &sidecar("client"))
        .await
        .unwrap();
    let _lease = Lease::open(&plane, "web", instance("web-2", 1002))
        .await
        .unwrap();
    let cluster = "outbound|80||web.shop.svc.cluster.local";
    proxy
        .until(None, |client| {
            endpoint_ports(client, cluster).contains(&1002)
        })
        .await
        .unwrap();
    assert_eq!(endpoint_ports(&proxy.client, cluster), [1001, 1002]);
    let lost = plane.event("workload-lost", "shop/web-1").await;
    assert_eq!(lost["level"], "warning");
    let _lease = Lease::open(&plane, "web", instance("web-1", 1001))
        .await
        .unwrap();
    let back = plane.event("workload-back", "shop/web-1").await;
    assert!(back["id"].as_u64() > lost["id"].as_u64());
    plane.stop().await;
}
