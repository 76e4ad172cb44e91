//! The three forms, read and written, and what is wrong with some.

use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const OWN: Ids = Ids {
    trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
    span: 0xa,
};

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        headers.append(name, value);
    }
    headers
}

/// What the next hop sees of these, sorted.
fn passed(lines: &[(&str, &str)], sampled: bool) -> Vec<String> {
    let mut headers = headers(lines);
    Incoming::read(&headers).write(&mut headers, OWN, sampled);
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    let mut passed: Vec<_> = headers.iter().map(line).collect();
    passed.sort();
    passed
}

fn caller() -> Option<Ids> {
    Some(Ids {
        trace: OWN.trace,
        span: 0x00f0_67aa_0ba9_02b7,
    })
}

#[test]
fn w3c_is_read_and_written() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let read = Incoming::read(&headers(&[("traceparent", &parent)]));
    assert_eq!((read.caller, read.sampled), (caller(), Some(true)));
    let lines = [("traceparent", &*parent), ("tracestate", "a=1,b@c=x y")];
    assert_eq!(
        passed(&lines, true),
        [
            format!("traceparent: 00-{TRACE}-000000000000000a-01"),
            "tracestate: a=1,b@c=x y".to_owned(),
        ]
    );
    // A random id stays known as one, and a later version is answered in ours.
    let later = format!("cc-{TRACE}-{SPAN}-02-what-comes");
    let read = Incoming::read(&headers(&[("traceparent", &later)]));
    assert_eq!((read.caller, read.sampled), (caller(), Some(false)));
    assert_eq!(
        passed(&[("traceparent", &later)], false),
        [format!("traceparent: 00-{TRACE}-000000000000000a-02")]
    );
}

#[test]
fn malformed_w3c_is_a_new_trace_and_not_passed_on() {
    let [short, long] = [&TRACE[1..], &format!("{TRACE}0")];
    for parent in [
        String::new(),
        "nonsense".into(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-0"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("cc-{TRACE}-{SPAN}-01more"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("0x-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{short}-{SPAN}-01"),
        format!("00-{long}-{SPAN}-01"),
        format!("00-+{short}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00_{TRACE}_{SPAN}_01"),
    ] {
        let lines = [("traceparent", &*parent), ("tracestate", "a=1")];
        let read = Incoming::read(&headers(&lines));
        assert_eq!(read, Incoming::default(), "{parent}");
        let new = format!("traceparent: 00-{TRACE}-000000000000000a-00");
        assert_eq!(passed(&lines, false), [new], "{parent}");
    }
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let twice = headers(&[("traceparent", &parent), ("traceparent", &parent)]);
    assert_eq!(Incoming::read(&twice), Incoming::default());
}

#[test]
fn a_malformed_state_goes_and_the_parent_stays() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let many = vec!["a=1"; 33].join(",");
    for state in ["a", "=1", "A=1", "a=", "a=1=2", "a=\u{e4}", &many] {
        let lines = [("traceparent", &*parent), ("tracestate", state)];
        assert_eq!(
            passed(&lines, true),
            [format!("traceparent: 00-{TRACE}-000000000000000a-01")],
            "{state}"
        );
    }
}

#[test]
fn b3_in_one_header() {
    let read = |text: &str| {
        let read = Incoming::read(&headers(&[("b3", text)]));
        (read.caller, read.sampled)
    };
    let own = |tail: &str| vec![format!("b3: {TRACE}-000000000000000a-{tail}")];
    let text = format!("{TRACE}-{SPAN}-1-{SPAN}");
    assert_eq!(read(&text), (caller(), Some(true)));
    assert_eq!(passed(&[("b3", &text)], true), own(&format!("1-{SPAN}")));
    let text = format!("{TRACE}-{SPAN}");
    assert_eq!(read(&text), (caller(), None));
    assert_eq!(passed(&[("b3", &text)], false), own(&format!("0-{SPAN}")));
    assert_eq!(read("0"), (None, Some(false)));
    assert_eq!(passed(&[("b3", "0")], false), own("0"));
    assert_eq!(read("d"), (None, Some(true)));
    assert_eq!(passed(&[("b3", "d")], true), own("d"));
    for bad in ["", "2", "-", "1-1", &format!("{TRACE}-{SPAN}-x")] {
        assert_eq!(read(bad), (None, None), "{bad}");
        let new = format!("traceparent: 00-{TRACE}-000000000000000a-01");
        assert_eq!(passed(&[("b3", bad)], true), [new], "{bad}");
    }
}

#[test]
fn b3_in_several_headers() {
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
    let read = |more: &[(&str, &str)]| {
        let read = Incoming::read(&headers(&[&ids, more].concat()));
        (read.caller, read.sampled)
    };
    assert_eq!(read(&[("x-b3-sampled", "1")]), (caller(), Some(true)));
    assert_eq!(read(&[("x-b3-sampled", "false")]), (caller(), Some(false)));
    assert_eq!(read(&[("x-b3-flags", "1")]), (caller(), Some(true)));
    assert_eq!(read(&[]), (caller(), None));
    for bad in [
        ("x-b3-sampled", "d"),
        ("x-b3-sampled", "maybe"),
        ("x-b3-flags", "7"),
        ("x-b3-parentspanid", "1"),
        ("x-b3-spanid", SPAN),
    ] {
        assert_eq!(read(&[bad]), (None, None), "{bad:?}");
    }
    assert_eq!(
        passed(&[ids[0], ids[1], ("x-b3-sampled", "true")], true),
        [
            format!("x-b3-parentspanid: {SPAN}"),
            "x-b3-sampled: 1".to_owned(),
            "x-b3-spanid: 000000000000000a".to_owned(),
            format!("x-b3-traceid: {TRACE}"),
        ]
    );
}

#[test]
fn half_an_identifier_stays_one() {
    let text = format!("{SPAN}-{SPAN}-1");
    let mut headers = headers(&[("b3", &text)]);
    let read = Incoming::read(&headers);
    let trace = 0x00f0_67aa_0ba9_02b7;
    assert_eq!(read.caller.map(|ids| ids.trace), Some(trace));
    read.write(&mut headers, Ids { trace, span: 1 }, true);
    let expected = format!("{SPAN}-0000000000000001-1-{SPAN}");
    assert_eq!(headers["b3"], expected);
}

#[test]
fn where_forms_differ_w3c_is_right_and_all_are_written() {
    let parent = format!("00-{TRACE}-{SPAN}-00");
    let other = format!("{SPAN}-{SPAN}-1");
    let lines = [("traceparent", &*parent), ("b3", &*other)];
    let read = Incoming::read(&headers(&lines));
    assert_eq!((read.caller, read.sampled), (caller(), Some(false)));
    assert_eq!(
        passed(&lines, false),
        [
            format!("b3: {TRACE}-000000000000000a-0-{SPAN}"),
            format!("traceparent: 00-{TRACE}-000000000000000a-00"),
        ]
    );
}

const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

proptest! {
    /// Whatever comes, what goes on is readable, names our span, and is in one trace.
    #[test]
    fn anything_is_answered_with_something_valid(
        lines in proptest::collection::vec(
            (0..NAMES.len(), prop_oneof![
                "[0-9a-fd-]{0,60}",
                "(00|cc|ff)-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]",
                "[0-9a-f]{32}-[0-9a-f]{16}(-[01d](-[0-9a-f]{16})?)?",
                "[0-9a-f]{16}|[0-9a-f]{32}|[01d]|true|false",
                "[ -~\u{80}-\u{ff}]{0,80}",
            ]),
            0..10,
        ),
        sampled: bool,
    ) {
        let lines: Vec<_> = lines.iter().map(|(at, value)| (NAMES[*at], &**value)).collect();
        let mut headers = headers(&lines);
        let read = Incoming::read(&headers);
        // As the tracer does: only a decision that was made is passed on.
        let sampled = read.sampled.unwrap_or(sampled);
        read.write(&mut headers, OWN, sampled);
        let next = Incoming::read(&headers);
        prop_assert_eq!(next.caller, Some(OWN));
        prop_assert_eq!(next.sampled, Some(sampled));
        for found in [traceparent(&headers), b3(&headers), b3_multi(&headers)].into_iter().flatten() {
            prop_assert_eq!(found.caller, Some(OWN));
        }
        for name in NAMES {
            prop_assert!(headers.get_all(name).iter().count() <= 1 || name == "tracestate");
        }
    }
}
