//! The live page as a browser meets it.

use futures_util::StreamExt as _;

use super::*;

/// What a stream says, read as it comes.
struct Reading {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Reading {
    async fn open(plane: &Plane, path: &str) -> Result<Self, (u16, String)> {
        let client: Client<HttpConnector, Body> =
            Client::builder(TokioExecutor::new()).build_http();
        let url = format!("http://{}{path}", plane.running.addresses["http"]);
        let response = client.get(url.parse().unwrap()).await.unwrap();
        let code = response.status().as_u16();
        let body = Body::new(response.into_body());
        if code != 200 {
            let bytes = to_bytes(body, 1 << 20).await.unwrap();
            return Err((code, String::from_utf8(bytes.to_vec()).unwrap()));
        }
        let body = body.into_data_stream();
        let text = String::new();
        Ok(Self { body, text })
    }

    /// Reads until all of it is there; false if the stream ends before.
    async fn until(&mut self, enough: impl Fn(&str) -> bool) -> bool {
        while !enough(&self.text) {
            let chunk = timeout(PATIENCE, self.body.next()).await.unwrap();
            let Some(Ok(chunk)) = chunk else { return false };
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        true
    }
}

#[tokio::test]
async fn the_page_is_followed_by_its_stream() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    plane.apply(SHOP).await;

    let (code, page) = plane
        .call("http", "GET", "/?graphType=app&namespaces=shop", "")
        .await;
    assert_eq!(code, 200);
    for text in [
        "<svg class=\"picture\"",
        "No proxy has reported traffic",
        "Service shop/web was created",
        "<option value=\"app\" selected>",
        "href=\"/graph.svg?graphType=app&amp;namespaces=shop\"",
        "name=\"namespaces\" value=\"shop\"",
    ] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
    assert!(!page.contains("{{") && !page.contains("style=") && !page.contains("<style"));
    for (path, word) in [
        ("/page/page.css", ".picture {"),
        ("/page/page.js", "EventSource"),
        ("/page/icon.svg", "<svg"),
    ] {
        let (code, text) = plane.call("http", "GET", path, "").await;
        assert!(code == 200 && text.contains(word), "{path}: {code} {text}");
    }
    let (code, text) = plane.call("http", "GET", "/?duration=soon", "").await;
    assert!(code == 400 && text.contains("duration"), "{text}");

    let mut reading = Reading::open(&plane, "/graph/events?namespaces=shop")
        .await
        .unwrap();
    let events = ["summary", "graph", "table", "happened", "alive"];
    let all = |text: &str| {
        let has = |event: &&str| text.contains(&format!("event: {event}\n"));
        events.iter().all(has)
    };
    assert!(reading.until(all).await, "{}", reading.text);
    let workload = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: latecomer, namespace: shop}
spec: {template: {serviceAccount: web}}
";
    plane.apply(workload).await;
    let told = |text: &str| text.contains("WorkloadGroup shop/latecomer was created");
    assert!(reading.until(told).await, "{}", reading.text);

    // The stop ends it, and it does not hold up the stop.
    let begun = tokio::time::Instant::now();
    let (_, more) = tokio::join!(plane.stop(), reading.until(|_| false));
    assert!(!more, "the stream goes on");
    // Sooner than requests in flight are cut off.
    assert!(begun.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn streams_are_few_and_their_places_are_given_back() {
    let state = tempfile::tempdir().unwrap();
    let plane = Plane::start(state.path()).await;
    let refused = Reading::open(&plane, "/graph/events?graphType=round").await;
    assert!(refused.is_err_and(|(code, text)| code == 400 && text.contains("graphType")));
    let mut open = Vec::new();
    let (code, text) = loop {
        match Reading::open(&plane, "/graph/events").await {
            Ok(reading) => open.push(reading),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((code, open.len()), (429, 64), "{text}");
    assert!(text.contains("64 streams are open already"), "{text}");
    open.pop();
    // The server learns of it by itself.
    let begun = tokio::time::Instant::now();
    while Reading::open(&plane, "/graph/events").await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "the place is not given back");
        tokio::task::yield_now().await;
    }
    drop(open);
    plane.stop().await;
}
