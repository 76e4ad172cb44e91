//! `docs/fields.md` says what the tables say.

use std::path::Path;

#[test]
fn the_page_of_fields_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fields.md");
    let made = mesh_config::schema::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = made
        .lines()
        .zip(found.lines())
        .find(|(made, found)| made != found);
    assert!(
        made == found,
        "docs/fields.md is out of date; make it anew with\n\
         UPDATE_DOCS=1 cargo test -p mesh-config --test fields\n\
         The first line that differs, as it should be and as it is: {differs:?}"
    );
}

#[test]
fn kinds_and_their_fields_are_in_it() {
    let page = mesh_config::schema::markdown();
    for kind in mesh_config::Kind::all() {
        assert!(page.contains(kind.kind()), "{kind}");
    }
    for path in [
        "`metadata.labels`",
        "`spec.http[].route[].destination.port.number`",
        "`spec.template.ports`",
        "`spec.servers[].port.protocol`",
        "`stringData`",
    ] {
        assert!(page.contains(path), "{path}");
    }
}
