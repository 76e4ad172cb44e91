//! The mesh's control plane: flags, identity, then [`mesh_api::start`].

use std::process::ExitCode;

use mesh_api::{Args, Settings};
use mesh_identity::client::obtain;
use mesh_process::{Process, run, write_addresses};

fn main() -> ExitCode {
    run("mesh-api", serve)
}

async fn serve(args: Args, process: Process) -> anyhow::Result<()> {
    let settings = Settings::from(&args);
    // Before the identity: a mistake in the flags must not wait for the authority.
    settings.check()?;
    let stop = process.shutdown.clone();
    let identity = obtain(args.identity.settings(), async move { stop.wait().await }).await?;
    let running = mesh_api::start(settings, identity, process).await?;
    write_addresses(args.common.addresses_file.as_deref(), &running.addresses)?;
    tracing::info!(addresses = ?running.addresses, "serving");
    running.ended().await;
    Ok(())
}
