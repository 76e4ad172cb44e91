//! What each app answers.
//!
//! An answer is JSON with the data and the hop chain ([`Answer`]); the webapp renders it as a page. If
//! anything in the chain went wrong, the answer still shows what could be had, and its status is 502.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Serialize;

use super::call::Caller;
use super::chain::{Answer, Hop};
use super::fleet_data::{self, Latest, Position, Telemetry, Vehicle};
use super::metrics::{self, Metrics};
use super::page;
use super::role::{Role, Version};

/// One running app.
pub(crate) struct App {
    /// The workload, for example `webapp-original`.
    pub(crate) workload: String,
    /// What it plays.
    pub(crate) role: Role,
    /// In which version; only the webapp has several.
    pub(crate) version: Version,
    /// How it calls others.
    pub(crate) caller: Caller,
    /// What the position-tracker remembers.
    pub(crate) positions: Mutex<Latest<Position>>,
    /// What the vehicle-telemetry remembers.
    pub(crate) telemetry: Mutex<Latest<Telemetry>>,
}

type Shared = State<Arc<App>>;

/// The app's routes, counted, with headers that say who answered.
pub(crate) fn router(app: Arc<App>, metrics: Metrics) -> Router {
    let router = match app.role {
        Role::Webapp => Router::new().route("/", get(webapp)),
        Role::ApiGateway => Router::new().route("/vehicles", get(api_gateway)),
        Role::PositionTracker => {
            Router::new().route("/positions", get(positions).post(put_position))
        }
        Role::VehicleTelemetry => {
            Router::new().route("/telemetry", get(telemetry).post(put_telemetry))
        }
        Role::StaffService => Router::new().route("/drivers", get(drivers)),
        Role::PositionSimulator => Router::new().route("/", get(idle)),
    };
    router
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::map_response_with_state(app.clone(), sign))
        .layer(middleware::from_fn_with_state(metrics, metrics::count))
        .with_state(app)
}

impl App {
    fn version_label(&self) -> Option<&'static str> {
        (self.role == Role::Webapp).then(|| self.version.name())
    }

    /// This app's hop, with the calls it made.
    fn hop(&self, calls: Vec<Hop>) -> Hop {
        Hop {
            app: self.role.name().to_owned(),
            workload: self.workload.clone(),
            version: self.version_label().map(str::to_owned),
            error: None,
            calls,
        }
    }

    fn answer<T: Serialize>(&self, data: T, calls: Vec<Hop>) -> Response {
        let chain = self.hop(calls);
        let status = status(&chain);
        (status, Json(Answer { data, chain })).into_response()
    }

    fn refuse(&self, error: &str) -> Response {
        let mut chain = self.hop(Vec::new());
        chain.error = Some(error.to_owned());
        let answer = Answer { data: (), chain };
        (StatusCode::INSUFFICIENT_STORAGE, Json(answer)).into_response()
    }
}

fn status(chain: &Hop) -> StatusCode {
    if chain.failed() {
        StatusCode::BAD_GATEWAY
    } else {
        StatusCode::OK
    }
}

/// Splits what came back into data, if any, and the hop to show.
fn parts<T: Default>(called: Result<Answer<T>, Hop>) -> (T, Hop) {
    match called {
        Ok(answer) => (answer.data, answer.chain),
        Err(lost) => (T::default(), lost),
    }
}

async fn webapp(State(app): Shared, serving: HeaderMap) -> Response {
    let called = app
        .caller
        .get::<Vec<Vehicle>>(&serving, "fleetman-api-gateway", "/vehicles")
        .await;
    let (vehicles, called) = parts(called);
    let chain = app.hop(vec![called]);
    let wants_json = serving
        .get(http::header::ACCEPT)
        .is_some_and(|accepted| accepted.as_bytes() == b"application/json");
    if wants_json {
        let status = status(&chain);
        let data = vehicles;
        return (status, Json(Answer { data, chain })).into_response();
    }
    let page = page::render(app.version, &vehicles, &chain);
    (status(&chain), Html(page)).into_response()
}

async fn api_gateway(State(app): Shared, serving: HeaderMap) -> Response {
    let (positions, telemetry, drivers) = tokio::join!(
        app.caller
            .get::<Vec<Position>>(&serving, "fleetman-position-tracker", "/positions"),
        app.caller
            .get::<Vec<Telemetry>>(&serving, "fleetman-vehicle-telemetry", "/telemetry"),
        app.caller
            .get(&serving, "fleetman-staff-service", "/drivers"),
    );
    let (positions, first) = parts(positions);
    let (telemetry, second) = parts(telemetry);
    let (drivers, third) = parts(drivers);
    let vehicles = fleet_data::join(positions, &telemetry, &drivers);
    app.answer(vehicles, vec![first, second, third])
}

async fn positions(State(app): Shared) -> Response {
    let all = lock(&app.positions).all();
    app.answer(all, Vec::new())
}

async fn put_position(State(app): Shared, Json(position): Json<Position>) -> Response {
    let name = position.vehicle.clone();
    if lock(&app.positions).put(&name, position) {
        app.answer((), Vec::new())
    } else {
        app.refuse("there are too many vehicles already")
    }
}

async fn telemetry(State(app): Shared) -> Response {
    let all = lock(&app.telemetry).all();
    app.answer(all, Vec::new())
}

async fn put_telemetry(State(app): Shared, Json(telemetry): Json<Telemetry>) -> Response {
    let name = telemetry.vehicle.clone();
    if lock(&app.telemetry).put(&name, telemetry) {
        app.answer((), Vec::new())
    } else {
        app.refuse("there are too many vehicles already")
    }
}

async fn drivers(State(app): Shared) -> Response {
    app.answer(fleet_data::drivers(), Vec::new())
}

async fn idle(State(app): Shared) -> Response {
    app.answer(
        "I drive the vehicles; nobody needs to ask me anything.",
        Vec::new(),
    )
}

/// Says in headers who answered.
async fn sign(State(app): Shared, mut response: Response) -> Response {
    if let Ok(workload) = HeaderValue::from_str(&app.workload) {
        response.headers_mut().insert("x-served-by", workload);
    }
    if let Some(version) = app.version_label() {
        response
            .headers_mut()
            .insert("x-version", HeaderValue::from_static(version));
    }
    response
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The stores are whole after every single operation, so a panic elsewhere cannot have torn them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use prometheus::Registry;
    use tower::ServiceExt as _;

    fn app(role: Role, version: Version, proxy: &str) -> Router {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let caller = Caller::new(&proxy.parse().unwrap(), metrics.clone()).unwrap();
        let app = App {
            workload: format!("{}-{version}", role.name()),
            role,
            version,
            caller,
            positions: Mutex::default(),
            telemetry: Mutex::default(),
        };
        router(Arc::new(app), metrics)
    }

    async fn ask(app: &Router, request: http::Request<String>) -> (StatusCode, HeaderMap, String) {
        let request = request.map(axum::body::Body::from);
        let response = app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    /// Every app of the fleet behind one listener that stands for the agent: it dispatches by host.
    async fn agent() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let roles = [
            Role::ApiGateway,
            Role::PositionTracker,
            Role::VehicleTelemetry,
            Role::StaffService,
        ];
        let apps = roles.map(|role| (role, app(role, Version::Original, &url)));
        let dispatch = Router::new().fallback(move |request: axum::extract::Request| async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let called = apps
                .iter()
                .find(|(role, _)| host == format!("fleetman-{}", role.name()));
            match called {
                Some((_, app)) => app.clone().oneshot(request).await.into_response(),
                None => StatusCode::BAD_GATEWAY.into_response(),
            }
        });
        tokio::spawn(async move { axum::serve(listener, dispatch).await });
        url
    }

    fn get_page() -> http::Request<String> {
        http::Request::get("/").body(String::new()).unwrap()
    }

    #[tokio::test]
    async fn the_page_shows_the_whole_chain() {
        let webapp = app(Role::Webapp, Version::Experimental, &agent().await);
        let (status, headers, page) = ask(&webapp, get_page()).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        assert_eq!(headers["x-version"], "experimental");
        assert_eq!(headers["x-served-by"], "webapp-experimental");
        for hop in [
            "api-gateway",
            "position-tracker",
            "vehicle-telemetry",
            "staff-service",
        ] {
            assert!(page.contains(hop), "{page}");
        }
    }

    #[tokio::test]
    async fn an_unreachable_agent_makes_a_page_that_says_so() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let webapp = app(Role::Webapp, Version::Original, &nobody);
        let (status, _, page) = ask(&webapp, get_page()).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert!(page.contains("the agent did not answer"), "{page}");
        assert!(page.contains("<title>Fleet Management (original)</title>"));
    }

    #[tokio::test]
    async fn what_was_posted_can_be_read() {
        let tracker = app(
            Role::PositionTracker,
            Version::Original,
            "http://127.0.0.1:1",
        );
        let (position, _) = fleet_data::drive(0, 0);
        let post = http::Request::post("/positions")
            .header("content-type", "application/json")
            .body(serde_json::to_string(&position).unwrap())
            .unwrap();
        assert_eq!(ask(&tracker, post).await.0, StatusCode::OK);
        let get = http::Request::get("/positions")
            .body(String::new())
            .unwrap();
        let (status, _, body) = ask(&tracker, get).await;
        assert_eq!(status, StatusCode::OK);
        let answer: Answer<Vec<Position>> = serde_json::from_str(&body).unwrap();
        assert_eq!(answer.data, [position]);
        assert_eq!(answer.chain.app, "position-tracker");
    }
}
