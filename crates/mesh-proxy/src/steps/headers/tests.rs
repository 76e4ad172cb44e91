//! What passes, what does not, and what is added.

use http::Request;

use super::*;

static LOCAL: HeaderValue = HeaderValue::from_static("127.0.0.1");

static INSIDE: Origin<'_> = origin(false);
static EDGE: Origin<'_> = origin(true);

const fn origin(edge: bool) -> Origin<'static> {
    Origin {
        keeps_certificate: false,
        certificate: None,
        edge,
        tls: false,
        client: &LOCAL,
    }
}

fn passed(fields: &[(&str, &str)], origin: Origin<'_>) -> HeaderMap {
    let request = fields.iter().fold(Request::get("/"), |r, (name, value)| {
        r.header(*name, *value)
    });
    let (mut head, ()) = request.body(()).expect("a request").into_parts();
    super::request(&mut head, origin);
    head.headers
}

fn has(headers: &HeaderMap, name: &str) -> bool {
    headers.contains_key(name)
}

#[test]
fn what_belongs_to_one_hop_ends_here() {
    let headers = passed(
        &[
            ("connection", "keep-alive, X-Own"),
            ("connection", "x-second"),
            ("x-own", "1"),
            ("x-second", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("x-stays", "1"),
        ],
        INSIDE,
    );
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["x-forwarded-proto", "x-request-id", "x-stays"]);
}

#[test]
fn connection_cannot_take_away_what_the_message_needs() {
    let fields = [
        ("connection", "content-length, cookie, x-request-id"),
        ("content-length", "3"),
        ("cookie", "a=b"),
    ];
    let headers = passed(&fields, INSIDE);
    assert!(
        has(&headers, "content-length") && has(&headers, "cookie") && has(&headers, "x-request-id")
    );
}

#[test]
fn only_grpc_keeps_its_trailers() {
    let te = ("te", "gzip;q=1, Trailers");
    assert_eq!(
        passed(&[te, ("content-type", "application/grpc+proto")], INSIDE)["te"],
        "trailers"
    );
    assert!(!has(
        &passed(&[te, ("content-type", "application/grpc-web")], INSIDE),
        "te"
    ));
    assert!(!has(
        &passed(&[("content-type", "application/grpc")], INSIDE),
        "te"
    ));
}

#[test]
fn strangers_cannot_speak_in_the_meshs_name() {
    let claims = [
        ("x-mesh-workload", "admin"),
        ("x-mesh-anything", "1"),
        ("x-envoy-original-path", "/"),
        ("x-forwarded-client-cert", "URI=spiffe://x"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-request-id", "mine"),
    ];
    let headers = passed(&claims, EDGE);
    assert!(
        !headers
            .keys()
            .any(|n| n.as_str().starts_with("x-mesh") || n.as_str().starts_with("x-envoy"))
    );
    assert!(!has(&headers, "x-forwarded-client-cert"));
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-for"], "6.6.6.6,127.0.0.1");
    assert_eq!(headers["x-request-id"], "mine");
}

#[test]
fn inside_the_mesh_what_the_edge_said_is_kept() {
    let fields = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-mesh-workload", "me"),
    ];
    let headers = passed(&fields, INSIDE);
    assert_eq!(headers["x-forwarded-for"], "1.2.3.4");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert!(
        !has(&headers, "x-mesh-workload"),
        "only the proxy itself says this"
    );
}

#[test]
fn request_ids_are_random_uuids() {
    let (a, b) = (request_id(), request_id());
    assert_ne!(a, b);
    let text = a.to_str().expect("text");
    assert_eq!(text.len(), 36);
    assert_eq!(text.as_bytes()[14], b'4');
    assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    assert!([8, 13, 18, 23].iter().all(|i| text.as_bytes()[*i] == b'-'));
}

#[test]
fn a_response_loses_its_hop_and_keeps_the_rest() {
    let mut answer = Response::builder()
        .header("connection", "close, x-own")
        .header("x-own", "1")
        .header("transfer-encoding", "chunked")
        .header("trailer", "x-t")
        .body(())
        .expect("a response");
    response(&mut answer).expect("it can be passed on");
    let names: Vec<_> = answer.headers().keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["trailer"]);
}

#[test]
fn a_response_that_cannot_be_understood_is_not_passed_on() {
    let odd = [
        Response::builder().status(101),
        Response::builder().header("transfer-encoding", "gzip"),
        Response::builder().header("transfer-encoding", "gzip, chunked"),
    ];
    for answer in odd {
        let fail = response(&mut answer.body(()).expect("a response")).expect_err("not acceptable");
        assert_eq!(
            (fail.status.as_u16(), fail.flags.label().as_ref()),
            (502, "UPE")
        );
    }
}

#[test]
fn the_first_of_a_list_of_clients_is_alone_in_it() {
    assert_eq!(passed(&[], EDGE)["x-forwarded-for"], "127.0.0.1");
    assert_eq!(address([10, 0, 0, 1].into()), "10.0.0.1");
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().expect("an address");
    assert_eq!(address(mapped), "10.0.0.1");
}

#[test]
fn a_clients_certificate_is_told_by_gateways_and_passed_on_by_the_mesh() {
    let claim = [("x-forwarded-client-cert", "Hash=claimed")];
    let told = HeaderValue::from_static("Hash=proven");
    let at_edge = Origin {
        certificate: Some(&told),
        ..EDGE
    };
    assert_eq!(passed(&claim, at_edge)["x-forwarded-client-cert"], told);
    assert!(!has(&passed(&claim, INSIDE), "x-forwarded-client-cert"));
    let from_mesh = Origin {
        keeps_certificate: true,
        ..INSIDE
    };
    assert!(has(&passed(&claim, from_mesh), "x-forwarded-client-cert"));
    let stranger = Origin {
        edge: true,
        ..from_mesh
    };
    assert!(!has(&passed(&claim, stranger), "x-forwarded-client-cert"));
}
