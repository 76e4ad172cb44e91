//! How long a request may take: Envoy's route timeout, and gRPC's own.
//!
//! The time begins when all of the request has come, so that a slow client costs the service nothing. Until its body
//! is asked for, nobody waits for the client: the time to a connection counts.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderValue;
use tokio::time::{Sleep, sleep};

use crate::snapshot::Timeout;
use crate::upstream::Meter;

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Ends a while after the request has come to its end, or if its body has not been asked for in that while.
#[derive(Debug)]
pub(crate) struct Deadline {
    time: Duration,
    request: Option<Arc<Meter>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// `request` is the request's body, if it has one.
    pub(crate) fn new(time: Duration, request: Option<Arc<Meter>>) -> Self {
        Self {
            time,
            request,
            sleep: None,
        }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Some(request) = &this.request {
            let ended = request.poll_ended(cx).is_ready();
            if ended || request.is_asked_for() {
                // What the way to a connection took was another time.
                this.sleep = None;
            }
            if ended {
                this.request = None;
            } else if request.is_asked_for() {
                return Poll::Pending;
            }
        }
        let timer = || Box::pin(sleep(this.time));
        this.sleep.get_or_insert_with(timer).as_mut().poll(cx)
    }
}

/// The time that a request has. A gRPC request is told what is left of its own.
pub(crate) fn of(timeout: &Timeout, grpc: bool, headers: &mut HeaderMap) -> Option<Duration> {
    let Some(max) = timeout.grpc_max.filter(|_| grpc) else {
        return timeout.route;
    };
    let asked = headers.get(GRPC_TIMEOUT).and_then(parse);
    let limit = (!max.is_zero()).then_some(max);
    let time = match (asked, limit) {
        (Some(asked), Some(limit)) => asked.min(limit),
        (asked, limit) => asked.or(limit)?,
    };
    if asked != Some(time)
        && let Ok(value) = HeaderValue::try_from(format!("{}m", time.as_millis().min(99_999_999)))
    {
        headers.insert(GRPC_TIMEOUT, value);
    }
    Some(time)
}

/// At most eight digits and a unit. Zero is no limit to Envoy.
fn parse(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    let time = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    (!time.is_zero()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(timeout: Timeout, grpc: bool, asked: Option<&'static str>) -> (Option<u128>, String) {
        let mut headers = HeaderMap::new();
        if let Some(asked) = asked {
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(asked));
        }
        let time = of(&timeout, grpc, &mut headers).map(|time| time.as_millis());
        let told = headers.get(GRPC_TIMEOUT);
        let told = told.map_or("", |value| value.to_str().expect("text"));
        (time, told.to_owned())
    }

    #[test]
    fn grpc_has_its_own_time_up_to_the_routes() {
        let seconds = |n| Some(Duration::from_secs(n));
        let both = |n| Timeout {
            route: seconds(n).filter(|time| !time.is_zero()),
            grpc_max: seconds(n),
        };
        let of = |timeout, grpc, asked| time(timeout, grpc, asked);
        assert_eq!(of(both(5), false, Some("1S")), (Some(5000), "1S".into()));
        assert_eq!(of(both(5), true, Some("1S")), (Some(1000), "1S".into()));
        assert_eq!(of(both(5), true, Some("1H")), (Some(5000), "5000m".into()));
        assert_eq!(of(both(5), true, None), (Some(5000), "5000m".into()));
        assert_eq!(of(both(5), true, Some("x")), (Some(5000), "5000m".into()));
        assert_eq!(of(both(0), true, Some("250m")), (Some(250), "250m".into()));
        assert_eq!(of(both(0), true, None), (None, String::new()));
        assert_eq!(
            of(both(0), true, Some("123456789S")),
            (None, "123456789S".into())
        );
        assert_eq!(of(both(0), false, Some("1S")), (None, "1S".into()));
        let no_grpc = Timeout {
            route: seconds(2),
            grpc_max: None,
        };
        assert_eq!(of(no_grpc, true, Some("1S")), (Some(2000), "1S".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_request_without_a_body_begins_at_once() {
        let began = tokio::time::Instant::now();
        Deadline::new(Duration::from_secs(3), None).await;
        assert_eq!(began.elapsed().as_secs(), 3);
    }
}
