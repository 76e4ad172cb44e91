//! One session: a client's connection whose bytes nobody looks into, from its beginning to its end.
//!
//! A [`Session`] is the one home of a session's facts, as an exchange is of a request's. It counts as opened
//! when there is a connection to an endpoint, and its bytes count as they flow, so that a session of hours shows
//! while it lasts. When it is dropped, also because the proxy ends, it counts as closed and writes one access-log
//! line; nobody else does. What happened last is in that line: its series keeps the flags with which it began.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mesh_xds::Workload;

use crate::fail::{Fail, Flag, Flags};
use crate::peer::{Peer, Standing};
use crate::snapshot::{Cluster, Direction, Endpoint, ServiceName};
use crate::telemetry::{Carried, Cells, Ends, Facts, SessionLine};
use crate::worker::Worker;

/// The facts of one session. It outlives snapshots, so it keeps none of them.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) worker: Arc<Worker>,
    pub(crate) peer: Arc<Peer>,
    started: Instant,
    start_time: SystemTime,
    direction: Direction,
    source: Arc<Workload>,
    own_workload: Arc<Workload>,
    own_principal: Arc<str>,
    cluster: Option<Arc<str>>,
    service: Option<Arc<ServiceName>>,
    endpoint: Option<Arc<Endpoint>>,
    attempts: u32,
    /// Who answers, if that was proven; `None` without a connection.
    answered: Option<Option<Arc<str>>>,
    /// Where it is counted.
    cells: Option<Arc<Cells>>,
    received: u64,
    sent: u64,
    flags: Flags,
    /// Why it ended, unless both ends were content.
    cause: Option<Cow<'static, str>>,
}

impl Session {
    /// Begins with who is there.
    pub(crate) fn begin(worker: Arc<Worker>, peer: Arc<Peer>, standing: &Standing) -> Self {
        Self {
            started: Instant::now(),
            start_time: SystemTime::now(),
            direction: standing.listener.direction,
            source: standing.session_source(&peer.hello).clone(),
            own_workload: standing.listener.workload.clone(),
            own_principal: standing.own_principal.clone(),
            cluster: None,
            service: None,
            endpoint: None,
            attempts: 0,
            answered: None,
            cells: None,
            received: 0,
            sent: 0,
            flags: Flags::default(),
            // Until there is another one: if the session is dropped here, so is everything.
            cause: Some("the proxy ended before the session did".into()),
            worker,
            peer,
        }
    }

    /// The chain's cluster does not exist.
    pub(crate) fn missing(&mut self, cluster: &Arc<str>) -> Fail {
        self.service = Some(self.worker.missing(cluster));
        Fail::no_cluster(cluster)
    }

    pub(crate) fn chosen(&mut self, cluster: &Cluster) {
        self.cluster = Some(cluster.name.clone());
        self.service = Some(cluster.service.clone());
    }

    pub(crate) fn attempt(&mut self, endpoint: &Arc<Endpoint>) {
        self.endpoint = Some(endpoint.clone());
        self.attempts += 1;
    }

    /// There is a connection; the principal is who has proven to be there.
    pub(crate) fn connected(&mut self, principal: Option<Arc<str>>) {
        self.answered = Some(principal);
        self.cells().opened.add(1);
    }

    /// Bytes from the client went on to the endpoint.
    pub(crate) fn received(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.received += bytes;
        self.peer.moved();
        self.cells().received.add(bytes);
    }

    /// Bytes from the endpoint went on to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.sent += bytes;
        self.peer.moved();
        self.cells().sent.add(bytes);
    }

    /// No connection came about.
    pub(crate) fn failed(&mut self, fail: Fail) {
        self.flags = fail.flags;
        self.cause = Some(fail.cause);
    }

    /// Both ends have said all that they had to say.
    pub(crate) fn completed(&mut self) {
        self.cause = None;
    }

    /// One end broke off.
    pub(crate) fn broke(&mut self, flag: Flag, cause: String) {
        self.flags = flag.into();
        self.cause = Some(cause.into());
    }

    /// It was ended from here.
    pub(crate) fn closed(&mut self, cause: String) {
        self.cause = Some(cause.into());
    }

    /// Where it is counted: elsewhere if its series has been forgotten meanwhile.
    fn cells(&mut self) -> &Cells {
        let cells = match self.cells.take() {
            Some(cells) if !cells.is_retired() => cells,
            _ => self.worker.recorder.cells(&self.facts()),
        };
        self.cells.insert(cells)
    }

    fn facts(&self) -> Facts<'_> {
        let blanks = &self.worker.blanks;
        let (source, own) = (&self.source, &self.own_principal);
        let ends = match self.direction {
            Direction::Outbound => {
                let endpoint = self.endpoint.as_ref();
                let destination = endpoint.map_or(&blanks.workload, |e| &e.workload);
                let answered = self.answered.as_ref().and_then(Option::as_ref);
                Ends::outbound(source, own, destination, answered)
            }
            Direction::Inbound => {
                let verified = self.peer.hello.principal.as_ref();
                Ends::inbound(source, verified, &self.own_workload, own)
            }
        };
        Facts {
            ends,
            service: self.service.as_ref().unwrap_or(&blanks.service),
            carried: Carried::Tcp,
            code: 0,
            grpc_status: None,
            // What opens in one series must close in the same.
            flags: if self.answered.is_some() {
                Flags::default()
            } else {
                self.flags
            },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.answered.is_none() {
            self.cells().opened.add(1);
        }
        self.cells().closed.add(1);
        let elapsed = self.started.elapsed().as_millis();
        let line = SessionLine {
            start_time: self.start_time,
            duration_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
            flags: self.flags,
            received: self.received,
            sent: self.sent,
            hello: &self.peer.hello,
            cluster: self.cluster.as_deref(),
            endpoint: self.endpoint.as_deref(),
            attempts: self.attempts,
            cause: self.cause.as_deref(),
        };
        line.write();
    }
}
