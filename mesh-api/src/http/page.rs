//! The live page at the root: the service graph, what happened, and the same in a table.
//!
//! The server draws everything, so the page is whole without scripts; [`super::live`] sends the parts that
//! change, and `page/page.js` puts them in place. Nothing is loaded from elsewhere, nothing inline runs.

use std::fmt::Write as _;
use std::time::SystemTime;

use axum::Router;
use axum::extract::{Query, RawQuery, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use http::header;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::graph::{Graphs, PICTURED, Pairs};
use super::live;
use super::status::ApiError;
use crate::events::{Event, Events};
use crate::graph::render::{self, escaped};
use crate::graph::{Graph, GraphQuery};

/// What the page is made of.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(super) graphs: Graphs,
    pub(super) events: Events,
    pub(super) streams: live::Streams,
}

impl Page {
    /// The page of these graphs and events. Its streams end with `shutdown`.
    pub(crate) fn new(graphs: Graphs, events: Events, shutdown: mesh_process::Shutdown) -> Self {
        Self {
            graphs,
            events,
            streams: live::Streams::new(shutdown),
        }
    }
}

/// The page's routes.
pub(crate) fn page(page: Page) -> Router {
    Router::new()
        .route("/", get(whole))
        .route("/graph/events", get(live::events))
        .route("/page/page.css", get(css))
        .route("/page/page.js", get(js))
        .route("/page/icon.svg", get(icon))
        .with_state(page)
}

/// The page runs its own script and talks to this server, and that is all it may do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Events that the page lists.
const LISTED: usize = 40;

/// The parts of the page that change, as markup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) summary: String,
    pub(super) graph: String,
    pub(super) table: String,
    pub(super) happened: String,
}

impl Page {
    /// What is asked for.
    pub(super) fn query(&self, typed: &[(String, String)]) -> Result<GraphQuery, ApiError> {
        self.graphs.of_namespaces(&PICTURED, typed)
    }

    /// The parts as they are now, and the title.
    pub(super) async fn parts(&self, query: GraphQuery) -> Result<(Parts, String), ApiError> {
        let draw = |graph: Graph| {
            let parts = Parts {
                summary: escaped(&render::summary(&graph)),
                graph: render::inline_svg(&graph),
                table: render::table(&graph),
                happened: String::new(),
            };
            (parts, render::title(&graph))
        };
        let (mut parts, title) = self.graphs.blocking(query, draw).await?;
        parts.happened = happened(&self.events.since(0));
        Ok((parts, title))
    }
}

async fn whole(
    State(page): State<Page>,
    RawQuery(raw): RawQuery,
    Query(typed): Pairs,
) -> Result<Response, ApiError> {
    let (parts, title) = page.parts(page.query(&typed)?).await?;
    let value = |name: &str| {
        let typed = typed.iter().rev().find(|(known, _)| known == name);
        let typed = typed.map(|(_, value)| value.as_str());
        let default = PICTURED.iter().find(|(known, _)| *known == name);
        typed
            .or(default.map(|(_, value)| *value))
            .unwrap_or_default()
    };
    let raw = raw.filter(|raw| !raw.is_empty());
    let query = raw
        .as_ref()
        .map(|raw| format!("?{raw}"))
        .unwrap_or_default();
    // Kiali's own defaults differ from the page's.
    let defaults: Vec<String> = PICTURED
        .iter()
        .filter(|(name, _)| typed.iter().all(|(known, _)| known != name))
        .map(|(name, value)| format!("{name}={value}"))
        .chain(raw)
        .collect();
    let now = SystemTime::now();
    let values = [
        ("title", escaped(&title)),
        ("now", rfc3339(now)),
        ("clock", clock(now)),
        ("hidden", hidden(&typed)),
        ("types", options(&TYPES, value("graphType"))),
        ("durations", options(&DURATIONS, value("duration"))),
        ("query", escaped(&query)),
        ("json_query", escaped(&format!("?{}", defaults.join("&")))),
        ("summary", parts.summary),
        ("graph", parts.graph),
        ("table", parts.table),
        ("happened", parts.happened),
    ];
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let filled = filled(include_str!("page/page.html"), &values);
    Ok((headers, Html(filled)).into_response())
}

/// The nodes of the graph, as the page offers them.
const TYPES: [(&str, &str); 4] = [
    ("versionedApp", "apps and versions"),
    ("app", "apps"),
    ("workload", "workloads"),
    ("service", "services"),
];

/// The windows that the page offers.
const DURATIONS: [(&str, &str); 4] = [
    ("60s", "minute"),
    ("300s", "5 minutes"),
    ("600s", "10 minutes"),
    ("3600s", "hour"),
];

/// Choices, with the current one, which may be none of the usual.
fn options(usual: &[(&str, &str)], current: &str) -> String {
    let other = [(current, current)];
    let is_usual = usual.iter().any(|(value, _)| *value == current);
    let other = if is_usual { &[][..] } else { &other[..] };
    let mut html = String::new();
    for (value, name) in usual.iter().chain(other) {
        let selected = if *value == current { " selected" } else { "" };
        let (value, name) = (escaped(value), escaped(name));
        // Writing to a string cannot fail.
        let _ = write!(html, "<option value=\"{value}\"{selected}>{name}</option>");
    }
    html
}

/// What was typed beside the choices, so that choosing keeps it.
fn hidden(typed: &[(String, String)]) -> String {
    let mut html = String::new();
    for (name, value) in typed {
        if !matches!(name.as_str(), "graphType" | "duration") {
            let (name, value) = (escaped(name), escaped(value));
            let _ = write!(
                html,
                "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"
            );
        }
    }
    html
}

/// The latest events as the items of a list, the newest first.
fn happened(events: &[Event]) -> String {
    let mut html = String::new();
    for event in events.iter().rev().take(LISTED) {
        let class = if event.kind.is_warning() {
            " class=\"warning\""
        } else {
            ""
        };
        let message = escaped(&event.message);
        let _ = write!(
            html,
            "<li id=\"h-{}\"{class}>{} <span class=\"what\">{message}</span>",
            event.id,
            when(event.time)
        );
        if event.count > 1 {
            let since = clock(event.first);
            let _ = write!(
                html,
                " <span class=\"times\" title=\"since {since}\">{} times</span>",
                event.count
            );
        }
        html.push_str("</li>\n");
    }
    html
}

/// A time that scripts turn into local time.
pub(super) fn when(time: SystemTime) -> String {
    format!(
        "<time datetime=\"{}\">{}</time>",
        rfc3339(time),
        clock(time)
    )
}

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// `12:00:00 UTC`
fn clock(time: SystemTime) -> String {
    let (hour, minute, second) = OffsetDateTime::from(time).to_hms();
    format!("{hour:02}:{minute:02}:{second:02} UTC")
}

/// The template with its `{{names}}` replaced; what replaces them is not looked at again.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut pieces = template.split("{{");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once("}}").unwrap_or((piece, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        text.push_str(value.map_or("", |(_, value)| value));
        text.push_str(rest);
    }
    text
}

/// Files of the page: checked for changes each time, so that a new mesh-api has its own.
fn file(content_type: &'static str, body: String) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body)
}

async fn css() -> impl IntoResponse {
    let sheet = format!("{}{}", include_str!("page/page.css"), render::page_sheet());
    file("text/css; charset=utf-8", sheet)
}

async fn js() -> impl IntoResponse {
    let script = include_str!("page/page.js").to_owned();
    file("text/javascript; charset=utf-8", script)
}

async fn icon() -> impl IntoResponse {
    file("image/svg+xml", include_str!("page/icon.svg").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_looked_at_for_names() {
        let values = [("a", "{{b}}".to_owned()), ("b", "no".to_owned())];
        assert_eq!(filled("<{{a}}|{{b}}>", &values), "<{{b}}|no>");
    }

    #[test]
    fn the_template_has_a_value_for_each_name() {
        let template = include_str!("page/page.html");
        let names: Vec<&str> = template
            .split("{{")
            .skip(1)
            .map(|rest| rest.split("}}").next().unwrap_or_default())
            .collect();
        assert!(names.len() >= 12, "{names:?}");
        let values: Vec<(&str, String)> = names
            .iter()
            .map(|name| (*name, (*name).to_owned()))
            .collect();
        assert!(!filled(template, &values).contains("{{"));
    }

    #[test]
    fn an_unusual_choice_is_offered_too() {
        let html = options(&DURATIONS, "90s\"");
        assert!(
            html.contains("<option value=\"90s&quot;\" selected>"),
            "{html}"
        );
        assert_eq!(html.matches("selected").count(), 1);
        assert_eq!(options(&TYPES, "app").matches("<option").count(), 4);
    }

    #[test]
    fn what_was_typed_is_kept_and_cannot_break_out() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let typed = [pair("graphType", "app"), pair("namespaces", "\"><script>")];
        let html = hidden(&typed);
        assert!(
            !html.contains("<script") && !html.contains("graphType"),
            "{html}"
        );
        assert!(html.contains("name=\"namespaces\""));
    }
}
