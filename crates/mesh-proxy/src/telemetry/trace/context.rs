//! A request's place in its trace, as headers tell it from hop to hop: W3C `traceparent` and `tracestate`, B3 in one
//! header (`b3`) and in several (`x-b3-…`).
//!
//! A form that cannot be read counts as absent, and is not passed on. What is written is in the forms that the request
//! came with, so that an app finds the one that it knows; W3C if it came with none.
//!
//! <https://www.w3.org/TR/trace-context/>, <https://github.com/openzipkin/b3-propagation>

use http::header::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The flag of a `traceparent` by which its caller asks for the trace to be kept.
const SAMPLED: u8 = 0x01;
/// The flag that says that the trace id is random; it stays with the id.
const RANDOM: u8 = 0x02;
/// How many entries a `tracestate` may have.
const MOST_STATES: usize = 32;

/// One span of one trace. Neither number is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: u128,
    pub(crate) span: u64,
}

/// What a request says of its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// The caller's span; `None` if the trace begins here.
    pub(crate) caller: Option<Ids>,
    /// Whether the trace is kept, if that has been decided.
    pub(crate) sampled: Option<bool>,
    /// B3's stronger form of sampled.
    debug: bool,
    random: bool,
    forms: Forms,
}

/// In which headers it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Forms {
    w3c: bool,
    b3: bool,
    b3_multi: bool,
}

impl Incoming {
    /// Reads all forms; where they differ, W3C is right, then `b3`.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let found = [traceparent(headers), b3(headers), b3_multi(headers)];
        let forms = Forms {
            w3c: found[0].is_some(),
            b3: found[1].is_some(),
            b3_multi: found[2].is_some(),
        };
        let first = found.into_iter().flatten().next().unwrap_or_default();
        Self { forms, ..first }
    }

    /// Makes `own` the parent of whatever the next hop does.
    pub(crate) fn write(self, headers: &mut HeaderMap, own: Ids, sampled: bool) {
        let Forms { w3c, b3, b3_multi } = self.forms;
        for name in [
            TRACEPARENT,
            B3,
            B3_TRACE,
            B3_SPAN,
            B3_PARENT,
            B3_SAMPLED,
            B3_FLAGS,
        ] {
            headers.remove(name);
        }
        if !w3c || !is_tracestate(headers) {
            // It belongs to a `traceparent`.
            headers.remove(TRACESTATE);
        }
        let Ids { trace, span } = own;
        let decision = u8::from(sampled);
        if w3c || !(b3 || b3_multi) {
            let flags = decision | if self.random { RANDOM } else { 0 };
            put(
                headers,
                TRACEPARENT,
                &format!("00-{trace:032x}-{span:016x}-{flags:02x}"),
            );
        }
        if !b3 && !b3_multi {
            return;
        }
        let trace = match u64::try_from(trace) {
            // Whoever has only half an identifier may not understand a whole one.
            Ok(half) => format!("{half:016x}"),
            Err(_) => format!("{trace:032x}"),
        };
        let parent = self.caller.map(|caller| caller.span);
        if b3 {
            let decision = if self.debug {
                'd'
            } else {
                char::from(b'0' + decision)
            };
            let mut text = format!("{trace}-{span:016x}-{decision}");
            if let Some(parent) = parent {
                text += &format!("-{parent:016x}");
            }
            put(headers, B3, &text);
        }
        if b3_multi {
            put(headers, B3_TRACE, &trace);
            put(headers, B3_SPAN, &format!("{span:016x}"));
            if let Some(parent) = parent {
                put(headers, B3_PARENT, &format!("{parent:016x}"));
            }
            if self.debug {
                put(headers, B3_FLAGS, "1");
            } else {
                put(headers, B3_SAMPLED, if sampled { "1" } else { "0" });
            }
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // Hexadecimal digits and dashes are a header value.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The only value of a header; `Err` if there are several.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first.map(HeaderValue::as_bytes)),
        Some(_) => Err(Malformed),
    }
}

#[derive(Debug)]
struct Malformed;

fn traceparent(headers: &HeaderMap) -> Option<Incoming> {
    let text = only(headers, TRACEPARENT).ok()??;
    let [version, trace, span, flags] = [0..2, 3..35, 36..52, 53..55].map(|part| text.get(part));
    let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
    // Later versions may have more to say behind another dash.
    let end = match version? {
        b"ff" => return None,
        b"00" => text.len() == 55,
        _ => text.get(55).is_none_or(|next| *next == b'-'),
    };
    if !dashes || !end || text.iter().take(55).any(u8::is_ascii_uppercase) {
        return None;
    }
    hex(version?)?;
    let flags = u8::try_from(hex(flags?)?).ok()?;
    Some(Incoming {
        caller: Some(ids(trace?, span?)?),
        sampled: Some(flags & SAMPLED != 0),
        random: flags & RANDOM != 0,
        ..Incoming::default()
    })
}

/// `TRACE-SPAN[-DECISION[-PARENT]]`, or a decision alone.
fn b3(headers: &HeaderMap) -> Option<Incoming> {
    let text = only(headers, B3).ok()??;
    let mut parts = text.split(|byte| *byte == b'-');
    let first = parts.next()?;
    let Some(span) = parts.next() else {
        return decided(None, first);
    };
    let caller = Some(b3_ids(first, span)?);
    let decision = parts.next();
    if let Some(parent) = parts.next() {
        span_id(parent)?;
    }
    if parts.next().is_some() {
        return None;
    }
    match decision {
        Some(decision) => decided(caller, decision),
        // Left to whoever is asked first.
        None => Some(Incoming {
            caller,
            ..Incoming::default()
        }),
    }
}

fn b3_multi(headers: &HeaderMap) -> Option<Incoming> {
    let value = |name| only(headers, name);
    let flags = value(B3_FLAGS).ok()?;
    let sampled = value(B3_SAMPLED).ok()?;
    let caller = match (value(B3_TRACE).ok()?, value(B3_SPAN).ok()?) {
        (Some(trace), Some(span)) => Some(b3_ids(trace, span)?),
        (None, None) => None,
        _ => return None,
    };
    if let Some(parent) = value(B3_PARENT).ok()? {
        span_id(parent)?;
    }
    let decision = match (flags, sampled) {
        (Some(b"1"), _) => b"d",
        (Some(b"0") | None, Some(b"true")) => b"1",
        (Some(b"0") | None, Some(b"false")) => b"0",
        // `d` belongs to the other form.
        (Some(b"0") | None, Some(sampled)) if sampled != b"d" => sampled,
        (Some(b"0") | None, None) if caller.is_some() => {
            return Some(Incoming {
                caller,
                ..Incoming::default()
            });
        }
        _ => return None,
    };
    decided(caller, decision)
}

fn decided(caller: Option<Ids>, decision: &[u8]) -> Option<Incoming> {
    let (sampled, debug) = match decision {
        b"0" => (false, false),
        b"1" => (true, false),
        b"d" => (true, true),
        _ => return None,
    };
    Some(Incoming {
        caller,
        sampled: Some(sampled),
        debug,
        ..Incoming::default()
    })
}

fn b3_ids(trace: &[u8], span: &[u8]) -> Option<Ids> {
    matches!(trace.len(), 16 | 32).then(|| ids(trace, span))?
}

fn ids(trace: &[u8], span: &[u8]) -> Option<Ids> {
    let trace = hex(trace).filter(|trace| *trace != 0)?;
    let span = span_id(span)?;
    Some(Ids { trace, span })
}

fn span_id(text: &[u8]) -> Option<u64> {
    let span = (text.len() == 16).then(|| hex(text))??;
    u64::try_from(span).ok().filter(|span| *span != 0)
}

/// At most 32 hexadecimal digits, and nothing else: no sign, no underscore.
fn hex(text: &[u8]) -> Option<u128> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(u128::from);
    if text.len() > 32 {
        return None;
    }
    text.iter()
        .try_fold(0, |number, byte| Some(number << 4 | digit(byte)?))
}

/// Whether the lists of `KEY=VALUE` can be passed on as they are.
fn is_tracestate(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(TRACESTATE).iter();
    let mut entries = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty());
    let are_valid = entries.by_ref().take(MOST_STATES).all(|entry| {
        let mut parts = entry.splitn(2, |byte| *byte == b'=');
        let (key, value) = (parts.next().unwrap_or_default(), parts.next());
        is_key(key) && value.is_some_and(is_value)
    });
    are_valid && entries.next().is_none()
}

fn is_key(key: &[u8]) -> bool {
    let small = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let known = |byte: &u8| small(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@');
    key.len() <= 256 && key.first().is_some_and(small) && key.iter().all(known)
}

fn is_value(value: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'=';
    (1..=256).contains(&value.len()) && value.iter().all(printable)
}

#[cfg(test)]
mod tests;
