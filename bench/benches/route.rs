//! Finding the route of a request among many hosts with many routes each: the curve is to be flat.

use std::sync::Arc;

use divan::{Bencher, black_box};
use http::{HeaderMap, Method, StatusCode, Uri};
use mesh_proxy::snapshot::{Action, PathMatcher, Route, RouteMatcher, Router, VirtualHost};
use mesh_proxy::steps::route::{Question, find};

fn main() {
    divan::main();
}

const SIZES: [usize; 3] = [10, 100, 1000];

/// Routes of a host: exact paths and prefixes in turn, the asked one last.
fn routes(count: usize) -> Vec<Arc<Route>> {
    let route = |i: usize| {
        let (value, ignore_case) = (format!("/service{i}/"), false);
        let path = match i % 2 {
            0 => PathMatcher::Exact { value, ignore_case },
            _ => PathMatcher::Prefix { value, ignore_case },
        };
        let action = Action::Direct {
            status: StatusCode::OK,
            body: Default::default(),
        };
        Arc::new(Route::new("", RouteMatcher::path(path), action))
    };
    (0..count).map(route).collect()
}

/// Names, each with a host of its own and as many routes.
fn hosts<C>(names: impl Iterator<Item = String>, count: usize) -> C
where
    C: FromIterator<(String, Arc<VirtualHost>)>,
{
    let routes = routes(count);
    let host = |name: &str| Arc::new(VirtualHost::new(name, routes.clone()));
    names.map(|name| (name.clone(), host(&name))).collect()
}

/// Asks one of the exact hosts `hN.example`.
fn ask_exact(bencher: Bencher<'_, '_>, count: usize, routes: usize) {
    let names = (0..count).map(|i| format!("h{i}.example"));
    let router = Router {
        exact: hosts(names, routes),
        ..Router::default()
    };
    ask(bencher, &router, &format!("h{}.example", count - 1), routes);
}

/// Asks for the last route of a host.
fn ask(bencher: Bencher<'_, '_>, router: &Router, authority: &str, routes: usize) {
    let target = format!("/service{}/item?q=1", routes - 1);
    let uri: Uri = target.parse().expect("a path");
    let headers = HeaderMap::new();
    let question = Question {
        authority,
        method: &Method::GET,
        uri: &uri,
        scheme: "http",
        headers: &headers,
    };
    assert!(find(router, &question).is_some());
    bencher.bench_local(|| find(black_box(router), black_box(&question)).is_some());
}

#[divan::bench(args = SIZES)]
fn of_so_many_routes(bencher: Bencher<'_, '_>, routes: usize) {
    ask_exact(bencher, 10, routes);
}

#[divan::bench(args = SIZES)]
fn of_so_many_hosts(bencher: Bencher<'_, '_>, hosts: usize) {
    ask_exact(bencher, hosts, 10);
}

#[divan::bench]
fn of_a_thousand_hosts_with_a_thousand_routes(bencher: Bencher<'_, '_>) {
    ask_exact(bencher, 1000, 1000);
}

/// Asks for something behind the shortest and last of so many wildcards.
#[divan::bench(args = [1, 3, 10, 31, 32, 100, 1000])]
fn of_so_many_wildcards(bencher: Bencher<'_, '_>, count: usize) {
    let names = (0..count).map(|i| format!(".h{i}.example"));
    let router = Router {
        suffix: hosts(names, 10),
        ..Router::default()
    };
    ask(bencher, &router, "www.shop.h0.example", 10);
}
