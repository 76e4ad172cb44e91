//! Where a cluster's endpoints come from.

use std::sync::Arc;
use std::time::Duration;

use mesh_xds::envoy::cluster::cluster::{
    ClusterDiscoveryType, CustomClusterType, DiscoveryType, DnsLookupFamily, EdsClusterConfig,
};
use mesh_xds::envoy::dynamic_forward_proxy::cluster::ClusterConfig;
use mesh_xds::envoy::dynamic_forward_proxy::cluster::cluster_config::ClusterImplementationSpecifier;
use mesh_xds::envoy::endpoint::ClusterLoadAssignment;
use mesh_xds::envoy::protobuf;
use prost::Name;

use super::{Family, Names, Source, assignment_name};
use crate::snapshot::endpoint::{self, Assignment};
use crate::snapshot::field::{At, Refusal, length, sort_fields, unpack};

/// Envoy's default.
const REFRESH: Duration = Duration::from_secs(5);
/// Envoy's default.
const MOST_HOSTS: u32 = 1024;

/// The fields of a cluster that say so.
pub(super) struct Given<'m> {
    pub(super) name: &'m str,
    pub(super) kind: Option<&'m ClusterDiscoveryType>,
    pub(super) eds: Option<&'m EdsClusterConfig>,
    pub(super) assignment: Option<&'m ClusterLoadAssignment>,
    pub(super) refresh: Option<&'m protobuf::Duration>,
    pub(super) family: i32,
}

/// Reads the type of a cluster and what belongs to it.
pub(super) fn compile(at: &At<'_>, given: &Given<'_>) -> Result<Source, Refusal> {
    let kind = match given.kind {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(*kind).ok(),
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            return dynamic(&at.field("cluster_type"), custom);
        }
        None => Some(DiscoveryType::Static),
    };
    let assignment = given.assignment;
    match kind {
        Some(DiscoveryType::Eds) if assignment.is_some() => Err(at
            .field("load_assignment")
            .refuse("does not go with type EDS")),
        Some(DiscoveryType::Eds) => assignment_name(at, given.name, given.eds).map(Source::Eds),
        // Names are resolved whenever a connection is opened, which is what `LOGICAL_DNS` asks for.
        Some(DiscoveryType::Static | DiscoveryType::LogicalDns) => {
            static_assignment(at, assignment).map(Source::Static)
        }
        Some(DiscoveryType::StrictDns) => {
            let refresh = match given.refresh {
                None => REFRESH,
                Some(rate) => length(&at.field("dns_refresh_rate"), rate)?,
            };
            if refresh.is_zero() {
                return Err(at.field("dns_refresh_rate").refuse("must be more than 0s"));
            }
            Ok(Source::Dns(Arc::new(Names {
                assignment: static_assignment(at, assignment)?,
                refresh,
                family: family(&at.field("dns_lookup_family"), given.family)?,
            })))
        }
        _ => Err(at
            .field("type")
            .refuse("only STATIC, EDS, STRICT_DNS and LOGICAL_DNS are supported")),
    }
}

fn static_assignment(
    at: &At<'_>,
    message: Option<&ClusterLoadAssignment>,
) -> Result<Arc<Assignment>, Refusal> {
    let at = at.field("load_assignment");
    let message = message.ok_or_else(|| at.refuse("is missing"))?;
    endpoint::compile(&at, message).map(Arc::new)
}

fn family(at: &At<'_>, family: i32) -> Result<Family, Refusal> {
    Ok(match DnsLookupFamily::try_from(family) {
        Ok(DnsLookupFamily::Auto) => Family::V6Preferred,
        Ok(DnsLookupFamily::V4Only) => Family::V4Only,
        Ok(DnsLookupFamily::V6Only) => Family::V6Only,
        Ok(DnsLookupFamily::V4Preferred) => Family::V4Preferred,
        Ok(DnsLookupFamily::All) => Family::All,
        Err(_) => return Err(at.unsupported()),
    })
}

/// The dynamic forward proxy is the one cluster type by extension.
fn dynamic(at: &At<'_>, custom: &CustomClusterType) -> Result<Source, Refusal> {
    let at = at.field("typed_config");
    let any = custom.typed_config.as_ref();
    let any = any.filter(|any| any.type_url == ClusterConfig::type_url());
    let any = any.ok_or_else(|| at.refuse("must be that of a dynamic forward proxy"))?;
    let config: ClusterConfig = unpack(&at, any)?;
    sort_fields!(at, config => ClusterConfig {
        takes { cluster_implementation_specifier, allow_insecure_cluster_options }
        ignores { allow_coalesced_connections }
        refuses {}
    });
    // It lets a cluster go without checks of certificates: those that there are stay in force.
    _ = allow_insecure_cluster_options;
    let cache = match cluster_implementation_specifier {
        Some(ClusterImplementationSpecifier::DnsCacheConfig(cache)) => Some(cache),
        Some(ClusterImplementationSpecifier::SubClustersConfig(_)) => {
            return Err(at.field("sub_clusters_config").unsupported());
        }
        None => None,
    };
    let most = cache.and_then(|cache| cache.max_hosts);
    let most = most.map_or(MOST_HOSTS, |most| most.value);
    Ok(Source::Dynamic {
        most: usize::try_from(most).unwrap_or(usize::MAX),
        nothing: Arc::default(),
    })
}
