//! A proxy's whole life, from no identity to the end of the last request: the body of `mesh-agent` and of
//! `mesh-gateway`.

use std::path::Path;

use anyhow::Context as _;
use mesh_identity::client::{self, JoinSettings};
use mesh_process::{Process, write_addresses};

use crate::{Settings, start};

/// Gets an identity, starts the proxy, tells in `addresses_file` what was bound, and returns when all is
/// over. A stop before there is anything to stop is no error.
///
/// # Errors
///
/// If there is no identity to be had, the proxy cannot start, or the file cannot be written.
pub async fn serve(
    join: JoinSettings,
    settings: Settings,
    addresses_file: Option<&Path>,
    process: Process,
) -> anyhow::Result<()> {
    let shutdown = process.shutdown.clone();
    let identity = match client::obtain(join, async move { shutdown.wait().await }).await {
        Ok(identity) => identity,
        Err(client::Error::Stopped) => return Ok(()),
        Err(error) => return Err(error).context("cannot get an identity"),
    };
    let proxy = start(settings, identity, process).await?;
    write_addresses(addresses_file, &proxy.addresses)?;
    proxy.wait().await;
    Ok(())
}
