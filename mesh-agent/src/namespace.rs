//! Notices that the container whose network this agent shares has been started again, so that the agent can be too.
//!
//! In Compose the app's container owns the network and its agent joins it (`network_mode: "service:app"`). When the
//! app's container stops, its network namespace is emptied; when it is started again, it gets a new one, and the
//! agent is left in the old one, where nobody reaches it. Only a start of the agent's own container joins the new
//! one. Docker does that by the container's restart policy once the agent ends, but gives up for good if the app's
//! container does not run at that moment. So the agent ends just after the app is back, and never before.
//!
//! The sign of its return is `/etc/hosts`, which both containers have mounted: Docker writes it each time when the
//! app's container starts, and at no other part of its life. That it does not stop again is no sign at all, and must
//! be told from the rhythm of an app that crashes over and over: see [`Watch`].

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// How often the network is looked at.
const POLL: Duration = Duration::from_secs(1);
/// And how often the hosts file is while there is none.
const POLL_HOSTS: Duration = Duration::from_millis(200);
/// How long the owner's start takes after the hosts file was written, with a good margin: 0.3 s were measured.
const SETTLE: Duration = Duration::from_secs(1);
/// Docker restarts a container that ran for 10 s after 0.1 s. If it ran shorter, it waits twice as long each time, and
/// nobody knows whether the owner still runs then.
const MATURE: Duration = Duration::from_millis(10_500);
/// An owner that ran that long will not be gone before this container has started again.
const LONG_LIFE: Duration = Duration::from_secs(3);

/// Why the agent must end.
#[derive(Debug, thiserror::Error)]
#[error(
    "the container whose network this agent shares is back with a new network, which only a new start of this \
     container joins; its restart policy sees to that if it is `restart: unless-stopped` or `always`"
)]
pub(crate) struct Replaced;

/// Returns when it is time to end, for [`Replaced`]. Never where `/etc/hosts` is not a container engine's.
pub(crate) async fn replaced() -> Replaced {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !is_mounted(&mounts, "/etc/hosts") {
        return std::future::pending().await;
    }
    let mut watch = Watch::new(Instant::now(), written());
    loop {
        let before = watch.lost.is_some();
        if watch.see(Instant::now(), SystemTime::now(), has_network(), written()) {
            return Replaced;
        }
        let after = watch.lost.is_some();
        if after && !before {
            tracing::warn!(
                "there is no network: the container that it belongs to has stopped, or never had one; waiting for \
                 its return"
            );
        } else if before && !after {
            tracing::info!("the network is back");
        }
        tokio::time::sleep(if after { POLL_HOSTS } else { POLL }).await;
    }
}

/// Which writing of the hosts file is seen: when it was, in which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    at: SystemTime,
    inode: u64,
}

/// What has been seen so far, and what follows from it.
///
/// A single crash or kill is followed by one writing, and the agent ends [`SETTLE`] later. An app that crashes again
/// and again is started by Docker after pauses that double; so after a second writing, an app that has lived for
/// twice the time between the last two is one that has stayed.
#[derive(Debug)]
struct Watch {
    started: Instant,
    /// The writing that was seen last.
    written: Option<Written>,
    lost: Option<Lost>,
}

#[derive(Debug)]
struct Lost {
    /// How long the owner lived, at the least.
    life: Duration,
    /// When it was lost, and then when the hosts file was written last.
    since: Instant,
    /// When to end, if nothing is written until then.
    leave: Option<Instant>,
}

impl Watch {
    fn new(started: Instant, written: Option<Written>) -> Self {
        Self {
            started,
            written,
            lost: None,
        }
    }

    /// Takes in what is seen now; true if it is time to end.
    fn see(
        &mut self,
        now: Instant,
        clock: SystemTime,
        network: bool,
        written: Option<Written>,
    ) -> bool {
        if network {
            self.lost = None;
            self.written = written;
            return false;
        }
        let started = self.written.map_or(clock, |written| written.at);
        let lost = self.lost.get_or_insert_with(|| Lost {
            life: clock.duration_since(started).unwrap_or_default(),
            since: now,
            leave: None,
        });
        if written.is_some() && written != self.written {
            self.written = written;
            let pause = now - lost.since;
            if lost.leave.is_some() {
                // It ended once more in between.
                lost.life = lost.life.min(pause);
            }
            let soon = (now + SETTLE).max(self.started + MATURE);
            let lives_until = now + lost.life / 2;
            lost.leave = Some(
                if lost.life >= LONG_LIFE && soon <= lives_until.max(now + SETTLE) {
                    soon
                } else {
                    now + SETTLE + 2 * lost.life.max(pause)
                },
            );
            lost.since = now;
        }
        lost.leave.is_some_and(|leave| now >= leave)
    }
}

/// Whether there is a route to anywhere but this machine itself. An interface is no proof: some kernels put
/// tunnels that lead nowhere into each namespace.
fn has_network() -> bool {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    leads_out(
        &read("/proc/self/net/route"),
        &read("/proc/self/net/ipv6_route"),
    )
}

fn leads_out(v4: &str, v6: &str) -> bool {
    // The device is the first column, below a heading; and the last one.
    let mut v4 = v4
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    let mut v6 = v6.lines().filter_map(|line| line.split_whitespace().last());
    v4.any(|device| device != "lo") || v6.any(|device| device != "lo")
}

fn written() -> Option<Written> {
    let file = fs::metadata("/etc/hosts").ok()?;
    Some(Written {
        at: file.modified().ok()?,
        inode: file.ino(),
    })
}

/// Whether something is mounted at exactly this path.
fn is_mounted(mountinfo: &str, path: &str) -> bool {
    let mut points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    points.any(|point| point == path)
}

#[cfg(test)]
mod tests;
