//! What the definitions of the Gateway API refuse, and what an object of it means with all defaults.

use std::path::Path;

use crate::model::Spec;
use crate::model::gateway_api::{self, Filter, From, PathModifier, PathType};
use crate::parse::parse;

fn read(version: &str, kind: &str, spec: &str) -> Result<gateway_api::Spec, Vec<String>> {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/{version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
    );
    match parse(Path::new("x.yaml"), &text) {
        Ok(mut parsed) => match parsed.remove(0).object.spec {
            Spec::GatewayApi(spec) => Ok(spec),
            other => panic!("{kind}: {other:?}"),
        },
        Err(findings) => Err(findings
            .iter()
            .map(|finding| format!("{}: {}", finding.field, finding.message))
            .collect()),
    }
}

/// Each spec of a kind has just this finding, of which the table has the beginning.
fn refused(kind: &str, table: &[(&str, &str)]) {
    for (spec, beginning) in table {
        let errors = read("v1", kind, spec).expect_err(spec);
        assert_eq!(errors.len(), 1, "{spec}: {errors:?}");
        assert!(errors[0].starts_with(beginning), "{spec}: {errors:?}");
    }
}

#[test]
fn a_gateway_has_the_defaults_of_the_api() {
    let spec = "{gatewayClassName: istio, listeners: [{name: a, port: 80, protocol: HTTP}], addresses: null}";
    let Ok(gateway_api::Spec::Gateway(gateway)) = read("v1beta1", "Gateway", spec) else {
        panic!("a Gateway");
    };
    assert_eq!(gateway.allowed_listeners.namespaces.from, From::None);
    let listener = &gateway.listeners[0];
    assert_eq!(listener.allowed_routes.namespaces.from, From::Same);
    assert_eq!((listener.hostname.as_ref(), listener.port), (None, 80));
}

#[test]
fn a_route_has_the_defaults_of_the_api() {
    let spec = "{parentRefs: [{name: gw}], rules: [{matches: [{method: GET}], \
                backendRefs: [{name: a, port: 80}]}, {filters: [{type: URLRewrite, \
                urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]}]}";
    let Ok(gateway_api::Spec::HttpRoute(route)) = read("v1", "HTTPRoute", spec) else {
        panic!("an HTTPRoute");
    };
    let parent = &route.parent_refs[0];
    assert_eq!(
        (parent.group.as_str(), parent.kind.as_str()),
        (gateway_api::GROUP, "Gateway")
    );
    let path = &route.rules[0].matches[0].path;
    assert_eq!(
        (path.kind, path.value.as_str()),
        (PathType::PathPrefix, "/")
    );
    let backend = &route.rules[0].backend_refs[0];
    assert_eq!((backend.kind.as_str(), backend.weight), ("Service", 1));
    let Filter::UrlRewrite { url_rewrite } = &route.rules[1].filters[0] else {
        panic!("a rewrite");
    };
    let replaced = PathModifier::ReplacePrefixMatch {
        replace_prefix_match: "/x".to_owned(),
    };
    assert_eq!(url_rewrite.path, Some(replaced));
    let Ok(gateway_api::Spec::HttpRoute(empty)) = read("v1", "HTTPRoute", "{}") else {
        panic!("an HTTPRoute");
    };
    assert_eq!(empty.rules.len(), 1, "one rule for every request");
}

#[test]
fn what_gateways_refuse() {
    let listener = |listener: &str| format!("{{gatewayClassName: c, listeners: [{listener}]}}");
    let table: Vec<(String, &str)> = [
        ("", "spec.listeners: it has 0 entries"),
        (
            "{name: a, port: 80, protocol: HTTP, tls: {certificateRefs: [{name: x}]}}",
            "spec.listeners[0].tls: HTTP has no TLS",
        ),
        (
            "{name: a, port: 80, protocol: https, tls: {mode: Passthrough}}",
            "spec.listeners[0].tls: HTTPS is read by the gateway",
        ),
        (
            "{name: a, port: 80, protocol: TLS}",
            "spec.listeners[0].tls: the protocol TLS needs tls",
        ),
        (
            "{name: a, port: 80, protocol: TLS, tls: {}}",
            "spec.listeners[0].tls: the mode Terminate needs a certificate",
        ),
        (
            "{name: a, port: 80, protocol: tcp, hostname: a.b}",
            "spec.listeners[0].hostname: TCP knows no hosts",
        ),
        (
            "{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}",
            "spec.listeners[1].name: a is already spec.listeners[0].name",
        ),
        (
            "{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: http}",
            "spec.listeners[1]: another listener has the same port",
        ),
        (
            "{name: a, port: 80, protocol: HTTP, hostname: 'a.*.b'}",
            "spec.listeners[0].hostname: \"a.*.b\" is not a host",
        ),
        (
            "{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: None}}}",
            "spec.listeners[0].allowedRoutes.namespaces.from: \"None\" is not known here",
        ),
    ]
    .map(|(text, message)| (listener(text), message))
    .to_vec();
    let table: Vec<(&str, &str)> = table
        .iter()
        .map(|(text, message)| (text.as_str(), *message))
        .collect();
    refused("Gateway", &table);
}

#[test]
fn addresses_are_what_they_say() {
    let with = |address: &str| {
        format!(
            "{{gatewayClassName: c, addresses: [{address}], listeners: [{{name: a, port: 80, protocol: HTTP}}]}}"
        )
    };
    for fine in [
        "{value: '1234::'}",
        "{value: '2001:db8:3c4d:15:0:d234:3eee::'}",
        "{type: Hostname, value: '*.example.com'}",
        "{type: IPAddress}",
        "{type: example.com/custom, value: anything goes}",
    ] {
        assert!(read("v1", "Gateway", &with(fine)).is_ok(), "{fine}");
    }
    for wrong in [
        "{value: foo.com}",
        "{value: 256.1.1.1}",
        "{value: ':::1234::'}",
        "{type: Hostname, value: 'foo.com:80'}",
        "{type: Hostnam, value: foo.com}",
        "{value: 1.1.1.1}, {type: IPAddress, value: 1.1.1.1}",
    ] {
        let errors = read("v1", "Gateway", &with(wrong)).expect_err(wrong);
        assert_eq!(errors.len(), 1, "{wrong}: {errors:?}");
    }
}

#[test]
fn what_http_routes_refuse() {
    refused(
        "HTTPRoute",
        &[
            ("{rules: []}", "spec.rules: it has 0 entries"),
            (
                "{parentRefs: [{name: a}, {name: a, sectionName: b}]}",
                "spec.parentRefs[0]: several references",
            ),
            (
                "{parentRefs: [{name: a, sectionName: b}, {name: a, sectionName: b}]}",
                "spec.parentRefs[1]: the same reference",
            ),
            (
                "{rules: [{matches: [{path: {value: x}}]}]}",
                "spec.rules[0].matches[0].path.value: \"x\" must begin",
            ),
            (
                "{rules: [{matches: [{path: {value: /a//b}}]}]}",
                "spec.rules[0].matches[0].path.value: \"/a//b\" must not contain //",
            ),
            (
                "{rules: [{matches: [{path: {value: /a/..}}]}]}",
                "spec.rules[0].matches[0].path.value: \"/a/..\" must not end",
            ),
            (
                "{rules: [{matches: [{path: {value: '/[]'}}]}]}",
                "spec.rules[0].matches[0].path.value: \"/[]\" is not a path",
            ),
            (
                "{rules: [{matches: [{path: {type: RegularExpression, value: '('}}]}]}",
                "spec.rules[0].matches[0].path.value: \"(\" is not a regular expression",
            ),
            (
                "{rules: [{matches: [{headers: [{name: a, value: b}, {name: a, value: c}]}]}]}",
                "spec.rules[0].matches[0].headers[1].name: a is already",
            ),
            (
                "{rules: [{backendRefs: [{name: a}]}]}",
                "spec.rules[0].backendRefs[0].port: a Service is called",
            ),
            (
                "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 1}]}]}",
                "spec.rules[0].backendRefs: a rule that redirects",
            ),
            (
                "{rules: [{filters: [{type: RequestRedirect, requestRedirect: {}}, {type: URLRewrite, urlRewrite: {}}]}]}",
                "spec.rules[0].filters[1]: RequestRedirect and URLRewrite",
            ),
            (
                "{rules: [{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: \
                 {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]}]}",
                "spec.rules[0].filters[0].urlRewrite.path: a prefix can only be replaced",
            ),
            (
                "{rules: [{filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath}}}]}]}",
                "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath: the type ReplaceFullPath needs",
            ),
            (
                "{rules: [{filters: [{type: CORS, requestRedirect: {}, cors: {}}]}]}",
                "spec.rules[0].filters[0].requestRedirect: requestRedirect belongs to",
            ),
            (
                "{rules: [{filters: [{type: CORS, cors: {allowOrigins: ['*', 'https://a.b']}}]}]}",
                "spec.rules[0].filters[0].cors.allowOrigins: * says it all",
            ),
            (
                "{rules: [{filters: [{type: CORS, cors: {allowOrigins: [a.b]}}]}]}",
                "spec.rules[0].filters[0].cors.allowOrigins[0]: \"a.b\" is not an origin",
            ),
            (
                "{rules: [{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 1}, \
                 fraction: {numerator: 3, denominator: 2}}}]}]}",
                "spec.rules[0].filters[0].requestMirror.fraction: it is more than the whole",
            ),
            (
                "{rules: [{timeouts: {request: 1s, backendRequest: 1m}}]}",
                "spec.rules[0].timeouts: backendRequest is the limit of one try",
            ),
            (
                "{rules: [{timeouts: {request: 1.5s}}]}",
                "spec.rules[0].timeouts.request: \"1.5s\" is not",
            ),
            (
                "{rules: [{retry: {codes: [500, 500]}}]}",
                "spec.rules[0].retry.codes[1]: the status stands",
            ),
        ],
    );
    let limits = "{rules: [{timeouts: {request: 0s, backendRequest: 1m}}]}";
    assert!(read("v1", "HTTPRoute", limits).is_ok(), "0s is no limit");
}

#[test]
fn what_the_other_kinds_refuse() {
    refused(
        "GRPCRoute",
        &[
            (
                "{rules: [{matches: [{method: {}}]}]}",
                "spec.rules[0].matches[0].method: it says nothing",
            ),
            (
                "{rules: [{matches: [{method: {service: a/b}}]}]}",
                "spec.rules[0].matches[0].method.service: \"a/b\" is not a service",
            ),
        ],
    );
    refused(
        "TLSRoute",
        &[
            (
                "{hostnames: [1.2.3.4], rules: [{backendRefs: [{name: a, port: 1}]}]}",
                "spec.hostnames[0]: 1.2.3.4 is an address",
            ),
            (
                "{rules: [{backendRefs: [{name: a, port: 1}]}]}",
                "spec.hostnames: required, but missing",
            ),
        ],
    );
    let older = "{rules: [{backendRefs: [{name: a, port: 1}]}]}";
    assert!(read("v1alpha2", "TLSRoute", older).is_ok());
    refused(
        "TCPRoute",
        &[(
            "{rules: [{backendRefs: []}]}",
            "spec.rules[0].backendRefs: it has 0 entries",
        )],
    );
    refused(
        "GatewayClass",
        &[(
            "{controllerName: x}",
            "spec.controllerName: \"x\" is not the name of a controller",
        )],
    );
    refused(
        "BackendTLSPolicy",
        &[
            (
                "{targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a.b}}",
                "spec.validation: nobody is trusted",
            ),
            (
                "{targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a.b, \
                 wellKnownCACertificates: System, subjectAltNames: [{type: URI, uri: 'mailto:a'}]}}",
                "spec.validation.subjectAltNames[0].uri: \"mailto:a\" is not a URI",
            ),
        ],
    );
    let options: Vec<String> = (0..17).map(|at| format!("example.com/o{at}: v")).collect();
    let crowded = format!(
        "{{targetRefs: [{{group: '', kind: Service, name: a}}], options: {{{}}}, \
         validation: {{hostname: a.b, wellKnownCACertificates: System}}}}",
        options.join(", ")
    );
    refused(
        "BackendTLSPolicy",
        &[(crowded.as_str(), "spec.options: there are more than 16")],
    );
}
