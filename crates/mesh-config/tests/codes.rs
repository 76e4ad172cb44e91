//! `docs/analysis.md` lists every code as the code has it, and Istio's codes have Istio's levels.
//!
//! `UPDATE_DOCS=1 cargo test -p mesh-config --test codes` writes the table anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mesh_config::analysis::CODES;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table() -> String {
    let mut table =
        "| code | name | level | what it means | what to do |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for code in CODES {
        writeln!(
            table,
            "| {} | {} | {} | {} | {} |",
            code.id,
            code.name,
            code.level.title(),
            code.meaning,
            code.remedy
        )
        .expect("a text takes everything");
    }
    table
}

#[test]
fn the_page_lists_every_code() {
    let path = root().join("docs/analysis.md");
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let start = page.find("| code |").unwrap_or(page.len());
    let (before, written) = page.split_at(start);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, before.to_owned() + &table()).expect("the page can be written");
        return;
    }
    assert_eq!(
        written,
        table(),
        "the table in docs/analysis.md is stale; run UPDATE_DOCS=1 cargo test -p mesh-config --test codes"
    );
}

#[test]
fn istios_codes_have_its_names_and_levels() {
    let path = root().join("../shared/corpus/validation/analyzer-message-types.json");
    // Only where the corpus is: it is not part of the project.
    let Ok(text) = std::fs::read_to_string(path) else {
        return;
    };
    let known: Value = serde_json::from_str(&text).expect("the corpus is JSON");
    for code in CODES.iter().filter(|code| code.id.starts_with("IST")) {
        let theirs = &known[code.name];
        assert_eq!(theirs["code"], code.id, "{}", code.name);
        assert_eq!(theirs["level"], code.level.title(), "{}", code.id);
    }
}
