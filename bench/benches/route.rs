//! Finding the route of a request among many hosts with many routes each: the curve is to be flat.

use std::collections::HashMap;
use std::sync::Arc;

use divan::{Bencher, black_box};
use http::{HeaderMap, Method, StatusCode, Uri};
use mesh_proxy::snapshot::{Action, PathMatcher, Route, RouteMatcher, Router, VirtualHost};
use mesh_proxy::steps::route::{Question, find};

fn main() {
    divan::main();
}

const SIZES: [usize; 3] = [10, 100, 1000];

/// Hosts `hN.example`, each with as many routes: exact paths and prefixes in turn, the asked one last.
fn router(hosts: usize, routes: usize) -> Router {
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
    let routes: Vec<_> = (0..routes).map(route).collect();
    let exact: HashMap<_, _> = (0..hosts)
        .map(|i| format!("h{i}.example"))
        .map(|name| {
            (
                name.clone(),
                Arc::new(VirtualHost::new(&name, routes.clone())),
            )
        })
        .collect();
    Router {
        exact,
        ..Router::default()
    }
}

fn ask(bencher: Bencher<'_, '_>, hosts: usize, routes: usize) {
    let router = router(hosts, routes);
    let authority = format!("h{}.example", hosts - 1);
    let target = format!("/service{}/item?q=1", routes - 1);
    let uri: Uri = target.parse().expect("a path");
    let headers = HeaderMap::new();
    let question = Question {
        authority: &authority,
        method: &Method::GET,
        uri: &uri,
        scheme: "http",
        headers: &headers,
    };
    assert!(find(&router, &question).is_some());
    bencher.bench_local(|| find(black_box(&router), black_box(&question)).is_some());
}

#[divan::bench(args = SIZES)]
fn of_so_many_routes(bencher: Bencher<'_, '_>, routes: usize) {
    ask(bencher, 10, routes);
}

#[divan::bench(args = SIZES)]
fn of_so_many_hosts(bencher: Bencher<'_, '_>, hosts: usize) {
    ask(bencher, hosts, 10);
}

#[divan::bench]
fn of_a_thousand_hosts_with_a_thousand_routes(bencher: Bencher<'_, '_>) {
    ask(bencher, 1000, 1000);
}
