//! Gateway and ListenerSet: listeners and addresses.

use std::collections::BTreeSet;

use super::Reader;
use crate::schema::address;
use crate::yaml::Cursor;

impl Reader {
    pub(super) fn kube_gateway(&mut self, spec: &Cursor<'_>) {
        self.listeners(spec);
        self.addresses(spec);
        if let Some(infrastructure) = spec.get("infrastructure") {
            for field in ["labels", "annotations"] {
                let count = infrastructure.each_entry(field).count();
                if count > 8
                    && let Some(at) = infrastructure.get(field)
                {
                    let message =
                        format!("there are {count} {field}, at most 8 are taken; remove some");
                    self.report.error(&at, message);
                }
            }
        }
        if let Some(frontend) = spec.get("tls").and_then(|tls| tls.get("frontend")) {
            let mut seen = BTreeSet::new();
            for entry in frontend.each("perPort") {
                if !seen.insert(super::port_of(&entry)) {
                    self.report
                        .error(&entry, "the port stands here twice; remove one of them");
                }
            }
        }
    }

    /// Each listener by itself, then all of them together.
    pub(super) fn listeners(&mut self, spec: &Cursor<'_>) {
        self.no_repeats(spec, "listeners");
        let mut seen = BTreeSet::new();
        for at in spec.each("listeners") {
            let protocol = at.text("protocol").to_ascii_uppercase();
            self.kube_listener(&at, &protocol);
            let place = (super::port_of(&at), protocol, at.text("hostname"));
            if !seen.insert(place) {
                self.report.error(
                    &at,
                    "another listener has the same port, protocol and hostname; change one of them",
                );
            }
        }
    }

    fn kube_listener(&mut self, at: &Cursor<'_>, protocol: &str) {
        let tls = at.get("tls");
        let mode = tls.as_ref().map_or("", |tls| tls.text("mode"));
        match (protocol, &tls) {
            ("HTTP" | "TCP" | "UDP", Some(tls)) => {
                let message = format!("{protocol} has no TLS; remove tls, or change the protocol");
                self.report.error(tls, message);
            }
            ("HTTPS", Some(tls)) if mode == "Passthrough" => self.report.error(
                tls,
                "HTTPS is read by the gateway, so the mode must be Terminate; for Passthrough use the protocol TLS",
            ),
            ("TLS", None) => self
                .report
                .missing(at, "tls", "the protocol TLS needs tls with a mode; add it"),
            _ => {}
        }
        if let ("TCP" | "UDP", Some(hostname)) = (protocol, at.get("hostname")) {
            let message = format!("{protocol} knows no hosts; remove hostname");
            self.report.error(&hostname, message);
        }
        let Some(tls) = tls else {
            return;
        };
        let has_options = tls.each_entry("options").next().is_some();
        if mode != "Passthrough" && !has_options && tls.each("certificateRefs").next().is_none() {
            self.report.error(
                &tls,
                "the mode Terminate needs a certificate to show; give certificateRefs, or use Passthrough",
            );
        }
        if tls.each_entry("options").count() > 16 {
            self.report
                .error(&tls, "there are more than 16 options; remove some");
        }
    }

    fn addresses(&mut self, spec: &Cursor<'_>) {
        let mut seen = BTreeSet::new();
        for at in spec.each("addresses") {
            let kind = match at.text("type") {
                "" => "IPAddress",
                kind => kind,
            };
            let value = at.text("value");
            self.check(&at, address(kind, value));
            if matches!(kind, "IPAddress" | "Hostname")
                && !value.is_empty()
                && !seen.insert((kind, value))
            {
                self.report
                    .error(&at, "the address stands here twice; remove one of them");
            }
        }
    }
}
