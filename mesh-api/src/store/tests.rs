//! What the store promises to writers: all or nothing, versions that mean something, nothing lost.

use std::fs;

use mesh_config::model::Kind;

use super::*;

pub(crate) const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}]
";

pub(crate) const RULE: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  subsets: [{name: v1, labels: {version: v1}}]
";

pub(crate) const ROUTE: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http: [{route: [{destination: {host: web, subset: v1}}]}]
";

fn objects(text: &str) -> Vec<Object> {
    let parsed = mesh_config::parse(Path::new("test.yaml"), text).unwrap();
    parsed.into_iter().map(|one| one.object).collect()
}

fn object(text: &str) -> Object {
    let mut all = objects(text);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn key(kind: Kind) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    }
}

fn based_on(mut object: Object, version: &str) -> Object {
    object.metadata.resource_version = Some(version.to_owned());
    object
}

fn version(written: &Written) -> u64 {
    let version = written.object.metadata.resource_version.as_deref();
    version.unwrap().parse().unwrap()
}

#[test]
fn an_object_lives_from_create_to_delete() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    let created = store.create(object(SERVICE), false).unwrap();
    assert_eq!(created.action, Action::Created);
    let metadata = &created.object.raw["metadata"];
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(
        metadata["creationTimestamp"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );

    let again = store.create(object(SERVICE), false).unwrap_err();
    assert!(matches!(again, Refusal::AlreadyExists { .. }), "{again}");

    let same = store.update(object(SERVICE), false).unwrap();
    assert_eq!(same.action, Action::Unchanged);
    assert_eq!(
        version(&same),
        version(&created),
        "nothing changed, so nothing was written"
    );

    let other = store
        .update(object(&SERVICE.replace("port: 80", "port: 81")), false)
        .unwrap();
    assert_eq!(other.action, Action::Configured);
    assert!(version(&other) > version(&created));
    assert_eq!(other.object.raw["metadata"]["generation"], 2);
    for kept in ["uid", "creationTimestamp"] {
        assert_eq!(other.object.raw["metadata"][kept], metadata[kept]);
    }

    let labelled = SERVICE.replace("{name: web}", "{name: web, labels: {a: b}}");
    let labelled = labelled.replace("port: 80", "port: 81");
    let labelled = store.update(object(&labelled), false).unwrap();
    assert_eq!(labelled.action, Action::Configured);
    assert_eq!(
        labelled.object.raw["metadata"]["generation"], 2,
        "only the spec counts"
    );

    let service = key(Kind::Service);
    store
        .delete(&service, &Precondition::default(), false)
        .unwrap();
    assert!(store.view().config.get(&service).is_none());
    let gone = store
        .delete(&service, &Precondition::default(), false)
        .unwrap_err();
    assert!(matches!(gone, Refusal::NotFound(_)), "{gone}");
    let gone = store.update(object(SERVICE), false).unwrap_err();
    assert!(matches!(gone, Refusal::NotFound(_)), "{gone}");

    // Who has read it before it was deleted must not bring it back unawares.
    let read = SERVICE.replace("{name: web}", "{name: web, resourceVersion: \"1\"}");
    let stale = store.apply(objects(&read), false).unwrap_err();
    assert!(matches!(stale, Refusal::Conflict { .. }), "{stale}");
    assert!(store.view().config.get(&service).is_none());
}

#[test]
fn a_write_that_is_based_on_an_old_version_conflicts() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    let first = version(&store.create(object(SERVICE), false).unwrap()).to_string();
    let changed = SERVICE.replace("port: 80", "port: 81");
    let second = store
        .update(based_on(object(&changed), &first), false)
        .unwrap();
    for stale in [
        store
            .update(based_on(object(SERVICE), &first), false)
            .map(|_| ()),
        store
            .apply(vec![based_on(object(SERVICE), &first)], false)
            .map(|_| ()),
        store
            .delete(
                &key(Kind::Service),
                &Precondition {
                    resource_version: Some(first.clone()),
                    uid: None,
                },
                false,
            )
            .map(|_| ()),
    ] {
        let stale = stale.unwrap_err();
        assert!(matches!(stale, Refusal::Conflict { .. }), "{stale}");
        assert!(stale.to_string().contains("read it again"), "{stale}");
    }
    let now = store
        .view()
        .config
        .get(&key(Kind::Service))
        .unwrap()
        .raw
        .clone();
    assert_eq!(now, second.object.raw);
}

#[test]
fn objects_and_versions_survive_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    store
        .apply(objects(&format!("{SERVICE}---{RULE}")), false)
        .unwrap();
    let rule = store
        .view()
        .config
        .get(&key(Kind::DestinationRule))
        .unwrap()
        .raw
        .clone();
    store
        .delete(&key(Kind::Service), &Precondition::default(), false)
        .unwrap();
    let last = store.view().revision;
    drop(store);

    let store = Store::open(state.path(), Events::new()).unwrap();
    let view = store.view();
    assert_eq!(view.config.len(), 1);
    assert_eq!(
        view.config.get(&key(Kind::DestinationRule)).unwrap().raw,
        rule
    );
    let next = store.create(object(SERVICE), false).unwrap();
    assert!(version(&next) > last, "a version is never handed out twice");
}

#[test]
fn objects_that_need_each_other_come_in_any_order_and_together() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    let alone = store.create(object(ROUTE), false).unwrap_err();
    assert!(matches!(alone, Refusal::Invalid(_)), "{alone}");
    assert_eq!(store.view().config.len(), 0);

    let all = store
        .apply(objects(&format!("{ROUTE}---{RULE}---{SERVICE}")), false)
        .unwrap();
    assert!(all.iter().all(|one| one.action == Action::Created));
    let again = store
        .apply(objects(&format!("{SERVICE}---{ROUTE}---{RULE}")), false)
        .unwrap();
    assert!(again.iter().all(|one| one.action == Action::Unchanged));
}

#[test]
fn one_wrong_object_of_many_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    let wrong = ROUTE.replace("host: web", "host: nowhere");
    let before = store.view().revision;
    let refused = store
        .apply(objects(&format!("{SERVICE}---{RULE}---{wrong}")), false)
        .unwrap_err();
    assert!(refused.to_string().contains("nowhere"), "{refused}");
    assert_eq!(store.view().config.len(), 0);
    assert_eq!(store.view().revision, before);
    drop(store);
    assert_eq!(
        Store::open(state.path(), Events::new())
            .unwrap()
            .view()
            .config
            .len(),
        0
    );
}

#[test]
fn a_dry_run_answers_and_changes_nothing() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    let written = store.create(object(SERVICE), true).unwrap();
    assert_eq!(written.action, Action::Created);
    assert_eq!(store.view().config.len(), 0);
    store.create(object(SERVICE), false).unwrap();
    store
        .delete(&key(Kind::Service), &Precondition::default(), true)
        .unwrap();
    assert_eq!(store.view().config.len(), 1);
}

#[test]
fn a_rule_cannot_take_away_a_subset_that_a_route_needs() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    store
        .apply(objects(&format!("{SERVICE}---{RULE}---{ROUTE}")), false)
        .unwrap();
    let without = RULE.replace("name: v1", "name: v2");
    let refused = store.update(object(&without), false).unwrap_err();
    assert!(
        refused.to_string().contains("VirtualService default/web"),
        "{refused}"
    );
    assert!(refused.to_string().contains("v1"), "{refused}");

    // Together with the route it may.
    let route = ROUTE.replace("subset: v1", "subset: v2");
    store
        .apply(objects(&format!("{without}---{route}")), false)
        .unwrap();
    // To delete it is a user's right; the answer says what that breaks.
    let deleted = store
        .delete(&key(Kind::Service), &Precondition::default(), false)
        .unwrap();
    assert!(
        deleted.warnings[0]
            .to_string()
            .contains("VirtualService default/web")
    );
    // What is broken already does not block others.
    store
        .update(
            object(&without.replace("version: v1", "version: v3")),
            false,
        )
        .unwrap();
}

#[test]
fn the_directory_is_read_only_and_hides_the_rest() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    store
        .create(object(&SERVICE.replace("port: 80", "port: 81")), false)
        .unwrap();
    store
        .replace_directory(objects(&format!("{SERVICE}---{RULE}")))
        .unwrap();
    let view = store.view();
    assert_eq!(view.config.len(), 2);
    let service = view.config.get(&key(Kind::Service)).unwrap();
    assert_eq!(service.raw["spec"]["ports"][0]["port"], 80);

    for refused in [
        store.update(object(RULE), false).map(|_| ()),
        store.apply(objects(RULE), false).map(|_| ()),
        store
            .delete(&key(Kind::DestinationRule), &Precondition::default(), false)
            .map(|_| ()),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, Refusal::ReadOnly { .. }), "{refused}");
        assert!(refused.to_string().contains("test.yaml:9"), "{refused}");
    }
    let refused = store.create(object(RULE), false).unwrap_err();
    assert!(
        matches!(refused, Refusal::AlreadyExists { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("test.yaml"), "{refused}");

    let before = store.view().revision;
    store
        .replace_directory(objects(&format!("{SERVICE}---{RULE}")))
        .unwrap();
    assert_eq!(
        store.view().revision,
        before,
        "the same again changes nothing"
    );

    store.replace_directory(Vec::new()).unwrap();
    let view = store.view();
    assert_eq!(view.config.len(), 1);
    let service = view.config.get(&key(Kind::Service)).unwrap();
    assert_eq!(
        service.raw["spec"]["ports"][0]["port"], 81,
        "it was only hidden"
    );
}

#[test]
fn a_broken_directory_leaves_the_last_good_one_and_deletion_does_not_break_it() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    store.create(object(SERVICE), false).unwrap();
    store
        .replace_directory(objects(&format!("{RULE}---{ROUTE}")))
        .unwrap();

    let refused = store
        .replace_directory(objects(&ROUTE.replace("host: web", "host: nowhere")))
        .unwrap_err();
    assert!(refused.to_string().contains("test.yaml:7"), "{refused}");
    assert_eq!(store.view().config.len(), 3);

    let needed = store
        .delete(&key(Kind::Service), &Precondition::default(), false)
        .unwrap_err();
    assert!(matches!(needed, Refusal::Needed { .. }), "{needed}");
    assert!(needed.to_string().contains("test.yaml"), "{needed}");
}

#[test]
fn a_directory_that_breaks_what_came_over_http_says_so_once() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    store.replace_directory(objects(SERVICE)).unwrap();
    store.create(object(ROUTE), false).unwrap();
    let warnings = store.replace_directory(Vec::new()).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = warnings[0].to_string();
    assert!(warning.contains("VirtualService default/web"), "{warning}");
    assert_eq!(store.replace_directory(Vec::new()).unwrap(), []);
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let store = Store::open(state.path(), Events::new()).unwrap();
    store.create(object(SERVICE), false).unwrap();
    drop(store);
    let directory = state.path().join("objects/core/services/default");
    fs::rename(directory.join("web.json"), directory.join("other.json")).unwrap();
    let error = Store::open(state.path(), Events::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("other.json"), "{error}");
    assert!(error.contains("Service default/web"), "{error}");

    fs::write(directory.join("other.json"), "{\"kind\": \"Service\"}").unwrap();
    let error = Store::open(state.path(), Events::new())
        .unwrap_err()
        .to_string();
    assert!(error.contains("other.json is damaged"), "{error}");
}
