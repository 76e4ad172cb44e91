//! The subcommand `healthcheck`: a daemon's own word on whether it is ready, as an exit code.
//!
//! For images that have no program to ask with: it takes the same flags, variables and file as the daemon, and
//! asks where the daemon answers. [`crate::args::load()`] adds it to every program that has a flag for such a
//! place; what is answered there is in [`crate::admin`].

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{StatusCode, Uri};
use clap::ArgMatches;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// The subcommand's name.
pub(crate) const NAME: &str = "healthcheck";

/// The flags whose address serves the health, the more special one first.
const FLAGS: [&str; 2] = ["listen-ready", "listen-metrics"];

/// For the whole answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// More than the conditions of any daemon.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where a daemon that has these arguments serves its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    flag: &'static str,
    address: SocketAddr,
}

/// Why a daemon does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// It waits for something, in its own words.
    #[error("not ready: {0}")]
    NotReady(String),
    /// It does not listen, or not there.
    #[error(
        "nothing answers at {address}: {reason}; it is not up yet, or was started with another --{flag}, which this command has to be given too"
    )]
    Unreachable {
        /// Who was asked.
        address: SocketAddr,
        /// The flag that says so.
        flag: &'static str,
        /// The system's reason.
        reason: String,
    },
    /// It has listened, and that was all.
    #[error(
        "{address} does not answer within {}",
        humantime::format_duration(PATIENCE)
    )]
    Silent {
        /// Who was asked.
        address: SocketAddr,
    },
    /// Something else listens there.
    #[error("{address} answers {status} and not whether it is ready; check --{flag}")]
    Stranger {
        /// Who was asked.
        address: SocketAddr,
        /// The flag that says so.
        flag: &'static str,
        /// What it said.
        status: StatusCode,
    },
    /// The system chose the port, and told the daemon only.
    #[error("--{flag} leaves the port to the system, so that nobody can ask there; give it a port")]
    AnyPort {
        /// The flag.
        flag: &'static str,
    },
}

impl Healthcheck {
    /// Adds the subcommand to a program that serves its health at an address given by a flag.
    pub(crate) fn offer(command: clap::Command) -> clap::Command {
        let Some(flag) = flag_of(&command) else {
            return command;
        };
        let healthcheck = clap::Command::new(NAME).about(
            "Asks the running daemon whether it is ready: exits with 0, or says what is missing",
        );
        // Behind the subcommand as well as before it, like --config.
        command
            .mut_args(|argument| {
                let is_flag = argument.get_long() == Some(flag);
                if is_flag {
                    argument.global(true)
                } else {
                    argument
                }
            })
            .subcommand(healthcheck)
    }

    /// What was asked for, if it was the subcommand.
    pub(crate) fn asked(matches: &ArgMatches) -> Option<Self> {
        let (name, _) = matches.subcommand()?;
        if name != NAME {
            return None;
        }
        FLAGS.iter().find_map(|flag| {
            let address = matches.try_get_one(&flag.replace('-', "_")).ok()??;
            Some(Self {
                flag,
                address: *address,
            })
        })
    }

    /// Asks.
    ///
    /// # Errors
    ///
    /// Unless the daemon says that it is ready.
    pub async fn run(self) -> Result<(), Unhealthy> {
        let Self { flag, .. } = self;
        let address = SocketAddr::new(reachable(self.address.ip()), self.address.port());
        if address.port() == 0 {
            return Err(Unhealthy::AnyPort { flag });
        }
        let asking = tokio::time::timeout(PATIENCE, ask(address));
        let (status, text) = asking
            .await
            .map_err(|_| Unhealthy::Silent { address })?
            .map_err(|error| Unhealthy::Unreachable {
                address,
                flag,
                reason: innermost(error.as_ref()),
            })?;
        match status {
            StatusCode::OK => Ok(()),
            StatusCode::SERVICE_UNAVAILABLE => Err(Unhealthy::NotReady(text)),
            status => Err(Unhealthy::Stranger {
                address,
                flag,
                status,
            }),
        }
    }
}

fn flag_of(command: &clap::Command) -> Option<&'static str> {
    let has = |flag: &str| {
        let mut arguments = command.get_arguments();
        arguments.any(|argument| argument.get_long() == Some(flag))
    };
    FLAGS.into_iter().find(|flag| has(flag))
}

/// Where a listener is reached from its own machine.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

async fn ask(address: SocketAddr) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let uri: Uri = format!("http://{address}/healthz/ready").parse()?;
    let answer = client.get(uri).await?;
    let status = answer.status();
    let text = to_bytes(Body::new(answer.into_body()), LONGEST_ANSWER).await?;
    Ok((status, String::from_utf8_lossy(&text).trim().to_owned()))
}

/// The last cause, which is the system's.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Readiness, Shutdown, admin, serve};

    /// Serves a router and returns how to ask it.
    async fn serving(router: Router) -> Healthcheck {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router, Shutdown::new()));
        at(address)
    }

    fn at(address: SocketAddr) -> Healthcheck {
        Healthcheck {
            flag: "listen-ready",
            address,
        }
    }

    async fn failure(healthcheck: Healthcheck) -> String {
        healthcheck.run().await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_daemon_is_ready_or_says_what_is_missing() {
        let readiness = Readiness::new();
        readiness.expect("a certificate");
        let healthcheck = serving(admin::health(readiness.clone())).await;
        let error = failure(healthcheck).await;
        assert_eq!(error, "not ready: waiting for a certificate");
        readiness.set("a certificate", true);
        healthcheck.run().await.unwrap();
        // As it is asked if it listens on every address of its machine.
        let everywhere = SocketAddr::from(([0, 0, 0, 0], healthcheck.address.port()));
        at(everywhere).run().await.unwrap();
    }

    #[tokio::test]
    async fn who_does_not_listen_is_named_with_the_flag() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = failure(at(address)).await;
        for part in [&address.to_string(), "refused", "--listen-ready"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn who_never_answers_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asking = tokio::spawn(at(address).run());
        let (_silent, _) = listener.accept().await.unwrap();
        tokio::time::pause();
        let error = asking.await.unwrap().unwrap_err().to_string();
        assert!(error.contains("within 2s"), "{error}");
    }

    #[tokio::test]
    async fn somebody_else_is_not_taken_for_the_daemon() {
        let stranger = serving(Router::new().route("/", get(|| async { "hello" }))).await;
        let error = failure(stranger).await;
        assert!(
            error.contains("404") && error.contains("--listen-ready"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_port_that_nobody_knows_cannot_be_asked() {
        let error = failure(at(([127, 0, 0, 1], 0).into())).await;
        assert!(
            error.contains("--listen-ready") && error.contains("give it a port"),
            "{error}"
        );
    }

    #[test]
    fn every_address_has_a_way_to_it() {
        for (listens, asked) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("10.0.0.7", "10.0.0.7"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), asked);
        }
    }
}
