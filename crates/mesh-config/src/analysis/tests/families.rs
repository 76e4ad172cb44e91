//! A case or two of each family of analyzers: what is told, and what is not.

use super::*;

/// What is told about files alone, with `codes` only.
fn in_files(text: &str, codes: &[&str]) -> Vec<String> {
    let (objects, _) = read(Path::new("files.yaml"), text, "default");
    let config: Config = objects.into_iter().collect();
    let found = analyze(&config, &Options::files());
    found
        .iter()
        .map(short)
        .filter(|one| codes.iter().any(|code| one.starts_with(code)))
        .collect()
}

fn object(api: &str, kind: &str, name: &str, rest: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    format!(
        "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n{rest}\n"
    )
}

fn pod(name: &str, labels: &str, more: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{containers: [{{name: app}}, {{name: istio-proxy, image: proxyv2}}]{more}}}\n"
    )
}

const NETWORKING: &str = "networking.istio.io/v1";

#[test]
fn sidecars_select_one_each() {
    let sidecar = |name: &str, labels: &str| {
        let spec = format!(
            "spec: {{workloadSelector: {{labels: {{{labels}}}}}, egress: [{{hosts: ['./*']}}]}}"
        );
        object(NETWORKING, "Sidecar", name, &spec)
    };
    let text = [
        pod("a", "app: a, x: z", ""),
        pod("b", "app: b", ""),
        sidecar("for-a", "app: a"),
        sidecar("for-a-too", "x: z"),
        sidecar("for-b", "app: b"),
        sidecar("for-nobody", "app: c"),
        sidecar("other/elsewhere", "app: a"),
        object(
            NETWORKING,
            "Sidecar",
            "one/x",
            "spec: {egress: [{hosts: ['./*']}]}",
        ),
        object(
            NETWORKING,
            "Sidecar",
            "two/x",
            "spec: {egress: [{hosts: ['./*']}]}",
        ),
        object(
            NETWORKING,
            "Sidecar",
            "two/z",
            "spec: {egress: [{hosts: ['./*']}]}",
        ),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0101", "IST0110", "IST0111"]),
        [
            "IST0110 Sidecar default/for-a spec.workloadSelector",
            "IST0110 Sidecar default/for-a-too spec.workloadSelector",
            "IST0101 Sidecar default/for-nobody spec.workloadSelector",
            "IST0101 Sidecar other/elsewhere spec.workloadSelector",
            "IST0111 Sidecar two/x metadata.name",
            "IST0111 Sidecar two/z metadata.name",
        ]
    );
}

#[test]
fn telemetries_select_one_each_and_name_their_providers() {
    let telemetry = |name: &str, spec: &str| {
        object(
            "telemetry.istio.io/v1",
            "Telemetry",
            name,
            &format!("spec: {{{spec}}}"),
        )
    };
    let text = [
        pod("a", "app: a", ""),
        telemetry(
            "one",
            "selector: {matchLabels: {app: a}}, accessLogging: [{disabled: true}]",
        ),
        telemetry(
            "two",
            "selector: {matchLabels: {app: a}}, accessLogging: [{providers: [{name: otel}]}]",
        ),
        telemetry("logs", "accessLogging: [{disabled: false}]"),
        telemetry("nobody", "selector: {matchLabels: {app: z}}"),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0101", "IST0157", "IST0159", "IST0160"]),
        [
            "IST0157 Telemetry default/logs spec.accessLogging[0]",
            "IST0101 Telemetry default/nobody spec.selector",
            "IST0159 Telemetry default/one spec.selector",
            "IST0159 Telemetry default/two spec.selector",
        ]
    );
}

#[test]
fn policies_are_for_somebody() {
    let policy = |name: &str, spec: &str| {
        object(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            name,
            &format!("spec: {{{spec}}}"),
        )
    };
    let from = |what: &str| format!("rules: [{{from: [{{source: {{{what}}}}}]}}]");
    let text = [
        pod("shop/a", "app: a", ""),
        // Without a proxy nothing is enforced.
        object("v1", "Pod", "bare/p", "spec: {containers: [{name: app}]}"),
        object("v1", "Namespace", "empty", ""),
        policy("shop/a", "selector: {matchLabels: {app: a}}"),
        policy("shop/all", ""),
        policy("shop/nobody", "selector: {matchLabels: {app: b}}"),
        policy("bare/all", ""),
        policy("istio-system/everyone", ""),
        policy("istio-system/a", "selector: {matchLabels: {app: a}}"),
        policy("istio-system/nobody", "selector: {matchLabels: {app: b}}"),
        policy(
            "shop/from",
            &from("namespaces: [shop, 'sh*', '*op', gone], notNamespaces: ['*', 'x*']"),
        ),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0101", "IST0127"]),
        [
            "IST0127 AuthorizationPolicy bare/all metadata.namespace",
            "IST0127 AuthorizationPolicy istio-system/nobody spec.selector",
            "IST0101 AuthorizationPolicy shop/from spec.rules[0].from[0].source.namespaces[3]",
            "IST0101 AuthorizationPolicy shop/from spec.rules[0].from[0].source.notNamespaces[1]",
            "IST0127 AuthorizationPolicy shop/nobody spec.selector",
        ]
    );
}

#[test]
fn gateways_meet_at_a_host_a_port_and_a_workload() {
    let gateway = |name: &str, selector: &str, port: u16, host: &str, more: &str| {
        let spec = format!(
            "spec: {{selector: {{{selector}}}, servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, \
             hosts: ['{host}']{more}}}]}}"
        );
        object(NETWORKING, "Gateway", name, &spec)
    };
    let text = [
        gateway("a", "istio: ingressgateway", 80, "a.com", ""),
        gateway("b", "istio: ingressgateway", 80, "a.com", ""),
        gateway("port", "istio: ingressgateway", 443, "a.com", ""),
        gateway(
            "bind",
            "istio: ingressgateway",
            80,
            "a.com",
            ", bind: 10.0.0.1",
        ),
        gateway(
            "c",
            "istio: ingressgateway, app: istio-ingressgateway",
            80,
            "a.com",
            "",
        ),
        gateway("d", "istio: ingressgateway, app: nobody", 80, "a.com", ""),
        gateway("closed", "istio: ingressgateway", 8004, "b.com", ""),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0101", "IST0145", "IST0162"]),
        [
            "IST0145 Gateway default/a spec.servers[0]",
            "IST0145 Gateway default/b spec.servers[0]",
            "IST0145 Gateway default/c spec.servers[0]",
            "IST0162 Gateway default/closed spec.servers[0].port.number",
            "IST0101 Gateway default/d spec.selector",
        ]
    );
}

#[test]
fn a_server_that_an_older_one_stands_in_the_way_of_is_named() {
    let gateway = |name: &str, created: &str, selector: &str, servers: &str| {
        format!(
            "---\napiVersion: {NETWORKING}\nkind: Gateway\nmetadata: {{name: {name}, namespace: default, \
             creationTimestamp: '2024-01-0{created}T00:00:00Z'}}\n\
             spec: {{selector: {{{selector}}}, servers: [{servers}]}}\n"
        )
    };
    let server = |port: u16, protocol: &str, host: &str, tls: &str| {
        format!(
            "{{port: {{number: {port}, name: p-{port}-{protocol}-{host}, protocol: {protocol}}}, hosts: [{host}.com]{tls}}}"
        )
    };
    let (own, pass) = (
        ", tls: {mode: SIMPLE, credentialName: c}",
        ", tls: {mode: PASSTHROUGH}",
    );
    let istio = "istio: ingressgateway";
    let text = [
        gateway("old", "1", istio, &server(80, "HTTP", "a", "")),
        gateway(
            "new",
            "2",
            istio,
            &[
                server(80, "HTTP", "b", ""),
                server(80, "HTTPS", "c", own),
                server(443, "HTTPS", "c", own),
                server(443, "TLS", "c", pass),
            ]
            .join(", "),
        ),
        // At the gateway that runs they all meet, whatever else they ask for.
        gateway(
            "other",
            "3",
            "istio: ingressgateway, app: istio-ingressgateway",
            &server(443, "HTTP", "d", ""),
        ),
        gateway(
            "elsewhere",
            "4",
            "istio: egress",
            &server(80, "TCP", "e", ""),
        ),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["MESH0008"]),
        [
            "MESH0008 Gateway default/new spec.servers[1]",
            "MESH0008 Gateway default/new spec.servers[3]",
            "MESH0008 Gateway default/other spec.servers[0]",
        ]
    );
}

#[test]
fn services_of_one_deployment_go_together() {
    let deployment = "spec: {template: {metadata: {labels: {app: a}, annotations: {sidecar.istio.io/inject: 'true'}}, \
                      spec: {securityContext: {runAsUser: 1337}, containers: [{name: a}]}}}";
    let service = |name: &str, ports: &str| {
        object(
            "v1",
            "Service",
            name,
            &format!("spec: {{selector: {{app: a}}, ports: [{ports}]}}"),
        )
    };
    let text = [
        object("apps/v1", "Deployment", "a", deployment),
        service("one", "{name: http, port: 80, targetPort: 8080}"),
        service("two", "{name: dns, port: 80, protocol: UDP, targetPort: 53}, {name: http, port: 81, targetPort: 8080}"),
        service("other/three", "{name: http, port: 82, targetPort: 8080}"),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0116", "IST0137", "IST0144"]),
        [
            "IST0144 Deployment default/a spec.template.spec",
            "IST0116 Deployment default/a metadata.name",
            "IST0137 Deployment default/a metadata.name",
        ]
    );
}

#[test]
fn ports_say_what_is_spoken_on_them() {
    let service =
        |name: &str, spec: &str| object("v1", "Service", name, &format!("spec: {{{spec}}}"));
    let text = [
        service("a", "ports: [{name: http-a, port: 1}, {name: tcp, port: 2}, {name: web, port: 3}]"),
        service("b", "ports: [{name: web, port: 1, appProtocol: h2c}, {name: x, port: 3306}, {name: grpc-web-x, port: 4}]"),
        service("c", "type: ExternalName, externalName: c.org, ports: [{name: tcp, port: 1}, {name: http, port: 2}]"),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0118", "IST0150"]),
        [
            "IST0118 Service default/a spec.ports[2]",
            "IST0150 Service default/c spec.ports[0]"
        ]
    );
}

#[test]
fn service_entries_agree_and_have_addresses() {
    let entry = |name: &str, spec: &str| {
        object(
            NETWORKING,
            "ServiceEntry",
            name,
            &format!("spec: {{{spec}}}"),
        )
    };
    let port = |protocol: &str| format!("ports: [{{number: 443, name: p, protocol: {protocol}}}]");
    let text = [
        entry("a", &format!("hosts: [x.org], {}", port("TCP"))),
        entry(
            "b",
            &format!("hosts: [x.org], addresses: [10.0.0.1], {}", port("TLS")),
        ),
        entry(
            "c",
            &format!("hosts: [y.org], exportTo: [.], {}", port("HTTP")),
        ),
        entry(
            "far/d",
            &format!("hosts: [y.org], exportTo: [.], {}", port("TLS")),
        ),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0134", "IST0177"]),
        [
            "IST0134 ServiceEntry default/a spec.ports[0]",
            "IST0177 ServiceEntry default/a spec.ports[0].protocol",
            "IST0177 ServiceEntry default/b spec.ports[0].protocol",
        ]
    );
}

#[test]
fn matches_are_reached_or_named() {
    let route = |matches: &str| format!("{{{matches}route: [{{destination: {{host: a}}}}]}}");
    let rule = |name: &str, routes: &[String]| {
        let spec = format!("spec: {{hosts: [{name}], http: [{}]}}", routes.join(", "));
        object(NETWORKING, "VirtualService", name, &spec)
    };
    let text = [
        rule("a", &[route(""), route("match: [{uri: {prefix: /x}}], "), route("")]),
        rule("b", &[
            route("match: [{uri: {prefix: /x}}], "),
            route("match: [{name: n, uri: {prefix: /x}}, {uri: {prefix: /y}}], "),
            route("match: [{uri: {prefix: /xy}}, {uri: {prefix: /xz}, headers: {a: {exact: b}}}], "),
            route("match: [{uri: {prefix: /y}}], "),
        ]),
    ]
    .concat();
    assert_eq!(
        in_files(&text, &["IST0130", "IST0131"]),
        [
            "IST0130 VirtualService default/a spec.http[1]",
            "IST0130 VirtualService default/a spec.http[2]",
            "IST0131 VirtualService default/b spec.http[1].match[0]",
            "IST0131 VirtualService default/b spec.http[2].match[0]",
            "IST0131 VirtualService default/b spec.http[3].match[0]",
            "IST0130 VirtualService default/b spec.http[3]",
        ]
    );
}

#[test]
fn claims_need_somebody_who_checks_tokens() {
    let rule = "spec: {hosts: [a.com], gateways: [edge], http: [{match: [{headers: {'@request.auth.claims.sub': \
                {exact: x}}}], route: [{destination: {host: a}}]}]}";
    let gateway = "spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, \
                   protocol: HTTP}, hosts: ['*']}]}";
    let both = object(NETWORKING, "VirtualService", "a", rule)
        + &object(NETWORKING, "Gateway", "edge", gateway);
    let expected = ["IST0149 VirtualService default/a spec.http[0].match[0].headers"];
    assert_eq!(in_files(&both, &["IST0149"]), expected);
    let check = |namespace: &str| {
        let name = format!("{namespace}/jwt");
        let spec =
            "spec: {selector: {matchLabels: {istio: ingressgateway}}, jwtRules: [{issuer: x}]}";
        both.clone() + &object("security.istio.io/v1", "RequestAuthentication", &name, spec)
    };
    assert_eq!(in_files(&check("default"), &["IST0149"]), expected);
    assert_eq!(
        in_files(&check("istio-system"), &["IST0149"]),
        Vec::<String>::new()
    );
}

#[test]
fn what_is_old_or_negative_is_told() {
    let old = "spec: {hosts: [a], http: [{fault: {delay: {percent: 10, fixedDelay: 1s}}, \
               route: [{destination: {host: a}}]}]}";
    let status = "spec: {}\nstatus: {parents: [{conditions: [{type: Accepted, status: 'True'}, \
                  {type: ResolvedRefs, status: 'False', reason: BackendNotFound, message: no backend}]}]}";
    let text = object(NETWORKING, "VirtualService", "a", old)
        + &object("gateway.networking.k8s.io/v1", "HTTPRoute", "b", status);
    assert_eq!(
        in_files(&text, &["IST0002", "IST0171"]),
        [
            "IST0002 VirtualService default/a spec.http[0].fault.delay.percent",
            "IST0171 HTTPRoute default/b status.parents[0].conditions[1]",
        ]
    );
}
