//! Pages of other origins: preflights are answered here, and other answers say who may read them.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response};

use super::route::value_matches;
use crate::snapshot::{Allowed, Cors};

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// A page that may use the route.
#[derive(Debug)]
pub(crate) struct Grant {
    policy: Arc<Cors>,
    origin: HeaderValue,
}

/// What becomes of a request.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Who may read the answer.
    pub(crate) grant: Option<Box<Grant>>,
    /// The answer to a preflight.
    pub(crate) answer: Option<Response<Bytes>>,
}

/// Looks whose page sends this request, and whether it only asks if it may.
pub(crate) fn check(policy: &Arc<Cors>, head: &Parts) -> Verdict {
    let Some(origin) = head
        .headers
        .get(header::ORIGIN)
        .filter(|origin| !origin.is_empty())
    else {
        return Verdict::default();
    };
    let allowed = policy
        .origins
        .iter()
        .any(|allowed| value_matches(allowed, b"*") || value_matches(allowed, origin.as_bytes()));
    let grant = allowed.then(|| {
        Box::new(Grant {
            policy: Arc::clone(policy),
            origin: origin.clone(),
        })
    });
    let asked = |name| head.headers.get(name).filter(|value| !value.is_empty());
    let preflight = asked(header::ACCESS_CONTROL_REQUEST_METHOD)
        .filter(|_| head.method == Method::OPTIONS)
        .filter(|_| allowed || !policy.forward_unmatched);
    let answer = preflight.map(|method| {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        let mut say = |name, value: Option<&HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        };
        let listed = |allowed: &Option<Allowed>, asked: Option<&HeaderValue>| match allowed {
            None => None,
            Some(Allowed::Any) => asked.cloned(),
            Some(Allowed::Listed(value)) => Some(value.clone()),
        };
        say(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            policy.credentials.then_some(&TRUE),
        );
        say(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            listed(&policy.methods, Some(method)).as_ref(),
        );
        let wanted = asked(header::ACCESS_CONTROL_REQUEST_HEADERS);
        say(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            listed(&policy.headers, wanted).as_ref(),
        );
        say(header::ACCESS_CONTROL_MAX_AGE, policy.max_age.as_ref());
        response
    });
    Verdict { grant, answer }
}

impl Grant {
    /// Tells the browser who may read this answer, in place of what the service has said.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        if self.policy.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(expose) = &self.policy.expose {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::snapshot::ValueMatcher;

    fn policy(forward_unmatched: bool) -> Arc<Cors> {
        Arc::new(Cors {
            origins: vec![ValueMatcher::Exact("https://a.example".into())],
            methods: Some(Allowed::Listed(HeaderValue::from_static("GET,PUT"))),
            headers: Some(Allowed::Any),
            expose: Some(HeaderValue::from_static("x-seen")),
            max_age: Some(HeaderValue::from_static("600")),
            credentials: true,
            forward_unmatched,
        })
    }

    fn asked(method: Method, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(());
        *request.method_mut() = method;
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    const GOOD: (&str, &str) = ("origin", "https://a.example");
    const BAD: (&str, &str) = ("origin", "https://b.example");
    const PUT: (&str, &str) = ("access-control-request-method", "PUT");

    #[test]
    fn a_preflight_is_answered_and_the_answer_is_for_its_origin() {
        let wants = ("access-control-request-headers", "x-one");
        let verdict = check(&policy(true), &asked(Method::OPTIONS, &[GOOD, PUT, wants]));
        let mut answer = verdict.answer.expect("an answer");
        verdict.grant.expect("a grant").tell(answer.headers_mut());
        assert_eq!(answer.status(), 200);
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-one"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "x-seen"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
    }

    #[test]
    fn other_requests_go_on_with_a_grant_for_pages_that_may() {
        for head in [
            asked(Method::GET, &[GOOD, PUT]),
            asked(Method::OPTIONS, &[GOOD]),
        ] {
            let verdict = check(&policy(false), &head);
            assert!(verdict.answer.is_none() && verdict.grant.is_some());
        }
        for head in [asked(Method::GET, &[BAD]), asked(Method::OPTIONS, &[PUT])] {
            let verdict = check(&policy(false), &head);
            assert!(verdict.answer.is_none() && verdict.grant.is_none());
        }
    }

    #[test]
    fn a_strangers_preflight_goes_on_or_is_answered_without_leave() {
        let head = asked(Method::OPTIONS, &[BAD, PUT]);
        assert!(check(&policy(true), &head).answer.is_none());
        let verdict = check(&policy(false), &head);
        let answer = verdict.answer.expect("an answer");
        assert!(verdict.grant.is_none());
        assert!(!answer.headers().contains_key("access-control-allow-origin"));
    }

    #[test]
    fn a_star_takes_every_origin() {
        let any = Arc::new(Cors {
            origins: vec![ValueMatcher::Exact("*".into())],
            methods: None,
            headers: None,
            expose: None,
            max_age: None,
            credentials: false,
            forward_unmatched: true,
        });
        assert!(check(&any, &asked(Method::GET, &[BAD])).grant.is_some());
    }
}
