//! What the authority counts, under `mesh_ca_…`.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// How a certificate came to be issued.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    Join,
    Renew,
    /// To the authority itself.
    Own,
}

impl Method {
    const ALL: [Self; 3] = [Self::Join, Self::Renew, Self::Own];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Renew => "renew",
            Self::Own => "self",
        }
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    TokenUnknown,
    TokenUsed,
    TokenExpired,
    /// The request is malformed, weak, or asks for more than anybody gets.
    Request,
    /// It asks to be somebody else.
    Identity,
    /// A renewal without a valid certificate.
    Certificate,
    RateLimited,
    /// Our own fault.
    Internal,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::TokenUnknown,
        Self::TokenUsed,
        Self::TokenExpired,
        Self::Request,
        Self::Identity,
        Self::Certificate,
        Self::RateLimited,
        Self::Internal,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::TokenUnknown => "token_unknown",
            Self::TokenUsed => "token_used",
            Self::TokenExpired => "token_expired",
            Self::Request => "request",
            Self::Identity => "identity",
            Self::Certificate => "certificate",
            Self::RateLimited => "rate_limited",
            Self::Internal => "internal",
        }
    }
}

/// The metrics of one authority.
#[derive(Debug)]
pub(crate) struct Metrics {
    issued: IntCounterVec,
    refused: IntCounterVec,
    tokens: IntGauge,
    root_expiry: IntGauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let issued = IntCounterVec::new(
            Opts::new(
                "mesh_ca_certificates_issued_total",
                "Certificates issued, by how they were asked for.",
            ),
            &["method"],
        )?;
        let refused = IntCounterVec::new(
            Opts::new(
                "mesh_ca_requests_refused_total",
                "Requests for a certificate that were refused, by reason.",
            ),
            &["reason"],
        )?;
        let tokens = IntGauge::new(
            "mesh_ca_tokens_outstanding",
            "Join tokens that are neither used nor expired.",
        )?;
        let root_expiry = IntGauge::new(
            "mesh_ca_root_expiry_timestamp_seconds",
            "When the root certificate expires, in seconds since 1970.",
        )?;
        registry.register(Box::new(issued.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(tokens.clone()))?;
        registry.register(Box::new(root_expiry.clone()))?;
        // A series that starts at zero shows its first event as an increase.
        for method in Method::ALL {
            issued.with_label_values(&[method.label()]).inc_by(0);
        }
        for reason in Reason::ALL {
            refused.with_label_values(&[reason.label()]).inc_by(0);
        }
        Ok(Self {
            issued,
            refused,
            tokens,
            root_expiry,
        })
    }

    pub(crate) fn issued(&self, method: Method) {
        self.issued.with_label_values(&[method.label()]).inc();
    }

    pub(crate) fn refused(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.label()]).inc();
    }

    /// How many tokens could still be used.
    pub(crate) fn count_tokens(&self, outstanding: usize) {
        self.tokens
            .set(i64::try_from(outstanding).unwrap_or(i64::MAX));
    }

    pub(crate) fn root_expires(&self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.root_expiry
            .set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }
}
