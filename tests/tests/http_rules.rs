//! Promise: the HTTP rules of VirtualServices act at the gateway and between agents.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use mesh_tests::{Door, Mesh, Workload};

const RULES: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop, shop.example.com]
  gateways: [edge, mesh]
  http:
  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/, authority: inner.example}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /regex}}]
    rewrite: {uriRegexRewrite: {match: '/regex/([^/]+)/([^/]+)', rewrite: '/\\2/\\1'}}
    route: [{destination: {host: shop}}]
  - match: [{uri: {exact: /away}}]
    redirect: {authority: other.example, uri: /there, redirectCode: 302}
  - match: [{uri: {exact: /tea}}]
    directResponse: {status: 418, body: {string: 'short and stout'}}
    headers: {response: {set: {content-type: text/x-tea}}}
  - match: [{queryParams: {kind: {exact: special}}}]
    directResponse: {status: 202}
  - match: [{uri: {prefix: /cors}}]
    corsPolicy:
      allowOrigins: [{exact: 'https://page.example'}]
      allowMethods: [GET, PUT]
      exposeHeaders: [x-seen]
      maxAge: 60s
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /mine}, sourceLabels: {app: client}}]
    directResponse: {status: 203}
  - match: [{uri: {prefix: /team}}]
    delegate: {name: team}
  - route:
    - destination: {host: shop}
      headers:
        request: {add: {x-added: destination}}
    headers:
      request:
        set: {x-from: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%', x-path: '%REQ(:path)%'}
        add: {x-added: route}
        remove: [x-gone]
      response:
        set: {x-answer: '%RESPONSE_CODE% of %REQ(:path)%'}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team}
spec:
  http:
  - match: [{uri: {prefix: /team/in}}]
    directResponse: {status: 207}
";

#[tokio::test(flavor = "multi_thread")]
async fn rules_act_at_the_edge_and_inside() {
    let mesh = Mesh::plan()
        .workload(Workload::http("shop").label("app", "shop"))
        .workload(Workload::client("client").label("app", "client"))
        .start()
        .await;
    mesh.apply(RULES).await.unwrap();
    let doors = [
        (mesh.gateway(80), "shop.example.com", StatusCode::OK),
        (
            mesh.from("client"),
            "shop",
            StatusCode::NON_AUTHORITATIVE_INFORMATION,
        ),
    ];
    for (door, host, mine) in doors {
        let rewritten = door.get(host, "/old/a?b=c").await.unwrap().echo().unwrap();
        assert_eq!(rewritten.path, "/new/a?b=c");
        assert_eq!(rewritten.host, "inner.example");
        let swapped = door
            .get(host, "/regex/a/b?c")
            .await
            .unwrap()
            .echo()
            .unwrap();
        assert_eq!(
            (swapped.path.as_str(), swapped.host.as_str()),
            ("/b/a?c", host)
        );

        let away = door.get(host, "/away?q=1").await.unwrap();
        assert_eq!(away.status, StatusCode::FOUND);
        assert_eq!(
            away.header("location"),
            Some("http://other.example/there?q=1")
        );
        let tea = door.get(host, "/tea").await.unwrap();
        assert_eq!(tea.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(tea.text(), "short and stout");
        assert_eq!(tea.header("content-type"), Some("text/x-tea"));
        let special = door
            .get(host, "/?a=b&kind=special&kind=other")
            .await
            .unwrap();
        assert_eq!(special.status, StatusCode::ACCEPTED);
        let other = door.get(host, "/?kind=other&kind=special").await.unwrap();
        assert_eq!(other.status, StatusCode::OK);

        let preflight = Request::builder()
            .method(Method::OPTIONS)
            .uri("/cors")
            .header("host", host)
            .header("origin", "https://page.example")
            .header("access-control-request-method", "PUT")
            .body(Full::<Bytes>::default())
            .unwrap();
        let answer = door.send(preflight).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            answer.header("access-control-allow-methods"),
            Some("GET,PUT")
        );
        assert_eq!(answer.header("access-control-max-age"), Some("60"));
        let page = [("origin", "https://page.example")];
        let actual = door.get_with(host, "/cors", &page).await.unwrap();
        assert!(actual.echo().is_ok());
        let allowed = actual.header("access-control-allow-origin");
        assert_eq!(allowed, Some("https://page.example"));
        assert_eq!(
            actual.header("access-control-expose-headers"),
            Some("x-seen")
        );
        let stranger = [("origin", "https://stranger.example")];
        let refused = door.get_with(host, "/cors", &stranger).await.unwrap();
        assert_eq!(refused.header("access-control-allow-origin"), None);

        let answer = door.get(host, "/mine").await.unwrap();
        assert_eq!(
            answer.status, mine,
            "only the workload that is named follows this route"
        );
        assert_eq!(
            door.get(host, "/team/in").await.unwrap().status,
            StatusCode::MULTI_STATUS
        );

        let gone = [("x-gone", "1"), ("x-added", "client")];
        let answer = door.get_with(host, "/plain?x", &gone).await.unwrap();
        assert_eq!(answer.header("x-answer"), Some("200 of /plain?x"));
        let echo = answer.echo().unwrap();
        assert_eq!(echo.header("x-gone"), None);
        assert_eq!(echo.header("x-path").as_deref(), Some("/plain?x"));
        assert_eq!(echo.header("x-from").as_deref(), Some("127.0.0.1"));
        assert_eq!(
            echo.header("x-added").as_deref(),
            Some("client,route,destination")
        );
    }
}

const CONDITIONS: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: rpc}
spec:
  selector: {app: shop}
  ports: [{name: grpc, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec:
  selector: {app: nobody}
  ports: [{name: grpc, port: 80}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*.example.com']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop, '*.example.com']
  gateways: [edge, mesh]
  http:
  - match: [{uri: {exact: /scheme}, scheme: {exact: https}}]
    directResponse: {status: 210}
  - match: [{uri: {exact: /scheme}, scheme: {exact: http}}]
    directResponse: {status: 211}
  - match:
    - {uri: {exact: /method}, method: {exact: PUT}}
    - {uri: {exact: /method}, method: {regex: 'PA.*'}}
    directResponse: {status: 212}
  - match: [{uri: {exact: /authority}, authority: {exact: other.example.com}}]
    directResponse: {status: 213}
  - match: [{uri: {exact: /authority}, authority: {regex: 'shop(\\..*)?'}}]
    directResponse: {status: 214}
  - match:
    - uri: {exact: /headers}
      headers: {x-kind: {prefix: spec}, x-any: {}}
      withoutHeaders: {x-not: {exact: 'no'}, x-never: {}}
    directResponse: {status: 215}
  - match: [{uri: {prefix: /rpc}}]
    route: [{destination: {host: rpc}}]
  - match: [{uri: {prefix: /nobody}}]
    route: [{destination: {host: nobody}}]
  - match: [{uri: {exact: /}}]
    route: [{destination: {host: shop}}]
";

async fn conditions() -> Mesh {
    let mesh = Mesh::plan()
        .workload(Workload::http("shop").port("grpc"))
        .workload(Workload::client("client"))
        .workload(Workload::client("stranger").namespace("elsewhere"))
        .start()
        .await;
    mesh.apply(CONDITIONS).await.expect("the rules are taken");
    mesh
}

/// The same way in twice: from outside and from a workload.
fn ways(mesh: &Mesh, door: impl Fn(std::net::SocketAddr) -> Door) -> [(Door, &'static str); 2] {
    [
        (door(mesh.gateway_address(80)), "shop.example.com"),
        (door(mesh.proxy("client").address("outbound")), "shop"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_told_apart_by_all_that_a_rule_names() {
    let mesh = conditions().await;
    for (door, host) in ways(&mesh, Door::new) {
        let status = async |method: &str, path: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(path);
            request = request.header("host", host);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Full::<Bytes>::default()).unwrap();
            door.send(request).await.unwrap().status.as_u16()
        };
        assert_eq!(status("GET", "/scheme", &[]).await, 211);
        for (method, expected) in [("PUT", 212), ("PATCH", 212), ("GET", 404), ("XPUT", 404)] {
            assert_eq!(status(method, "/method", &[]).await, expected, "{method}");
        }
        assert_eq!(status("GET", "/authority", &[]).await, 214);
        let ours = [("x-kind", "special"), ("x-any", "")];
        for (more, expected) in [
            (&[][..], 215),
            (&[("x-not", "yes")], 215),
            (&[("x-not", "no")], 404),
            (&[("x-never", "")], 404),
        ] {
            let headers = [&ours[..], more].concat();
            assert_eq!(
                status("GET", "/headers", &headers).await,
                expected,
                "{headers:?}"
            );
        }
        for some in [
            &ours[..1],
            &ours[1..],
            &[("x-kind", "plain"), ("x-any", "")],
        ] {
            assert_eq!(status("GET", "/headers", some).await, 404, "{some:?}");
        }
    }
    let door = mesh.gateway(80);
    let other = door.get("other.example.com", "/authority").await.unwrap();
    assert_eq!(other.status.as_u16(), 213);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_acts_where_it_is_exported_to() {
    const RULE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.default.svc.cluster.local]
  exportTo: [TO]
  http: [{directResponse: {status: 218}}]
";
    let mesh = conditions().await;
    let host = "shop.default.svc.cluster.local";
    for (to, own, other) in [("'*'", 218, 218), (".", 218, 200), ("elsewhere", 200, 218)] {
        mesh.apply(&RULE.replace("TO", to)).await.unwrap();
        for (client, expected) in [("client", own), ("stranger", other)] {
            let answer = mesh.from(client).get(host, "/").await.unwrap();
            assert_eq!(answer.status.as_u16(), expected, "{client}, to {to}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_and_grpc_are_answered_in_kind() {
    let mesh = conditions().await;
    for (door, host) in ways(&mesh, Door::http2) {
        // To an app that speaks HTTP/1.1, and to one that speaks HTTP/2.
        let answer = door.get(host, "/").await.unwrap();
        let echo = answer.echo().unwrap();
        assert_eq!(
            (echo.host.as_str(), echo.proto.as_str()),
            (host, "HTTP/1.1")
        );
        let answer = door.get(host, "/rpc").await.unwrap();
        let echo = answer.echo().unwrap();
        assert_eq!(
            (echo.host.as_str(), echo.proto.as_str()),
            (host, "HTTP/2.0")
        );

        // Without a body there are only headers, which are gRPC's trailers then.
        let call = async |path: &str| {
            let request = Request::post(path)
                .header("host", host)
                .header("content-type", "application/grpc+proto")
                .header("te", "trailers")
                .body(Full::from(&b"\0\0\0\0\0"[..]));
            door.send(request.unwrap()).await.unwrap()
        };
        for (path, status, flag) in [("/nobody/Call", "14", "UH"), ("/nowhere", "12", "NR")] {
            let answer = call(path).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.header("content-type"), Some("application/grpc"));
            assert_eq!(answer.header("grpc-status"), Some(status), "{answer:?}");
            assert!(
                answer
                    .header("grpc-message")
                    .is_some_and(|text| !text.is_empty())
            );
            assert_eq!(answer.header("x-mesh-error"), Some(flag));
            assert_eq!(answer.text(), "");
        }
        let echo = call("/rpc/Call").await.echo().unwrap();
        assert_eq!(
            (echo.method.as_str(), echo.body.as_str()),
            ("POST", "\0\0\0\0\0")
        );
        assert_eq!(echo.header("te").as_deref(), Some("trailers"));
    }
}
