//! `security.istio.io` AuthorizationPolicy.

use super::policy::{among, blocks, values};
use super::{Reader, is_set};
use crate::model::{
    AddressAttribute, Among, AuthorizationAction, AuthorizationPolicy, AuthorizationRule,
    Condition, Operation, PathMatch, ServiceAccountMatch, Source, TextAttribute, ValueMatch,
};
use crate::rules;
use crate::yaml::Cursor;

const MOST_RULES: usize = 512;
const MOST_ACCOUNTS: usize = 16;

/// An annotation: the policy only tells what it would do.
pub(super) const DRY_RUN: &str = "istio.io/dry-run";

/// Fields that an external authorizer's rules cannot use: it decides before anybody is known.
const NOT_WITH_CUSTOM: &[&str] = &[
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
];

/// Fields that only HTTP has, so that a rule of nothing else says nothing about other bytes.
const NEEDS_HTTP: &[&str] = &["requestPrincipals", "notRequestPrincipals"];

impl Reader {
    pub(super) fn authorization_policy(
        &mut self,
        spec: &Cursor<'_>,
        root: &Cursor<'_>,
        namespace: &str,
    ) -> AuthorizationPolicy {
        let action = self.action(spec);
        let target = self.target(spec);
        self.at_most(spec, "rules", MOST_RULES);
        let rules = spec
            .each("rules")
            .map(|rule| self.authorization_rule(&rule, &action, namespace))
            .collect();
        AuthorizationPolicy {
            target,
            dry_run: self.dry_run(root, &action),
            rules,
            action,
        }
    }

    fn action(&mut self, spec: &Cursor<'_>) -> AuthorizationAction {
        let written = spec.text("action");
        let has_rules = is_set(spec, "rules");
        if matches!(written, "DENY" | "CUSTOM") && !has_rules {
            let message = format!(
                "{written} without rules never acts; write rules: [{{}}] to act on every request"
            );
            self.report.missing(spec, "rules", message);
        }
        let provider = spec.get("provider");
        let name = provider
            .as_ref()
            .map_or("", |provider| provider.text("name"));
        match (written, provider) {
            ("CUSTOM", _) if has_rules && name.is_empty() => {
                let message = "CUSTOM needs somebody to ask; give provider.name";
                self.report.missing(spec, "provider", message);
            }
            ("CUSTOM", _) | (_, None) => {}
            (_, Some(provider)) => {
                let message =
                    "only the action CUSTOM asks a provider; remove it, or change the action";
                self.report.error(&provider, message);
            }
        }
        match written {
            "DENY" => AuthorizationAction::Deny,
            "AUDIT" => AuthorizationAction::Audit,
            "CUSTOM" => AuthorizationAction::Custom(name.to_owned()),
            _ => AuthorizationAction::Allow,
        }
    }

    fn dry_run(&mut self, root: &Cursor<'_>, action: &AuthorizationAction) -> bool {
        let annotations = root
            .get("metadata")
            .and_then(|metadata| metadata.get("annotations"));
        let Some(at) = annotations.and_then(|annotations| annotations.get(DRY_RUN)) else {
            return false;
        };
        if !matches!(
            action,
            AuthorizationAction::Allow | AuthorizationAction::Deny
        ) {
            let message = "only ALLOW and DENY can be tried out; remove the annotation";
            self.report.error(&at, message);
        }
        match at.node.as_str().unwrap_or_default() {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => true,
            "0" | "f" | "F" | "false" | "False" | "FALSE" => false,
            _ => {
                self.report
                    .error(&at, "it is neither yes nor no; write \"true\" or \"false\"");
                false
            }
        }
    }

    fn authorization_rule(
        &mut self,
        rule: &Cursor<'_>,
        action: &AuthorizationAction,
        namespace: &str,
    ) -> AuthorizationRule {
        let is_custom = matches!(action, AuthorizationAction::Custom(_));
        for field in ["from", "to"] {
            if let Some(list) = rule.get(field)
                && list.items().next().is_none()
            {
                let message = format!("{field} is empty; leave it out for any, or give an entry");
                self.report.error(&list, message);
            }
        }
        self.at_most(rule, "from", MOST_RULES);
        let sources: Vec<Cursor<'_>> = rule
            .each("from")
            .filter_map(|from| from.get("source"))
            .collect();
        let operations: Vec<Cursor<'_>> = rule
            .each("to")
            .filter_map(|to| to.get("operation"))
            .collect();
        if *action == AuthorizationAction::Deny && is_http_only(&sources, &operations) {
            let message = "the rule asks for nothing but HTTP, which other bytes do not have, so it denies all of \
                           them; add the ports that it is about";
            self.report.warn(rule, message);
        }
        AuthorizationRule {
            from: sources
                .iter()
                .map(|source| self.source(source, is_custom, namespace))
                .collect(),
            to: operations
                .iter()
                .map(|operation| self.operation(operation))
                .collect(),
            when: rule
                .each("when")
                .filter_map(|when| self.authorization_condition(&when, is_custom, namespace))
                .collect(),
        }
    }

    fn source(&mut self, source: &Cursor<'_>, is_custom: bool, namespace: &str) -> Source {
        let accounts = ["serviceAccounts", "notServiceAccounts"];
        let names = ["principals", "notPrincipals", "namespaces", "notNamespaces"];
        let has = |fields: &[&str]| fields.iter().any(|field| is_set(source, field));
        if has(&accounts) && has(&names) {
            let message = "serviceAccounts cannot be together with principals or namespaces; write namespace/account, \
                           or leave one of them out";
            self.report.error(source, message);
        }
        for field in accounts {
            self.at_most(source, field, MOST_ACCOUNTS);
        }
        if is_custom {
            for field in NOT_WITH_CUSTOM.iter().filter(|field| is_set(source, field)) {
                self.not_with_custom(source, field);
            }
        }
        let means = Source {
            principals: values(source, "principals", "notPrincipals"),
            request_principals: values(source, "requestPrincipals", "notRequestPrincipals"),
            namespaces: values(source, "namespaces", "notNamespaces"),
            service_accounts: service_accounts(
                source,
                ("serviceAccounts", "notServiceAccounts"),
                namespace,
            ),
            trust_domains: values(source, "trustDomains", "notTrustDomains"),
            ip_blocks: blocks(source, "ipBlocks", "notIpBlocks"),
            remote_ip_blocks: blocks(source, "remoteIpBlocks", "notRemoteIpBlocks"),
        };
        if means == Source::default() {
            let message = "the source is empty; say who may call, or leave from out for anybody";
            self.report.error(source, message);
        }
        means
    }

    fn operation(&mut self, operation: &Cursor<'_>) -> Operation {
        let means = Operation {
            hosts: values(operation, "hosts", "notHosts"),
            ports: ports(operation, "ports", "notPorts"),
            methods: values(operation, "methods", "notMethods"),
            paths: among(operation, "paths", "notPaths", |path| {
                Some(path_match(path))
            }),
        };
        if means == Operation::default() {
            let message =
                "the operation is empty; say what is asked for, or leave to out for anything";
            self.report.error(operation, message);
        }
        means
    }

    /// One condition; nothing where it is wrong.
    fn authorization_condition(
        &mut self,
        when: &Cursor<'_>,
        is_custom: bool,
        namespace: &str,
    ) -> Option<Condition> {
        const NAMES: (&str, &str) = ("values", "notValues");
        let key = when.text("key");
        if !is_set(when, NAMES.0) && !is_set(when, NAMES.1) {
            let message = format!("{key} is compared with nothing; give values, or notValues");
            self.report.missing(when, "values", message);
            return None;
        }
        let needs_identity = matches!(
            key,
            "source.namespace"
                | "source.principal"
                | "source.serviceAccount"
                | "source.trustDomain"
        );
        if is_custom && (needs_identity || key.starts_with("request.auth.")) {
            self.not_with_custom(when, key);
        }
        let address = match key {
            "source.ip" => Some(AddressAttribute::Source),
            "remote.ip" => Some(AddressAttribute::Remote),
            "destination.ip" => Some(AddressAttribute::Destination),
            _ => None,
        };
        if let Some(attribute) = address {
            self.each_value(when, rules::subnet);
            return Some(Condition::Address(
                attribute,
                blocks(when, NAMES.0, NAMES.1),
            ));
        }
        match key {
            "destination.port" => {
                self.each_value(when, rules::port_text);
                Some(Condition::Port(ports(when, NAMES.0, NAMES.1)))
            }
            "source.serviceAccount" => {
                self.each_value(when, rules::service_account);
                let accounts = service_accounts(when, NAMES, namespace);
                Some(Condition::ServiceAccount(accounts))
            }
            _ => Some(Condition::Text(
                text_attribute(key),
                values(when, NAMES.0, NAMES.1),
            )),
        }
    }

    /// Holds each value of a condition against a rule.
    fn each_value(&mut self, when: &Cursor<'_>, rule: fn(&str) -> rules::Verdict) {
        for value in when.each("values").chain(when.each("notValues")) {
            let verdict = rule(value.node.as_str().unwrap_or_default());
            self.check(&value, verdict);
        }
    }

    fn not_with_custom(&mut self, at: &Cursor<'_>, what: &str) {
        let message = format!(
            "{what} cannot be used with the action CUSTOM, which asks before it is known who calls; leave it out"
        );
        self.report.error(at, message);
    }
}

/// Whether a rule's sources and operations leave other bytes than HTTP's without a word.
fn is_http_only(sources: &[Cursor<'_>], operations: &[Cursor<'_>]) -> bool {
    let names_peers = sources.iter().any(|source| {
        let entries = source.entries();
        entries
            .into_iter()
            .any(|(entry, _)| !NEEDS_HTTP.contains(&entry.key.as_str()))
    });
    let names_ports = operations
        .iter()
        .any(|operation| is_set(operation, "ports") || is_set(operation, "notPorts"));
    if operations.is_empty() {
        !sources.is_empty() && !names_peers
    } else {
        !names_ports
    }
}

fn ports(map: &Cursor<'_>, field: &str, negation: &str) -> Among<u16> {
    among(map, field, negation, |text| text.parse().ok())
}

fn service_accounts(
    map: &Cursor<'_>,
    (field, negation): (&str, &str),
    namespace: &str,
) -> Among<ServiceAccountMatch> {
    among(map, field, negation, |text| {
        let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
        Some(ServiceAccountMatch {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    })
}

fn path_match(path: &str) -> PathMatch {
    if rules::is_template(path) {
        PathMatch::Template(path.to_owned())
    } else {
        PathMatch::Value(ValueMatch::parse(path))
    }
}

/// The attribute of a key that the table has let pass.
fn text_attribute(key: &str) -> TextAttribute {
    let bracketed = |key: &str| -> Vec<String> {
        key.split('[')
            .skip(1)
            .map(|part| part.trim_end_matches(']').to_owned())
            .collect()
    };
    match key {
        "source.namespace" => TextAttribute::SourceNamespace,
        "source.principal" => TextAttribute::SourcePrincipal,
        "source.trustDomain" => TextAttribute::SourceTrustDomain,
        "request.auth.principal" => TextAttribute::RequestPrincipal,
        "request.auth.audiences" => TextAttribute::Audiences,
        "request.auth.presenter" => TextAttribute::Presenter,
        "connection.sni" => TextAttribute::Sni,
        _ if key.starts_with("request.headers") => TextAttribute::Header(bracketed(key).concat()),
        _ if key.starts_with("request.auth.claims") => TextAttribute::Claim(bracketed(key)),
        _ => TextAttribute::Experimental(key.to_owned()),
    }
}
