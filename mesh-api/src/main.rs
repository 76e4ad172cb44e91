//! The mesh's control plane: flags, identity, then [`mesh_api::start`].

use std::io::{self, Write as _};
use std::process::ExitCode;

use mesh_api::{Args, Command, Settings};
use mesh_identity::client::obtain;
use mesh_process::{Process, args, exit, run, run_parsed, write_addresses};

fn main() -> ExitCode {
    let args = match args::load::<Args>(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return run::refuse("mesh-api", &error),
    };
    match args.command {
        None => run_parsed("mesh-api", args, serve),
        Some(Command::Token) => print_token(&args),
    }
}

fn print_token(args: &Args) -> ExitCode {
    let printed = args.token().map_err(anyhow::Error::new);
    match printed.and_then(|token| Ok(writeln!(io::stdout(), "{}", token.as_str())?)) {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(error) => {
            // Nothing is left to do if even that fails.
            let _ = writeln!(io::stderr(), "mesh-api: {error:#}");
            ExitCode::from(exit::FAILED)
        }
    }
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
