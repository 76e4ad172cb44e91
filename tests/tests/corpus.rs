//! Promise: what Istio's and the Gateway API's own tests call valid applies, and what they refuse is refused.
//!
//! Their samples and the cases of their tests as data, each with its verdict; what their analyzers say is in
//! `corpus/analyzers.rs`. They are not part of this repository;
//! they are looked for beside it, or where `MESH_CORPUS` points. Where our verdict is another one,
//! `corpus/disagreements.txt` says why; a case that is listed there and agrees, or that is not and disagrees, fails.

#[path = "corpus/analyzers.rs"]
mod analyzers;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mesh_config::analysis::{Analysis, Options};
use mesh_config::{Config, Finding, Parsed, parse};
use serde_json::Value;

/// Of a hundred verdicts, how many agree at least.
const FLOORS: &[(&str, f64)] = &[
    ("authz-valid", 100.0),
    ("crd-schema", 98.0),
    ("gwapi-invalid", 97.0),
    ("gwapi-valid", 100.0),
    ("integration-valid", 100.0),
    ("webhook-tables", 99.0),
    ("webhook-valid", 100.0),
];

/// The cases on which we disagree, each with its reason.
const DISAGREEMENTS: &str = include_str!("corpus/disagreements.txt");

/// A folder of the corpus that has this file in it.
fn corpus(folder: &str, file: &str) -> Result<PathBuf> {
    let root = std::env::var_os("MESH_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus")),
        PathBuf::from,
    );
    let folder = root.join(folder);
    ensure!(
        folder.join(file).exists(),
        "the cases of other projects are not at {}: set MESH_CORPUS to the folder that has {} in it",
        folder.display(),
        folder.file_name().unwrap_or_default().display()
    );
    Ok(folder)
}

/// Says something that shows also if the test succeeds.
fn say(text: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{text}").context("stderr is closed")
}

/// Ids and reasons of the cases on which we disagree.
fn disagreements() -> Result<BTreeMap<&'static str, &'static str>> {
    let lines = DISAGREEMENTS.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let entry = line.split_once(": ");
            entry.with_context(|| format!("`{line}` is not `ID: REASON`"))
        })
        .collect()
}

/// How many cases of each folder agree, and all that is wrong with that.
#[derive(Default)]
struct Tally {
    folders: BTreeMap<String, (u32, u32)>,
    /// Cases that disagree, with what was found.
    differ: BTreeMap<String, String>,
}

impl Tally {
    fn count(&mut self, folder: &str, id: &str, differs: Option<String>) {
        let (agree, all) = self.folders.entry(folder.to_owned()).or_default();
        *all += 1;
        match differs {
            None => *agree += 1,
            Some(how) => {
                self.differ.insert(id.to_owned(), how);
            }
        }
    }

    /// Prints the rates and holds them against the floors and the list.
    fn judge(&self, floors: &[(&str, f64)]) -> Result<()> {
        let mut wrong = Vec::new();
        for (folder, (agree, all)) in &self.folders {
            let rate = f64::from(*agree) * 100.0 / f64::from(*all);
            say(&format!("{folder}: {agree} of {all} agree ({rate:.1} %)"))?;
            match floors.iter().find(|(known, _)| known == folder) {
                None => wrong.push(format!("{folder} has no floor; give it one")),
                Some((_, floor)) if rate < *floor => {
                    wrong.push(format!("{folder} is at {rate:.1} %, below {floor} %"));
                }
                Some(_) => {}
            }
        }
        for (folder, _) in floors {
            if !self.folders.contains_key(*folder) {
                wrong.push(format!("{folder} has no cases any more"));
            }
        }
        let listed: BTreeSet<&str> = disagreements()?.into_keys().collect();
        for (id, how) in &self.differ {
            if !listed.contains(id.as_str()) {
                wrong.push(format!("{id} disagrees and is not listed: {how}"));
            }
        }
        let mine = |id: &&&str| floors.iter().any(|(folder, _)| id.starts_with(folder));
        for id in listed.iter().filter(mine) {
            if !self.differ.contains_key(*id) {
                wrong.push(format!("{id} is listed and agrees, or is gone; remove it"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

#[test]
fn verdicts_agree() -> Result<()> {
    let folder = corpus("validation", "index.public.json")?;
    let index: Value = serde_json::from_str(&read(&folder.join("index.public.json"))?)?;
    let mut tally = Tally::default();
    for case in index["cases"].as_array().context("no cases")? {
        let Some(verdict) = case["verdict"].as_str() else {
            continue;
        };
        let mut errors = Vec::new();
        for file in case["files"].as_array().context("a case without files")? {
            let file = Path::new(file.as_str().context("a file without a name")?);
            errors.extend(
                parse(file, &read(&folder.join(file))?)
                    .err()
                    .unwrap_or_default(),
            );
        }
        let ours = if errors.is_empty() {
            "valid"
        } else {
            "invalid"
        };
        let id = case["id"].as_str().context("a case without an id")?;
        let differs = (ours != verdict).then(|| format!("{verdict} for others, {}", said(&errors)));
        tally.count(case["corpus"].as_str().context("no corpus")?, id, differs);
    }
    tally.judge(FLOORS)
}

#[test]
fn every_sample_of_istio_applies() -> Result<()> {
    let folder = corpus("istio-samples", "bookinfo")?;
    let mut files = Vec::new();
    manifests(&folder, &mut files)?;
    files.sort();
    let mut refused = Vec::new();
    let mut samples: Vec<(PathBuf, Vec<Parsed>)> = Vec::new();
    for file in files {
        let name = file.strip_prefix(&folder)?.to_owned();
        match parse(&name, &read(&file)?) {
            Ok(objects) => samples.push((name, objects)),
            Err(errors) => refused.push(said(&errors)),
        }
    }
    // Each sample is for a cluster that has the others: routes name services of other files.
    let all: Config = samples
        .iter()
        .flat_map(|(_, objects)| objects.iter().map(|parsed| parsed.object.clone()))
        .collect();
    let options = Options::running();
    for (name, objects) in &samples {
        let mut config = all.clone();
        config.extend(objects.iter().map(|parsed| parsed.object.clone()));
        let analysis = Analysis::new(&config, &options);
        for parsed in objects {
            let refusals = analysis.refusals(&parsed.object);
            if !refusals.is_empty() {
                refused.push(format!("{}: {}", name.display(), said(&refusals)));
            }
            let silent = !parsed.object.kind.is_acted() && parsed.warnings.is_empty();
            ensure!(
                !silent,
                "{}: {} is not acted on, and nothing says so",
                name.display(),
                parsed.object.key()
            );
        }
    }
    say(&format!(
        "istio-samples: {} of {} apply",
        samples.len(),
        samples.len() + refused.len()
    ))?;
    ensure!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}

/// What was found, as one text.
fn said(findings: &[Finding]) -> String {
    let mut said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    if said.is_empty() {
        said.push("nothing is found".to_owned());
    }
    said.join("; ")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// All YAML files in a folder and the folders in it.
fn manifests(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            manifests(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn every_disagreement_has_a_reason() -> Result<()> {
    for (id, reason) in disagreements()? {
        ensure!(reason.split_whitespace().count() > 3, "{id}: {reason}");
    }
    Ok(())
}
