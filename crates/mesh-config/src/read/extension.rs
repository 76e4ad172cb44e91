//! What goes together in kinds that the mesh keeps for others: `extensions.istio.io` WasmPlugin and
//! TrafficExtension, `networking.istio.io` EnvoyFilter and ProxyConfig.

use super::Reader;
use crate::model::InertKind;
use crate::yaml::Cursor;

const MOST_VARIABLES: usize = 256;
const HTTP_MANAGER: [&str; 2] = [
    "envoy.filters.network.http_connection_manager",
    "envoy.http_connection_manager",
];

impl Reader {
    /// Checks an object of a kind that has a table and no type.
    pub(super) fn inert(&mut self, inert: &InertKind, spec: &Cursor<'_>) {
        match inert.kind {
            "WasmPlugin" => {
                self.target(spec);
                self.virtual_machine(spec);
                self.traffic_ports(spec);
            }
            "TrafficExtension" => {
                self.target(spec);
                self.traffic_ports(spec);
                self.needs_one_of(spec, &["wasm", "lua"]);
                if let Some(wasm) = spec.get("wasm") {
                    self.virtual_machine(&wasm);
                }
            }
            "EnvoyFilter" => {
                self.exclusive(spec, &["workloadSelector", "targetRefs"]);
                self.target(spec);
                for patch in spec.each("configPatches") {
                    self.config_patch(&patch);
                }
            }
            "ProxyConfig" => {
                self.selector(spec);
            }
            _ => {}
        }
    }

    fn virtual_machine(&mut self, plugin: &Cursor<'_>) {
        let Some(machine) = plugin.get("vmConfig") else {
            return;
        };
        self.at_most(&machine, "env", MOST_VARIABLES);
        self.unique(machine.each("env"), "name");
        for variable in machine.each("env") {
            if variable.text("valueFrom") == "HOST"
                && let Some(value) = variable.get("value")
            {
                let message = "the value comes from the host; leave one of them out";
                self.report.error(&value, message);
            }
        }
    }

    /// Kubernetes keeps them by their numbers.
    fn traffic_ports(&mut self, plugin: &Cursor<'_>) {
        for selector in plugin.each("match") {
            let mut seen = Vec::new();
            for port in selector.each("ports").filter_map(|port| port.get("number")) {
                let number = port.node.as_integer();
                if seen.contains(&number) {
                    self.report
                        .error(&port, "this port stands here already; remove one of them");
                }
                seen.push(number);
            }
        }
    }

    fn config_patch(&mut self, patch: &Cursor<'_>) {
        let apply_to = patch.text("applyTo");
        if matches!(apply_to, "" | "INVALID") {
            let message = "nothing says what is patched; name it, for example HTTP_FILTER";
            self.report.missing(patch, "applyTo", message);
        }
        match patch.get("patch") {
            None => self
                .report
                .missing(patch, "patch", "nothing is patched; give an operation"),
            Some(change) => {
                let operation = change.text("operation");
                if matches!(operation, "" | "INVALID") {
                    let message = "nothing says how; name it, for example MERGE";
                    self.report.missing(&change, "operation", message);
                } else if operation != "REMOVE" && change.get("value").is_none() {
                    let message = format!("{operation} needs a value; give one");
                    self.report.missing(&change, "value", message);
                }
            }
        }
        if let Some(matched) = patch.get("match") {
            self.patch_match(&matched, apply_to);
        }
    }

    fn patch_match(&mut self, matched: &Cursor<'_>, apply_to: &str) {
        let waypoint = matched.get("waypoint");
        if let Some(waypoint) = &waypoint {
            if matched.text("context") != "WAYPOINT" {
                let message = "waypoint goes with context: WAYPOINT only; set it";
                self.report.error(waypoint, message);
            }
            if let Some(port) = waypoint.get("portNumber")
                && port.node.as_integer() == Some(0)
            {
                self.report
                    .error(&port, "0 is no port; ports are 1 to 65535");
            }
        }
        let fitting = match apply_to {
            "LISTENER" | "FILTER_CHAIN" | "NETWORK_FILTER" | "HTTP_FILTER" => "listener",
            "ROUTE_CONFIGURATION" | "VIRTUAL_HOST" | "HTTP_ROUTE" => "routeConfiguration",
            "CLUSTER" => "cluster",
            _ => return,
        };
        for other in ["listener", "routeConfiguration", "cluster"] {
            if other != fitting
                && let Some(at) = matched.get(other)
            {
                let message = format!("{apply_to} is found by {fitting}, not by {other}");
                self.report.error(&at, message);
            }
        }
        let filter = matched
            .get("listener")
            .and_then(|listener| listener.get("filterChain"))
            .and_then(|chain| chain.get("filter"));
        if let Some(filter) = filter {
            self.filter_match(&filter, apply_to);
        }
    }

    fn filter_match(&mut self, filter: &Cursor<'_>, apply_to: &str) {
        if filter.text("name").is_empty() {
            self.report.missing(
                filter,
                "name",
                "it matches nothing without a name; give one",
            );
            return;
        }
        let Some(inner) = filter.get("subFilter") else {
            return;
        };
        if apply_to != "HTTP_FILTER" {
            let message = "only HTTP_FILTER looks into a filter; leave it out";
            self.report.error(&inner, message);
        } else if !HTTP_MANAGER.contains(&filter.text("name")) {
            let message = format!("there are filters in {} only; name it", HTTP_MANAGER[0]);
            self.report.error(filter, message);
        } else if inner.text("name").is_empty() {
            self.report.missing(
                &inner,
                "name",
                "it matches nothing without a name; give one",
            );
        }
    }
}
