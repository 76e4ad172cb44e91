//! What Istio's analyzers say about their own test cases, against what ours say: the same code, level and object, as
//! often, and nothing more of that code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use mesh_config::analysis::{Options, analyze, read as read_all};
use mesh_config::{Config, DEFAULT_NAMESPACE, Finding};
use serde_json::Value;

use super::{Tally, corpus, read};

/// Code, level and object, and how often.
type Told = BTreeMap<(String, String, String), usize>;

#[test]
fn findings_agree() -> Result<()> {
    let folder = corpus("validation", "index.public.json")?;
    let index: Value = serde_json::from_str(&read(&folder.join("index.public.json"))?)?;
    let mut tally = Tally::default();
    for case in index["cases"].as_array().context("no cases")? {
        let is_ours = case["istio_or_gateway_api_related"] == true;
        if case["corpus"] != "analyzers" || !is_ours {
            continue;
        }
        let mut config = Config::new();
        for file in case["files"].as_array().context("a case without files")? {
            let file = Path::new(file.as_str().context("a file without a name")?);
            let text = read(&folder.join(file))?;
            config.extend(read_all(file, &text, DEFAULT_NAMESPACE).0);
        }
        let wanted = wanted(case)?;
        let analyzer = case["analyzer"].as_str().unwrap_or_default();
        let mut told = Told::new();
        for finding in analyze(&config, &Options::files()) {
            let Some((code, level, object)) = parts(&finding) else {
                continue;
            };
            let is_asked = wanted.keys().any(|(wanted, ..)| *wanted == code);
            if is_asked && concerns(analyzer, &finding) {
                *told.entry((code, level, object)).or_default() += 1;
            }
        }
        let id = case["id"].as_str().context("a case without an id")?;
        let differs = (told != wanted).then(|| format!("{wanted:?} for others, {told:?}"));
        tally.count("analyzer", id, differs);
    }
    tally.judge(&[("analyzer", 100.0)])
}

fn wanted(case: &Value) -> Result<Told> {
    let mut wanted = Told::new();
    for one in case["expected"].as_array().context("no expectations")? {
        let text = |key: &str| one[key].as_str().context("no text").map(str::to_owned);
        let object = text("object")?;
        let (kind, name) = object.split_once(' ').context("no name")?;
        // Theirs have no namespace where none is written.
        let object = if name.contains('/') || kind == "Namespace" {
            object
        } else {
            format!("{kind} {DEFAULT_NAMESPACE}/{name}")
        };
        *wanted
            .entry((text("code")?, text("level")?, object))
            .or_default() += 1;
    }
    Ok(wanted)
}

fn parts(finding: &Finding) -> Option<(String, String, String)> {
    Some((
        finding.code?.id.to_owned(),
        finding.level.title().to_owned(),
        finding.object.as_ref()?.to_string(),
    ))
}

/// Their cases run one analyzer each, and several of them have the code for what does not exist.
fn concerns(analyzer: &str, finding: &Finding) -> bool {
    let field = &finding.field;
    match analyzer {
        "virtualservice.DestinationHostAnalyzer" => !field.ends_with(".subset"),
        "virtualservice.DestinationRuleAnalyzer" => field.ends_with(".subset"),
        "virtualservice.GatewayAnalyzer" => field.starts_with("spec.gateways"),
        _ => true,
    }
}
