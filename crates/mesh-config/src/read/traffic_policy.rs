//! `trafficPolicy` of a DestinationRule.

use std::collections::BTreeSet;

use super::{Reader, is_set, length, switch, texts, whole};
use crate::analysis::NOT_ACTED_ON;
use crate::model::{
    Algorithm, ConnectionPool, ConsistentHash, Distribute, HashCookie, HashKey, HashTable,
    Keepalive, LoadBalancer, LocalitySetting, OutlierDetection, PolicyParts, TrafficPolicy, Warmup,
};
use crate::rules;
use crate::yaml::{Cursor, Value, quoted};

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
        self.exclusive(policy, &["tunnel", "proxyProtocol"]);
        if let Some(target) = policy
            .get("tunnel")
            .and_then(|tunnel| tunnel.get("targetHost"))
        {
            let host = target.node.as_str().unwrap_or_default();
            self.check(&target, rules::domain_or_ip(host));
        }
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
                self.connection_pool(&pool);
                connection_pool(&pool)
            }),
            outlier_detection: policy.get("outlierDetection").map(|outlier| {
                self.local_failures(&outlier);
                outlier_detection(&outlier)
            }),
            tls: policy.get("tls").map(|tls| self.client_tls(&tls)),
        }
    }

    /// What goes together in a connection pool, also in one of a Sidecar.
    pub(super) fn connection_pool(&mut self, pool: &Cursor<'_>) {
        self.needs_one_of(pool, &["tcp", "http"]);
        if let Some(http) = pool.get("http")
            && http.text("h2UpgradePolicy") == "UPGRADE"
            && switch(&http, "useClientProtocol") == Some(true)
            && let Some(at) = http.get("useClientProtocol")
        {
            let message = "h2UpgradePolicy: UPGRADE chooses another protocol than the client's; keep one of them";
            self.report.error(&at, message);
        }
    }

    fn local_failures(&mut self, outlier: &Cursor<'_>) {
        if let Some(at) = outlier.get("consecutiveLocalOriginFailures")
            && at.node.as_integer() != Some(0)
            && switch(outlier, "splitExternalLocalOriginErrors") != Some(true)
        {
            let message =
                "it counts only with splitExternalLocalOriginErrors: true; add that, or remove it";
            self.report.error(&at, message);
        }
    }

    fn load_balancer(&mut self, balancer: &Cursor<'_>) -> LoadBalancer {
        self.exclusive(balancer, &["warmup", "warmupDurationSecs"]);
        self.exclusive(balancer, &["localityLbSetting", "zoneAwareLbSetting"]);
        let hash = balancer.get("consistentHash");
        if let Some(hash) = &hash {
            self.hash_table(hash);
        }
        for setting in ["localityLbSetting", "zoneAwareLbSetting"] {
            if let Some(locality) = balancer.get(setting) {
                self.locality(&locality);
            }
        }
        if balancer.text("simple") == "PASSTHROUGH"
            && let Some(at) = balancer.get("simple")
        {
            let message = "it is not acted on: requests go to the less busy of two endpoints, because no address \
                           but the host's own is asked for";
            self.report.tell(&NOT_ACTED_ON, &at, message);
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

    fn hash_table(&mut self, hash: &Cursor<'_>) {
        if hash.get("maglev").is_some() || hash.get("ringHash").is_some() {
            let old = hash
                .get("minimumRingSize")
                .filter(|size| size.node.as_integer() != Some(0));
            if let Some(at) = old {
                let message = "the size stands in ringHash or maglev; remove this one";
                self.report.error(&at, message);
            }
        }
        let Some(maglev) = hash.get("maglev") else {
            return;
        };
        let Some(at) = maglev.get("tableSize") else {
            let message = "a Maglev table needs its size; write tableSize: 65537";
            self.report.missing(&maglev, "tableSize", message);
            return;
        };
        if let Some(size) = at.node.as_integer()
            && !is_table_size(size)
        {
            let message = format!(
                "{size} is no size of a Maglev table; use a prime number below {TOO_LARGE_TABLE}, such as \
                 65537"
            );
            self.report.error(&at, message);
        }
    }

    fn locality(&mut self, locality: &Cursor<'_>) {
        const TOPOLOGY: [&str; 3] = [
            "topology.kubernetes.io/region",
            "topology.kubernetes.io/zone",
            "topology.istio.io/subzone",
        ];
        self.exclusive(locality, &["distribute", "failover"]);
        if is_set(locality, "distribute")
            && is_set(locality, "failoverPriority")
            && let Some(at) = locality.get("failoverPriority")
        {
            self.report.warn(
                &at,
                "distribute says it all, so that this is not looked at; keep one",
            );
        }
        if is_set(locality, "failover") {
            for at in locality.each("failoverPriority") {
                if at
                    .node
                    .as_str()
                    .is_some_and(|label| TOPOLOGY.contains(&label))
                {
                    let message = "failover orders the localities already; use other labels, or remove failover";
                    self.report.error(&at, message);
                }
            }
        }
        let sources = locality.each("distribute");
        self.localities(sources.filter_map(|rule| {
            let from = rule.get("from")?;
            Some((from.node.as_str().unwrap_or_default().to_owned(), from))
        }));
        for rule in locality.each("distribute") {
            let shares = rule.each_entry("to");
            self.localities(shares.map(|(entry, share)| (entry.key.clone(), share.at_key(entry))));
            let shares: Vec<i64> = rule
                .each_entry("to")
                .filter_map(|(_, share)| share.node.as_integer())
                .collect();
            if shares.iter().sum::<i64>() != 100 || shares.contains(&0) {
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
            if rule.text("from").contains('*') || rule.text("to").contains('*') {
                self.report.error(
                    &rule,
                    "a failover is between two regions; name them without *",
                );
            }
        }
    }

    /// Localities are `REGION/ZONE/SUBZONE`, with `*` at the end at most, and none comes after one that covers it.
    fn localities<'a>(&mut self, localities: impl Iterator<Item = (String, Cursor<'a>)>) {
        let mut seen = BTreeSet::new();
        for (text, at) in localities {
            if text.split('/').any(str::is_empty) {
                let message = format!(
                    "{} has an empty part; write REGION, REGION/ZONE or REGION/ZONE/SUBZONE",
                    quoted(&text)
                );
                self.report.error(&at, message);
                continue;
            }
            if text.find('*').is_some_and(|star| star + 1 < text.len()) {
                let message = format!(
                    "in {} the * is not at the end; it stands there only",
                    quoted(&text)
                );
                self.report.error(&at, message);
                continue;
            }
            // `us`, `us/*` and `*` cover `us/east`.
            let ends = text.match_indices('/').take(2).map(|(end, _)| end);
            let mut covers =
                ends.flat_map(|end| [text[..end].to_owned(), format!("{}/*", &text[..end])]);
            if seen.contains("*") || seen.contains(&text) || covers.any(|wide| seen.contains(&wide))
            {
                let message = format!(
                    "{} is covered by one before it; put it in front of that one, or remove it",
                    quoted(&text)
                );
                self.report.error(&at, message);
            }
            seen.insert(text);
        }
    }
}

/// What Istio takes is below this.
const TOO_LARGE_TABLE: i64 = 5_000_011;

/// The bounds come first: the search for a divisor takes as many steps as the size's root.
fn is_table_size(size: i64) -> bool {
    let fits = (2..TOO_LARGE_TABLE).contains(&size);
    fits && (2..).take_while(|n| n * n <= size).all(|n| size % n != 0)
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
    let consecutive_5xx = whole(outlier, "consecutive5xxErrors");
    let gateway: Option<u32> = whole(outlier, "consecutiveGatewayErrors");
    // What both replaced: it was about 502, 503 and 504 only.
    let is_new = consecutive_5xx.is_some() || gateway.is_some();
    let older = whole(outlier, "consecutiveErrors").filter(|_| !is_new);
    OutlierDetection {
        consecutive_5xx: consecutive_5xx.or(older.and(Some(0))),
        consecutive_gateway_errors: gateway.or(older),
        split_local_errors: switch(outlier, "splitExternalLocalOriginErrors").unwrap_or_default(),
        consecutive_local_failures: whole(outlier, "consecutiveLocalOriginFailures"),
        interval: length(outlier, "interval"),
        base_ejection_time: length(outlier, "baseEjectionTime"),
        max_ejection_percent: whole(outlier, "maxEjectionPercent").filter(|share| *share > 0),
        min_health_percent: whole(outlier, "minHealthPercent").unwrap_or_default(),
    }
}
