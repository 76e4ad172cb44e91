//! The hop chain that every answer carries: who answered, whom it asked for that, and what went wrong.

use serde::{Deserialize, Serialize};

/// One app's part in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hop {
    /// The app, or the host that was called when nobody answered.
    pub(crate) app: String,
    /// The workload that answered; empty when nobody did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) workload: String,
    /// The version, where the app has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Whom it asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) calls: Vec<Hop>,
}

impl Hop {
    /// A call that got no usable answer.
    pub(crate) fn lost(called: &str, error: impl Into<String>) -> Self {
        Self {
            app: called.to_owned(),
            workload: String::new(),
            version: None,
            error: Some(error.into()),
            calls: Vec::new(),
        }
    }

    /// Whether anything in the chain went wrong. Such an answer is no success: a failure is shown, not hidden.
    pub(crate) fn failed(&self) -> bool {
        self.error.is_some() || self.calls.iter().any(Self::failed)
    }
}

/// What an app answers: its data and how it came by them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer<T> {
    /// What was asked for, as far as it could be had.
    pub(crate) data: T,
    /// The hop chain, beginning with the one that answers.
    pub(crate) chain: Hop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_deep_in_the_chain_fails_the_whole() {
        let mut hop = Hop {
            app: "webapp".to_owned(),
            workload: "webapp-original".to_owned(),
            version: Some("original".to_owned()),
            error: None,
            calls: vec![Hop {
                app: "api-gateway".to_owned(),
                workload: "api-gateway".to_owned(),
                version: None,
                error: None,
                calls: Vec::new(),
            }],
        };
        assert!(!hop.failed());
        hop.calls[0]
            .calls
            .push(Hop::lost("fleetman-staff-service", "503"));
        assert!(hop.failed());
    }
}
