//! `trafficPolicy` of a DestinationRule. It is not acted on yet, but what Istio refuses is refused
//! here too.

use super::Reader;
use crate::yaml::Cursor;

/// What a policy can be about, for the whole host or for one port.
const PARTS: [&str; 4] = ["connectionPool", "loadBalancer", "outlierDetection", "tls"];

impl Reader {
    pub(super) fn traffic_policy(&mut self, policy: &Cursor<'_>) {
        self.needs_one_of(
            policy,
            &[
                "loadBalancer",
                "connectionPool",
                "outlierDetection",
                "tls",
                "portLevelSettings",
                "tunnel",
                "proxyProtocol",
                "retryBudget",
            ],
        );
        self.policy_parts(policy);
        for port in policy.each("portLevelSettings") {
            self.needs_one_of(&port, &PARTS);
            self.policy_parts(&port);
        }
    }

    fn policy_parts(&mut self, policy: &Cursor<'_>) {
        if let Some(pool) = policy.get("connectionPool") {
            self.needs_one_of(&pool, &["tcp", "http"]);
        }
        if let Some(tls) = policy.get("tls") {
            self.client_tls(&tls);
        }
        if let Some(balancer) = policy.get("loadBalancer") {
            self.load_balancer(&balancer);
        }
    }

    fn load_balancer(&mut self, balancer: &Cursor<'_>) {
        self.exclusive(balancer, &["warmup", "warmupDurationSecs"]);
        self.exclusive(balancer, &["localityLbSetting", "zoneAwareLbSetting"]);
        let table_size = balancer
            .get("consistentHash")
            .and_then(|hash| hash.get("maglev"))
            .and_then(|maglev| maglev.get("tableSize"));
        if let Some(at) = table_size
            && let Some(size) = at.node.as_integer()
            && !is_table_size(size)
        {
            let message = format!(
                "{size} is no size of a Maglev table; use a prime number up to {LARGEST_TABLE}, such as \
                 65537"
            );
            self.report.error(&at, message);
        }
        for setting in ["localityLbSetting", "zoneAwareLbSetting"] {
            if let Some(locality) = balancer.get(setting) {
                self.locality(&locality);
            }
        }
    }

    fn locality(&mut self, locality: &Cursor<'_>) {
        self.exclusive(locality, &["distribute", "failover"]);
        self.exclusive(locality, &["distribute", "failoverPriority"]);
        for rule in locality.each("distribute") {
            let shares: Vec<i64> = rule
                .each_entry("to")
                .filter_map(|(_, share)| share.node.as_integer())
                .collect();
            if !shares.is_empty() && (shares.iter().sum::<i64>() != 100 || shares.contains(&0)) {
                let at = rule.get("to").unwrap_or(rule);
                self.report.error(
                    &at,
                    "shares are percentages above 0; let them add up to 100",
                );
            }
        }
        for rule in locality.each("failover") {
            if rule.text("from") == rule.text("to") {
                self.report.error(
                    &rule,
                    "a region cannot fail over to itself; name another one",
                );
            }
            if rule.text("from").contains('/') || rule.text("to").contains('/') {
                self.report.error(
                    &rule,
                    "a failover is between regions; name them without zones",
                );
            }
        }
    }
}

const LARGEST_TABLE: i64 = 5_000_011;

fn is_table_size(size: i64) -> bool {
    let is_prime = size >= 2 && (2..).take_while(|n| n * n <= size).all(|n| size % n != 0);
    is_prime && size <= LARGEST_TABLE
}
