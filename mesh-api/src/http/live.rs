//! The page's event stream: the parts of the page as server-sent events, whenever they have changed.
//!
//! A stream is pulled: nothing is drawn before the connection takes more, so a slow reader gets the newest
//! state and never a backlog. What several look at is drawn once a second for all of them. Streams are few and
//! end at once with the process.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::{Query, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _, stream};
use http::header;
use mesh_process::Shutdown;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::graph::Pairs;
use super::page::{Page, Parts, when};
use super::status::{ApiError, Reason};
use crate::graph::GraphQuery;
use crate::graph::params::seconds;

/// Streams at once.
const MOST: usize = 64;

/// How often a change may be sent.
const PERIOD: Duration = Duration::from_secs(1);

/// How often the stream says that it is alive, though nothing changes.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The places for streams, and what they share.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    shelf: Arc<Mutex<Shelf>>,
    shutdown: Shutdown,
}

/// What was drawn in one second, or is being drawn.
#[derive(Debug, Default)]
struct Shelf {
    second: u64,
    drawn: Vec<(GraphQuery, Drawn)>,
}

/// The parts, once somebody has drawn them.
type Drawn = Arc<OnceCell<Arc<Parts>>>;

impl Streams {
    /// Streams that end with `shutdown`.
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self {
            places: Arc::new(Semaphore::new(MOST)),
            shelf: Arc::default(),
            shutdown,
        }
    }

    /// The place of a drawing of the present second.
    fn drawn(&self, query: &GraphQuery) -> Drawn {
        let second = seconds(SystemTime::now());
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.second != second {
            *shelf = Shelf {
                second,
                drawn: Vec::new(),
            };
        }
        let known = shelf.drawn.iter().find(|(known, _)| known == query);
        if let Some((_, drawn)) = known {
            return Arc::clone(drawn);
        }
        let drawn = Drawn::default();
        shelf.drawn.push((query.clone(), Arc::clone(&drawn)));
        drawn
    }
}

impl Page {
    /// The parts as they are in this second; other streams that look at the same have them, too.
    async fn shared_parts(&self, typed: &[(String, String)]) -> Result<Arc<Parts>, ApiError> {
        let query = self.query(typed)?;
        let drawn = self.streams.drawn(&query);
        let draw = || async { Ok(Arc::new(self.parts(query).await?.0)) };
        drawn.get_or_try_init(draw).await.map(Arc::clone)
    }
}

/// `GET /graph/events`: events `summary`, `graph`, `table` and `happened`, each with the part of the page that
/// has changed, and `alive` with the time.
pub(super) async fn events(
    State(page): State<Page>,
    Query(typed): Pairs,
) -> Result<Response, ApiError> {
    let place = Arc::clone(&page.streams.places)
        .try_acquire_owned()
        .map_err(|_| {
            let message =
                format!("{MOST} streams are open already; close a page, or ask /graph.svg");
            ApiError::new(Reason::TooManyRequests, message)
        })?;
    // A query that cannot be answered is refused, not followed.
    let first = page.shared_parts(&typed).await?;
    let shutdown = page.streams.shutdown.clone();
    let stream = follow(page, typed, first, place).take_until(async move { shutdown.wait().await });
    let stream = stream.map(Ok::<_, Infallible>);
    // Proxies on the way must not gather it up.
    let headers = [(header::HeaderName::from_static("x-accel-buffering"), "no")];
    Ok((headers, Sse::new(stream)).into_response())
}

/// What a stream knows.
struct Following {
    page: Page,
    typed: Vec<(String, String)>,
    sent: Arc<Parts>,
    ticks: Interval,
    said: Instant,
    _place: OwnedSemaphorePermit,
}

fn follow(
    page: Page,
    typed: Vec<(String, String)>,
    first: Arc<Parts>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Event> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beginning = news(&Parts::default(), &first);
    beginning.push(alive());
    let following = Following {
        page,
        typed,
        sent: first,
        ticks,
        said: Instant::now(),
        _place: place,
    };
    let later = stream::unfold(following, |mut following| async move {
        let news = following.next().await?;
        Some((stream::iter(news), following))
    });
    stream::iter(beginning).chain(later.flatten())
}

impl Following {
    /// Waits for the next news; `None` when there can be no more.
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            self.ticks.tick().await;
            let parts = self.page.shared_parts(&self.typed).await.ok()?;
            let mut news = news(&self.sent, &parts);
            self.sent = parts;
            if self.said.elapsed() >= HEARTBEAT {
                news.push(alive());
                self.said = Instant::now();
            }
            if !news.is_empty() {
                return Some(news);
            }
        }
    }
}

/// The parts that differ.
fn news(before: &Parts, now: &Parts) -> Vec<Event> {
    let parts = [
        ("summary", &before.summary, &now.summary),
        ("graph", &before.graph, &now.graph),
        ("table", &before.table, &now.table),
        ("happened", &before.happened, &now.happened),
    ];
    parts
        .into_iter()
        .filter(|(_, before, now)| before != now)
        .map(|(name, _, now)| Event::default().event(name).data(now))
        .collect()
}

fn alive() -> Event {
    Event::default()
        .event("alive")
        .data(when(SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::GraphType;

    #[test]
    fn only_what_is_alike_is_shared_and_nothing_is_kept() {
        let streams = Streams::new(Shutdown::new());
        let now = SystemTime::now();
        let query = |shown| GraphQuery::new(["shop"], shown, Duration::from_secs(60), now);
        let (apps, services) = (query(GraphType::App), query(GraphType::Service));
        // Before the next second begins, which is soon or in a second.
        let alike = (0..3).any(|_| Arc::ptr_eq(&streams.drawn(&apps), &streams.drawn(&apps)));
        assert!(alike);
        assert!(!Arc::ptr_eq(
            &streams.drawn(&apps),
            &streams.drawn(&services)
        ));
        streams.shelf.lock().unwrap().second -= 1;
        streams.drawn(&services);
        assert_eq!(streams.shelf.lock().unwrap().drawn.len(), 1);
    }
}
