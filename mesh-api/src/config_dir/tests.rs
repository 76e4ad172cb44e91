//! The directory as files that come, change, break and go.

use mesh_config::Kind;

use super::*;

const SERVICE: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

struct Scene {
    store: Arc<Store>,
    events: Events,
    directory: tempfile::TempDir,
    _state: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let events = Events::new();
        Self {
            store: Arc::new(Store::open(state.path(), events.clone()).unwrap()),
            events,
            directory: tempfile::tempdir().unwrap(),
            _state: state,
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn open(&self) -> Result<ConfigDir, ConfigDirError> {
        ConfigDir::open(
            self.directory.path(),
            Arc::clone(&self.store),
            self.events.clone(),
        )
    }

    fn ports(&self) -> Vec<u16> {
        let view = self.store.view();
        let services = view.config.of_kind(Kind::Service);
        services
            .flat_map(|object| {
                object
                    .as_service()
                    .unwrap()
                    .ports
                    .iter()
                    .map(|port| port.port)
            })
            .collect()
    }
}

#[test]
fn files_are_found_in_all_corners_and_nothing_else_is_read() {
    let scene = Scene::new();
    scene.write("a.yaml", SERVICE);
    scene.write(
        "deep/er/b.yml",
        &SERVICE.replace("web", "b").replace("80", "81"),
    );
    scene.write("c.json", r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}, "spec": {"ports": [{"port": 82}]}}"#);
    scene.write("notes.txt", "not: [yaml");
    scene.write(".hidden.yaml", "not: [yaml");
    scene.write("a.yaml~", "not: [yaml");
    scene.open().unwrap();
    assert_eq!(scene.ports(), [81, 82, 80]);
}

#[test]
fn every_error_is_named_with_its_file_and_line() {
    let scene = Scene::new();
    scene.write("a.yaml", "kind: [");
    scene.write(
        "b.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 0}]\n",
    );
    let error = scene.open().unwrap_err().to_string();
    assert!(error.contains("a.yaml:"), "{error}");
    assert!(error.contains("b.yaml:5:"), "{error}");
    assert!(error.lines().count() >= 2, "{error}");
    assert!(scene.ports().is_empty());
}

#[test]
fn an_object_may_be_written_twice_only_in_the_same_way() {
    let scene = Scene::new();
    scene.write("a.yaml", SERVICE);
    scene.write("b.yaml", SERVICE);
    scene.open().unwrap();
    assert_eq!(scene.ports(), [80]);
    scene.write("b.yaml", &SERVICE.replace("80", "81"));
    let error = scene.open().unwrap_err().to_string();
    assert!(
        error.contains("b.yaml:1") && error.contains("a.yaml:1"),
        "{error}"
    );
}

#[test]
fn a_missing_directory_is_an_error_with_a_way_out() {
    let scene = Scene::new();
    let path = scene.directory.path().join("none");
    let error = ConfigDir::open(&path, Arc::clone(&scene.store), scene.events.clone()).unwrap_err();
    assert!(error.to_string().contains("--config-dir"), "{error}");
}

#[tokio::test]
async fn edits_are_followed_and_broken_ones_leave_the_last_good_state() {
    let scene = Scene::new();
    scene.write("a.yaml", SERVICE);
    let directory = scene.open().unwrap();
    let mut errors = directory.errors();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(directory.run(shutdown.clone()));
    let mut views = scene.store.subscribe();
    views.mark_unchanged();

    scene.write("a.yaml", &SERVICE.replace("80", "81"));
    views.changed().await.unwrap();
    assert_eq!(scene.ports(), [81]);

    scene.write("a.yaml", "kind: [");
    errors.wait_for(|count| *count > 0).await.unwrap();
    assert_eq!(scene.ports(), [81], "the last good state stays");

    views.mark_unchanged();
    scene.write("a.yaml", &SERVICE.replace("80", "82"));
    views.changed().await.unwrap();
    assert_eq!(scene.ports(), [82]);
    errors.wait_for(|count| *count == 0).await.unwrap();

    views.mark_unchanged();
    fs::remove_file(scene.directory.path().join("a.yaml")).unwrap();
    views.changed().await.unwrap();
    assert!(scene.ports().is_empty());
    shutdown.trigger();
    running.await.unwrap();
}

/// As a deployment does it that swaps whole directories.
#[tokio::test]
async fn a_directory_that_replaces_another_is_followed_in_its_turn() {
    let scene = Scene::new();
    scene.write("conf/a.yaml", SERVICE);
    let conf = scene.directory.path().join("conf");
    let directory = ConfigDir::open(&conf, Arc::clone(&scene.store), scene.events.clone()).unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(directory.run(shutdown.clone()));
    let mut views = scene.store.subscribe();
    views.mark_unchanged();

    scene.write("next/a.yaml", &SERVICE.replace("80", "81"));
    fs::rename(&conf, scene.directory.path().join("old")).unwrap();
    fs::rename(scene.directory.path().join("next"), &conf).unwrap();
    while scene.ports() != [81] {
        views.changed().await.unwrap();
    }
    scene.write("conf/a.yaml", &SERVICE.replace("80", "82"));
    while scene.ports() != [82] {
        views.changed().await.unwrap();
    }
    shutdown.trigger();
    running.await.unwrap();
}
