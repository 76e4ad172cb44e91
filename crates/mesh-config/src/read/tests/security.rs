//! Tests of `read::authentication`, `read::authorization` and `read::policy`.

use std::path::Path;
use std::time::Duration;

use super::{finds, outcome};
use crate::finding::Level;
use crate::model::{
    AddressAttribute, Among, AuthorizationAction, AuthorizationPolicy, Condition, IpBlock, JwtKeys,
    MutualTls, PathMatch, PolicyTarget, ServiceAccountMatch, Spec, TextAttribute, ValueMatch,
};
use crate::parse::parse;

/// The meaning of a policy, of which nothing is said but that it is not enforced.
fn unenforced(kind: &str, spec: &str) -> Spec {
    let (meaning, warnings) = outcome(kind, spec).expect(spec);
    assert_eq!(warnings.len(), 1, "{spec}: {warnings:?}");
    assert!(warnings[0].message.contains("NOT enforced"), "{warnings:?}");
    meaning
}

fn authorization(spec: &str) -> AuthorizationPolicy {
    match unenforced("AuthorizationPolicy", spec) {
        Spec::AuthorizationPolicy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

fn exactly(texts: &[&str]) -> Among<ValueMatch> {
    Among {
        any_of: texts.iter().map(|text| ValueMatch::parse(text)).collect(),
        none_of: Vec::new(),
    }
}

#[test]
fn peer_authentication() {
    let read = |spec: &str| match unenforced("PeerAuthentication", spec) {
        Spec::PeerAuthentication(policy) => policy,
        other => panic!("{other:?}"),
    };
    assert_eq!(read("{}").mode, None);
    assert_eq!(read("{mtls: {mode: UNSET}}").mode, None);
    assert_eq!(read("{mtls: {mode: STRICT}}").mode, Some(MutualTls::Strict));
    let policy = read(
        "{selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}, \
         portLevelMtls: {'8080': {mode: DISABLE}, '9090': {}}}",
    );
    assert_eq!(policy.selector["app"], "web");
    assert_eq!(policy.mode, Some(MutualTls::Permissive));
    assert_eq!(policy.ports[&8080], Some(MutualTls::Disable));
    assert_eq!(policy.ports[&9090], None);
    finds(
        Level::Error,
        "PeerAuthentication",
        &[
            ("{mtls: {mode: ON}}", "spec.mtls.mode", "the boolean true"),
            (
                "{mtls: {mode: STRIKT}}",
                "spec.mtls.mode",
                "\"STRIKT\" is not known here; did you mean STRICT",
            ),
            (
                "{portLevelMtls: {'80': {mode: STRICT}}}",
                "spec.portLevelMtls",
                "ports are those of certain workloads",
            ),
            (
                "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}",
                "spec.portLevelMtls",
                "it names no port",
            ),
            (
                "{selector: {matchLabels: {a: b}}, portLevelMtls: {'0': {}}}",
                "spec.portLevelMtls.0",
                "\"0\" is no port",
            ),
            (
                "{selector: {matchLabels: {a: b}}, portLevelMtls: {'65536': {}}}",
                "spec.portLevelMtls.65536",
                "\"65536\" is no port",
            ),
            (
                "{selector: {matchLabels: {'': b}}}",
                "spec.selector.matchLabels[\"\"]",
                "the key is empty",
            ),
            (
                "{selector: {matchLabels: {a: b*}}}",
                "spec.selector.matchLabels.a",
                "\"b*\" has a wildcard",
            ),
        ],
    );
}

#[test]
fn an_empty_allow_policy_allows_nothing_and_an_empty_rule_everything() {
    let nothing = authorization("{}");
    assert_eq!(nothing.action, AuthorizationAction::Allow);
    assert!(nothing.rules.is_empty());
    assert_eq!(nothing.target, PolicyTarget::Namespace);
    let everything = authorization("{rules: [{}]}");
    assert_eq!(everything.rules, [Default::default()]);
}

#[test]
fn every_part_of_a_rule_is_read() {
    let policy = authorization(
        "{action: DENY, selector: {matchLabels: {app: web}}, rules: [{\
         from: [{source: {principals: ['td/ns/a/sa/b', '*'], notNamespaces: [x], ipBlocks: [10.0.0.0/8], \
         notRemoteIpBlocks: ['::1']}}, {source: {serviceAccounts: [web, shop/cart]}}], \
         to: [{operation: {hosts: ['*.example.com'], ports: ['8080'], methods: [GET], \
         paths: [/a*, '/b/{*}/c', '/d/{**}']}}], \
         when: [{key: 'request.headers[X-User]', values: [me]}, {key: source.ip, notValues: [10.1.0.0/16]}, \
         {key: destination.port, values: ['80']}, {key: 'request.auth.claims[realm][roles]', values: [admin]}, \
         {key: source.serviceAccount, values: [web]}]}]}",
    );
    assert_eq!(policy.action, AuthorizationAction::Deny);
    assert!(matches!(&policy.target, PolicyTarget::Workloads(labels) if labels["app"] == "web"));
    let rule = &policy.rules[0];
    let source = &rule.from[0];
    assert_eq!(source.principals, exactly(&["td/ns/a/sa/b", "*"]));
    assert_eq!(source.principals.any_of[1], ValueMatch::Present);
    assert_eq!(source.namespaces.none_of, [ValueMatch::Exact("x".into())]);
    assert_eq!(
        source.ip_blocks.any_of,
        [IpBlock::parse("10.0.0.0/8").expect("it is one")]
    );
    assert_eq!(
        source.remote_ip_blocks.none_of,
        [IpBlock::parse("::1").expect("it is one")]
    );
    let account = |namespace: &str, name: &str| ServiceAccountMatch {
        namespace: namespace.into(),
        name: name.into(),
    };
    assert_eq!(
        rule.from[1].service_accounts.any_of,
        [account("default", "web"), account("shop", "cart")]
    );
    let operation = &rule.to[0];
    assert_eq!(
        operation.hosts.any_of,
        [ValueMatch::Suffix(".example.com".into())]
    );
    assert_eq!(operation.ports.any_of, [8080]);
    assert_eq!(
        operation.paths.any_of,
        [
            PathMatch::Value(ValueMatch::Prefix("/a".into())),
            PathMatch::Template("/b/{*}/c".into()),
            PathMatch::Template("/d/{**}".into()),
        ]
    );
    let block = IpBlock::parse("10.1.0.0/16").expect("it is one");
    let expected = [
        Condition::Text(TextAttribute::Header("X-User".into()), exactly(&["me"])),
        Condition::Address(
            AddressAttribute::Source,
            Among {
                any_of: vec![],
                none_of: vec![block],
            },
        ),
        Condition::Port(Among {
            any_of: vec![80],
            none_of: vec![],
        }),
        Condition::Text(
            TextAttribute::Claim(vec!["realm".into(), "roles".into()]),
            exactly(&["admin"]),
        ),
        Condition::ServiceAccount(Among {
            any_of: vec![account("default", "web")],
            none_of: vec![],
        }),
    ];
    assert_eq!(rule.when, expected);
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    let rule = |rule: &str| format!("{{rules: [{rule}]}}");
    let table = [
        (
            "{action: DENY}",
            "spec.rules",
            "DENY without rules never acts",
        ),
        (
            "{action: CUSTOM, provider: {name: a}}",
            "spec.rules",
            "CUSTOM without rules never acts",
        ),
        (
            "{action: CUSTOM, rules: [{}]}",
            "spec.provider",
            "CUSTOM needs somebody to ask",
        ),
        (
            "{provider: {name: a}}",
            "spec.provider",
            "only the action CUSTOM asks",
        ),
        (
            "{action: CUSTOM, provider: {name: a}, rules: [{when: [{key: source.principal, values: [a]}]}]}",
            "spec.rules[0].when[0]",
            "source.principal cannot be used with the action CUSTOM",
        ),
        (
            "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}",
            "spec",
            "selector and targetRefs exclude one another",
        ),
        (
            "{targetRefs: [{kind: Service, name: ''}]}",
            "spec.targetRefs[0].name",
            "the name is empty",
        ),
        (
            "{targetRefs: [{kind: Pod, name: a}]}",
            "spec.targetRefs[0]",
            "a policy cannot be for Pod of core",
        ),
        (
            "{targetRef: {kind: Service, name: a, namespace: b}}",
            "spec.targetRef.namespace",
            "a policy is for objects of its own namespace",
        ),
    ];
    finds(Level::Error, "AuthorizationPolicy", &table);
    let rules = [
        ("{from: []}", "spec.rules[0].from", "from is empty"),
        ("{to: []}", "spec.rules[0].to", "to is empty"),
        (
            "{from: [{}]}",
            "spec.rules[0].from[0].source",
            "required, but missing",
        ),
        (
            "{from: [{source: {}}]}",
            "spec.rules[0].from[0].source",
            "the source is empty",
        ),
        (
            "{to: [{operation: {hosts: []}}]}",
            "spec.rules[0].to[0].operation",
            "the operation is empty",
        ),
        (
            "{to: [{operation: {hosts: ['']}}]}",
            "spec.rules[0].to[0].operation.hosts[0]",
            "it is empty",
        ),
        (
            "{to: [{operation: {ports: [a]}}]}",
            "spec.rules[0].to[0].operation.ports[0]",
            "\"a\" is no port",
        ),
        (
            "{to: [{operation: {ports: ['+1']}}]}",
            "spec.rules[0].to[0].operation.ports[0]",
            "\"+1\" is no port",
        ),
        (
            "{to: [{operation: {paths: ['/{*}/{a}']}}]}",
            "spec.rules[0].to[0].operation.paths[0]",
            "\"/{*}/{a}\" is no path of a policy",
        ),
        (
            "{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}",
            "spec.rules[0].from[0].source",
            "serviceAccounts cannot be together",
        ),
        (
            "{from: [{source: {serviceAccounts: [a/b/c]}}]}",
            "spec.rules[0].from[0].source.serviceAccounts[0]",
            "\"a/b/c\" is no service account",
        ),
        (
            "{from: [{source: {ipBlocks: [10.0.0.0/33]}}]}",
            "spec.rules[0].from[0].source.ipBlocks[0]",
            "\"10.0.0.0/33\" is not an IP address",
        ),
        (
            "{when: [{values: [a]}]}",
            "spec.rules[0].when[0].key",
            "required, but missing",
        ),
        (
            "{when: [{key: source.ip}]}",
            "spec.rules[0].when[0].values",
            "source.ip is compared with nothing",
        ),
        (
            "{when: [{key: source.ip, values: [a]}]}",
            "spec.rules[0].when[0].values[0]",
            "\"a\" is not an IP",
        ),
        (
            "{when: [{key: a, values: [a]}]}",
            "spec.rules[0].when[0].key",
            "\"a\" is no attribute; use one of",
        ),
        (
            "{when: [{key: 'request.headers[]', values: [a]}]}",
            "spec.rules[0].when[0].key",
            "\"request.headers[]\" lacks what it is about",
        ),
        (
            "{when: [{key: destination.namespace, values: [a]}]}",
            "spec.rules[0].when[0].key",
            "\"destination.namespace\" is no attribute; a policy acts in",
        ),
    ];
    for (text, field, message) in rules {
        finds(
            Level::Error,
            "AuthorizationPolicy",
            &[(&rule(text), field, message)],
        );
    }
}

#[test]
fn a_deny_rule_that_only_http_can_match_is_warned_about() {
    let warns = |spec: &str| {
        let (_, warnings) = outcome("AuthorizationPolicy", spec).expect(spec);
        warnings
            .iter()
            .any(|warning| warning.message.contains("it denies all of them"))
    };
    assert!(warns(
        "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}"
    ));
    assert!(warns(
        "{action: DENY, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}"
    ));
    assert!(!warns(
        "{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}]}"
    ));
    assert!(!warns(
        "{action: DENY, rules: [{from: [{source: {namespaces: [a]}}]}]}"
    ));
    assert!(!warns(
        "{action: ALLOW, rules: [{to: [{operation: {methods: [GET]}}]}]}"
    ));
}

#[test]
fn trying_out_is_for_allow_and_deny() {
    let dry = |kind: &str, value: &str, spec: &str| {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: {kind}\nmetadata: {{name: x, annotations: \
             {{istio.io/dry-run: '{value}'}}}}\nspec: {spec}\n"
        );
        match parse(Path::new("x.yaml"), &text) {
            Ok(parsed) => match &parsed[0].object.spec {
                Spec::AuthorizationPolicy(policy) => Ok(policy.dry_run),
                other => panic!("{other:?}"),
            },
            Err(findings) => Err(findings[0].message.clone()),
        }
    };
    assert_eq!(dry("AuthorizationPolicy", "true", "{}"), Ok(true));
    assert_eq!(dry("AuthorizationPolicy", "F", "{}"), Ok(false));
    let refusals = [
        dry("AuthorizationPolicy", "yes", "{}"),
        dry("AuthorizationPolicy", "true", "{action: AUDIT}"),
        dry("PeerAuthentication", "true", "{}"),
    ];
    for (refusal, expected) in
        refusals
            .iter()
            .zip(["neither yes nor no", "only ALLOW and DENY", "only an Auth"])
    {
        let message = refusal.as_ref().expect_err("it is refused");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn request_authentication() {
    let Spec::RequestAuthentication(policy) = unenforced(
        "RequestAuthentication",
        "{jwtRules: [{issuer: me, audiences: [a], jwksUri: 'https://example.com/keys', fromHeaders: [{name: x, \
         prefix: 'B '}], fromParams: [t], fromCookies: [c], outputPayloadToHeader: p, outputClaimToHeaders: \
         [{header: h, claim: c}], forwardOriginalToken: true, timeout: 2s}, {issuer: you}, \
         {issuer: they, jwks: '{\"keys\": [{\"kty\": \"RSA\"}]}'}]}",
    ) else {
        panic!("it is one")
    };
    let rule = &policy.rules[0];
    assert_eq!(rule.keys, JwtKeys::Url("https://example.com/keys".into()));
    assert_eq!(rule.from_headers, [("x".into(), "B ".into())]);
    assert_eq!(rule.claim_headers, [("h".into(), "c".into())]);
    assert!(rule.forward_token);
    assert_eq!(rule.timeout, Some(Duration::from_secs(2)));
    assert_eq!(policy.rules[1].keys, JwtKeys::Discovered);
    assert!(matches!(&policy.rules[2].keys, JwtKeys::Inline(keys) if keys.contains("RSA")));
    let rules = [
        ("{}", "issuer", "nothing says whose tokens"),
        ("{issuer: ''}", "issuer", "it is empty"),
        (
            "{issuer: a, audiences: ['']}",
            "audiences[0]",
            "it is empty",
        ),
        (
            "{issuer: a, jwksUri: 'ftp://a'}",
            "jwksUri",
            "\"ftp://a\" is no URL",
        ),
        (
            "{issuer: a, jwks: no keys}",
            "jwks",
            "this is no JSON Web Key Set",
        ),
        (
            "{issuer: a, jwks: '{}', jwksUri: 'https://a'}",
            "jwks",
            "this is no JSON Web Key Set",
        ),
        (
            "{issuer: a, fromHeaders: [{prefix: a}]}",
            "fromHeaders[0].name",
            "required, but missing",
        ),
        (
            "{issuer: a, outputClaimToHeaders: [{header: 'a b', claim: c}]}",
            "outputClaimToHeaders[0].header",
            "\"a b\" is no name",
        ),
        ("{issuer: a, timeout: 1us}", "timeout", ""),
    ];
    for (text, field, message) in rules {
        let spec = format!("{{jwtRules: [{text}]}}");
        let findings = outcome("RequestAuthentication", &spec).expect_err(text);
        let found = findings.iter().any(|finding| {
            finding.field == format!("spec.jwtRules[0].{field}")
                && finding.message.starts_with(message)
        });
        assert!(found, "{text}: {findings:?}");
    }
}
