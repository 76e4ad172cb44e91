//! Tests of `read::gateway`.

use super::{finds, spec};
use crate::finding::Level;
use crate::model::{ServerProtocol, ServerTlsMode, Spec, TlsVersion};

#[test]
fn gateways() {
    let Spec::Gateway(gateway) = spec(
        "Gateway",
        "{selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: http},
          hosts: ['*', 'Www.Example.com', ns/*.example.com, ./a.example.com, '*/b.example.com', 10.0.0.1]}]}",
    ) else {
        panic!("it is a Gateway")
    };
    assert_eq!(gateway.servers[0].port.protocol, ServerProtocol::Http);
    assert_eq!(gateway.servers[0].hosts[1], "www.example.com");

    let server = |text: &str| format!("{{selector: {{a: b}}, servers: [{text}]}}");
    let table = [
        ("", "spec.servers", "a gateway needs at least one server"),
        (
            "{hosts: [a.b]}",
            "spec.servers[0].port",
            "required, but missing",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}}",
            "spec.servers[0].hosts",
            "required, but missing",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}, hosts: []}",
            "spec.servers[0].hosts",
            "a server needs at least one host",
        ),
        (
            "{port: {number: 80, protocol: HTTP}, hosts: ['*']}",
            "spec.servers[0].port.name",
            "required, but missing",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: ''}, hosts: ['*']}",
            "spec.servers[0].port.name",
            "the port's name is empty",
        ),
        (
            "{port: {number: 0, protocol: HTTP, name: a}, hosts: ['*']}",
            "spec.servers[0].port.number",
            "0 is no port",
        ),
        (
            "{port: {number: 80, protocol: SPDY, name: a}, hosts: ['*']}",
            "spec.servers[0].port.protocol",
            "\"SPDY\" is not a protocol",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}, hosts: [short]}",
            "spec.servers[0].hosts[0]",
            "\"short\" is a short name",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*bar.com']}",
            "spec.servers[0].hosts[0]",
            "\"*bar.com\" is not a host of a gateway",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}, hosts: ['a.*.com']}",
            "spec.servers[0].hosts[0]",
            "\"a.*.com\" is not a host",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}, hosts: ['N_S/a.com']}",
            "spec.servers[0].hosts[0]",
            "\"N_S\" is not a DNS label",
        ),
        (
            "{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*']}",
            "spec.servers[0].tls",
            "a server of HTTPS needs tls",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}",
            "spec.servers[0].tls",
            "a server of HTTP speaks no TLS",
        ),
        (
            "{port: {number: 80, protocol: TCP, name: a}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c}}",
            "spec.servers[0].tls",
            "a server of TCP speaks no TLS; use protocol TLS",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a, targetPort: 8080}, hosts: ['*']}",
            "spec.servers[0].port.targetPort",
            "targetPort means nothing in a Gateway",
        ),
        (
            "{port: {number: 80, protocol: HTTP, name: a}, bind: eth0, hosts: ['*']}",
            "spec.servers[0].bind",
            "\"eth0\" is no IP address",
        ),
        (
            "{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'],
              tls: {mode: SIMPLE, serverCertificate: c, privateKey: k, caCrl: l}}",
            "spec.servers[0].tls.caCrl",
            "SIMPLE checks no client certificates",
        ),
        (
            "{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'], tls: {mode: SIMPLE, serverCertificate: c}}",
            "spec.servers[0].tls.privateKey",
            "privateKey is missing; a server of mode SIMPLE",
        ),
        (
            "{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'], tls: {mode: ISTIO_MUTUAL, credentialName: c}}",
            "spec.servers[0].tls.credentialName",
            "ISTIO_MUTUAL uses the mesh's own",
        ),
        (
            "{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'], tls: {mode: SIMPEL, credentialName: c}}",
            "spec.servers[0].tls.mode",
            "\"SIMPEL\" is not known here; did you mean SIMPLE?",
        ),
    ];
    let table: Vec<_> = table
        .map(|(text, field, message)| (server(text), field, message))
        .into();
    let table: Vec<_> = table
        .iter()
        .map(|(text, f, m)| (text.as_str(), *f, *m))
        .collect();
    finds(Level::Error, "Gateway", &table);
    finds(
        Level::Warning,
        "Gateway",
        &[
            (
                "{servers: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*']}]}",
                "spec",
                "the selector is empty",
            ),
            (
                "{selector: {a: b}, servers: [{port: {number: 1, protocol: mongo, name: a}, hosts: ['*']}]}",
                "spec.servers[0].port.protocol",
                "MONGO is carried as TCP",
            ),
            (
                "{selector: {a: b}, servers: [{port: {number: 0, protocol: HTTP, name: a}, bind: 'unix:///a', hosts: ['*']}]}",
                "spec.servers[0].bind",
                "gateways listen at IP addresses only",
            ),
            (
                "{selector: {a: b}, servers: [{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'], tls: {credentialName: c}}]}",
                "spec.servers[0].tls.credentialName",
                "no mode is PASSTHROUGH",
            ),
            (
                "{selector: {a: b}, servers: [{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'],
                  tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_1}}]}",
                "spec.servers[0].tls.minProtocolVersion",
                "TLSV1_1 is not spoken",
            ),
            (
                "{selector: {a: b}, servers: [{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'],
                  tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}]}",
                "spec.servers[0].tls.maxProtocolVersion",
                "it is older than minProtocolVersion",
            ),
            (
                "{selector: {a: b}, servers: [{port: {number: 443, protocol: HTTPS, name: a}, hosts: ['*'],
                  tls: {mode: SIMPLE, credentialName: c, cipherSuites: [AES128-SHA]}}]}",
                "spec.servers[0].tls.cipherSuites[0]",
                "\"AES128-SHA\" is a cipher suite that the proxies do not have",
            ),
        ],
    );
    finds(
        Level::Error,
        "Gateway",
        &[(
            "{selector: {a: b}, servers: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['*']},
              {port: {number: 81, protocol: HTTP, name: a}, hosts: ['*']}]}",
            "spec.servers[1].port.name",
            "a is already spec.servers[0].port.name",
        )],
    );
}

#[test]
fn tls_of_servers() {
    let tls = |text: &str| {
        let text = format!(
            "{{selector: {{a: b}}, servers: [{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {text}}}]}}"
        );
        let Spec::Gateway(gateway) = spec("Gateway", &text) else {
            panic!("it is a Gateway")
        };
        gateway.servers[0].tls.clone().expect("it has tls")
    };
    let simple = tls("{mode: SIMPLE, credentialName: shop, minProtocolVersion: TLSV1_2}");
    assert_eq!(simple.mode, ServerTlsMode::Simple);
    assert_eq!(simple.credentials, ["shop"]);
    assert_eq!(simple.min_version, TlsVersion::V1_2);
    assert_eq!(simple.max_version, TlsVersion::Auto);

    // As in Istio, the mode that is not written.
    assert_eq!(tls("{}").mode, ServerTlsMode::Passthrough);

    let files = tls(
        "{mode: OPTIONAL_MUTUAL, caCertificates: /ca, subjectAltNames: [a], tlsCertificates: [
          {serverCertificate: /rsa, privateKey: /rsa.key}, {serverCertificate: /ec, privateKey: /ec.key}]}",
    );
    assert_eq!(files.mode, ServerTlsMode::OptionalMutual);
    assert_eq!(files.certificates[1].key, "/ec.key");
    assert_eq!(files.ca_file.as_deref(), Some("/ca"));
    assert_eq!(files.subject_alt_names, ["a"]);
    assert!(tls("{mode: PASSTHROUGH}").mode.passes_through());
}
