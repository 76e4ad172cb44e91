//! The disk between two lives of the process, some of them ended by force.

use serde_json::json;

use super::*;

fn put(path: &str, value: u64) -> FileChange {
    FileChange {
        path: PathBuf::from(path),
        contents: Some(json!({ "value": value })),
    }
}

fn delete(path: &str) -> FileChange {
    FileChange {
        path: PathBuf::from(path),
        contents: None,
    }
}

fn values(found: &Found) -> Vec<(String, u64)> {
    found
        .iter()
        .map(|(path, value)| (path.display().to_string(), value["value"].as_u64().unwrap()))
        .collect()
}

#[test]
fn what_was_written_is_read_back() {
    let state = tempfile::tempdir().unwrap();
    let (mut disk, found, revision) = Disk::open(state.path()).unwrap();
    assert!(found.is_empty());
    assert_eq!(revision, 0);
    disk.reserve(1).unwrap();
    disk.commit(vec![put("a/one.json", 1)]).unwrap();
    disk.commit(vec![put("a/two.json", 2), put("b/three.json", 3)])
        .unwrap();
    disk.commit(vec![delete("a/one.json")]).unwrap();
    drop(disk);
    let (_, found, revision) = Disk::open(state.path()).unwrap();
    assert_eq!(
        values(&found),
        [("a/two.json".to_owned(), 2), ("b/three.json".to_owned(), 3)]
    );
    assert!(revision >= 1, "a restart never hands out an old revision");
}

#[test]
fn the_counter_goes_on_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (mut disk, _, _) = Disk::open(state.path()).unwrap();
    disk.reserve(7).unwrap();
    drop(disk);
    let (mut disk, _, first) = Disk::open(state.path()).unwrap();
    assert!(first >= 7);
    disk.reserve(first + 1).unwrap();
    drop(disk);
    let (_, _, second) = Disk::open(state.path()).unwrap();
    assert!(second > first);
}

#[test]
fn a_second_process_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let _first = Disk::open(state.path()).unwrap();
    let error = Disk::open(state.path()).unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    assert!(error.contains("--state-dir"), "{error}");
}

#[test]
fn a_torn_temporary_file_is_swept_away() {
    let state = tempfile::tempdir().unwrap();
    let (mut disk, _, _) = Disk::open(state.path()).unwrap();
    disk.commit(vec![put("a/one.json", 1)]).unwrap();
    drop(disk);
    let torn = state.path().join("objects/a/.one.json.tmp");
    fs::write(&torn, "{\"val").unwrap();
    let (_, found, _) = Disk::open(state.path()).unwrap();
    assert_eq!(values(&found), [("a/one.json".to_owned(), 1)]);
    assert!(!torn.exists());
}

#[test]
fn a_torn_object_is_named_and_left_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let (mut disk, _, _) = Disk::open(state.path()).unwrap();
    disk.commit(vec![put("a/one.json", 1)]).unwrap();
    drop(disk);
    let file = state.path().join("objects/a/one.json");
    fs::write(&file, "{\"value\": ").unwrap();
    let error = Disk::open(state.path()).unwrap_err().to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    assert!(error.contains("move it away"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "{\"value\": ");
}

#[test]
fn an_interrupted_batch_is_finished_by_the_next_start() {
    let state = tempfile::tempdir().unwrap();
    let (mut disk, _, _) = Disk::open(state.path()).unwrap();
    disk.commit(vec![put("a/one.json", 1), put("a/two.json", 1)])
        .unwrap();
    // As if killed after the journal and one of three files.
    let batch = vec![
        put("a/one.json", 2),
        delete("a/two.json"),
        put("b/three.json", 2),
    ];
    write_json(&disk.journal, &batch).unwrap();
    disk.write(&batch[0]).unwrap();
    drop(disk);
    let (disk, found, _) = Disk::open(state.path()).unwrap();
    assert_eq!(
        values(&found),
        [("a/one.json".to_owned(), 2), ("b/three.json".to_owned(), 2)]
    );
    assert!(!disk.journal.exists());
}

#[test]
fn a_failed_write_changes_nothing_and_the_next_one_works() {
    let state = tempfile::tempdir().unwrap();
    let (mut disk, _, _) = Disk::open(state.path()).unwrap();
    disk.commit(vec![put("a/one.json", 1)]).unwrap();
    // A directory in the way of the journal makes its replacement fail.
    fs::create_dir(&disk.journal).unwrap();
    fs::write(disk.journal.join("x"), "").unwrap();
    let error = disk
        .commit(vec![put("a/one.json", 2), put("a/two.json", 2)])
        .unwrap_err();
    assert!(
        matches!(
            error,
            DiskError::Io {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
    fs::remove_dir_all(&disk.journal).unwrap();
    disk.commit(vec![put("a/two.json", 3)]).unwrap();
    drop(disk);
    let (_, found, _) = Disk::open(state.path()).unwrap();
    assert_eq!(
        values(&found),
        [("a/one.json".to_owned(), 1), ("a/two.json".to_owned(), 3)]
    );
}
