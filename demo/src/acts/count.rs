//! Requests that are really sent, and answers that are really read: what each act counts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::client::{Answer, Client, Lost};

/// What one request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How the requests of a sample are spread over clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clients {
    /// Clients at work at the same time, each of which keeps its connection.
    pub(crate) kept_alive: u32,
    /// How many requests each of them sends.
    pub(crate) requests_each: u32,
    /// Requests on a connection of their own, one after the other, meanwhile.
    pub(crate) fresh: u32,
}

impl Clients {
    /// How many requests that makes.
    #[cfg(test)]
    pub(crate) fn total(self) -> u32 {
        self.kept_alive * self.requests_each + self.fresh
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Requests sent.
    pub(crate) requests: u32,
    /// Good answers, by the page's title.
    pub(crate) titles: BTreeMap<String, u32>,
    /// Everything else, by what it was.
    pub(crate) failures: BTreeMap<String, u32>,
}

impl Counts {
    /// Good answers with this title.
    pub(crate) fn of(&self, title: &str) -> u32 {
        self.titles.get(title).copied().unwrap_or_default()
    }

    /// Takes one more answer.
    pub(crate) fn add(&mut self, got: Result<Answer, Lost>) {
        self.requests += 1;
        let (map, key) = match got {
            Ok(answer) if answer.status.is_success() => match title(&answer.body) {
                Some(title) => (&mut self.titles, title.to_owned()),
                None => (&mut self.failures, "a page without a title".to_owned()),
            },
            Ok(answer) => (&mut self.failures, answer.status.to_string()),
            Err(lost) => (&mut self.failures, lost.to_string()),
        };
        *map.entry(key).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        for (key, count) in other.titles {
            *self.titles.entry(key).or_default() += count;
        }
        for (key, count) in other.failures {
            *self.failures.entry(key).or_default() += count;
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests", self.requests)?;
        for (title, count) in &self.titles {
            write!(f, "; {count} x \"{title}\"")?;
        }
        for (failure, count) in &self.failures {
            write!(f, "; {count} x {failure}")?;
        }
        Ok(())
    }
}

/// Sends a sample of requests and counts what comes back.
pub(crate) async fn sample(url: &str, clients: Clients) -> Counts {
    let kept = (0..clients.kept_alive)
        .map(|_| in_turn(Client::kept_alive(TIMEOUT), url, clients.requests_each));
    let kept = futures_util::future::join_all(kept);
    let fresh = in_turn(Client::fresh(TIMEOUT), url, clients.fresh);
    let (kept, mut counts) = tokio::join!(kept, fresh);
    for other in kept {
        counts.merge(other);
    }
    counts
}

async fn in_turn(client: Client, url: &str, requests: u32) -> Counts {
    let mut counts = Counts::default();
    for _ in 0..requests {
        counts.add(client.get(url).await);
    }
    counts
}

/// The text of the page's `<title>`.
pub(crate) fn title(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<title>")?;
    let (title, _) = rest.split_once("</title>")?;
    Some(title.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn finds_the_title() {
        let page = "<html><head><title>\n Fleet Management </title></head></html>";
        assert_eq!(title(page), Some("Fleet Management"));
        assert_eq!(title("<h1>Fleet Management</h1>"), None);
        assert_eq!(title("<title>never closed"), None);
    }

    #[test]
    fn a_failure_is_never_counted_as_a_title() {
        let mut counts = Counts::default();
        let page = "<title>A</title>".to_owned();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::BAD_GATEWAY] {
            let body = page.clone();
            counts.add(Ok(Answer { status, body }));
        }
        counts.add(Err(Lost::Refused));
        assert_eq!(counts.requests, 4);
        assert_eq!(counts.of("A"), 2);
        assert_eq!(counts.failures["502 Bad Gateway"], 1);
        assert_eq!(counts.failures["connection refused"], 1);
        assert_eq!(
            counts.to_string(),
            "4 requests; 2 x \"A\"; 1 x 502 Bad Gateway; 1 x connection refused"
        );
    }

    #[tokio::test]
    async fn every_request_of_a_sample_is_sent_once() {
        let seen = Arc::new(AtomicU32::new(0));
        let counter = seen.clone();
        let router = axum::Router::new().fallback(move || {
            let number = counter.fetch_add(1, Ordering::Relaxed);
            async move { format!("<title>{}</title>", number % 2) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clients = Clients {
            kept_alive: 3,
            requests_each: 10,
            fresh: 6,
        };
        let counts = sample(&url, clients).await;
        assert_eq!(counts.requests, clients.total());
        assert_eq!(seen.load(Ordering::Relaxed), 36);
        assert_eq!((counts.of("0"), counts.of("1")), (18, 18));
    }
}
