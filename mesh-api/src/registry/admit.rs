//! Who may be an endpoint: the checks on a registration, without I/O.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use mesh_compile::Instance;
use mesh_config::Config;
use mesh_identity::SpiffeId;
use mesh_xds::mesh;
use tonic::Status;

use super::table::Registered;

/// Longest name that Kubernetes gives an object, and DNS a host.
const LONGEST_NAME: usize = 253;

/// Ports that one instance may name.
const MOST_PORTS: usize = 64;

/// Checks a registration against the certificate of its sender and against the WorkloadGroups.
///
/// # Errors
///
/// A gRPC status in words for the operator: `INVALID_ARGUMENT` for a field, `NOT_FOUND` while there is no
/// such group, `PERMISSION_DENIED` for somebody else's group.
pub(crate) fn admit(
    config: &Config,
    peer: &SpiffeId,
    instance: mesh::Instance,
) -> Result<Registered, Status> {
    let process_id = instance.process_id.clone();
    if process_id.len() > LONGEST_NAME {
        return Err(Status::invalid_argument(format!(
            "process_id has {} bytes, {LONGEST_NAME} are allowed",
            process_id.len()
        )));
    }
    let instance = checked(instance)?;
    may_speak_for(config, peer, &instance.namespace, &instance.group)?;
    Ok(Registered {
        instance,
        service_account: peer.service_account().to_owned(),
        process_id,
    })
}

/// Whether a certificate belongs to members of a WorkloadGroup.
///
/// # Errors
///
/// `NOT_FOUND` while there is no such group, `PERMISSION_DENIED` for somebody else's group.
pub(crate) fn may_speak_for(
    config: &Config,
    peer: &SpiffeId,
    namespace: &str,
    group: &str,
) -> Result<(), Status> {
    if peer.namespace() != namespace {
        return Err(Status::permission_denied(format!(
            "the certificate is for {peer}, which is not in namespace {namespace}; join with a token for a service account of that namespace"
        )));
    }
    let Some((_, found)) = config.workload_group(namespace, group) else {
        return Err(Status::not_found(format!(
            "there is no WorkloadGroup {namespace}/{group}; apply it to mesh-api, or correct --workload-group"
        )));
    };
    if peer.service_account() == found.service_account {
        return Ok(());
    }
    Err(Status::permission_denied(format!(
        "WorkloadGroup {namespace}/{group} has service account {}, the certificate is for {}; join with a token for the former, or change spec.template.serviceAccount",
        found.service_account,
        peer.service_account()
    )))
}

/// Whether the instance's group still is there and still is its own.
pub(super) fn still_admitted(config: &Config, registered: &Registered) -> bool {
    let instance = &registered.instance;
    config
        .workload_group(&instance.namespace, &instance.group)
        .is_some_and(|(_, group)| group.service_account == registered.service_account)
}

fn checked(instance: mesh::Instance) -> Result<Instance, Status> {
    for (field, value) in [
        ("namespace", &instance.namespace),
        ("workload_group", &instance.workload_group),
        ("name", &instance.name),
    ] {
        if !is_dns_name(value) {
            return Err(invalid(
                field,
                value,
                "take lower-case letters, digits, - and .",
            ));
        }
    }
    if !is_address(&instance.address) {
        return Err(invalid(
            "address",
            &instance.address,
            "give an IP address or a DNS name at which other proxies reach this one (--advertise-address)",
        ));
    }
    if instance.app_ports.len() > MOST_PORTS {
        return Err(Status::invalid_argument(format!(
            "app_ports has {} ports, {MOST_PORTS} are allowed",
            instance.app_ports.len()
        )));
    }
    let mut app_ports = BTreeMap::new();
    for (name, number) in instance.app_ports {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(invalid(
                "app_ports",
                &name,
                "name a port, or give its number",
            ));
        }
        app_ports.insert(name, port("app_ports", number)?);
    }
    Ok(Instance {
        namespace: instance.namespace,
        group: instance.workload_group,
        name: instance.name,
        address: instance.address,
        inbound_port: port("inbound_port", instance.inbound_port)?,
        app_ports,
        plain_address: plain_address(&instance.plain_address)?,
    })
}

fn plain_address(text: &str) -> Result<Option<SocketAddr>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 && is_reachable(address.ip()) => Ok(Some(address)),
        _ => Err(invalid("plain_address", text, "give IP:PORT, or nothing")),
    }
}

fn port(field: &str, number: u32) -> Result<u16, Status> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(invalid(field, &number.to_string(), "ports are 1 to 65535")),
    }
}

fn invalid(field: &str, value: &str, way_out: &str) -> Status {
    let shown: String = value.chars().take(80).collect();
    Status::invalid_argument(format!("{field} cannot be {shown:?}: {way_out}"))
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>()
        .map_or_else(|_| is_dns_name(text), is_reachable)
}

fn is_reachable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

/// A DNS subdomain as Kubernetes takes it for names.
fn is_dns_name(text: &str) -> bool {
    let good = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !label.is_empty()
            && label.bytes().all(|byte| inner(byte) || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= LONGEST_NAME && text.split('.').all(good)
}
