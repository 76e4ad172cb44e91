//! The lines that people and programs read, and what the exit code makes of them.

use serde_json::json;

use super::*;

fn code(findings: &[Value], threshold: Threshold) -> u8 {
    verdict(findings, threshold).map_or_else(|failure| failure.code, |()| exit::DONE)
}

#[test]
fn the_exit_code_tells_findings_from_texts_that_cannot_be_read() {
    let finding = |level: &str| json!({ "level": level, "code": "IST0101", "message": "x" });
    let broken = json!({ "level": "Error", "message": "x" });
    for (findings, threshold, expected) in [
        (vec![], Threshold::Info, exit::DONE),
        (vec![finding("Info")], Threshold::Warning, exit::DONE),
        (vec![finding("Info")], Threshold::Info, exit::FINDINGS),
        (vec![finding("Warning")], Threshold::Warning, exit::FINDINGS),
        (vec![finding("Warning")], Threshold::Error, exit::DONE),
        (vec![finding("Error")], Threshold::Error, exit::FINDINGS),
        (vec![finding("Error"), broken], Threshold::Error, exit::DATA),
    ] {
        assert_eq!(
            code(&findings, threshold),
            expected,
            "{findings:?} {threshold:?}"
        );
    }
}

#[test]
fn a_line_has_the_place_the_code_and_the_object() {
    let full = json!({
        "level": "Error", "code": "IST0101", "message": "no.", "origin": "VirtualService a/b",
        "field": "spec.hosts[0]", "reference": "x.yaml:3:5"
    });
    assert_eq!(
        line(&full),
        "x.yaml:3:5: Error [IST0101] (VirtualService a/b) spec.hosts[0]: no.\n"
    );
    assert_eq!(
        line(&json!({ "level": "Error", "message": "no." })),
        "Error: no.\n"
    );
}

#[test]
fn what_is_said_of_many_objects_is_said_once() {
    let of = |name: &str, field: Option<&str>| {
        let mut finding =
            json!({ "level": "Warning", "code": "MESH0003", "message": "kept.", "origin": name });
        if let Some(field) = field {
            finding["field"] = json!(field);
        }
        finding
    };
    let findings = [
        of("a", None),
        of("b", Some("spec.x")),
        of("c", None),
        of("d", Some("spec.x")),
    ];
    let findings: Vec<&Value> = findings.iter().collect();
    assert_eq!(
        written(&findings, Output::Table),
        "Warning [MESH0003] (a): kept. (1 more like it)\n\
         Warning [MESH0003] (b) spec.x: kept.\n\
         Warning [MESH0003] (d) spec.x: kept.\n"
    );
}

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(words: &[&str]) -> Arguments {
    let words = std::iter::once(&"meshctl").chain(words);
    <Program as clap::Parser>::try_parse_from(words)
        .unwrap()
        .arguments
}

#[test]
fn a_running_mesh_is_asked_and_places_are_the_files_own() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (
        directory.path().join("1.yaml"),
        directory.path().join("2.yaml"),
    );
    std::fs::write(&one, "a: 1\nb: 2\n").unwrap();
    std::fs::write(&two, "c: 3\n").unwrap();
    let answer = json!({ "findings": [
        { "level": "Error", "code": "IST0106", "message": "m", "file": "request body", "line": 4, "column": 2,
          "reference": "request body:4:2" },
        { "level": "Info", "code": "IST0118", "message": "m", "file": "mesh.yaml", "line": 4, "column": 2,
          "reference": "mesh.yaml:4:2" },
    ]});
    let (api, requests) = crate::fake_api::answering(vec![(200, answer.to_string())]);
    let words = [
        "--live",
        "--api",
        &api,
        one.to_str().unwrap(),
        two.to_str().unwrap(),
    ];
    let found = find(&arguments(&words)).unwrap();
    assert!(
        requests
            .recv()
            .unwrap()
            .starts_with("POST /api/mesh/analysis ")
    );
    let references: Vec<_> = found
        .iter()
        .map(|finding| finding["reference"].clone())
        .collect();
    assert_eq!(
        references,
        [
            json!(format!("{}:1:2", two.display())),
            json!("mesh.yaml:4:2")
        ]
    );

    let (api, requests) = crate::fake_api::answering(vec![(404, "{}".to_owned())]);
    let error = find(&arguments(&["--live", "--api", &api])).unwrap_err();
    assert!(
        requests
            .recv()
            .unwrap()
            .starts_with("GET /api/mesh/analysis ")
    );
    assert_eq!(error.exit_code(), exit::FAILED);
}

#[test]
fn files_are_the_whole_world_and_told_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: gone}\n";
    std::fs::write(inner.join("b.yaml"), service).unwrap();
    std::fs::write(
        directory.path().join("c.yaml"),
        format!("{rule}---\n{service}"),
    )
    .unwrap();
    let path = directory.path().to_str().unwrap();
    let codes = |words: &[&str]| {
        let found = find(&arguments(words)).unwrap();
        let codes = found
            .iter()
            .map(|one| one["code"].as_str().unwrap_or_default().to_owned());
        codes.collect::<Vec<_>>()
    };
    assert_eq!(codes(&["-f", path]), ["IST0174", "IST0118"]);
    // The directory's files come by name: the inner one first, and then it is written again.
    assert_eq!(
        codes(&["-R", "-f", path]),
        ["IST0174", "MESH0006", "IST0118"]
    );
}
