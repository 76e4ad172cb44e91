//! `mesh-agent run -- CMD`: the application as the agent's child, for images and machines where nothing else starts
//! the two in order.
//!
//! Up: the proxy until it can serve, then the app, and when the app listens, the registration. Down: out of the
//! registry, then no callers any more while the app still answers those that there are, then the app, whose own
//! requests go out until it has ended, and the proxy last. [`crate::app`] is the child itself.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mesh_identity::client::JoinSettings;
use mesh_process::{Failure, Process, exit, parse_duration};
use mesh_proxy::{CERTIFICATE, Running, Settings};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use crate::app::{self, App};
use crate::args::Args;

/// The readiness condition of an app that does not listen yet, in words that complete "waiting for …".
const APP: &str = "its app to listen";
/// When what is missing is told first, and then how often.
const FIRST_WORD: Duration = Duration::from_secs(5);
const EACH_WORD: Duration = Duration::from_secs(15);
/// How often it is tried whether the app listens.
const KNOCK: Duration = Duration::from_millis(50);
/// How long what the app has left behind may take to end.
const LAST: Duration = Duration::from_secs(1);

/// Runs an app in the mesh
///
/// It is started when the mesh is ready, and its callers are led elsewhere before it is stopped. It gets all signals, and
/// its exit code is the agent's. Of --drain-timeout, callers get the first half at most, the app what is left.
#[derive(clap::Parser)]
#[command(name = "mesh-agent run", version, subcommand_negates_reqs = true, mut_arg("state_dir", |arg| arg.default_value("/var/lib/mesh/agent")))]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) agent: Args,

    /// Gives up, with exit code 69, if the mesh is not ready in time [default: waits]
    #[arg(long, env = "MESH_START_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    start_timeout: Option<Duration>,

    /// The app and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Without the app's arguments, which may hold secrets: this is logged.
impl fmt::Debug for RunArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunArgs")
            .field("agent", &self.agent)
            .field("start_timeout", &self.start_timeout)
            .field("program", &self.command.first())
            .finish_non_exhaustive()
    }
}

impl AsRef<mesh_process::CommonArgs> for RunArgs {
    fn as_ref(&self) -> &mesh_process::CommonArgs {
        self.agent.as_ref()
    }
}

/// Runs proxy and app until the app has ended, and returns its exit code.
pub(crate) async fn run(
    args: RunArgs,
    settings: Settings,
    process: Process,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let drain_timeout = settings.drain_timeout;
    let started = match start(&args, settings, &process, &mut signals).await? {
        Started::Ready(proxy) => proxy,
        Started::Stopped(signal) => {
            tracing::info!("stopped before the app was started");
            return Ok(app::code_of(signal).into());
        }
    };
    let mut proxy = *started;
    let outbound = proxy.addresses["outbound"];
    let app = match App::start(
        &args.command,
        app::environment(std::env::vars_os(), outbound),
    ) {
        Ok(app) => app,
        Err(failure) => {
            proxy.end(Duration::ZERO).await;
            return Err(failure.into());
        }
    };
    let mut both = Both {
        app,
        signals,
        process,
        asked: None,
    };
    both.serve(&proxy).await;
    let begun = Instant::now();
    let leave = async {
        proxy.deregister().await;
        proxy.drain_callers(drain_timeout / 2).await;
    };
    both.during(leave).await;
    both.app.signal(both.asked.unwrap_or(Signal::TERM));
    let left = drain_timeout.saturating_sub(begun.elapsed());
    let ended = tokio::time::timeout(left, both.app.ending());
    let code = match both.during(ended).await {
        Ok(code) => code,
        Err(_) => {
            tracing::warn!(
                ?drain_timeout,
                "the app has not ended in time; it is killed"
            );
            both.app.kill();
            let ended = both.app.ending();
            both.during(ended).await
        }
    };
    tracing::info!(code, "the app has ended");
    both.during(proxy.end(LAST)).await;
    Ok(code.into())
}

enum Started {
    Ready(Box<Running>),
    Stopped(Signal),
}

/// Starts the proxy and returns when it can serve the app, or is not to any more.
async fn start(
    args: &RunArgs,
    settings: Settings,
    process: &Process,
    signals: &mut Signals,
) -> anyhow::Result<Started> {
    // Nobody is to be sent here before.
    process.readiness.expect(APP);
    let join = args.agent.identity.settings();
    let missing = Missing::new(&join, &settings);
    // One that no clock ever reaches is none.
    let deadline = args
        .start_timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let file = args.agent.common.addresses_file.as_deref();
    let begin = mesh_proxy::begin(join, settings, file, process.clone());
    let mut patience = Patience {
        deadline,
        process,
        signals,
    };
    let proxy = match patience.with(begin, || missing.now(process, None)).await? {
        Ok(proxy) => match proxy? {
            Some(proxy) => proxy,
            None => return Ok(Started::Stopped(patience.signals.demand().await)),
        },
        Err(signal) => return Ok(Started::Stopped(signal)),
    };
    let ready = process.readiness.wait_for_others_than(APP);
    match patience
        .with(ready, || missing.now(process, Some(&proxy)))
        .await
    {
        Ok(Ok(())) => Ok(Started::Ready(Box::new(proxy))),
        Ok(Err(signal)) => {
            proxy.end(Duration::ZERO).await;
            Ok(Started::Stopped(signal))
        }
        Err(failure) => {
            proxy.end(Duration::ZERO).await;
            Err(failure.into())
        }
    }
}

/// What the start waits for, in words.
struct Missing {
    authority: String,
    control_plane: String,
}

impl Missing {
    fn new(join: &JoinSettings, settings: &Settings) -> Self {
        Self {
            authority: join.ca_address.clone(),
            control_plane: settings.xds_address.clone(),
        }
    }

    fn now(&self, process: &Process, proxy: Option<&Running>) -> String {
        let Self {
            authority,
            control_plane,
        } = self;
        if process.readiness.pending().contains(&CERTIFICATE) {
            return format!(
                "there is no certificate yet from mesh-ca at {authority} (--ca-address)"
            );
        }
        if proxy.is_some_and(Running::has_control_plane) {
            return format!(
                "mesh-api at {control_plane} has sent no whole configuration yet; `/config_dump` of the admin \
                 interface says what is missing"
            );
        }
        format!("mesh-api at {control_plane} is out of reach (--xds-address)")
    }
}

/// Waits with the user: says what is missing, and ends when it is to.
struct Patience<'a> {
    deadline: Option<Instant>,
    process: &'a Process,
    signals: &'a mut Signals,
}

impl Patience<'_> {
    /// The result of `work`; or the signal that came first; or the failure of a start that takes too long.
    async fn with<T>(
        &mut self,
        work: impl Future<Output = T>,
        missing: impl Fn() -> String,
    ) -> Result<Result<T, Signal>, Failure> {
        let mut work = pin!(work);
        let mut word = tokio::time::interval_at(Instant::now() + FIRST_WORD, EACH_WORD);
        word.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let far = Instant::now() + Duration::from_secs(365 * 24 * 60 * 60);
        let deadline = self.deadline;
        loop {
            tokio::select! {
                done = &mut work => return Ok(Ok(done)),
                signal = self.signals.next() => if ends(signal) || signal == Signal::HUP {
                    self.process.shutdown.trigger();
                    return Ok(Err(signal));
                },
                () = self.process.shutdown.wait() => return Ok(Err(self.signals.demand().await)),
                _ = word.tick() => tracing::warn!("the app is not started yet: {}", missing()),
                () = tokio::time::sleep_until(deadline.unwrap_or(far)), if deadline.is_some() => {
                    self.process.shutdown.trigger();
                    return Err(Failure {
                        code: exit::UNAVAILABLE,
                        message: format!(
                            "the app was not started, because the mesh was not ready within --start-timeout: {}",
                            missing()
                        ),
                    });
                }
            }
        }
    }
}

/// The app, and whoever has something to say to it.
struct Both {
    app: App,
    signals: Signals,
    process: Process,
    /// The signal that asked for the end; the app gets the same.
    asked: Option<Signal>,
}

impl Both {
    /// Returns when the app has ended, or is to.
    async fn serve(&mut self, proxy: &Running) {
        let (ending, process) = (self.app.ending(), self.process.clone());
        let until = async {
            tokio::select! {
                _ = ending => {}
                () = process.shutdown.wait() => {}
            }
        };
        let listening = self.process.clone();
        let listening = async {
            listens(proxy).await;
            listening.readiness.set(APP, true);
            std::future::pending::<()>().await;
        };
        let all = async {
            tokio::select! {
                () = until => {}
                () = listening => {}
            }
        };
        self.during(all).await;
    }

    /// Does something and hears signals meanwhile.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                signal = self.signals.next() => self.hear(signal),
            }
        }
    }

    fn hear(&mut self, signal: Signal) {
        if signal == Signal::CHILD {
            self.app.reap();
        } else if ends(signal) && self.asked.is_none() {
            self.asked = Some(signal);
            self.process.shutdown.trigger();
        } else {
            // The second demand to end is for the app itself: somebody is in a hurry.
            self.app.signal(signal);
        }
    }
}

/// Returns when the app listens at one of its ports, or is known to have none.
async fn listens(proxy: &Running) {
    let mut knock = tokio::time::interval(KNOCK);
    knock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut word = Instant::now() + FIRST_WORD;
    loop {
        knock.tick().await;
        let addresses = proxy.app_addresses();
        if addresses.is_empty() || one_answers(&addresses).await {
            return;
        }
        if Instant::now() >= word {
            tracing::warn!(
                ?addresses,
                "the app does not listen yet where its services are to be; until then nobody is sent here"
            );
            word = Instant::now() + EACH_WORD;
        }
    }
}

async fn one_answers(addresses: &BTreeSet<Arc<str>>) -> bool {
    for address in addresses {
        // A free port in the range that clients' own ports come from can be its own client.
        if let Ok(stream) = TcpStream::connect(&**address).await
            && stream.local_addr().ok() != stream.peer_addr().ok()
        {
            return true;
        }
    }
    false
}

/// Whether it asks for an orderly end.
fn ends(signal: Signal) -> bool {
    [Signal::TERM, Signal::INT, Signal::QUIT].contains(&signal)
}

/// All signals that a program may be sent and act on, and SIGCHLD, in the order of their coming.
struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let (heard, signals) = mpsc::channel(16);
        for (kind, name) in [
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::interrupt(), Signal::INT),
            (SignalKind::quit(), Signal::QUIT),
            (SignalKind::hangup(), Signal::HUP),
            (SignalKind::user_defined1(), Signal::USR1),
            (SignalKind::user_defined2(), Signal::USR2),
            (SignalKind::window_change(), Signal::WINCH),
            (SignalKind::child(), Signal::CHILD),
        ] {
            let mut stream = signal(kind)?;
            let heard = heard.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() && heard.send(name).await.is_ok() {}
            });
        }
        Ok(Self(signals))
    }

    /// The signal that a stop was asked for by, which others have heard already; TERM if it was something else.
    async fn demand(&mut self) -> Signal {
        let next = async {
            loop {
                let signal = self.next().await;
                if ends(signal) {
                    return signal;
                }
            }
        };
        let on_its_way = Duration::from_millis(100);
        tokio::time::timeout(on_its_way, next)
            .await
            .unwrap_or(Signal::TERM)
    }

    async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            // The streams of signals never end.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn flags_go_before_the_command_and_its_arguments_are_not_logged() {
        let words = "run --workload-group shop --start-timeout 5s -- ./shop --password=hush";
        let args = RunArgs::try_parse_from(words.split(' ')).unwrap();
        assert_eq!(args.command, ["./shop", "--password=hush"]);
        assert_eq!(args.start_timeout, Some(Duration::from_secs(5)));
        let logged = format!("{args:?}");
        assert!(
            logged.contains("./shop") && !logged.contains("hush"),
            "{logged}"
        );
    }
}
