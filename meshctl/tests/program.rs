//! The program as one types it: output, warnings, exit codes, and what becomes of files.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const FILE: &str = "services:
  web:
    image: web
    ports: ['8080:80', '9229:9229']
    labels: {mesh.service: web, mesh.port: 80}
";

fn meshctl(directory: &Path, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(words)
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("meshctl starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // Some commands end without reading it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("meshctl ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn inject_prints_the_file_and_warns_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let done = meshctl(directory.path(), &["compose", "inject", "-f", "-"], FILE);
    assert_eq!(done.status.code(), Some(0));
    let injected = text(&done.stdout);
    assert!(injected.contains("  web-agent:\n"), "{injected}");
    let warnings = text(&done.stderr);
    assert!(
        warnings.starts_with("warning: port 9229 of service web"),
        "{warnings}"
    );
    let done = meshctl(
        directory.path(),
        &["compose", "uninject", "-f", "-"],
        &injected,
    );
    assert_eq!(
        (done.status.code(), text(&done.stdout).as_str()),
        (Some(0), FILE)
    );
    assert!(done.stderr.is_empty());
}

#[test]
fn in_place_keeps_the_files_permissions_and_a_link_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("real")).unwrap();
    let file = path("real/file.yml");
    fs::write(&file, FILE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real/file.yml", path("docker-compose.yml")).unwrap();

    let done = meshctl(directory.path(), &["compose", "inject", "--in-place"], "");
    assert_eq!(done.status.code(), Some(0));
    assert!(done.stdout.is_empty());
    assert!(fs::read_to_string(&file).unwrap().contains("web-agent"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert!(path("docker-compose.yml").is_symlink());
    assert_eq!(fs::read_dir(path("real")).unwrap().count(), 1);

    let words = ["compose", "uninject", "--output", "again.yml"];
    let done = meshctl(directory.path(), &words, "");
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(fs::read_to_string(path("again.yml")).unwrap(), FILE);
    assert!(fs::read_to_string(&file).unwrap().contains("web-agent"));
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_changes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.yml");
    let broken = "services:\n  a: [\n";
    fs::write(&file, broken).unwrap();
    for (words, code, said) in [
        (
            &["compose", "inject", "-f", "broken.yml", "--in-place"][..],
            65,
            "broken.yml:2:6: ",
        ),
        (&["compose", "inject", "-f", "none.yml"], 1, "none.yml"),
        (&["compose", "inject"], 64, "-f"),
        (
            &["compose", "inject", "-f", "-", "--in-place"],
            64,
            "--in-place",
        ),
        (
            &["compose", "inject", "-o", "x", "--in-place"],
            64,
            "--in-place",
        ),
        (&["compose", "eject"], 64, "eject"),
        (&["apply"], 64, "--file"),
        (&["apply", "-f", "none.yml"], 1, "none.yml"),
        (&["apply", "-f", "broken.yml"], 65, "broken.yml:"),
        (
            &["apply", "-f", "broken.yml", "--api", "https://x"],
            64,
            "plain HTTP",
        ),
        (
            &["apply", "-f", "-", "--api", "http://127.0.0.1:1"],
            69,
            "mesh-api",
        ),
    ] {
        let service =
            "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
        let done = meshctl(directory.path(), words, service);
        let error = text(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{words:?}: {error}");
        assert!(error.contains(said), "{words:?}: {error}");
        assert!(done.stdout.is_empty(), "{words:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), broken);
}

#[test]
fn analyze_names_the_line_and_has_its_own_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosts: [a]\n  http:\n  - route:\n    - destination:\n        host: gone\n";
    let done = meshctl(directory.path(), &["analyze", "-"], rule);
    assert_eq!(done.status.code(), Some(79));
    let lines = text(&done.stdout);
    assert!(
        lines.starts_with(
            "standard input:9:15: Error [IST0101] (VirtualService default/x) \
             spec.http[0].route[0].destination.host: no Service has the host gone.default.svc.cluster.local"
        ),
        "{lines}"
    );
    let done = meshctl(directory.path(), &["analyze", "-f", "-"], "a: [\n");
    assert_eq!(done.status.code(), Some(65));
    let done = meshctl(directory.path(), &["analyze", "-f", "gone.yaml"], "");
    assert_eq!(done.status.code(), Some(65));
    let done = meshctl(directory.path(), &["analyze"], "");
    assert_eq!(done.status.code(), Some(64));
}
