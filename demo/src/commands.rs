//! The three commands: everything, `play` and `up`. Each starts a fleet and stops it again, whatever comes.

use std::path::Path;
use std::process::ExitCode;

use mesh_process::{Shutdown, exit};
use tokio::signal::unix::{SignalKind, signal};

use crate::acts;
use crate::acts::report::Play;
use crate::cli::{Cli, Command, FleetArgs, Output};
use crate::fleet::Fleet;
use crate::fleet::compose::engine::EngineError;
use crate::fleet::site::Site;
use crate::fleet::state::StateFile;
use crate::say::Say;

/// Runs the command until it is done or a signal stops it.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let stop = Shutdown::new();
    stop.on_signals()?;
    // A terminal that is closed is a Ctrl-C too.
    let mut hangup = signal(SignalKind::hangup())?;
    let hung_up = stop.clone();
    tokio::spawn(async move {
        hangup.recv().await;
        hung_up.trigger();
    });
    match cli.command {
        None => everything(&cli.fleet, &stop).await,
        Some(Command::Play { fleet, output }) => play(&fleet, output, &stop).await,
        Some(Command::Up { fleet, state }) => up(&fleet, &state, &stop).await,
    }
}

async fn everything(args: &FleetArgs, stop: &Shutdown) -> anyhow::Result<ExitCode> {
    let say = Say::Aloud;
    let Some(mut fleet) = Fleet::prepare(args, stop, say).await? else {
        return Ok(interrupted(say));
    };
    let mut passed = true;
    let outcome = async {
        let site = fleet.start(say).await?;
        // A failed act leaves the fleet up too: now is the time to look at it.
        passed = acts::play(&site, say).await.passed;
        addresses(&site, say);
        stay(&mut fleet, &site, say).await;
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        () = stop.wait() => Ok(()),
    };
    let outcome = outcome.map(|()| passed);
    finish(fleet, outcome, say).await
}

async fn play(args: &FleetArgs, output: Output, stop: &Shutdown) -> anyhow::Result<ExitCode> {
    let say = match output {
        Output::Text => Say::Aloud,
        Output::Json => Say::Aside,
    };
    let played = async {
        let Some(mut fleet) = Fleet::prepare(args, stop, say).await? else {
            return Ok(None);
        };
        let outcome = tokio::select! {
            outcome = async {
                let site = fleet.start(say).await?;
                Ok(Some(acts::play(&site, say).await))
            } => outcome,
            () = stop.wait() => Ok(None),
        };
        fleet.stop(say).await;
        outcome
    };
    let played: anyhow::Result<Option<Play>> = played.await;
    let play = match &played {
        Ok(Some(play)) => play,
        Ok(None) => &Play::cancelled(&anyhow::anyhow!("a signal has stopped the play")),
        Err(error) => &Play::cancelled(error),
    };
    if output == Output::Json {
        Say::Aloud.line(serde_json::to_string_pretty(play)?);
    } else if let Some(error) = &play.error {
        Say::Aside.line(format!("demo: {error}"));
    } else if play.passed {
        say.line("\nThe play has passed.");
    } else {
        say.line("\nThe play has FAILED. To read whole logs, play it again with --log-dir DIR.");
    }
    Ok(match &played {
        Err(error) => failed(error),
        Ok(_) => code(play.passed),
    })
}

async fn up(args: &FleetArgs, state: &Path, stop: &Shutdown) -> anyhow::Result<ExitCode> {
    let say = Say::Aloud;
    StateFile::clear(state)?;
    let Some(mut fleet) = Fleet::prepare(args, stop, say).await? else {
        return Ok(interrupted(say));
    };
    let outcome = async {
        let site = fleet.start(say).await?;
        let _file = fleet.publish(&site, state)?;
        addresses(&site, say);
        stay(&mut fleet, &site, say).await;
        Ok(true)
    };
    let outcome = tokio::select! {
        outcome = outcome => outcome,
        () = stop.wait() => Ok(true),
    };
    finish(fleet, outcome, say).await
}

/// The exit code of an error.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(if error.is::<EngineError>() {
        exit::UNAVAILABLE
    } else {
        exit::FAILED
    })
}

/// Waits for ever, and tells of every part that ends unasked.
async fn stay(fleet: &mut Fleet, site: &Site, say: Say) {
    let mut deaths = site.deaths.subscribe();
    let mut told = 0;
    loop {
        let news = deaths.borrow_and_update()[told..].to_vec();
        told += news.len();
        for death in news {
            fleet.forget(&death);
            say.line(format!("{death}; its log: {}", site.logs.of(&death.name)));
        }
        if deaths.changed().await.is_err() {
            // The site holds the sender.
            return;
        }
    }
}

fn addresses(site: &Site, say: Say) {
    say.line("\nThe fleet is up.");
    let mut places = vec![
        ("gateway", site.gateway.clone()),
        ("load balancer", site.loadbalancer.clone()),
        ("config API", site.api.clone()),
        ("graph", site.graph_url()),
        ("as a live page", site.page_url()),
    ];
    places.extend(
        site.prometheus
            .iter()
            .map(|url| ("Prometheus", url.clone())),
    );
    places.push(("logs", site.logs.to_string()));
    for (what, place) in places {
        say.line(format!("  {what:<15} {place}"));
    }
    say.line("Press Ctrl-C to stop it.");
}

async fn finish(fleet: Fleet, outcome: anyhow::Result<bool>, say: Say) -> anyhow::Result<ExitCode> {
    say.line("\nStopping the fleet ...");
    fleet.stop(say).await;
    outcome.map(code)
}

fn interrupted(say: Say) -> ExitCode {
    say.line("Stopped before the fleet was started.");
    code(true)
}

fn code(well: bool) -> ExitCode {
    ExitCode::from(if well { exit::DONE } else { exit::FAILED })
}
