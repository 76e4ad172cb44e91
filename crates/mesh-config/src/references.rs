//! An object held against the others: does what it names exist?

use crate::config::{Config, DOMAIN, age, resolve_host, service_host, split_host};
use crate::finding::{Finding, Level};
use crate::model::{
    HttpDestination, Kind, Object, Protocol, Service, ServicePort, SharedObject, Spec,
    VirtualService,
};
use crate::suggest::suggest;

/// What is wrong with an object among the others of `config`, which may or may not hold it.
///
/// A destination that no Service has, a port that its Service has not, and a subset that the
/// DestinationRules of its host do not have are errors. What may still come is a warning: a
/// DestinationRule for a host that has none yet, and a Gateway. So is a Service's port for which sidecars do
/// not listen, because an older Service has the same address and port.
pub fn check_references(config: &Config, object: &Object) -> Vec<Finding> {
    let mut check = Check {
        config,
        object,
        findings: Vec::new(),
    };
    match &object.spec {
        Spec::VirtualService(spec) => check.virtual_service(spec),
        Spec::DestinationRule(spec) => check.destination_rule(&spec.host),
        Spec::Service(spec) => check.service(spec),
        _ => {}
    }
    check.findings
}

/// [`check_references`] for every object of a configuration.
pub fn check_all(config: &Config) -> Vec<Finding> {
    config
        .iter()
        .flat_map(|object| check_references(config, object))
        .collect()
}

struct Check<'a> {
    config: &'a Config,
    object: &'a Object,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn find(&mut self, level: Level, field: String, message: String) {
        self.findings
            .push(Finding::about(level, self.object, field, message));
    }

    fn namespace(&self) -> &str {
        &self.object.metadata.namespace
    }

    fn virtual_service(&mut self, spec: &VirtualService) {
        for (g, gateway) in spec.gateways.iter().enumerate() {
            self.gateway(gateway, format!("spec.gateways[{g}]"));
        }
        for (h, host) in spec.hosts.iter().enumerate() {
            self.speaks_http(host, spec, format!("spec.hosts[{h}]"));
        }
        for (h, route) in spec.http.iter().enumerate() {
            for (m, entry) in route.matches.iter().enumerate() {
                for (g, gateway) in entry.gateways.iter().enumerate() {
                    self.gateway(gateway, format!("spec.http[{h}].match[{m}].gateways[{g}]"));
                }
            }
            for (r, destination) in route.route.iter().enumerate() {
                self.destination(
                    destination,
                    &format!("spec.http[{h}].route[{r}].destination"),
                );
            }
        }
    }

    /// HTTP routes change nothing for a service whose bytes nobody looks into.
    fn speaks_http(&mut self, host: &str, spec: &VirtualService, field: String) {
        let host = resolve_host(host, self.namespace());
        let Some((_, service)) = self.config.service(&host) else {
            return;
        };
        let opaque = |port: &ServicePort| port.protocol() == Protocol::Opaque;
        if !spec.http.is_empty() && !service.ports.is_empty() && service.ports.iter().all(opaque) {
            let message = format!(
                "{host} has opaque TCP ports only, and http routes do not apply to them; if it speaks HTTP, say so \
                 with http at the beginning of the port's name, or with its appProtocol"
            );
            self.find(Level::Warning, field, message);
        }
    }

    fn gateway(&mut self, name: &str, field: String) {
        if name == "mesh" || self.config.gateway(name, self.namespace()).is_some() {
            return;
        }
        let full = match name.split_once('/') {
            Some(_) => name.to_owned(),
            None => format!("{}/{name}", self.namespace()),
        };
        let message = format!(
            "there is no Gateway {full} yet; until it comes, nothing enters the mesh through it"
        );
        self.find(Level::Warning, field, message);
    }

    fn destination(&mut self, destination: &HttpDestination, field: &str) {
        let host = resolve_host(&destination.host, self.namespace());
        match self.config.service(&host) {
            None if self.config.service_entry(&host).is_some() => {
                if let Some(subset) = &destination.subset {
                    self.subset(subset, &host, format!("{field}.subset"));
                }
            }
            None => {
                let message = self.unknown_host(&destination.host, &host);
                self.find(Level::Error, format!("{field}.host"), message);
            }
            Some((_, service)) => {
                if let Some(message) = port_is_missing(service, destination, &host) {
                    self.find(Level::Error, format!("{field}.port.number"), message);
                }
                if let Some(subset) = &destination.subset {
                    self.subset(subset, &host, format!("{field}.subset"));
                }
            }
        }
    }

    fn unknown_host(&self, written: &str, host: &str) -> String {
        if let Some(meant) = self.meant(written, host) {
            return format!("no Service has the host {host}; did you mean {meant}?");
        }
        match split_host(host) {
            Some((name, namespace)) => format!(
                "no Service has the host {host}; apply a Service {name} in the namespace {namespace} \
                 first, or correct the host"
            ),
            None => format!(
                "no Service has the host {host}; a short name stands for a Service of this object's \
                 namespace, a full one ends in .svc.{DOMAIN}"
            ),
        }
    }

    /// The host that was probably meant by one that does not exist.
    fn meant(&self, written: &str, host: &str) -> Option<String> {
        // `reviews.default`: Istio takes it as a full name.
        let completed = format!("{written}.svc.{DOMAIN}");
        if self.config.service(&completed).is_some() {
            return Some(completed);
        }
        let (name, namespace) = split_host(host)?;
        let mut same_name = self
            .config
            .services()
            .filter(|(service, _)| service.metadata.name == name);
        if let Some((service, _)) = same_name.next() {
            return Some(service.host());
        }
        let neighbours = self
            .config
            .in_namespace(Kind::Service, namespace)
            .map(|service| service.metadata.name.as_str());
        suggest(name, neighbours).map(|near| service_host(near, namespace))
    }

    fn subset(&mut self, subset: &str, host: &str, field: String) {
        let mut known: Vec<&str> = Vec::new();
        let mut has_rule = false;
        for (object, rule) in self.config.destination_rules() {
            if resolve_host(&rule.host, &object.metadata.namespace) == host {
                has_rule = true;
                known.extend(rule.subsets.iter().map(|subset| subset.name.as_str()));
            }
        }
        if known.contains(&subset) {
            return;
        }
        if !has_rule {
            let message = format!(
                "no DestinationRule defines the subset {subset} of {host} yet; until one does, \
                 requests for it are answered with 503"
            );
            self.find(Level::Warning, field, message);
            return;
        }
        let message = match suggest(subset, known.iter().copied()) {
            Some(near) => {
                format!("{host} has no subset {subset}; did you mean {near}?")
            }
            None if known.is_empty() => format!(
                "{host} has no subset {subset}; add it to its DestinationRule, which has no subsets"
            ),
            None => format!(
                "{host} has no subset {subset}; its DestinationRules define {}",
                known.join(", ")
            ),
        };
        self.find(Level::Error, field, message);
    }

    fn service(&mut self, spec: &Service) {
        let address = spec.address(&self.object.host());
        let own = self.object.key();
        for (p, port) in spec.ports.iter().enumerate() {
            let has_it = self.config.service_addresses().get(&(address, port.port));
            let is_older = |other: &&SharedObject| {
                let key = other.key();
                key != own && (age(other), &key) < (age(self.object), &own)
            };
            let Some(other) = has_it.filter(is_older) else {
                continue;
            };
            let message = format!(
                "sidecars listen at {address}:{} for {}, which is older, and not for this service; give it \
                 another clusterIP in 127.0.0.0/8",
                port.port,
                other.host()
            );
            self.find(Level::Warning, format!("spec.ports[{p}].port"), message);
        }
    }

    fn destination_rule(&mut self, host: &str) {
        let host = resolve_host(host, self.namespace());
        let is_known =
            self.config.service(&host).is_some() || self.config.service_entry(&host).is_some();
        if host.contains('*') || is_known {
            return;
        }
        let message = format!(
            "no Service or ServiceEntry has the host {host} yet; until one does, the rule has no effect"
        );
        self.find(Level::Warning, "spec.host".to_owned(), message);
    }
}

/// The sentence for a port that the service does not have.
fn port_is_missing(service: &Service, destination: &HttpDestination, host: &str) -> Option<String> {
    let port = destination.port?;
    if service.ports.iter().any(|known| known.port == port) {
        return None;
    }
    let known: Vec<String> = service
        .ports
        .iter()
        .map(|port| port.port.to_string())
        .collect();
    Some(format!(
        "{host} has no port {port}; it has {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests;
