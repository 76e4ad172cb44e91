//! Who is served beyond loopback, by which proof, and what never happens to the token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

const FAR: &str = "10.1.2.3:5000";

impl Api {
    /// A request from somewhere else, addressed by a name.
    async fn far(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.from(FAR, method, path, headers).await
    }

    async fn from(&self, peer: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "mesh.example:15080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if method == "POST" { SERVICE } else { "" };
        let request = request.body(Body::from(body)).unwrap();
        let peer: SocketAddr = peer.parse().unwrap();
        let router = self.guarded.clone().layer(Extension(ConnectInfo(peer)));
        let answer = send(router, request).await;
        assert!(!answer.text.contains(TOKEN), "{}", answer.text);
        for (name, value) in &answer.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            assert!(!value.contains(TOKEN), "{name}: {value}");
        }
        assert_eq!(answer.headers[header::REFERRER_POLICY], "no-referrer");
        answer
    }

    fn refusals(&self, reason: &str) -> u64 {
        self.refused.with_label_values(&[reason]).get()
    }
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn without_the_token_nothing_but_the_health_is_told() {
    let api = Api::new();
    let requests = [
        ("GET", "/"),
        ("GET", "/apis"),
        ("POST", "/apply"),
        ("GET", "/nowhere"),
        ("POST", "/healthz"),
        ("GET", "/healthz/"),
    ];
    for (method, path) in requests {
        let answer = api.far(method, path, &[]).await;
        answer.refused(
            401,
            "Unauthorized",
            &["docker compose exec mesh-api mesh-api token"],
        );
        let challenge = answer.headers[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
    assert_eq!(api.refusals("no_token"), 6);
    assert_eq!(api.store.view().config.len(), 0);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(api.far("GET", path, &[]).await.code, 200, "{path}");
    }
    // Somebody whose address is not known is not near.
    let request = Request::get("/apis").body(Body::empty()).unwrap();
    assert_eq!(send(api.guarded.clone(), request).await.code, 401);
}

#[tokio::test]
async fn the_token_opens_everything_under_any_name() {
    let api = Api::new();
    for authorization in [
        bearer(),
        bearer().replace("Bearer", "bearer"),
        basic("mesh", TOKEN),
    ] {
        let headers = [("authorization", authorization.as_str())];
        assert_eq!(api.far("GET", "/apis", &headers).await.code, 200);
        let answer = api.far("POST", "/apply", &headers).await;
        assert_eq!(answer.code, 200, "{}", answer.text);
        // On loopback, too, where a name is otherwise refused.
        for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(api.from(peer, "GET", "/apis", &headers).await.code, 200);
            assert_eq!(api.from(peer, "GET", "/apis", &[]).await.code, 403);
        }
    }
    assert_eq!(api.refusals("no_token"), 0);
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_counted() {
    let api = Api::new();
    let short = &TOKEN[..TOKEN.len() - 1];
    let wrong = [
        format!("Bearer {short}"),
        format!("Bearer {short}x"),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", TOKEN.to_lowercase()),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        TOKEN.to_owned(),
        format!("Digest {TOKEN}"),
        basic("mesh", short),
        basic(TOKEN, ""),
        format!("Basic {TOKEN}"),
    ];
    for authorization in &wrong {
        let headers = [("authorization", authorization.as_str())];
        let answer = api.far("GET", "/apis", &headers).await;
        answer.refused(401, "Unauthorized", &["is not that of this mesh-api"]);
    }
    let cookie = [("cookie", "a=b; mesh-api=0123")];
    assert_eq!(api.far("GET", "/apis", &cookie).await.code, 401);
    // The cookie is not the token.
    let cookie = format!("mesh-api={TOKEN}");
    let cookie = [("cookie", cookie.as_str())];
    assert_eq!(api.far("GET", "/apis", &cookie).await.code, 401);
    assert_eq!(api.refusals("wrong_token"), wrong.len() as u64 + 2);

    // On loopback it does not matter, as before.
    let request = Request::get("/apis")
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, "Bearer of-another-cluster")
        .body(Body::empty())
        .unwrap();
    assert_eq!(api.send(request).await.code, 200);
}

#[tokio::test]
async fn a_browser_trades_the_token_for_a_cookie_that_reads() {
    let api = Api::new();
    for path in ["/?token=wrong", "/?token="] {
        let answer = api.far("GET", path, &[]).await;
        answer.refused(401, "Unauthorized", &["is not that of this mesh-api"]);
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
    }
    // Only there.
    let path = format!("/apis?token={TOKEN}");
    assert_eq!(api.far("GET", &path, &[]).await.code, 401);

    let path = format!("/?token={TOKEN}");
    let answer = api.far("GET", &path, &[]).await;
    assert_eq!(answer.code, 303);
    assert_eq!(answer.headers[header::LOCATION], "/");
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    let (cookie, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict");

    let cookies = format!("theme=dark; {cookie}");
    let with = |more: &[(&'static str, &'static str)]| {
        let mut headers = vec![("cookie", cookies.as_str())];
        headers.extend(more);
        headers
    };
    assert_eq!(api.far("GET", "/apis", &with(&[])).await.code, 200);
    let origins = ["http://mesh.example:15080", "http://evil.example"];
    for origin in origins {
        let answer = api
            .far("POST", "/apply", &with(&[("origin", origin)]))
            .await;
        answer.refused(403, "Forbidden", &["change nothing"]);
    }
    let answer = api.far("POST", "/apply", &with(&[])).await;
    answer.refused(403, "Forbidden", &["change nothing"]);
    // A browser that has the token as a password sends it along by itself, too.
    let password = basic("mesh", TOKEN);
    for (name, value) in [("origin", origins[1]), ("sec-fetch-site", "cross-site")] {
        let headers = [("authorization", password.as_str()), (name, value)];
        let answer = api.far("POST", "/apply", &headers).await;
        answer.refused(403, "Forbidden", &["change nothing"]);
        assert_eq!(api.far("GET", "/apis", &headers).await.code, 200);
    }
    assert_eq!(api.store.view().config.len(), 0);
    assert_eq!(api.refusals("read_only"), 5);
}

#[tokio::test]
async fn a_proxy_on_this_machine_does_not_make_its_clients_near() {
    let api = Api::new();
    let near = "127.0.0.1:1";
    for passed_on in ["x-forwarded-for", "forwarded", "via"] {
        let mut headers = vec![(passed_on, "10.1.2.3")];
        let answer = api.from(near, "GET", "/apis", &headers).await;
        assert_eq!(answer.code, 401, "{passed_on}");
        let bearer = bearer();
        headers.push(("authorization", bearer.as_str()));
        let answer = api.from(near, "GET", "/apis", &headers).await;
        assert_eq!(answer.code, 200, "{passed_on}");
    }
    assert_eq!(api.refusals("no_token"), 3);
}
