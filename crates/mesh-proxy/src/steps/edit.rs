//! Changes of headers, as routes ask for them: removals, then what is set, then what is added.
//!
//! All values are filled in before the first of them is written, as Envoy does it, so that none sees another.

use std::borrow::Cow;
use std::time::SystemTime;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, Uri};

use crate::exchange::Exchange;
use crate::peer::Protocol;
use crate::snapshot::{Changes, Edit, Edits, Fact, Forward, Mode, Part, Route, Template};

/// What the request asks for, where its headers are changed or answered.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    authority: &'a HeaderValue,
}

/// Changes a request's headers: first as the chosen target says, then as the route says, which is Envoy's order.
pub(crate) fn request(
    changes: &Changes,
    target: usize,
    x: &Exchange,
    route: &Route,
    head: &mut Parts,
    authority: &HeaderValue,
) {
    let of_target = changes.targets.get(target).map(|target| &target.request);
    for edits in of_target.into_iter().chain([&changes.request]) {
        let asked = Asked {
            method: &head.method,
            uri: &head.uri,
            authority,
        };
        apply(edits, &mut head.headers, |fact, headers, text| match fact {
            Fact::Request(first, second) => {
                text.extend_from_slice(asked.field(headers, first, second.as_deref()));
            }
            fact => text.extend_from_slice(fill(fact, x, route, 0).as_bytes()),
        });
    }
}

/// The changes of a response to come.
#[derive(Debug)]
pub(crate) struct Later<'r> {
    of_target: Option<Cow<'r, Edits>>,
    of_route: Cow<'r, Edits>,
}

impl<'r> Later<'r> {
    /// The changes, with what the request says filled in before it is sent on; `None` if there are none.
    pub(crate) fn bind(
        route: &'r Route,
        forward: &'r Forward,
        target: usize,
        head: &Parts,
        authority: &HeaderValue,
    ) -> Option<Self> {
        let changes = forward.changes.as_deref();
        let of_target = changes
            .and_then(|changes| changes.targets.get(target))
            .map(|target| &target.response)
            .filter(|edits| !edits.is_empty());
        if of_target.is_none() && route.response.is_empty() {
            return None;
        }
        Some(Self {
            of_target: of_target.map(|edits| bind(edits, head, authority)),
            of_route: bind(&route.response, head, authority),
        })
    }

    /// Changes the response that has come.
    pub(crate) fn response<B>(&self, x: &Exchange, route: &Route, response: &mut Response<B>) {
        for edits in self.of_target.iter().chain([&self.of_route]) {
            respond(edits, x, route, response);
        }
    }
}

/// Changes the headers of an answer that the route itself gives.
pub(crate) fn own<B>(
    x: &Exchange,
    route: &Route,
    head: &Parts,
    authority: &HeaderValue,
    response: &mut Response<B>,
) {
    if !route.response.is_empty() {
        respond(&bind(&route.response, head, authority), x, route, response);
    }
}

fn respond<B>(edits: &Edits, x: &Exchange, route: &Route, response: &mut Response<B>) {
    let code = response.status().as_u16();
    apply(edits, response.headers_mut(), |fact, _, text| {
        text.extend_from_slice(fill(fact, x, route, code).as_bytes());
    });
}

/// The changes of a response with what the request says filled in, before the request is sent on.
fn bind<'e>(edits: &'e Edits, head: &Parts, authority: &HeaderValue) -> Cow<'e, Edits> {
    if !edits.read_request() {
        return Cow::Borrowed(edits);
    }
    let asked = Asked {
        method: &head.method,
        uri: &head.uri,
        authority,
    };
    let part = |part: &Part| match part {
        Part::Fact(Fact::Request(first, second)) => {
            let value = asked.field(&head.headers, first, second.as_deref());
            Part::Text(String::from_utf8_lossy(value).into_owned())
        }
        other => other.clone(),
    };
    let value = |edit: &Edit| match &edit.value {
        Template::Fixed(_) => edit.clone(),
        Template::Parts(parts) => Edit {
            value: Template::Parts(parts.iter().map(part).collect()),
            ..edit.clone()
        },
    };
    Cow::Owned(Edits {
        remove: edits.remove.clone(),
        values: edits.values.iter().map(value).collect(),
    })
}

impl Asked<'_> {
    /// A header of the request, or else another one; pseudo-headers have a colon.
    fn field<'h>(&'h self, headers: &'h HeaderMap, first: &str, second: Option<&str>) -> &'h [u8] {
        let field = |name: &str| match name {
            ":authority" | "host" => Some(self.authority.as_bytes()),
            ":method" => Some(self.method.as_str().as_bytes()),
            ":path" => self
                .uri
                .path_and_query()
                .map(|path| path.as_str().as_bytes()),
            name => headers.get(name).map(HeaderValue::as_bytes),
        };
        let found = field(first).or_else(|| field(second?));
        found.unwrap_or_default()
    }
}

fn apply(edits: &Edits, headers: &mut HeaderMap, fill: impl Fn(&Fact, &HeaderMap, &mut Vec<u8>)) {
    for name in &edits.remove {
        headers.remove(name);
    }
    if edits.values.is_empty() {
        return;
    }
    let mut ready: Vec<(&HeaderName, bool, HeaderValue)> = Vec::with_capacity(edits.values.len());
    for edit in &edits.values {
        let wanted = match edit.mode {
            Mode::Append | Mode::Overwrite => true,
            Mode::AddIfAbsent => !headers.contains_key(&edit.name),
            Mode::OverwriteIfPresent => headers.contains_key(&edit.name),
        };
        if !wanted {
            continue;
        }
        let value = match &edit.value {
            Template::Fixed(value) => value.clone(),
            Template::Parts(parts) => {
                let mut text = Vec::new();
                for part in parts {
                    match part {
                        Part::Text(part) => text.extend_from_slice(part.as_bytes()),
                        Part::Fact(fact) => fill(fact, headers, &mut text),
                    }
                }
                // Made of header values and of texts that were checked.
                let Ok(value) = HeaderValue::from_bytes(&text) else {
                    continue;
                };
                value
            }
        };
        if value.is_empty() && !edit.keep_empty {
            continue;
        }
        let replaces = matches!(edit.mode, Mode::Overwrite | Mode::OverwriteIfPresent);
        ready.push((&edit.name, replaces, value));
    }
    for (name, _, value) in ready.iter().filter(|(_, replaces, _)| *replaces) {
        headers.insert(*name, value.clone());
    }
    for (name, _, value) in ready.into_iter().filter(|(_, replaces, _)| !*replaces) {
        headers.append(name, value);
    }
}

/// What stands in for a placeholder; nothing where it is not known.
fn fill<'a>(fact: &Fact, x: &'a Exchange, route: &'a Route, code: u16) -> Cow<'a, str> {
    let hello = &x.peer.hello;
    let (cluster, endpoint) = x.upstream();
    match fact {
        Fact::RemoteAddress => Cow::Owned(hello.address.to_string()),
        Fact::RemoteIp => Cow::Owned(hello.address.ip().to_canonical().to_string()),
        Fact::LocalPort => Cow::Owned(x.standing.listener.address.port().to_string()),
        Fact::PeerUriSan => Cow::Borrowed(hello.principal.as_deref().unwrap_or_default()),
        Fact::ServerName => Cow::Borrowed(hello.server_name.as_deref().unwrap_or_default()),
        Fact::Protocol => Cow::Borrowed(match hello.protocol {
            Protocol::Http2 => "HTTP/2",
            Protocol::Http1 | Protocol::Tcp => "HTTP/1.1",
        }),
        // The clock is only read where a route asks for it.
        Fact::StartTime => {
            let since = x.age();
            let started = SystemTime::now().checked_sub(since);
            let started = started.unwrap_or(SystemTime::UNIX_EPOCH);
            Cow::Owned(humantime::format_rfc3339_millis(started).to_string())
        }
        Fact::ResponseCode => Cow::Owned(code.to_string()),
        Fact::RouteName => Cow::Borrowed(&*route.name),
        Fact::Cluster => Cow::Borrowed(cluster.map_or("", |cluster| &cluster.name)),
        Fact::UpstreamHost => Cow::Borrowed(endpoint.map_or("", |endpoint| &endpoint.address)),
        Fact::Request(..) => Cow::Borrowed(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(name: &'static str, value: &'static str, mode: Mode) -> Edit {
        Edit {
            name: HeaderName::from_static(name),
            value: Template::Fixed(HeaderValue::from_static(value)),
            mode,
            keep_empty: false,
        }
    }

    fn changed(edits: &Edits, lines: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        apply(edits, &mut headers, |fact, headers, text| {
            if let Fact::Request(name, _) = fact {
                text.extend_from_slice(headers[name].as_bytes());
            }
        });
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| {
                let value = value.to_str().expect("text");
                (name.to_string(), value.to_owned())
            })
            .collect();
        lines.sort();
        lines
    }

    fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let lines = lines
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        lines.collect()
    }

    #[test]
    fn removals_come_first_and_what_is_set_before_what_is_added() {
        let edits = Edits {
            remove: vec![
                HeaderName::from_static("a"),
                HeaderName::from_static("gone"),
            ],
            values: vec![
                edit("a", "added", Mode::Append),
                edit("a", "set", Mode::Overwrite),
            ],
        };
        assert_eq!(
            changed(
                &edits,
                &[("a", "old"), ("a", "older"), ("gone", "x"), ("kept", "y")]
            ),
            lines(&[("a", "added"), ("a", "set"), ("kept", "y")])
        );
    }

    #[test]
    fn some_come_only_beside_others_and_empty_ones_not_at_all() {
        let edits = Edits {
            remove: Vec::new(),
            values: vec![
                edit("there", "new", Mode::AddIfAbsent),
                edit("absent", "new", Mode::AddIfAbsent),
                edit("also", "new", Mode::OverwriteIfPresent),
                edit("never", "new", Mode::OverwriteIfPresent),
                edit("empty", "", Mode::Overwrite),
                Edit {
                    keep_empty: true,
                    ..edit("kept", "", Mode::Overwrite)
                },
            ],
        };
        assert_eq!(
            changed(&edits, &[("there", "old"), ("also", "old")]),
            lines(&[
                ("absent", "new"),
                ("also", "new"),
                ("kept", ""),
                ("there", "old")
            ])
        );
    }

    #[test]
    fn no_value_sees_another_that_comes_with_it() {
        let copy = |name, of: &str| Edit {
            value: Template::Parts(vec![
                Part::Text("<".into()),
                Part::Fact(Fact::Request(of.into(), None)),
                Part::Text(">".into()),
            ]),
            ..edit(name, "", Mode::Overwrite)
        };
        let edits = Edits {
            remove: Vec::new(),
            values: vec![copy("a", "b"), copy("b", "a")],
        };
        assert_eq!(
            changed(&edits, &[("a", "1"), ("b", "2")]),
            lines(&[("a", "<2>"), ("b", "<1>")])
        );
    }

    #[test]
    fn a_response_may_say_what_was_asked_for() {
        let (head, ()) = http::Request::get("/p?q")
            .header("x-a", "1")
            .body(())
            .expect("a request")
            .into_parts();
        let fact = |first: &str, second: Option<&str>| {
            Part::Fact(Fact::Request(first.into(), second.map(str::to_owned)))
        };
        let edits = Edits {
            remove: Vec::new(),
            values: vec![Edit {
                value: Template::Parts(vec![
                    fact(":path", None),
                    fact("x-none", Some("x-a")),
                    fact(":authority", None),
                ]),
                ..edit("asked", "", Mode::Overwrite)
            }],
        };
        let bound = bind(&edits, &head, &HeaderValue::from_static("web"));
        let text = |text: &str| Part::Text(text.to_owned());
        assert_eq!(
            bound.values[0].value,
            Template::Parts(vec![text("/p?q"), text("1"), text("web")])
        );
        assert!(!bound.read_request());
    }
}
