//! Rates on nodes and edges: which response counts as what, and how the numbers add up.
//!
//! The rules are Kiali's, see `graph/protocol.go` there: 2xx is what remains of the total, 3xx is no
//! error, and gRPC may carry an HTTP status where it never got to speak gRPC. [`super::kiali`] prints
//! them.

use std::collections::BTreeMap;

/// What an edge speaks. An edge carries exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Rates are requests or messages per second.
    Grpc,
    /// Rates are requests per second.
    Http,
    /// Rates are bytes per second.
    Tcp,
}

impl Protocol {
    /// In the order in which a node lists them.
    pub const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::Tcp];

    /// As in the label `request_protocol`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
        }
    }

    /// The protocol of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Protocol> {
        Protocol::ALL
            .into_iter()
            .find(|known| known.as_str() == name)
    }
}

/// What a response counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Fine,
    NoResponse,
    Redirect,
    ClientError,
    ServerError,
    GrpcError,
}

impl Class {
    fn of(protocol: Protocol, code: &str) -> Class {
        match (protocol, code, code.as_bytes().first()) {
            (Protocol::Tcp, ..) | (_, "", _) => Class::Fine,
            (_, "-", _) => Class::NoResponse,
            (Protocol::Http, _, Some(b'3')) => Class::Redirect,
            (Protocol::Http, _, Some(b'4')) => Class::ClientError,
            (Protocol::Http, _, Some(b'5')) => Class::ServerError,
            (Protocol::Http, ..) | (Protocol::Grpc, "0", _) => Class::Fine,
            // Three digits are an HTTP status: of these only 4xx and 5xx are errors.
            (Protocol::Grpc, _, Some(b'4' | b'5')) if code.len() == 3 => Class::GrpcError,
            (Protocol::Grpc, ..) if code.len() == 3 => Class::Fine,
            (Protocol::Grpc, ..) => Class::GrpcError,
        }
    }
}

/// A total and what of it went wrong, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Everything.
    pub total: f64,
    /// No response was sent.
    pub no_response: f64,
    /// HTTP 3xx.
    pub redirects: f64,
    /// HTTP 4xx.
    pub client_errors: f64,
    /// HTTP 5xx.
    pub server_errors: f64,
    /// gRPC statuses other than 0.
    pub grpc_errors: f64,
}

impl Rates {
    fn add(&mut self, class: Class, rate: f64) {
        self.total += rate;
        match class {
            Class::Fine => {}
            Class::NoResponse => self.no_response += rate,
            Class::Redirect => self.redirects += rate,
            Class::ClientError => self.client_errors += rate,
            Class::ServerError => self.server_errors += rate,
            Class::GrpcError => self.grpc_errors += rate,
        }
    }

    fn merge(&mut self, other: &Rates) {
        self.total += other.total;
        self.no_response += other.no_response;
        self.redirects += other.redirects;
        self.client_errors += other.client_errors;
        self.server_errors += other.server_errors;
        self.grpc_errors += other.grpc_errors;
    }

    /// The share of errors in percent.
    #[must_use]
    pub fn percent_errors(&self) -> f64 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let errors = self.no_response + self.client_errors + self.server_errors + self.grpc_errors;
        errors / self.total * 100.0
    }
}

/// What came back under one response code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Responses {
    /// Per second, whatever the flags and hosts.
    pub rate: f64,
    /// Per response flags, `-` for none.
    pub flags: BTreeMap<String, f64>,
    /// Per host that was called.
    pub hosts: BTreeMap<String, f64>,
}

/// The traffic of an edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeTraffic {
    /// Totals and errors.
    pub rates: Rates,
    /// By response code, `-` where there is none.
    pub responses: BTreeMap<String, Responses>,
}

impl EdgeTraffic {
    /// Adds one series. Rates that are not above zero leave no trace.
    pub fn add(&mut self, protocol: Protocol, rate: f64, code: &str, flags: &str, host: &str) {
        if rate.is_nan() || rate <= 0.0 {
            return;
        }
        self.rates.add(Class::of(protocol, code), rate);
        let shown = if protocol == Protocol::Tcp || code.is_empty() {
            "-"
        } else {
            code
        };
        let responses = self.responses.entry(shown.to_owned()).or_default();
        responses.rate += rate;
        if !flags.is_empty() {
            *responses.flags.entry(flags.to_owned()).or_default() += rate;
        }
        if !host.is_empty() {
            *responses.hosts.entry(host.to_owned()).or_default() += rate;
        }
    }

    /// Adds all of another edge, as when two edges become one.
    pub fn merge(&mut self, other: &EdgeTraffic) {
        self.rates.merge(&other.rates);
        for (code, theirs) in &other.responses {
            let ours = self.responses.entry(code.clone()).or_default();
            ours.rate += theirs.rate;
            for (flags, rate) in &theirs.flags {
                *ours.flags.entry(flags.clone()).or_default() += rate;
            }
            for (host, rate) in &theirs.hosts {
                *ours.hosts.entry(host.clone()).or_default() += rate;
            }
        }
    }
}

/// What goes into and out of a node under one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct InOut {
    /// Into the node.
    pub inbound: Rates,
    /// Out of the node, total only.
    pub outbound: f64,
}

/// The traffic of a node, by protocol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeTraffic(BTreeMap<Protocol, InOut>);

impl NodeTraffic {
    /// What went in and out under a protocol.
    #[must_use]
    pub fn get(&self, protocol: Protocol) -> InOut {
        self.0.get(&protocol).copied().unwrap_or_default()
    }

    /// Adds to what goes into the node.
    pub fn add_inbound(&mut self, protocol: Protocol, rate: f64, code: &str) {
        if rate > 0.0 {
            let inbound = &mut self.0.entry(protocol).or_default().inbound;
            inbound.add(Class::of(protocol, code), rate);
        }
    }

    /// Adds to what goes out of the node.
    pub fn add_outbound(&mut self, protocol: Protocol, rate: f64) {
        if rate > 0.0 {
            self.0.entry(protocol).or_default().outbound += rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EdgeTraffic, NodeTraffic, Protocol};

    #[test]
    fn http_errors_are_no_response_4xx_and_5xx() {
        let mut edge = EdgeTraffic::default();
        for (code, rate) in [
            ("200", 5.0),
            ("301", 1.0),
            ("404", 1.0),
            ("503", 2.0),
            ("-", 1.0),
        ] {
            edge.add(Protocol::Http, rate, code, "-", "web");
        }
        assert_eq!(edge.rates.total, 10.0);
        assert_eq!(edge.rates.redirects, 1.0);
        assert_eq!(edge.rates.percent_errors(), 40.0);
        assert_eq!(edge.responses["503"].flags["-"], 2.0);
        assert_eq!(edge.responses["503"].hosts["web"], 2.0);
    }

    #[test]
    fn grpc_knows_its_own_statuses_and_http_codes() {
        let mut edge = EdgeTraffic::default();
        let codes = [
            ("0", 6.0),
            ("14", 1.0),
            ("200", 1.0),
            ("503", 1.0),
            ("-", 1.0),
        ];
        for (code, rate) in codes {
            edge.add(Protocol::Grpc, rate, code, "-", "");
        }
        assert_eq!(edge.rates.grpc_errors, 2.0);
        assert_eq!(edge.rates.no_response, 1.0);
        assert_eq!(edge.rates.percent_errors(), 30.0);
        assert!(edge.responses["0"].hosts.is_empty());
    }

    #[test]
    fn messages_and_bytes_have_no_code() {
        let mut edge = EdgeTraffic::default();
        edge.add(Protocol::Grpc, 3.0, "", "", "web");
        edge.add(Protocol::Tcp, 4.0, "", "-", "web");
        assert_eq!(edge.rates.percent_errors(), 0.0);
        assert_eq!(edge.responses["-"].rate, 7.0);
    }

    #[test]
    fn nothing_and_nonsense_leave_no_trace() {
        let mut edge = EdgeTraffic::default();
        let mut node = NodeTraffic::default();
        for rate in [0.0, -1.0, f64::NAN] {
            edge.add(Protocol::Http, rate, "200", "-", "web");
            node.add_inbound(Protocol::Http, rate, "200");
            node.add_outbound(Protocol::Http, rate);
        }
        assert_eq!(edge, EdgeTraffic::default());
        assert_eq!(node, NodeTraffic::default());
        assert_eq!(edge.rates.percent_errors(), 0.0);
    }

    #[test]
    fn merging_adds_every_breakdown() {
        let mut one = EdgeTraffic::default();
        one.add(Protocol::Http, 1.0, "200", "-", "a");
        let mut two = EdgeTraffic::default();
        two.add(Protocol::Http, 2.0, "200", "-", "b");
        two.add(Protocol::Http, 3.0, "500", "UF", "b");
        one.merge(&two);
        assert_eq!(one.rates.total, 6.0);
        assert_eq!(one.rates.server_errors, 3.0);
        assert_eq!(one.responses["200"].rate, 3.0);
        assert_eq!(one.responses["200"].hosts.len(), 2);
    }
}
