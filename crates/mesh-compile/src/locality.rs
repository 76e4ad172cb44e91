//! Which endpoints a client prefers: shares of localities, and priorities by nearness, as Istio computes them.

use std::collections::BTreeMap;

use mesh_config::model::LocalitySetting;
use mesh_xds::Locality;
use mesh_xds::envoy::endpoint::{LbEndpoint, LocalityLbEndpoints};
use mesh_xds::envoy::protobuf::UInt32Value;

use crate::client::Client;
use crate::destination_rule::Policy;
use crate::workload::Labels;

/// Labels that stand for where a workload runs.
const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

/// An endpoint, where it runs, and its labels.
pub(crate) struct Placed<'a> {
    pub(crate) endpoint: LbEndpoint,
    pub(crate) locality: &'a Locality,
    pub(crate) labels: &'a Labels,
}

/// The endpoints of one locality and priority.
struct Group<'a> {
    locality: &'a Locality,
    priority: u32,
    share: u32,
    members: Vec<Placed<'a>>,
}

/// Whether a cluster is to look at the shares of localities.
pub(crate) fn has_shares(policy: &Policy) -> bool {
    let Some(setting) = setting(policy) else {
        return false;
    };
    let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
    !setting.distribute.is_empty() || policy.parts.outlier_detection.is_some() && fails_over
}

/// Endpoints by locality, in the order in which the client prefers them. There is at least one locality, and it
/// has a weight: gRPC's clients ask for both.
pub(crate) fn arrange(
    endpoints: Vec<Placed<'_>>,
    client: &Client,
    policy: &Policy,
) -> Vec<LocalityLbEndpoints> {
    let nowhere = Locality::default();
    let mut by_locality: BTreeMap<&Locality, Vec<Placed<'_>>> = BTreeMap::new();
    for endpoint in endpoints {
        let known = by_locality.entry(endpoint.locality).or_default();
        known.push(endpoint);
    }
    if by_locality.is_empty() {
        by_locality.insert(&nowhere, Vec::new());
    }
    let groups = by_locality.into_iter().map(|(locality, members)| Group {
        locality,
        priority: 0,
        share: weight(&members),
        members,
    });
    let mut groups: Vec<_> = groups.collect();
    if let Some(setting) = setting(policy) {
        if !setting.distribute.is_empty() {
            distribute(&mut groups, client, &setting);
        } else if policy.parts.outlier_detection.is_some() {
            groups = by_labels(groups, client, &setting.failover_priority);
            if setting.failover_priority.is_empty() || !setting.failover.is_empty() {
                by_nearness(&mut groups, client, &setting.failover);
            }
        }
    }
    groups.into_iter().map(Group::into_message).collect()
}

/// What the rule says about localities, else the mesh's own setting; `None` if they don't count.
fn setting(policy: &Policy) -> Option<LocalitySetting> {
    let balancer = policy.parts.load_balancer.as_ref();
    match balancer.and_then(|balancer| balancer.locality.as_ref()) {
        Some(setting) => setting.enabled.then(|| setting.clone()),
        None => Some(LocalitySetting::default()),
    }
}

fn weight(members: &[Placed<'_>]) -> u32 {
    let weight = |placed: &Placed<'_>| {
        let given = placed.endpoint.load_balancing_weight.as_ref();
        given.map_or(1, |weight| weight.value)
    };
    members
        .iter()
        .map(weight)
        .fold(0, u32::saturating_add)
        .max(1)
}

/// Shares of the rule for the client's locality. Where several localities fit one entry, they share it by their
/// weights; one that fits none gets nothing.
fn distribute(groups: &mut [Group<'_>], client: &Client, setting: &LocalitySetting) {
    let mut rules = setting.distribute.iter();
    let Some(rule) = rules.find(|rule| client.locality.is_in(&rule.from)) else {
        return;
    };
    let mut taken = vec![false; groups.len()];
    for (pattern, share) in &rule.to {
        let fits = |(group, taken): &(&mut Group<'_>, &mut bool)| {
            !**taken && group.locality.is_in(pattern)
        };
        let mut fitting: Vec<_> = groups.iter_mut().zip(&mut taken).filter(fits).collect();
        let total: u64 = fitting
            .iter()
            .map(|(group, _)| u64::from(group.share))
            .sum();
        for (group, taken) in &mut fitting {
            let part = (u64::from(group.share) * u64::from(*share)).div_ceil(total.max(1));
            group.share = u32::try_from(part).unwrap_or(u32::MAX);
            **taken = true;
        }
    }
    for (group, taken) in groups.iter_mut().zip(taken) {
        if !taken {
            group.members.clear();
        }
    }
}

/// Splits localities by how many labels in a row their endpoints have in common with the client.
fn by_labels<'a>(groups: Vec<Group<'a>>, client: &Client, labels: &[String]) -> Vec<Group<'a>> {
    if labels.is_empty() {
        return groups;
    }
    let differs = |placed: &Placed<'_>, label: &String| {
        let (key, wanted) = match label.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (
                label.as_str(),
                label_of(&client.labels, &client.locality, label),
            ),
        };
        wanted.unwrap_or_default()
            != label_of(placed.labels, placed.locality, key).unwrap_or_default()
    };
    let mut split = Vec::new();
    for group in groups {
        let mut by_priority: BTreeMap<usize, Vec<Placed<'_>>> = BTreeMap::new();
        for placed in group.members {
            let first = labels.iter().position(|label| differs(&placed, label));
            let priority = first.map_or(0, |first| labels.len() - first);
            by_priority.entry(priority).or_default().push(placed);
        }
        split.extend(by_priority.into_iter().map(|(priority, members)| Group {
            locality: group.locality,
            priority: u32::try_from(priority).unwrap_or(u32::MAX),
            share: weight(&members),
            members,
        }));
    }
    close_gaps(&mut split);
    split
}

fn label_of<'a>(labels: &'a Labels, locality: &'a Locality, key: &str) -> Option<&'a str> {
    let [region, zone, subzone] = TOPOLOGY;
    let place = match key {
        _ if labels.contains_key(key) => return labels.get(key).map(String::as_str),
        key if key == region => &locality.region,
        key if key == zone => &locality.zone,
        key if key == subzone => &locality.subzone,
        _ => return None,
    };
    Some(place)
        .filter(|place| !place.is_empty())
        .map(String::as_str)
}

/// The nearer to the client, the sooner; `failover` names the regions that come before others.
fn by_nearness(groups: &mut [Group<'_>], client: &Client, failover: &[(String, String)]) {
    let own = &client.locality;
    let target = failover.iter().find(|(from, _)| *from == own.region);
    for group in &mut *groups {
        let at = group.locality;
        let nearness = match target {
            _ if (&at.region, &at.zone, &at.subzone) == (&own.region, &own.zone, &own.subzone) => 0,
            _ if (&at.region, &at.zone) == (&own.region, &own.zone) => 1,
            _ if at.region == own.region => 2,
            Some((_, to)) if at.region != *to => 4,
            _ => 3,
        };
        // Labels count for more.
        group.priority = group.priority * 5 + nearness;
    }
    close_gaps(groups);
}

/// Priorities are numbered without gaps.
fn close_gaps(groups: &mut [Group<'_>]) {
    let mut known: Vec<u32> = groups.iter().map(|group| group.priority).collect();
    known.sort_unstable();
    known.dedup();
    for group in groups {
        let place = known.binary_search(&group.priority).unwrap_or_default();
        group.priority = u32::try_from(place).unwrap_or(u32::MAX);
    }
}

impl Group<'_> {
    fn into_message(self) -> LocalityLbEndpoints {
        LocalityLbEndpoints {
            locality: Some(self.locality.to_message()),
            load_balancing_weight: Some(UInt32Value { value: self.share }),
            priority: self.priority,
            lb_endpoints: self.members.into_iter().map(|one| one.endpoint).collect(),
            ..LocalityLbEndpoints::default()
        }
    }
}
