//! When a process is ready: it has bound its addresses, says that it is ready, and has not ended meanwhile.

use std::time::Duration;

use anyhow::bail;

use super::process::Spec;
use crate::client::Client;
use crate::fleet::ready::{PATIENCE, poll};
use crate::fleet::site::Site;

const POLL_EVERY: Duration = Duration::from_millis(50);

/// How many lines of a log a report shows.
const TAIL_LINES: usize = 15;

/// Returns when all of these processes are ready; fails when one has ended or takes too long, with the
/// end of its log.
pub(super) async fn all_ready(client: &Client, specs: &[Spec], site: &Site) -> anyhow::Result<()> {
    let waiting = specs.iter().map(|spec| one_ready(client, spec, site));
    tokio::select! {
        all = futures_util::future::try_join_all(waiting) => all.map(drop),
        death = site.first_death() => Err(death),
    }
}

async fn one_ready(client: &Client, spec: &Spec, site: &Site) -> anyhow::Result<()> {
    let probe = || async {
        // The file is this very process's; a listener alone could be a stranger's.
        if !spec.addresses_file.exists() {
            return Err("it has not bound its addresses".to_owned());
        }
        match client.get(&spec.ready_url).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(answer.body.trim().to_owned()),
            Err(lost) => Err(format!("{}: {lost}", spec.ready_url)),
        }
    };
    match poll(PATIENCE, POLL_EVERY, probe).await {
        Ok(()) => Ok(()),
        Err(missing) => bail!(
            "{} was not ready after {} s: {missing}; the end of {}:\n{}",
            spec.name,
            PATIENCE.as_secs(),
            site.logs.of(&spec.name),
            site.logs.tail(&spec.name, TAIL_LINES).await
        ),
    }
}
