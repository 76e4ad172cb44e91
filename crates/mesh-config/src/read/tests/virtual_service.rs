//! Tests of `read::virtual_service`.

use super::{finds, outcome, spec};
use crate::finding::Level;
use crate::model::{Redirect, RedirectPath, RedirectPort, Spec, StringMatch};

#[test]
fn virtual_services() {
    let Spec::VirtualService(service) = spec(
        "VirtualService",
        "{hosts: [Reviews], http: [{name: r, match: [{name: m, uri: {prefix: /a}, ignoreUriCase: true, method: {exact: GET},
          scheme: {exact: http}, authority: {regex: .+}, headers: {X-User: {exact: bob}, x-any: {}, x-all: {regex: '*'}},
          withoutHeaders: {x-no: {}}, gateways: [ns/gw]}],
          route: [{destination: {host: Reviews, subset: v1, port: {number: 80}}, weight: 90}, {destination: {host: b.c}, weight: 10}]}]}",
    ) else {
        panic!("it is a VirtualService")
    };
    assert_eq!(service.hosts, ["reviews"]);
    assert_eq!(service.gateways, ["mesh"]);
    let route = &service.http[0];
    let entry = &route.matches[0];
    assert_eq!(entry.uri, Some(StringMatch::Prefix("/a".into())));
    assert!(entry.ignore_uri_case && entry.unsupported.is_empty());
    assert_eq!(
        entry.headers["x-user"],
        Some(StringMatch::Exact("bob".into()))
    );
    assert_eq!(
        (&entry.headers["x-any"], &entry.headers["x-all"]),
        (&None, &None)
    );
    assert_eq!(entry.without_headers["x-no"], None);
    assert_eq!(entry.gateways, ["ns/gw"]);
    assert_eq!(route.route[0].host, "reviews");
    assert_eq!((route.route[0].port, route.route[0].weight), (Some(80), 90));
    assert_eq!((route.route[1].port, route.route[1].weight), (None, 10));

    finds(
        Level::Error,
        "VirtualService",
        &[
            (
                "{hosts: [a]}",
                "spec.http",
                "a virtual service needs routes",
            ),
            (
                "{hosts: ['*'], http: [{route: [{destination: {host: a}}]}]}",
                "spec.hosts[0]",
                "* takes every request of every sidecar",
            ),
            (
                "{hosts: ['*'], gateways: [g, mesh], http: [{route: [{destination: {host: a}}]}]}",
                "spec.hosts[0]",
                "* takes every request",
            ),
            (
                "{hosts: ['a.*'], http: [{route: [{destination: {host: a}}]}]}",
                "spec.hosts[0]",
                "\"a.*\" is not a host",
            ),
            (
                "{hosts: ['*.foo.com', a.foo.com], http: [{route: [{destination: {host: a}}]}]}",
                "spec.hosts[1]",
                "a.foo.com overlaps with *.foo.com",
            ),
            (
                "{hosts: [a.com, A.com], http: [{route: [{destination: {host: a}}]}]}",
                "spec.hosts[1]",
                "a.com overlaps with a.com",
            ),
            (
                "{hosts: [a], gateways: ['g/'], http: [{route: [{destination: {host: a}}]}]}",
                "spec.gateways[0]",
                "\"g/\" is not a gateway",
            ),
            (
                "{hosts: [a], http: [{}]}",
                "spec.http[0].route",
                "a route must send requests somewhere",
            ),
            (
                "{hosts: [a], http: [{route: [{weight: 1}]}]}",
                "spec.http[0].route[0].destination",
                "required, but missing",
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {subset: v1}}]}]}",
                "spec.http[0].route[0].destination.host",
                "required, but missing",
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: '*'}}]}]}",
                "spec.http[0].route[0].destination.host",
                "* is no destination",
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}, weight: -1}]}]}",
                "spec.http[0].route[0].weight",
                "-1 is below 0; weights are shares, use 0 or more",
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}]}",
                "spec.http[0].route",
                "all weights are 0",
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a, port: {}}}]}]}",
                "spec.http[0].route[0].destination.port.number",
                "required, but missing",
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a, subset: V_1}}]}]}",
                "spec.http[0].route[0].destination.subset",
                "\"V_1\" is not a DNS label",
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].uri",
                "uri has no condition",
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {exact: /a, prefix: /b}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].uri",
                "exact and prefix exclude one another",
            ),
            (
                "{hosts: [a], http: [{match: [{uri: {regex: '('}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].uri.regex",
                "\"(\" is not a regular expression: unclosed group",
            ),
            (
                "{hosts: [a], http: [{match: [{method: {prefix: ''}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].method",
                "the prefix of method is empty",
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {'a b': {}}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].headers[\"a b\"]",
                "\"a b\" is not a header's name",
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {A: {}, a: {}}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].headers.a",
                "the header a stands here twice",
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {'@request.auth.claims.x': {exact: b}}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].headers[\"@request.auth.claims.x\"]",
                "claims of tokens are known at gateways only",
            ),
            (
                "{hosts: [a], gateways: [g, mesh], http: [{match: [{gateways: [g], withoutHeaders: {'@request.auth.claims.x': {exact: b}}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].withoutHeaders[\"@request.auth.claims.x\"]",
                "claims of tokens are known at gateways only",
            ),
            (
                "{hosts: [a], gateways: [g], http: [{match: [{headers: {'@x': {exact: b}}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].headers[\"@x\"]",
                "\"@x\" is not a header's name",
            ),
            (
                "{hosts: [a], http: [{match: [{headers: {x: {prefix: ''}}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].headers.x.prefix",
                "the prefix is empty",
            ),
            (
                "{hosts: [a], http: [{match: [{queryParams: {x: {prefix: ''}}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].match[0].queryParams.x.prefix",
                "the prefix is empty",
            ),
            (
                "{hosts: [a], gateways: [ns/g.x], http: [{route: [{destination: {host: a}}]}]}",
                "spec.gateways[0]",
                "\"ns/g.x\" is not a gateway",
            ),
            (
                "{hosts: [outbound_.80_._.a.b], gateways: [g], http: [{route: [{destination: {host: a}}]}]}",
                "spec.hosts[0]",
                "\"outbound_.80_._.a.b\" is not a host",
            ),
            (
                "{hosts: [a], http: [{mirror: {host: a}, mirrors: [{destination: {host: b}}], route: [{destination: {host: a}}]}]}",
                "spec.http[0].mirror",
                "mirror and mirrors exclude one another",
            ),
            (
                "{hosts: [a], http: [{redirect: {scheme: ftp}}]}",
                "spec.http[0].redirect.scheme",
                "\"ftp\" is no scheme",
            ),
            (
                "{hosts: [a], http: [{fault: {delay: {exponentialDelay: 1s}}, route: [{destination: {host: a}}]}]}",
                "spec.http[0].fault.delay.exponentialDelay",
                "\"exponentialDelay\" is not a field here",
            ),
            (
                "{hosts: [a], http: [{fault: {delay: {fixedDelay: 1s, percentage: {value: 0.00001}}}, route: [{destination: {host: a}}]}]}",
                "spec.http[0].fault.delay.percentage.value",
                "the smallest share above 0",
            ),
            (
                "{hosts: [a], http: [{redirect: {uri: /b}, route: [{destination: {host: a}}]}]}",
                "spec.http[0].redirect",
                "redirect and route exclude one another",
            ),
            (
                "{hosts: [a], http: [{delegate: {name: b}, route: [{destination: {host: a}}]}]}",
                "spec.http[0].delegate",
                "delegate and route exclude one another",
            ),
            (
                "{hosts: [a], http: [{timeout: 5, route: [{destination: {host: a}}]}]}",
                "spec.http[0].timeout",
                "the number 5 stands where a text belongs",
            ),
            (
                "{hosts: [a], http: [{wieght: 5, route: [{destination: {host: a}}]}]}",
                "spec.http[0].wieght",
                "\"wieght\" is not a field here",
            ),
            (
                "{hosts: [a], http: [{route: [{destination: {host: a}, wieght: 5}]}]}",
                "spec.http[0].route[0].wieght",
                "\"wieght\" is not a field here; did you mean weight?",
            ),
            (
                "{hosts: [a], exportTo: [b, '*'], http: [{route: [{destination: {host: a}}]}]}",
                "spec.exportTo",
                "* and ~ say it all",
            ),
            (
                "{hosts: [a], tcp: [{match: [{port: 1}]}]}",
                "spec.tcp[0].route",
                "required, but missing",
            ),
            (
                "{hosts: [a], tcp: [{route: [{destination: {host: 'a.*'}}]}]}",
                "spec.tcp[0].route[0].destination.host",
                "\"a.*\" is not a host",
            ),
            (
                "{hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]}",
                "spec.tls[0].match[0].sniHosts[0]",
                "\"b.com\" is none of this virtual service's hosts",
            ),
        ],
    );
}

#[test]
fn what_a_virtual_service_asks_in_vain_is_named() {
    let with = |extra: &str| {
        format!(
            "{{hosts: [a], gateways: [g], http: [{{{extra}, route: [{{destination: {{host: a}}}}]}}]}}"
        )
    };
    let conditions = [(
        "headers: {'@request.auth.claims.x': {exact: b}}",
        "headers[\"@request.auth.claims.x\"]",
    )];
    for (text, field) in conditions {
        let path = format!("spec.http[0].match[0].{field}");
        let spec = with(&format!("match: [{{uri: {{prefix: /}}, {text}}}]"));
        let (Spec::VirtualService(service), warnings) =
            outcome("VirtualService", &spec).expect(text)
        else {
            panic!("it is a VirtualService")
        };
        assert_eq!(
            service.http[0].matches[0].unsupported,
            std::slice::from_ref(&path)
        );
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].field, path);
        assert!(
            warnings[0]
                .message
                .contains("this match entry never matches"),
            "{warnings:?}"
        );
    }
}

#[test]
fn what_a_route_does_is_read_whole() {
    let route = |text: &str| {
        let spec = format!("{{hosts: [a.example], gateways: [g], http: [{{{text}}}]}}");
        let (Spec::VirtualService(service), warnings) =
            outcome("VirtualService", &spec).expect(text)
        else {
            panic!("it is a VirtualService")
        };
        assert!(warnings.is_empty(), "{text}: {warnings:?}");
        service.http.into_iter().next().expect("a route")
    };
    let redirect = |text: &str| route(&format!("redirect: {text}")).redirect.expect("one");
    assert_eq!(
        redirect("{uri: /b, authority: c, derivePort: FROM_REQUEST_PORT, redirectCode: 307}"),
        Redirect {
            path: Some(RedirectPath::Whole("/b".into())),
            authority: Some("c".into()),
            port: Some(RedirectPort::OfRequest),
            scheme: None,
            code: 307,
        }
    );
    let prefix = redirect("{prefixRewrite: /b, port: 8443, scheme: https}");
    assert_eq!(prefix.path, Some(RedirectPath::Prefix("/b".into())));
    assert_eq!(
        (prefix.port, prefix.code),
        (Some(RedirectPort::Number(8443)), 301)
    );
    let body = |text: &str| {
        let answer = route(&format!("directResponse: {{status: 503, body: {text}}}"));
        answer.direct_response.expect("one")
    };
    assert_eq!(body("{string: hello}").body, b"hello");
    assert_eq!(body("{bytes: aGk_}").body, b"hi?");
    let full = route(
        "route: [{destination: {host: w}, headers: {request: {remove: [X-Gone]}}}],
         rewrite: {uriRegexRewrite: {match: '/(a)', rewrite: '/\\1'}, authority: 'w.example:80'},
         corsPolicy: {allowOrigins: [{prefix: 'https://'}], allowMethods: [GET], maxAge: 10s,
                      allowCredentials: false, unmatchedPreflights: IGNORE},
         headers: {request: {set: {X-A: '%REQ(x)%'}}, response: {add: {X-B: b}}},
         match: [{port: 80, sourceNamespace: ns, sourceLabels: {app: a}, queryParams: {q: {exact: ''}, r: {}}}]",
    );
    assert_eq!(full.route[0].headers.request.remove, ["x-gone"]);
    let rewrite = full.rewrite.expect("one");
    assert_eq!(rewrite.authority.as_deref(), Some("w.example:80"));
    let cors = full.cors.expect("one");
    assert_eq!(cors.allow_origins, [StringMatch::Prefix("https://".into())]);
    assert!(cors.ignore_unmatched_preflights && cors.allow_credentials == Some(false));
    assert_eq!(full.headers.request.set["x-a"], "%REQ(x)%");
    assert_eq!(full.headers.response.add["x-b"], "b");
    let entry = &full.matches[0];
    assert_eq!(
        (entry.port, entry.source_namespace.as_deref()),
        (Some(80), Some("ns"))
    );
    assert_eq!(entry.source_labels["app"], "a");
    assert_eq!(
        entry.query_params["q"],
        Some(StringMatch::Exact(String::new()))
    );
    assert_eq!(entry.query_params["r"], None);
    assert_eq!(
        route("delegate: {name: b}").delegate.expect("one").name,
        "b"
    );
}

#[test]
fn what_no_proxy_could_do_is_left_out_with_a_warning() {
    let route = "route: [{destination: {host: w}}]";
    for (text, field, words) in [
        (
            "redirect: {uri: /b, redirectCode: 304}",
            "redirect.redirectCode",
            "301",
        ),
        (
            &*format!("{route}, headers: {{request: {{set: {{x: '%NONSENSE%'}}}}}}"),
            "headers.request.set.x",
            "%NONSENSE%",
        ),
        (
            &*format!("{route}, headers: {{response: {{add: {{x: '50%'}}}}}}"),
            "headers.response.add.x",
            "%%",
        ),
        (
            &*format!("{route}, headers: {{request: {{remove: [content-length]}}}}"),
            "headers.request.remove[0]",
            "belongs to the connection",
        ),
        (
            &*format!("{route}, rewrite: {{uri: /, authority: 'a b'}}"),
            "rewrite.authority",
            "it is no host",
        ),
        (
            &*format!("{route}, rewrite: {{uriRegexRewrite: {{match: a, rewrite: '\\2'}}}}"),
            "rewrite.uriRegexRewrite",
            "names no group",
        ),
    ] {
        let spec = format!("{{hosts: [a.example], gateways: [g], http: [{{{text}}}]}}");
        let (_, warnings) = outcome("VirtualService", &spec).expect(text);
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert_eq!(warnings[0].field, format!("spec.http[0].{field}"));
        assert!(warnings[0].message.contains(words), "{}", warnings[0]);
    }
}

#[test]
fn a_partial_wildcard_is_left_out_with_a_warning() {
    let (Spec::VirtualService(service), warnings) = outcome(
        "VirtualService",
        "{hosts: ['*bar.com', a.org], gateways: [g], http: [{route: [{destination: {host: a}}]}]}",
    )
    .expect("Istio takes it") else {
        panic!("it is a VirtualService")
    };
    assert_eq!(service.hosts, ["a.org"]);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_gateway_may_be_named_in_istios_first_way() {
    let Spec::VirtualService(service) = spec(
        "VirtualService",
        "{hosts: [a], gateways: [g.ns.svc.cluster.local, ns/g, g], http: [{route: [{destination: {host: a}}]}]}",
    ) else {
        panic!("it is a VirtualService")
    };
    assert_eq!(service.gateways, ["ns/g", "ns/g", "g"]);
}
