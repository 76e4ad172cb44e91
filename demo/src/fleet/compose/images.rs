//! The images that the containers are made of: built by `docker/build`, which says how.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::command::output;
use super::project::docker;
use crate::cli::FleetArgs;
use crate::say::Say;

/// The project's own images.
pub(crate) const IMAGES: [&str; 6] = [
    "mesh-ca",
    "mesh-api",
    "mesh-agent",
    "mesh-gateway",
    "meshctl",
    "mesh-demo",
];

/// Builds the images that are missing, or all of them from a directory of programs if one was named.
pub(crate) async fn bring(args: &FleetArgs, say: Say) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for image in IMAGES {
        let there = docker(&["image", "inspect", "--format", "{{.Id}}", image]).await;
        if there.is_err() || args.bin_dir.is_some() {
            wanted.push(image);
        }
    }
    if wanted.is_empty() {
        say.line("Using the images that are there; `docker/build` makes them anew.");
        return Ok(());
    }
    if args.no_build {
        bail!(
            "there is no image {}; leave --no-build out to build it",
            wanted.join(", ")
        );
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the demo lies in a workspace")?;
    let mut argv = vec![root.join("docker/build").display().to_string()];
    if let Some(directory) = &args.bin_dir {
        let directory = std::path::absolute(directory)?;
        argv.extend(["--bin-dir".to_owned(), directory.display().to_string()]);
        say.line(format!(
            "Building the images with the programs of {} ...",
            directory.display()
        ));
    } else {
        say.line(format!(
            "Building the images {} from source, which takes minutes ...",
            wanted.join(", ")
        ));
    }
    argv.extend(wanted.iter().map(|image| (*image).to_owned()));
    output(&argv, &BTreeMap::new())
        .await
        .context("the images cannot be built")?;
    Ok(())
}
