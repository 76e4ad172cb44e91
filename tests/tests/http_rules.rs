//! Promise: the HTTP rules of VirtualServices act at the gateway and between agents.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use mesh_tests::{Mesh, Workload};

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
