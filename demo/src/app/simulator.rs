//! The position-simulator: drives every vehicle on its round and posts where it is and how fast it goes.

use std::time::Duration;

use axum::http::HeaderMap;
use mesh_process::Shutdown;
use tokio::time::{MissedTickBehavior, interval};

use super::call::Caller;
use super::chain::{Answer, Hop};
use super::fleet_data;

/// Posts one vehicle per `every` until the stop. One post is under way at a time, so a slow mesh slows the
/// simulator down instead of piling up requests.
pub(crate) async fn run(caller: Caller, every: Duration, shutdown: Shutdown) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let vehicles = fleet_data::roster_len();
    let mut well = true;
    for turn in 0_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.wait() => return,
        }
        let posted = tokio::select! {
            posted = post(&caller, turn, vehicles) => posted,
            () = shutdown.wait() => return,
        };
        // Only changes are logged: an outage is one line, not four a second.
        match posted {
            Ok(()) if !well => tracing::info!("the positions arrive again"),
            Err(hop) if well => {
                tracing::warn!(service = hop.app, error = hop.error, "a position got lost");
            }
            _ => continue,
        }
        well = !well;
    }
}

async fn post(caller: &Caller, turn: u64, vehicles: usize) -> Result<(), Hop> {
    let count = u64::try_from(vehicles).unwrap_or(1).max(1);
    let number = usize::try_from(turn % count).unwrap_or_default();
    let (position, telemetry) = fleet_data::drive(number, turn / count);
    // The simulator is where these traces begin, so there is nothing to hand on.
    let begin = HeaderMap::new();
    let posted = caller
        .post::<()>(&begin, "fleetman-position-tracker", "/positions", &position)
        .await?;
    well(posted)?;
    let posted = caller
        .post::<()>(
            &begin,
            "fleetman-vehicle-telemetry",
            "/telemetry",
            &telemetry,
        )
        .await?;
    well(posted)
}

fn well(posted: Answer<()>) -> Result<(), Hop> {
    if posted.chain.failed() {
        Err(posted.chain)
    } else {
        Ok(())
    }
}
