//! Every kind of file in, and the same bytes out again.

mod made_up;

use std::fs;
use std::path::{Path, PathBuf};

use super::inject::{Injected, inject};
use super::{marks, yaml};

fn fixtures() -> Vec<(PathBuf, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 15, "{files:?}");
    files
        .into_iter()
        .map(|file| (file.clone(), fs::read_to_string(&file).unwrap()))
        .collect()
}

/// The same file as other editors would have saved it.
fn as_saved_elsewhere(text: &str) -> Vec<String> {
    let open = text.trim_end_matches('\n').to_owned();
    let windows = text.replace('\n', "\r\n");
    vec![
        open.replace('\n', "\r\n"),
        format!("\u{feff}{windows}"),
        windows,
        open,
        text.to_owned(),
    ]
}

fn goes_and_comes(text: &str) -> Injected {
    let injected = match inject(text) {
        Ok(injected) => injected,
        Err(refusal) => panic!("{refusal}\n{text}"),
    };
    assert_eq!(marks::undo(&injected.text).unwrap(), text);
    assert_eq!(inject(&injected.text).unwrap().text, injected.text);
    // No line that is added breaks lines otherwise than the file does.
    let breaks = text.matches("\r\n").count();
    if breaks > 0 && breaks == text.matches('\n').count() {
        let text = &injected.text;
        assert_eq!(text.matches("\r\n").count(), text.matches('\n').count());
    }
    injected
}

/// What the manifest within an injected file says.
fn manifest(text: &str) -> String {
    let tree = yaml::read(text).unwrap();
    let services = tree.root.get("services").unwrap();
    let environment = services.get("mesh-config").unwrap().get("environment");
    let manifest = environment.unwrap().get("MESH_MANIFEST").unwrap();
    manifest.text().unwrap().to_owned()
}

fn refused(text: &str) -> String {
    match inject(text) {
        Ok(injected) => panic!("not refused:\n{}", injected.text),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn real_looking_files_go_in_and_come_out_to_the_byte() {
    for (file, text) in fixtures() {
        for text in as_saved_elsewhere(&text) {
            let injected = goes_and_comes(&text);
            let body = injected.text.trim_start_matches('\u{feff}');
            let parsed = mesh_config::parse(&file, &manifest(body)).unwrap();
            let warned: Vec<_> = parsed.iter().flat_map(|one| &one.warnings).collect();
            assert!(warned.is_empty(), "{}: {warned:?}", file.display());
        }
    }
}

#[test]
fn a_voting_app_goes_in_as_one_would_write_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/voting/docker-compose.yml");
    let injected = goes_and_comes(&fs::read_to_string(file).unwrap());
    insta::assert_snapshot!(injected.text);
    assert_eq!(
        injected.warnings,
        ["service worker has no mesh.port: it calls others in the mesh, and nobody calls it"]
    );
}

#[test]
fn the_published_port_leads_to_the_agent_in_every_form() {
    for (form, redirected) in [
        ("8080:80", "\"8080:15005\""),
        ("'8080:80'", "\"8080:15005\""),
        ("\"127.0.0.1:8080:80/tcp\"", "\"127.0.0.1:8080:15005/tcp\""),
        ("\"[::1]:8080:80\"", "\"[::1]:8080:15005\""),
        ("\"${PORT:-8080}:80\"", "\"${PORT:-8080}:15005\""),
        ("8080-8090:80", "\"8080-8090:15005\""),
        ("80", "\"15005\""),
        (
            "{target: 80, published: 8080}",
            "{target: 15005, published: 8080}",
        ),
        ("target: 80", "target: 15005"),
    ] {
        let file = format!(
            "services:\n  a:\n    ports:\n    - {form}\n    labels: {{mesh.service: a, mesh.port: 80}}\n"
        );
        let injected = goes_and_comes(&file);
        let expected = format!("    # mesh: instead of |    - {form}\n    - {redirected}\n");
        assert!(
            injected.text.contains(&expected),
            "{form}:\n{}",
            injected.text
        );
        assert!(
            injected
                .text
                .contains("MESH_LISTEN_PLAIN: \"0.0.0.0:15005\"")
        );
        assert_eq!(injected.warnings, Vec::<String>::new(), "{form}");
    }
    let other = "services:\n  a:\n    ports: ['8080:81', '53:53/udp']\n    labels: {mesh.service: a, mesh.port: 80}\n";
    let injected = goes_and_comes(other);
    assert!(!injected.text.contains("MESH_LISTEN_PLAIN"));
    assert!(injected.warnings[0].contains("port 81 of service a"));
    assert_eq!(injected.warnings.len(), 1);
}

/// `up --wait` takes the end of a service for a failure, unless another one waits for its success.
#[test]
fn who_ends_is_waited_for() {
    for (file, text) in fixtures() {
        let injected = goes_and_comes(&text);
        let tree = yaml::read(&injected.text).unwrap();
        let services = tree.root.get("services").unwrap().merged();
        for ending in ["mesh-join", "mesh-config"] {
            let waits = services.iter().any(|(_, _, service)| {
                let needed = service.get("depends_on").and_then(|all| all.get(ending));
                needed.and_then(|needed| needed.get("condition")?.text())
                    == Some("service_completed_successfully")
            });
            assert!(waits, "{}: {ending}", file.display());
        }
    }
}

#[test]
fn a_service_knows_the_others_of_its_namespace_by_name() {
    let address = |host: &str| mesh_config::service_address(host).to_string();
    let file = "services:
  a:
    labels: {mesh.service: a, mesh.port: 8001}
  b:
    labels: {mesh.service: b, mesh.port: 8002}
  c:
    extra_hosts:
    labels: {mesh.service: c, mesh.port: 8003, mesh.namespace: far}
  same:
    labels: {mesh.service: same, mesh.port: 8002}
";
    let injected = goes_and_comes(file);
    let tree = yaml::read(&injected.text).unwrap();
    let hosts = |service: &str| -> Vec<String> {
        let service = tree.root.get("services").unwrap().get(service).unwrap();
        let items = service.get("extra_hosts").unwrap().items().iter();
        items.map(|item| item.text().unwrap().to_owned()).collect()
    };
    let to_a = address("a.default.svc.cluster.local");
    let to_b = address("b.default.svc.cluster.local");
    let to_c = address("c.far.svc.cluster.local");
    let to_same = address("same.default.svc.cluster.local");
    assert_eq!(
        hosts("a"),
        [
            format!("b:{to_b}"),
            format!("same:{to_same}"),
            format!("c.far:{to_c}")
        ]
    );
    // The app of b has port 8002 on all addresses.
    assert_eq!(hosts("b"), [format!("a:{to_a}"), format!("c.far:{to_c}")]);
    assert_eq!(
        hosts("c"),
        [
            format!("a.default:{to_a}"),
            format!("b.default:{to_b}"),
            format!("same.default:{to_same}")
        ]
    );
    let warned = injected.warnings.join("\n");
    assert!(
        warned.contains("service b has the same port as same"),
        "{warned}"
    );
    assert!(
        warned.contains("service same has the same port as b"),
        "{warned}"
    );
}

#[test]
fn what_goes_past_the_mesh_is_said() {
    let file = "services:
  a:
    labels: {mesh.service: a, mesh.port: 80}
    networks:
      default: {aliases: [a, www]}
  b:
    labels: {mesh.service: bee, mesh.port: 81}
    extra_hosts: ['a:10.0.0.1']
    links: ['a:server']
  job:
    labels: {mesh.service: job}
    ports: ['${P}']
  other:
    depends_on: [job, a]
  another:
    links: ['b:bee']
";
    let warnings = goes_and_comes(file).warnings;
    let starts = [
        "service a is called a in the mesh: what others send to www goes past it",
        "service b has a in its own extra_hosts",
        "service b is called bee in the mesh: what others send to b goes past it",
        "port ${P} of service job is published as before",
        "service job has no mesh.port",
        "service other has no labels and depends on a:",
        "service another has no labels and depends on b:",
    ];
    assert_eq!(warnings.len(), starts.len(), "{warnings:#?}");
    for (warning, start) in warnings.iter().zip(starts) {
        assert!(warning.starts_with(start), "{warning}");
    }
}

#[test]
fn the_control_plane_is_on_a_network_that_all_labelled_services_share() {
    let file = |networks: &str, more: &str| {
        format!(
            "services:\n  a:\n    networks: [x, y]\n    labels: {{mesh.service: a}}\n  b:\n    networks: {networks}\n    labels: {{mesh.service: b}}\nnetworks:\n  x:\n  y: {more}\n  z:\n"
        )
    };
    let networks = |text: &str, service: &str| {
        let tree = yaml::read(text).unwrap();
        let service = tree.root.get("services").unwrap().get(service).unwrap();
        let items = service.get("networks").unwrap().items().iter();
        items
            .map(|item| item.text().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let both = goes_and_comes(&file("{y: {aliases: [bb]}, x: {}}", "{internal: true}")).text;
    assert_eq!(networks(&both, "mesh-api"), ["x"]);
    let inner = goes_and_comes(&file("[y, z]", "{internal: true}")).text;
    assert_eq!(networks(&inner, "mesh-ca"), ["y"]);
    assert_eq!(networks(&inner, "mesh-api"), ["y", "default"]);
    let apart = refused(&file("[z]", "{}"));
    assert!(
        apart.starts_with("5:3: services a and b have no network in common"),
        "{apart}"
    );
    let default = refused(&file("", "{}"));
    assert!(default.contains("no network in common"), "{default}");
}

#[test]
fn what_cannot_be_kept_whole_is_refused_with_its_place_and_the_way_out() {
    let labelled = |more: &str| {
        format!("services:\n  a:\n    labels: {{mesh.service: a, mesh.port: 80}}\n{more}")
    };
    for (file, place, hint) in [
        ("services: [\n".to_owned(), "", "not YAML"),
        ("services:\n  a:\n\tb: c\n".to_owned(), "3:", "not YAML"),
        (String::new(), "1:1", "name a Compose file"),
        ("web:\n  image: web\n".to_owned(), "1:1", "format 2"),
        ("services: []\n".to_owned(), "1:1", "map of services"),
        ("services:\n  a:\n    image: a\n".to_owned(), "1:1", "mesh.service"),
        (labelled("---\nservices: {}\n"), "4:", "one"),
        (labelled("  a:\n    image: b\n"), "4:3", "twice"),
        (labelled("    network_mode: host\n"), "4:", "networks"),
        (labelled("    scale: 2\n"), "4:", "several services"),
        (labelled("    deploy: {replicas: 3}\n"), "4:", "several services"),
        (labelled("    extends: {file: x.yml, service: a}\n"), "4:", "write out"),
        (labelled("  b:\n    extends: {service: a}\n"), "5:", "write out"),
        (labelled("    ports: ['80-90:80-90']\n"), "4:", "entry of its own"),
        (labelled("    ports: ['8080:${P}']\n"), "4:", "8080:80"),
        (labelled("    ports: [\"80\\\n       :80\"]\n"), "4:", "on one"),
        (labelled("  a-agent:\n    image: x\n"), "4:3", "rename"),
        (labelled("  mesh-api:\n    image: x\n"), "4:3", "rename"),
        (labelled("volumes:\n  a-mesh:\n"), "5:3", "rename"),
        (labelled("volumes: &v\n  x:\nx-v: *v\n"), "6:6", "line 5"),
        (labelled("  b: &b\n    labels: {mesh.service: b, mesh.port: 81}\n  c:\n    <<: *b\n    labels: {}\n"), "7:9", "line 5"),
        (labelled("    extra_hosts: &h\n    - x:10.0.0.1\n  b:\n    labels: {mesh.service: b, mesh.port: 81}\nx: *h\n"), "8:4", "line 5"),
        (labelled("  A:\n    image: b\n    labels: {mesh.service: b}\n"), "4:3", "rename"),
        (labelled("  b:\n    labels: {mesh.service: a, mesh.port: 81}\n"), "4:3", "same mesh.port"),
        (labelled("  b:\n    labels: {mesh.service: c, mesh.port: 81}\n  c:\n    image: c\n"), "6:3", "rename"),
        (
            "x: &x {ports: ['80:80']}\nservices:\n  a:\n    <<: *x\n    labels: {mesh.service: a, mesh.port: 80}\n".to_owned(),
            "1:",
            "under its ports",
        ),
        (
            "x: &x ['80:80']\nservices:\n  a:\n    ports: *x\n    labels: {mesh.service: a, mesh.port: 80}\n".to_owned(),
            "1:",
            "under its ports",
        ),
        (
            "x: &x\n  extra_hosts: ['x:10.0.0.1']\nservices:\n  a:\n    <<: *x\n    labels: {mesh.service: a, mesh.port: 80}\n  b:\n    labels: {mesh.service: b, mesh.port: 81}\n".to_owned(),
            "2:",
            "write it out",
        ),
        (
            "services:\n  a: {labels: {mesh.service: a}}\n".to_owned(),
            "2:",
            "indented lines",
        ),
        (
            "x: &x\n  labels: {mesh.service: a}\nservices:\n  a: *x\n".to_owned(),
            "4:",
            "write it out",
        ),
        (
            "x: &x\n  a: {labels: {mesh.service: a}}\nservices:\n  <<: *x\n".to_owned(),
            "2:",
            "write it out",
        ),
        (
            "services: {a: &a {labels: {mesh.service: a}}}\n".to_owned(),
            "1:",
            "indented lines",
        ),
    ] {
        let refusal = refused(&file);
        assert!(refusal.starts_with(place), "{refusal}\n{file}");
        assert!(refusal.contains(hint), "{refusal}\n{file}");
        assert!(!refusal.contains('\n'), "{refusal}");
    }
}

#[test]
fn an_edited_mark_is_said_and_not_guessed_at() {
    let file =
        "services:\n  a:\n    ports: ['80:80']\n    labels: {mesh.service: a, mesh.port: 80}\n";
    let injected = inject(file).unwrap().text;
    let without_end = injected.replace("  # mesh: end\n", "");
    let error = marks::undo(&without_end).unwrap_err().to_string();
    assert!(error.contains("no end mark"), "{error}");
    let error = marks::undo("a: 1\n# mesh: end\n").unwrap_err().to_string();
    assert!(
        error.starts_with("2:1") && error.contains("no beginning"),
        "{error}"
    );
    let error = marks::undo("# mesh: instead of |x")
        .unwrap_err()
        .to_string();
    assert!(error.contains("no line after it"), "{error}");
    // The user's own lines may change: a new label is followed, and the changes stay.
    let edited = injected.replace("mesh.service: a,", "mesh.service: b,");
    let again = inject(&edited).unwrap().text;
    assert!(again.contains("name: b\n"), "{again}");
    assert_eq!(
        marks::undo(&again).unwrap(),
        file.replace("mesh.service: a,", "mesh.service: b,")
    );
}
