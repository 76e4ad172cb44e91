//! `networking.istio.io` WorkloadGroup and WorkloadEntry.

use std::collections::BTreeMap;

use super::service::narrow;
use super::{Reader, text_map};
use crate::model::{WorkloadEntry, WorkloadGroup};
use crate::rules;
use crate::yaml::{Cursor, quoted};

impl Reader {
    pub(super) fn workload_group(&mut self, spec: &Cursor<'_>) -> WorkloadGroup {
        let mut labels = spec
            .get("metadata")
            .map(|metadata| text_map(&metadata, "labels"))
            .unwrap_or_default();
        if let Some(probe) = spec.get("probe") {
            self.needs_one_of(&probe, &["httpGet", "tcpSocket", "exec", "grpc"]);
        }
        let Some(template) = spec.get("template") else {
            return WorkloadGroup::default();
        };
        // As Istio: the entry's own labels win over the group's metadata.
        labels.extend(text_map(&template, "labels"));
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
            ports: workload_ports(&template),
            locality: template.text("locality").to_owned(),
            weight: weight(&template),
        }
    }

    pub(super) fn workload_entry(&mut self, spec: &Cursor<'_>) -> WorkloadEntry {
        self.workload_address(spec);
        entry_of(spec)
    }

    /// The address of a workload that was written down by hand, and what does not go with it.
    pub(super) fn workload_address(&mut self, spec: &Cursor<'_>) {
        let address = spec.text("address");
        match spec.get("address") {
            Some(_) if address.is_empty() && !spec.text("network").is_empty() => {}
            Some(at) => self.check(&at, workload_address(address)),
            None if spec.text("network").is_empty() => self.report.missing(
                spec,
                "address",
                "address is missing; give the IP address or the DNS name of the workload",
            ),
            None => self.report.warn(
                spec,
                "without an address there is nothing to call: gateways between networks are not acted \
                 on by this version",
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
            if let Some(ports) = spec.get("ports") {
                self.report
                    .error(&ports, "a Unix socket has no ports; remove them");
            }
        }
    }
}

/// A WorkloadEntry, or an endpoint of a ServiceEntry, which has the same fields.
pub(super) fn entry_of(spec: &Cursor<'_>) -> WorkloadEntry {
    WorkloadEntry {
        address: spec.text("address").to_owned(),
        labels: text_map(spec, "labels"),
        service_account: spec.text("serviceAccount").to_owned(),
        ports: workload_ports(spec),
        locality: spec.text("locality").to_owned(),
        weight: weight(spec),
    }
}

/// Whether an address is that of a Unix socket.
pub(super) fn is_socket(address: &str) -> bool {
    address.starts_with("unix://")
}

fn weight(map: &Cursor<'_>) -> Option<u32> {
    let weight = map.get("weight")?.node.as_integer()?;
    // The table has seen to the range. Istio takes 0 as not said.
    u32::try_from(weight).ok().filter(|weight| *weight > 0)
}

/// Port names and numbers.
fn workload_ports(map: &Cursor<'_>) -> BTreeMap<String, u16> {
    map.each_entry("ports")
        .filter_map(|(entry, value)| {
            let number = value.node.as_integer().and_then(narrow)?;
            Some((entry.key.clone(), number))
        })
        .collect()
}

/// An IP address, a DNS name, or Istio's `unix://PATH`.
fn workload_address(text: &str) -> rules::Verdict {
    if is_socket(text) {
        return rules::socket_path(text);
    }
    rules::domain_or_ip(text)
}
