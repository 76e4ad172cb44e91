//! `trafficPolicy` of a DestinationRule.

use super::{Reader, length, switch, texts, whole};
use crate::model::{
    Algorithm, ConnectionPool, ConsistentHash, Distribute, HashCookie, HashKey, HashTable,
    Keepalive, LoadBalancer, LocalitySetting, OutlierDetection, PolicyParts, TrafficPolicy, Warmup,
};
use crate::yaml::{Cursor, Value};

/// What a policy can be about, for the whole host or for one port.
const PARTS: [&str; 4] = ["connectionPool", "loadBalancer", "outlierDetection", "tls"];

impl Reader {
    pub(super) fn traffic_policy(&mut self, policy: &Cursor<'_>) -> TrafficPolicy {
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
        let mut ports = std::collections::BTreeMap::new();
        let parts = self.policy_parts(policy);
        for port in policy.each("portLevelSettings") {
            self.needs_one_of(&port, &PARTS);
            let parts = self.policy_parts(&port);
            let number = port
                .get("port")
                .and_then(|port| whole::<u16>(&port, "number"));
            if let Some(number) = number {
                // Of several for one port, Istio takes the first.
                ports.entry(number).or_insert(parts);
            }
        }
        TrafficPolicy {
            parts,
            ports,
            proxy_protocol: policy.get("proxyProtocol").map(|proxy| {
                let is_v2 = proxy.text("version") == "V2";
                if is_v2 { 2 } else { 1 }
            }),
        }
    }

    fn policy_parts(&mut self, policy: &Cursor<'_>) -> PolicyParts {
        PolicyParts {
            load_balancer: policy
                .get("loadBalancer")
                .map(|balancer| self.load_balancer(&balancer)),
            connection_pool: policy.get("connectionPool").map(|pool| {
                self.needs_one_of(&pool, &["tcp", "http"]);
                connection_pool(&pool)
            }),
            outlier_detection: policy
                .get("outlierDetection")
                .map(|outlier| outlier_detection(&outlier)),
            tls: policy.get("tls").map(|tls| self.client_tls(&tls)),
        }
    }

    fn load_balancer(&mut self, balancer: &Cursor<'_>) -> LoadBalancer {
        self.exclusive(balancer, &["warmup", "warmupDurationSecs"]);
        self.exclusive(balancer, &["localityLbSetting", "zoneAwareLbSetting"]);
        let hash = balancer.get("consistentHash");
        let table_size = hash
            .as_ref()
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
        let algorithm = match (hash, balancer.text("simple")) {
            (Some(hash), _) => Algorithm::ConsistentHash(consistent_hash(&hash)),
            (None, "ROUND_ROBIN") => Algorithm::RoundRobin,
            (None, "RANDOM") => Algorithm::Random,
            (None, "PASSTHROUGH") => Algorithm::Passthrough,
            _ => Algorithm::LeastRequest,
        };
        LoadBalancer {
            algorithm,
            locality: balancer
                .get("localityLbSetting")
                .map(|setting| locality(&setting)),
            warmup: warmup(balancer),
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

fn consistent_hash(hash: &Cursor<'_>) -> ConsistentHash {
    let cookie = |cookie: Cursor<'_>| HashCookie {
        name: cookie.text("name").to_owned(),
        path: cookie.text("path").to_owned(),
        ttl: length(&cookie, "ttl"),
        attributes: cookie
            .each("attributes")
            .map(|one| (one.text("name").to_owned(), one.text("value").to_owned()))
            .collect(),
    };
    let key = match (hash.text("httpHeaderName"), hash.get("httpCookie")) {
        ("", None) => match hash.text("httpQueryParameterName") {
            "" => switch(hash, "useSourceIp")
                .unwrap_or_default()
                .then_some(HashKey::SourceIp),
            name => Some(HashKey::QueryParameter(name.to_owned())),
        },
        ("", Some(at)) => Some(HashKey::Cookie(cookie(at))),
        (name, _) => Some(HashKey::Header(name.to_ascii_lowercase())),
    };
    let is_given = |size: &u64| *size > 0;
    let table = match (hash.get("maglev"), hash.get("ringHash")) {
        (Some(maglev), _) => HashTable::Maglev(whole(&maglev, "tableSize").filter(is_given)),
        (None, Some(ring)) => HashTable::Ring(whole(&ring, "minimumRingSize").filter(is_given)),
        (None, None) => HashTable::Ring(whole(hash, "minimumRingSize").filter(is_given)),
    };
    ConsistentHash { key, table }
}

fn locality(setting: &Cursor<'_>) -> LocalitySetting {
    LocalitySetting {
        enabled: switch(setting, "enabled").unwrap_or(true),
        distribute: setting
            .each("distribute")
            .map(|rule| Distribute {
                from: rule.text("from").to_owned(),
                to: rule
                    .each_entry("to")
                    .filter_map(|(entry, share)| {
                        let share = share.node.as_integer()?.try_into().ok()?;
                        Some((entry.key.clone(), share))
                    })
                    .collect(),
            })
            .collect(),
        failover: setting
            .each("failover")
            .map(|rule| (rule.text("from").to_owned(), rule.text("to").to_owned()))
            .collect(),
        failover_priority: texts(setting, "failoverPriority"),
    }
}

fn warmup(balancer: &Cursor<'_>) -> Option<Warmup> {
    if let Some(duration) = length(balancer, "warmupDurationSecs") {
        return Some(Warmup {
            duration,
            minimum_millipercent: None,
            milli_aggression: None,
        });
    }
    let warmup = balancer.get("warmup")?;
    Some(Warmup {
        duration: length(&warmup, "duration")?,
        minimum_millipercent: thousandths(&warmup, "minimumPercent"),
        milli_aggression: thousandths(&warmup, "aggression"),
    })
}

/// A number, times 1000.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the table has a lower bound of 0, and a cast to an integer ends at its largest"
)]
fn thousandths(parent: &Cursor<'_>, key: &str) -> Option<u64> {
    match &parent.get(key)?.node.value {
        Value::Number(number, _) => Some((number.as_f64()? * 1000.0).round() as u64),
        _ => None,
    }
}

fn connection_pool(pool: &Cursor<'_>) -> ConnectionPool {
    let mut read = ConnectionPool::default();
    // As in Istio, 0 is the same as nothing.
    let limit = |of: &Cursor<'_>, key: &str| whole(of, key).filter(|limit: &u32| *limit > 0);
    if let Some(tcp) = pool.get("tcp") {
        read.max_connections = limit(&tcp, "maxConnections");
        read.connect_timeout = length(&tcp, "connectTimeout");
        read.max_connection_duration = length(&tcp, "maxConnectionDuration");
        read.tcp_idle_timeout = length(&tcp, "idleTimeout");
        read.keepalive = tcp.get("tcpKeepalive").map(|keepalive| Keepalive {
            probes: limit(&keepalive, "probes"),
            time: length(&keepalive, "time"),
            interval: length(&keepalive, "interval"),
        });
    }
    if let Some(http) = pool.get("http") {
        read.http_idle_timeout = length(&http, "idleTimeout");
        read.max_pending_requests = limit(&http, "http1MaxPendingRequests");
        read.max_requests = limit(&http, "http2MaxRequests");
        read.max_requests_per_connection = limit(&http, "maxRequestsPerConnection");
        read.max_retries = limit(&http, "maxRetries");
        read.max_concurrent_streams = limit(&http, "maxConcurrentStreams");
        read.h2_upgrade = match http.text("h2UpgradePolicy") {
            "UPGRADE" => Some(true),
            "DO_NOT_UPGRADE" => Some(false),
            _ => None,
        };
        read.use_client_protocol = switch(&http, "useClientProtocol").unwrap_or_default();
    }
    read
}

fn outlier_detection(outlier: &Cursor<'_>) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: whole(outlier, "consecutive5xxErrors"),
        consecutive_gateway_errors: whole(outlier, "consecutiveGatewayErrors"),
        split_local_errors: switch(outlier, "splitExternalLocalOriginErrors").unwrap_or_default(),
        consecutive_local_failures: whole(outlier, "consecutiveLocalOriginFailures"),
        interval: length(outlier, "interval"),
        base_ejection_time: length(outlier, "baseEjectionTime"),
        max_ejection_percent: whole(outlier, "maxEjectionPercent").filter(|share| *share > 0),
        min_health_percent: whole(outlier, "minHealthPercent").unwrap_or_default(),
    }
}
