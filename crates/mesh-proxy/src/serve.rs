//! A proxy's whole life, from no identity to the end of the last request: the body of `mesh-agent` and of
//! `mesh-gateway`.

use std::path::Path;

use anyhow::Context as _;
use mesh_identity::client::{self, JoinSettings};
use mesh_process::{Process, write_addresses};

use crate::settings::Role;
use crate::{Running, Settings, own_address, start};

/// The readiness condition of a proxy that has no identity yet, in words that complete "waiting for …".
pub const CERTIFICATE: &str = "its first certificate";

/// Runs a proxy from [`begin`] until the process is asked to stop and all is over.
///
/// # Errors
///
/// As [`begin`].
pub async fn serve(
    join: JoinSettings,
    settings: Settings,
    addresses_file: Option<&Path>,
    process: Process,
) -> anyhow::Result<()> {
    if let Some(proxy) = begin(join, settings, addresses_file, process).await? {
        proxy.wait().await;
    }
    Ok(())
}

/// Gets an identity, finds out the proxy's own address if nobody told it, starts the proxy, and tells in
/// `addresses_file` what was bound. None if a stop was asked for before there was anything to stop.
///
/// # Errors
///
/// If there is no identity to be had, nobody could reach the proxy, it cannot start, or the file cannot be
/// written.
pub async fn begin(
    join: JoinSettings,
    mut settings: Settings,
    addresses_file: Option<&Path>,
    process: Process,
) -> anyhow::Result<Option<Running>> {
    process.readiness.expect(CERTIFICATE);
    let shutdown = process.shutdown.clone();
    let stop = shutdown.clone();
    let identity = match client::obtain(join, async move { stop.wait().await }).await {
        Ok(identity) => identity,
        Err(client::Error::Stopped) => return Ok(None),
        Err(error) => return Err(error).context("cannot get an identity"),
    };
    process.readiness.set(CERTIFICATE, true);
    if settings.needs_own_address() {
        tokio::select! {
            found = find_own_address(&mut settings) => found?,
            () = shutdown.wait() => return Ok(None),
        }
    }
    let proxy = start(settings, identity, process).await?;
    write_addresses(addresses_file, &proxy.addresses)?;
    Ok(Some(proxy))
}

/// Fills in the address under which others reach the proxy.
async fn find_own_address(settings: &mut Settings) -> anyhow::Result<()> {
    let (listens, sidecar) = match &settings.role {
        Role::Sidecar(sidecar) => (sidecar.listen_inbound.ip(), true),
        Role::Gateway(_) => (settings.listen_metrics.ip(), false),
    };
    match own_address::towards(&settings.xds_address, listens).await {
        Ok(ip) => {
            let to = &settings.xds_address;
            tracing::info!(address = %ip, to, "others reach this proxy at its address on the way to the control plane");
            if sidecar && ip.is_loopback() {
                tracing::warn!(
                    "the control plane is on this machine, so nobody on another machine reaches this proxy; if \
                     somebody is to, set --advertise-address"
                );
            }
            settings.advertise_address = ip.to_string();
        }
        Err(error) if sidecar => return Err(error.into()),
        // A gateway is reached where its users say; only Prometheus will not be told of it.
        Err(error) => tracing::warn!(%error, "the gateway's metrics are announced to nobody"),
    }
    Ok(())
}
