use clap::Parser;

use super::*;
use crate::fake_api::answering;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(words: &[&str]) -> Arguments {
    let words = std::iter::once(&"meshctl").chain(words);
    Program::try_parse_from(words).unwrap().arguments
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: 80\n    name: http\n"
    )
}

fn said(status: u16, message: &str) -> (u16, String) {
    let body = serde_json::json!({ "kind": "Status", "message": message });
    (status, body.to_string())
}

fn done(warnings: &[&str]) -> (u16, String) {
    let row = serde_json::json!({
        "kind": "Service", "namespace": "default", "name": "a", "action": "created"
    });
    let body = serde_json::json!({ "applied": [row], "warnings": warnings });
    (200, body.to_string())
}

#[test]
fn all_files_go_as_one_text_and_are_told_by_their_own_lines() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    // The first has no line break at its end, the second begins with a mark of its own.
    write("a.yaml", service("a").trim_end());
    write("b.yml", &format!("\u{feff}---\n{}", service("b")));
    write(
        "c.json",
        r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"},"spec":{"ports":[{"port":80,"name":"h\u0074tp"}]}}"#,
    );
    write("notes.txt", "not: [yaml");
    let token = directory.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();

    // The eighth line of the first, the third of the second, and a place that is nowhere.
    let warnings = [
        "request body:8:3 (document 1): one",
        "request body:12:1 (document 3): two, as in request body:999:1",
        "three",
    ];
    let (address, requests) = answering(vec![done(&warnings)]);
    let path = directory.path().to_str().unwrap();
    let applied = apply(&arguments(&[
        "-f",
        path,
        "--api",
        &address,
        "--token-file",
        token.to_str().unwrap(),
    ]))
    .unwrap();
    assert_eq!(applied.applied[0].action, "created");
    assert_eq!(
        applied.warnings,
        [
            format!("{path}/a.yaml:8:3: one"),
            format!("{path}/b.yml:3:1: two, as in request body:999:1"),
            "three".to_owned()
        ]
    );
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /apply HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer secret\r\n"));
    assert!(request.contains(&format!(
        "host: {}\r\n",
        address.trim_start_matches("http://")
    )));
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let parsed = mesh_config::parse(std::path::Path::new("body"), body).unwrap();
    let names: Vec<_> = parsed
        .iter()
        .map(|one| one.object.metadata.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn what_is_wrong_is_said_by_file_and_line_without_an_api() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wrong.yaml");
    std::fs::write(&file, "kind: Service\nspec: [\n").unwrap();
    let path = file.to_str().unwrap();
    let error = apply(&arguments(&["-f", path, "--api", "http://127.0.0.1:1"])).unwrap_err();
    assert_eq!(error.exit_code(), exit::DATA);
    assert!(error.to_string().contains(&format!("{path}:")), "{error}");

    std::fs::write(&file, "# nothing\n").unwrap();
    let error = apply(&arguments(&["-f", path])).unwrap_err();
    assert_eq!(error.exit_code(), exit::DATA);
    std::fs::remove_file(&file).unwrap();
    let error = apply(&arguments(&["-f", path])).unwrap_err();
    assert_eq!(error.exit_code(), exit::FAILED);
    assert!(error.to_string().contains("wrong.yaml"), "{error}");
    let error = apply(&arguments(&["-f", directory.path().to_str().unwrap()])).unwrap_err();
    assert!(error.to_string().contains("no .yaml"), "{error}");
    let error = apply(&arguments(&["--from-env", "NO_SUCH_VARIABLE"])).unwrap_err();
    assert_eq!(error.exit_code(), exit::USAGE);
    assert!(Program::try_parse_from(["meshctl"]).is_err());
}

#[test]
fn the_apis_words_decide_the_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    std::fs::write(&file, service("a")).unwrap();
    let file = file.to_str().unwrap();
    for (answer, code, words) in [
        (
            said(422, "request body:8:3 (document 1): no"),
            exit::DATA,
            "a.yaml:8:3: no",
        ),
        (said(401, "no token"), exit::FAILED, "--token-file"),
        (said(409, "in use"), exit::FAILED, "in use"),
        (said(500, "disk full"), exit::FAILED, "disk full"),
        (said(503, "not yet"), exit::UNAVAILABLE, "not yet"),
        ((404, "<html>".to_owned()), exit::FAILED, "--api"),
        ((200, "hello".to_owned()), exit::FAILED, "--api"),
    ] {
        let (address, _requests) = answering(vec![answer]);
        let error = apply(&arguments(&["-f", file, "--api", &address])).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn waiting_goes_on_while_the_api_is_out_of_reach_and_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    std::fs::write(&file, service("a")).unwrap();
    let file = file.to_str().unwrap();
    let (address, requests) = answering(vec![said(503, "not yet"), done(&[])]);
    let waiting = arguments(&["-f", file, "--api", &address, "--wait", "60s"]);
    assert_eq!(apply(&waiting).unwrap().applied.len(), 1);
    assert_eq!(requests.iter().count(), 2);

    // The listener is gone: nobody is there any more.
    let error = apply(&arguments(&["-f", file, "--api", &address])).unwrap_err();
    assert_eq!(error.exit_code(), exit::UNAVAILABLE);
    assert!(error.to_string().contains("start mesh-api"), "{error}");

    let (address, _requests) = answering(vec![said(422, "no"), done(&[])]);
    let waiting = arguments(&["-f", file, "--api", &address, "--wait", "60s"]);
    assert_eq!(apply(&waiting).unwrap_err().exit_code(), exit::DATA);
}
