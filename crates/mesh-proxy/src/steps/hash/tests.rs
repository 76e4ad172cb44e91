use http::{HeaderName as Name, Method, Uri};

use super::*;
use crate::peer::Protocol;

fn client() -> Hello {
    Hello {
        listener: "l".into(),
        server_name: None,
        caller: None,
        address: ([192, 0, 2, 7], 4711).into(),
        tls: false,
        clients: None,
        certificate: None,
        principal: None,
        proven_until: None,
        protocol: Protocol::Http1,
    }
}

fn policy(of: Hashed) -> HashPolicy {
    HashPolicy {
        of,
        terminal: false,
    }
}

fn by_header(name: &'static str) -> HashPolicy {
    policy(Hashed::Header(HeaderName::Field(Name::from_static(name))))
}

fn by_cookie(attributes: Option<&str>) -> HashPolicy {
    policy(Hashed::Cookie(HashCookie {
        name: "user".into(),
        attributes: attributes.map(str::to_owned),
    }))
}

fn ask(policies: &[HashPolicy], uri: &'static str, headers: &[(&'static str, &str)]) -> Alike {
    let lines = headers.iter().map(|(name, value)| {
        let value = HeaderValue::from_str(value).unwrap();
        (Name::from_static(name), value)
    });
    let question = Question {
        authority: "web",
        method: &Method::GET,
        uri: &Uri::from_static(uri),
        scheme: "http",
        headers: &lines.collect(),
    };
    alike(policies, &question, &client())
}

fn hash_of(
    policies: &[HashPolicy],
    uri: &'static str,
    headers: &[(&'static str, &str)],
) -> Option<u64> {
    ask(policies, uri, headers).hash
}

#[test]
fn a_header_is_hashed_whatever_the_order_of_its_lines() {
    let by = [by_header("x-user")];
    assert_eq!(hash_of(&by, "/", &[]), None);
    assert_eq!(hash_of(&by, "/", &[("x-user", "ann")]), Some(hash(b"ann")));
    let two = |first, second| hash_of(&by, "/", &[("x-user", first), ("x-user", second)]);
    assert_eq!(two("ann", "bob"), two("bob", "ann"));
    assert_ne!(two("ann", "bob"), two("ann", "ann"));
    let by_host = [policy(Hashed::Header(HeaderName::Authority))];
    assert_eq!(hash_of(&by_host, "/", &[]), Some(hash(b"web")));
}

#[test]
fn addresses_and_parameters_are_hashed() {
    let by = [policy(Hashed::Source)];
    assert_eq!(hash_of(&by, "/", &[]), Some(hash(b"192.0.2.7")));
    let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(of_source(mapped), hash(b"192.0.2.7"));
    let by = [policy(Hashed::QueryParameter("user".into()))];
    assert_eq!(
        hash_of(&by, "/?a=b&user=ann&user=c", &[]),
        Some(hash(b"ann"))
    );
    assert_eq!(hash_of(&by, "/?user", &[]), Some(hash(b"")));
    assert_eq!(hash_of(&by, "/?users=ann", &[]), None);
    assert_eq!(hash_of(&by, "/", &[]), None);
}

#[test]
fn a_cookie_is_found_among_others_and_made_if_it_has_a_lifetime() {
    let known = [
        ("cookie", "a=user=; xuser=1"),
        ("cookie", "b; user=\"ann\"; user=bob"),
    ];
    for attributes in [None, Some("; HttpOnly")] {
        let alike = ask(&[by_cookie(attributes)], "/", &known);
        assert_eq!(alike.hash, Some(hash(b"ann")));
        assert!(alike.cookies.is_empty());
    }
    assert_eq!(ask(&[by_cookie(None)], "/", &[]), Alike::default());
    let new = ask(
        &[by_cookie(Some("; Max-Age=9; HttpOnly"))],
        "/",
        &[("cookie", "user=")],
    );
    let value = format!("{:016x}", hash(b"192.0.2.7:4711"));
    assert_eq!(
        new.cookies,
        [format!("user=\"{value}\"; Max-Age=9; HttpOnly").as_str()]
    );
    // Who comes back with it has the same hash.
    let cookie = format!("user=\"{value}\"");
    let again = ask(&[by_cookie(Some(""))], "/", &[("cookie", &cookie)]);
    assert_eq!((again.hash, again.cookies.len()), (new.hash, 0));
}

#[test]
fn policies_add_up_until_one_is_terminal() {
    let both = [by_header("x-a"), by_header("x-b")];
    let (a, b) = (hash(b"1"), hash(b"2"));
    let headers = [("x-a", "1"), ("x-b", "2")];
    assert_eq!(hash_of(&both, "/", &headers), Some(a.rotate_left(1) ^ b));
    assert_eq!(hash_of(&both, "/", &headers[1..]), Some(b));
    let twice = [by_header("x-a"), by_header("x-a")];
    assert_ne!(hash_of(&twice, "/", &headers), Some(0));
    let mut first = by_header("x-a");
    first.terminal = true;
    let terminal = [first, by_header("x-b")];
    assert_eq!(hash_of(&terminal, "/", &headers), Some(a));
    assert_eq!(hash_of(&terminal, "/", &headers[1..]), Some(b));
}
