//! Where a running fleet is reached: all that the acts need of it, whatever it runs on.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::deaths::{Deaths, first_death};
use super::logs::Logs;
use super::parts::WORKLOADS;
use super::ready::{PATIENCE, poll};
use crate::acts::count::title;
use crate::app::role::Role;
use crate::client::{Answer, Client, Lost};

/// What a single request of the fleet's own errands may take.
const ERRAND_TIMEOUT: Duration = Duration::from_secs(10);

const POLL_EVERY: Duration = Duration::from_millis(100);

/// A running fleet as its users see it.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Base URL of the gateway, for Gateways that open port 80.
    pub(crate) gateway: String,
    /// Base URL of the load balancer.
    pub(crate) loadbalancer: String,
    /// Base URL of the config API.
    pub(crate) api: String,
    /// What the config API wants to see from others than its own machine.
    pub(crate) token: Option<String>,
    /// Base URL of the fleet's Prometheus, if it has one.
    pub(crate) prometheus: Option<String>,
    /// Whether somebody listens in the place of the parts and passes connections on, as Docker does: a
    /// connection to a port that nobody serves is then closed, not refused.
    pub(crate) forwarded: bool,
    /// What has ended unasked.
    pub(crate) deaths: Deaths,
    /// What the parts say.
    pub(crate) logs: Logs,
    client: Client,
}

impl Site {
    /// A fleet on this machine, without token and Prometheus.
    pub(crate) fn new(gateway: String, loadbalancer: String, api: String, logs: Logs) -> Self {
        Self {
            gateway,
            loadbalancer,
            api,
            token: None,
            prometheus: None,
            forwarded: false,
            deaths: Deaths::default(),
            logs,
            client: Client::kept_alive(ERRAND_TIMEOUT),
        }
    }

    /// The drawn graph.
    pub(crate) fn graph_url(&self) -> String {
        format!("{}/graph.svg", self.api)
    }

    /// The page that keeps the graph up to date; opening it lets a browser in.
    pub(crate) fn page_url(&self) -> String {
        match &self.token {
            Some(token) => format!("{}/?token={token}", self.api),
            None => format!("{}/", self.api),
        }
    }

    /// Asks the config API.
    pub(crate) async fn ask(&self, path: &str) -> Result<Answer, Lost> {
        let url = format!("{}{path}", self.api);
        self.client.get_as(&url, self.token.as_deref()).await
    }

    /// Applies YAML through the config API, as a user does. Returns the API's answer.
    pub(crate) async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        let url = format!("{}/apply", self.api);
        let answer = self
            .client
            .post_as(&url, self.token.as_deref(), "application/yaml", yaml)
            .await
            .with_context(|| format!("POST {url}"))?;
        if !answer.status.is_success() {
            bail!("POST {url}: {}: {}", answer.status, answer.body.trim());
        }
        Ok(answer.body)
    }

    /// Returns when every Service has its endpoints and both versions of the page come through the load
    /// balancer.
    pub(crate) async fn wait_for_pages(&self) -> anyhow::Result<()> {
        self.wait("the services' endpoints", || self.services_filled())
            .await?;
        self.wait("the page of both versions", || self.both_pages())
            .await
    }

    /// Returns when the page shows what the simulator drives.
    pub(crate) async fn wait_for_vehicles(&self) -> anyhow::Result<()> {
        self.wait("vehicles on the page", || self.vehicles_shown())
            .await
    }

    /// Returns when a part has ended that nobody had asked to, as an error that says so.
    pub(crate) async fn first_death(&self) -> anyhow::Error {
        first_death(&self.deaths, &self.logs).await
    }

    async fn wait<F>(&self, what: &str, probe: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = Result<(), String>>,
    {
        tokio::select! {
            found = poll(PATIENCE, POLL_EVERY, probe) => match found {
                Ok(()) => Ok(()),
                Err(missing) => bail!("waited {} s in vain for {what}: {missing}; the logs: {}",
                    PATIENCE.as_secs(), self.logs),
            },
            death = self.first_death() => Err(death),
        }
    }

    async fn services_filled(&self) -> Result<(), String> {
        let path = "/api/mesh/services";
        let body = good(path, self.ask(path).await)?;
        let listing: Listing = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        // Nobody calls the simulator, so it is the one workload without a Service.
        let called = WORKLOADS
            .iter()
            .filter(|workload| workload.role != Role::PositionSimulator);
        for wanted in called {
            let service = format!("fleetman-{}", wanted.role.name());
            let versions = WORKLOADS
                .iter()
                .filter(|workload| workload.role == wanted.role)
                .count();
            let filled = listing
                .services
                .iter()
                .find(|listed| listed.name == service)
                .is_some_and(|listed| listed.endpoints.len() >= versions);
            if !filled {
                return Err(format!("{service} has no endpoint for {}", wanted.name));
            }
        }
        Ok(())
    }

    async fn both_pages(&self) -> Result<(), String> {
        let first = self.page().await?;
        let second = self.page().await?;
        match (title(&first), title(&second)) {
            (Some(first), Some(second)) if first != second => Ok(()),
            (first, second) => Err(format!("titles {first:?} and {second:?}")),
        }
    }

    async fn vehicles_shown(&self) -> Result<(), String> {
        if self.page().await?.contains("<table>") {
            Ok(())
        } else {
            Err("no vehicle has been seen yet".to_owned())
        }
    }

    async fn page(&self) -> Result<String, String> {
        let url = &self.loadbalancer;
        good(url, self.client.get(url).await)
    }
}

fn good(place: &str, answer: Result<Answer, Lost>) -> Result<String, String> {
    let answer = answer.map_err(|lost| format!("{place}: {lost}"))?;
    if answer.status.is_success() {
        Ok(answer.body)
    } else {
        Err(format!("{place} answered {}", answer.status))
    }
}

/// The config API's answer to `GET /api/mesh/services`, as far as the start needs it.
#[derive(Deserialize)]
struct Listing {
    services: Vec<Service>,
}

#[derive(Deserialize)]
struct Service {
    name: String,
    #[serde(default)]
    endpoints: Vec<serde_json::Value>,
}
