//! `networking.istio.io` WorkloadGroup and WorkloadEntry.

use std::collections::BTreeMap;

use super::Reader;
use super::service::narrow;
use crate::model::{WorkloadEntry, WorkloadGroup};
use crate::rules;
use crate::yaml::{Cursor, quoted};

impl Reader {
    pub(super) fn workload_group(&mut self, spec: &Cursor<'_>) -> WorkloadGroup {
        let mut labels = self.labels(
            spec.get("metadata")
                .and_then(|at| at.get("labels"))
                .as_ref(),
        );
        let Some(template) = spec.get("template") else {
            return WorkloadGroup::default();
        };
        // As Istio: the entry's own labels win over the group's metadata.
        labels.extend(self.labels(template.get("labels").as_ref()));
        let service_account = match template.text("serviceAccount") {
            "" => "default",
            given => given,
        };
        if let Some(account) = template.get("serviceAccount") {
            self.check(&account, rules::dns_subdomain(service_account));
        }
        WorkloadGroup {
            labels,
            service_account: service_account.to_owned(),
            ports: self.workload_ports(&template),
        }
    }

    pub(super) fn workload_entry(&mut self, spec: &Cursor<'_>) -> WorkloadEntry {
        let address = spec.text("address");
        match spec.get("address") {
            Some(at) => self.check(&at, workload_address(address)),
            None => self.report.missing(
                spec,
                "address",
                "address is missing; give the IP address or the DNS name of the workload",
            ),
        }
        if let Some(path) = address.strip_prefix("unix://") {
            let message = format!(
                "Unix sockets are not called yet, so nothing goes to {}",
                quoted(path)
            );
            if let Some(at) = spec.get("address") {
                self.report.warn(&at, message);
            }
        }
        WorkloadEntry {
            address: address.to_owned(),
            labels: self.labels(spec.get("labels").as_ref()),
            service_account: spec.text("serviceAccount").to_owned(),
            ports: self.workload_ports(spec),
        }
    }

    /// Port names and numbers.
    fn workload_ports(&mut self, map: &Cursor<'_>) -> BTreeMap<String, u16> {
        let mut ports = BTreeMap::new();
        for (entry, value) in map.each_entry("ports") {
            self.check(
                &value.clone().at_key(entry),
                rules::workload_port_name(&entry.key),
            );
            if let Some(number) = value.node.as_integer().and_then(narrow) {
                ports.insert(entry.key.clone(), number);
            }
        }
        ports
    }
}

/// An IP address, a DNS name, or Istio's `unix://PATH`.
fn workload_address(text: &str) -> rules::Verdict {
    match text.strip_prefix("unix://") {
        Some(path) if path.starts_with(['/', '@']) => Ok(()),
        Some(path) => Err(format!(
            "{} is not an absolute path; a socket's address is unix:///path or unix://@name",
            quoted(path)
        )),
        None => rules::domain_or_ip(text),
    }
}
