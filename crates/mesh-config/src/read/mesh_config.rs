//! Istio's MeshConfig: a file of its own, or a part of an IstioOperator.

use std::path::Path;
use std::sync::Arc;

use super::service_entry::texts;
use super::{Reader, resilience};
use crate::finding::{Finding, Level, Report};
use crate::model::{MeshConfig, PathNormalization};
use crate::rules;
use crate::schema;
use crate::yaml::{Cursor, Limits, Value, read};

/// Reads a MeshConfig: the map itself, under `meshConfig`, or as an IstioOperator has it. With it comes what is
/// valid in it and not acted on.
///
/// # Errors
/// Everything that is wrong with it, with its place; then none of it should be used.
pub fn mesh_config(file: &Path, text: &str) -> Result<(MeshConfig, Vec<Finding>), Vec<Finding>> {
    let file: Arc<Path> = file.into();
    let mut documents = read(text, Limits::DEFAULT).into_iter();
    let Some(document) = documents.next() else {
        return Ok((MeshConfig::default(), Vec::new()));
    };
    let mut report = Report::new(Some((file, document.number)));
    let root = match document.root {
        Ok(root) => root,
        Err(faults) => {
            for fault in faults {
                report.fault(fault.mark, fault.message);
            }
            return Err(report.into_findings());
        }
    };
    let root = Cursor::root(&root);
    if documents.next().is_some() {
        report.error(&root, "the file has several documents; keep one");
    }
    let operator = root.get("spec").and_then(|spec| spec.get("meshConfig"));
    let at = operator.or_else(|| root.get("meshConfig"));
    let at = at.unwrap_or_else(|| root.clone());
    if at.node.value == Value::Null {
        return Ok((MeshConfig::default(), report.into_findings()));
    }
    let mut reader = Reader { report };
    let config = reader.mesh(&at);
    let findings = reader.report.into_findings();
    match findings.iter().any(|finding| finding.level == Level::Error) {
        true => Err(findings),
        false => Ok((config, findings)),
    }
}

impl Reader {
    fn mesh(&mut self, at: &Cursor<'_>) -> MeshConfig {
        if !matches!(at.node.value, Value::Map(_)) {
            let message = format!("{} stands where a map belongs", at.node.describe());
            self.report.error(at, message);
            return MeshConfig::default();
        }
        schema::check(at, &schema::MESH_CONFIG, &mut self.report);
        let text = |key: &str| Some(at.text(key).to_owned()).filter(|text| !text.is_empty());
        let standard = MeshConfig::default();
        let normalization = at.get("pathNormalization");
        let normalization = normalization.map_or("", |path| path.text("normalization"));
        MeshConfig {
            outbound: match at.get("outboundTrafficPolicy") {
                Some(policy) => self.outbound_policy(&policy),
                None => standard.outbound,
            },
            path_normalization: match normalization {
                "NONE" => PathNormalization::None,
                "MERGE_SLASHES" => PathNormalization::MergeSlashes,
                "DECODE_AND_MERGE_SLASHES" => PathNormalization::DecodeAndMergeSlashes,
                _ => PathNormalization::Base,
            },
            default_service_export_to: texts(at, "defaultServiceExportTo"),
            default_virtual_service_export_to: texts(at, "defaultVirtualServiceExportTo"),
            default_destination_rule_export_to: texts(at, "defaultDestinationRuleExportTo"),
            connect_timeout: rules::length_of_time(at.text("connectTimeout"))
                .unwrap_or(standard.connect_timeout),
            default_retries: at
                .get("defaultHttpRetryPolicy")
                .map(|policy| resilience::retries_of(&policy)),
            trust_domain: text("trustDomain"),
            root_namespace: text("rootNamespace"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OutboundPolicy;

    fn read(text: &str) -> Result<(MeshConfig, Vec<Finding>), Vec<Finding>> {
        mesh_config(Path::new("mesh.yaml"), text)
    }

    #[test]
    fn all_three_forms_mean_the_same() {
        let fields = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}, pathNormalization: {normalization: MERGE_SLASHES}, \
                      defaultHttpRetryPolicy: {attempts: 5}, connectTimeout: 3s";
        for text in [
            format!("{{{fields}}}"),
            format!("meshConfig: {{{fields}}}"),
            format!(
                "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {{meshConfig: {{{fields}}}}}"
            ),
        ] {
            let (config, findings) = read(&text).unwrap();
            assert_eq!(findings, []);
            assert_eq!(config.outbound, OutboundPolicy::RegistryOnly);
            assert_eq!(config.path_normalization, PathNormalization::MergeSlashes);
            assert_eq!(config.default_retries.unwrap().attempts, 5);
            assert_eq!(config.connect_timeout.as_secs(), 3);
        }
        assert_eq!(read("").unwrap().0, MeshConfig::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_what_is_not_acted_on_too() {
        let errors = read("outboundTrafficPolicy:\n  mode: ALLOW_ALL\nfoo: 1\n").unwrap_err();
        let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(text[0].starts_with("mesh.yaml:2:"), "{text:?}");
        assert!(text[1].starts_with("mesh.yaml:3:"), "{text:?}");
        let (_, warnings) = read("enableTracing: true\naccessLogFile: /tmp/x\n").unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
