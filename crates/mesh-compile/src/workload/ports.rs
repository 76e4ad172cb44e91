//! Which port of an application stands behind a service's port.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_config::model::TargetPort;

/// The ports on which an application listens, as far as they are known.
#[derive(Clone, Debug)]
pub(crate) struct AppPorts {
    /// What the instance says of itself; by name, or by number in decimal.
    pub(super) own: BTreeMap<String, u16>,
    /// What its group says.
    pub(super) group: Arc<BTreeMap<String, u16>>,
}

impl AppPorts {
    /// Every port that is declared: what the instance says of a name replaces what its group says.
    pub(crate) fn known(&self) -> impl Iterator<Item = u16> {
        let group = self.group.iter();
        let others = group.filter(|(name, _)| !self.own.contains_key(*name));
        self.own.iter().chain(others).map(|(_, port)| *port)
    }

    /// The port behind a service's target port; `None` if the application has none such. As for Istio's
    /// workload entries, a port under the service port's name stands for it. Who declares no ports at all has
    /// every numbered one.
    pub(crate) fn resolve(&self, target: &TargetPort, service_port: &str) -> Option<u16> {
        let (name, number) = match target {
            TargetPort::Name(name) => (name.clone(), None),
            TargetPort::Number(number) => (number.to_string(), Some(*number)),
        };
        let among = |ports: &BTreeMap<String, u16>| {
            let named = ports
                .get(&name)
                .or_else(|| ports.get(service_port))
                .copied();
            named.or_else(|| number.filter(|number| ports.values().any(|port| port == number)))
        };
        let undeclared = self.own.is_empty() && self.group.is_empty();
        among(&self.own)
            .or_else(|| among(&self.group))
            .or_else(|| number.filter(|_| undeclared))
    }
}

#[cfg(test)]
mod tests {
    use super::AppPorts;
    use mesh_config::model::TargetPort;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn ports(own: &[(&str, u16)], group: &[(&str, u16)]) -> AppPorts {
        let map = |pairs: &[(&str, u16)]| -> BTreeMap<String, u16> {
            pairs
                .iter()
                .map(|(name, port)| ((*name).to_owned(), *port))
                .collect()
        };
        AppPorts {
            own: map(own),
            group: Arc::new(map(group)),
        }
    }

    #[test]
    fn a_target_port_is_found_by_name_number_or_the_service_ports_name() {
        let number = TargetPort::Number(80);
        let name = TargetPort::Name("web".into());
        for (own, group, target, expected) in [
            (&[("80", 4711)][..], &[("80", 1)][..], &number, Some(4711)),
            (&[("http", 4711)], &[], &number, Some(4711)),
            (&[("x", 80)], &[], &number, Some(80)),
            (&[("x", 81)], &[], &number, None),
            (&[("x", 81)], &[("y", 80)], &number, Some(80)),
            (&[], &[], &number, Some(80)),
            (&[("web", 4711)], &[("web", 1)], &name, Some(4711)),
            (&[("80", 4711)], &[("web", 8080)], &name, Some(8080)),
            (&[], &[("http", 8080)], &name, Some(8080)),
            (&[], &[], &name, None),
            (&[("80", 80)], &[], &name, None),
        ] {
            let found = ports(own, group).resolve(target, "http");
            assert_eq!(found, expected, "{own:?} {group:?} {target:?}");
        }
    }
}
