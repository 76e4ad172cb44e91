//! What an act tells: as lines for people, as JSON for programs.

use serde::Serialize;

use super::Applied;
use super::count::Counts;
use super::graph::Seen;
use super::prometheus::Shares;
use crate::fleet::logs::Logs;

/// How many lines of each log a failed act shows.
const TAIL_LINES: usize = 10;

/// The whole play.
#[derive(Debug, Serialize)]
pub(crate) struct Play {
    /// The acts that were played, in order.
    pub(crate) acts: Vec<Report>,
    /// Whether all four were, and each showed what it must.
    pub(crate) passed: bool,
    /// Why there was no play, if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Play {
    /// A play of these acts.
    pub(crate) fn of(acts: Vec<Report>) -> Self {
        let passed = acts.len() == 4 && acts.iter().all(|act| act.passed);
        Self {
            acts,
            passed,
            error: None,
        }
    }

    /// A play that did not begin.
    pub(crate) fn cancelled(error: &anyhow::Error) -> Self {
        Self {
            acts: Vec::new(),
            passed: false,
            error: Some(format!("{error:#}")),
        }
    }
}

/// One act.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its number.
    pub(crate) act: u8,
    /// Its title.
    pub(crate) name: &'static str,
    /// What is configured while it plays.
    pub(crate) configured: Vec<String>,
    /// What the config API warned about when it took that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// What was seen.
    pub(crate) observed: Observed,
    /// What must be seen.
    pub(crate) expected: &'static str,
    /// Whether it was.
    pub(crate) passed: bool,
    /// Why it is so; for a failed act, what is wrong.
    pub(crate) why: String,
    /// Where to look, for a failed act.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) logs: Vec<Log>,
    /// Whose logs those would be.
    #[serde(skip)]
    reads: Vec<String>,
}

/// A log worth reading.
#[derive(Debug, Serialize)]
pub(crate) struct Log {
    /// Whose it is.
    pub(crate) process: String,
    /// Where it is, while the fleet runs or with `--log-dir`: a file, or the command that shows it.
    pub(crate) place: String,
    /// How it ended when the act failed.
    pub(crate) tail: String,
}

/// What an act saw.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Observed {
    #[serde(flatten)]
    counts: Counts,
    /// The graph's edges, where the act looked at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<Vec<Seen>>,
    /// What Prometheus has counted, where the act asked it.
    #[serde(skip_serializing_if = "Option::is_none")]
    prometheus: Option<Shares>,
}

impl Report {
    /// An act that has not been judged.
    pub(crate) fn new(
        act: u8,
        name: &'static str,
        expected: &'static str,
        why: &'static str,
    ) -> Self {
        Self {
            act,
            name,
            configured: Vec::new(),
            warnings: Vec::new(),
            observed: Observed::default(),
            expected,
            passed: false,
            why: why.to_owned(),
            logs: Vec::new(),
            reads: Vec::new(),
        }
    }

    /// An act that could not be played to its end.
    pub(crate) fn interrupted(act: u8, death: &anyhow::Error) -> Self {
        Self::new(act, "Interrupted", "every process lives", "").failed(format!("{death:#}"))
    }

    /// Whose logs to read if it fails.
    pub(crate) fn reads(mut self, parts: &[&str]) -> Self {
        self.reads = parts.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// With the end of those logs, if it has failed.
    pub(crate) async fn with_logs(mut self, logs: &Logs) -> Self {
        if self.passed {
            return self;
        }
        for process in std::mem::take(&mut self.reads) {
            self.logs.push(Log {
                place: logs.of(&process),
                tail: logs.tail(&process, TAIL_LINES).await,
                process,
            });
        }
        self
    }

    /// Nothing new is configured.
    pub(crate) fn unchanged(mut self) -> Self {
        self.configured = vec!["nothing more".to_owned()];
        self
    }

    /// What was there, and what a file has added to it.
    pub(crate) fn configured(mut self, before: &str, file: &str, applied: &Applied) -> Self {
        self.configured = vec![before.to_owned(), format!("{file}, unchanged")];
        self.configured.extend(
            applied
                .applied
                .iter()
                .map(|object| format!("  {} {}: {}", object.kind, object.name, object.action)),
        );
        self.warnings.clone_from(&applied.warnings);
        self
    }

    /// What came back.
    pub(crate) fn observed(mut self, counts: &Counts) -> Self {
        self.observed.counts = counts.clone();
        self
    }

    /// What the graph showed.
    pub(crate) fn graph(mut self, edges: &[Seen]) -> Self {
        self.observed.graph = Some(edges.to_vec());
        self
    }

    /// What Prometheus had counted.
    pub(crate) fn prometheus(mut self, shares: Option<Shares>) -> Self {
        self.observed.prometheus = shares;
        self
    }

    /// The end: it passes, or what is wrong takes the place of the reason.
    pub(crate) fn judged(self, verdict: Result<(), String>) -> Self {
        match verdict {
            Ok(()) => Self {
                passed: true,
                ..self
            },
            Err(wrong) => self.failed(wrong),
        }
    }

    /// The end of an act that did not show what it must.
    pub(crate) fn failed(self, wrong: impl Into<String>) -> Self {
        Self {
            passed: false,
            why: wrong.into(),
            ..self
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\nAct {}: {}", self.act, self.name)?;
        for (number, line) in self.configured.iter().enumerate() {
            paragraph(f, if number == 0 { "configured" } else { "" }, line)?;
        }
        for warning in &self.warnings {
            paragraph(f, "warning", warning)?;
        }
        paragraph(f, "expected", self.expected)?;
        paragraph(f, "observed", &self.observed.counts.to_string())?;
        for (number, edge) in self.observed.graph.iter().flatten().enumerate() {
            paragraph(f, if number == 0 { "graph" } else { "" }, &edge.to_string())?;
        }
        if let Some(shares) = &self.observed.prometheus {
            paragraph(f, "Prometheus", &shares.to_string())?;
        }
        let (label, verdict) = if self.passed {
            ("why", "passed")
        } else {
            ("wrong", "FAILED")
        };
        for (number, line) in self.why.lines().enumerate() {
            paragraph(f, if number == 0 { label } else { "" }, line)?;
        }
        for log in &self.logs {
            writeln!(f, "  {:<LABEL$}{}", "look into", log.place)?;
            for line in log.tail.lines() {
                writeln!(f, "    | {line}")?;
            }
        }
        write!(f, "  {:<LABEL$}{verdict}", "verdict")
    }
}

/// Columns of a line's label.
const LABEL: usize = 12;
/// Columns of the text beside it.
const TEXT: usize = 96;

/// A labelled text, broken between words. Spaces within a line that fits are kept: they align columns.
fn paragraph(f: &mut std::fmt::Formatter<'_>, label: &str, text: &str) -> std::fmt::Result {
    if text.chars().count() <= TEXT {
        return writeln!(f, "  {label:<LABEL$}{text}");
    }
    let mut label = label;
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && longer > TEXT {
            writeln!(f, "  {label:<LABEL$}{line}")?;
            label = "";
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(f, "  {label:<LABEL$}{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut counts = Counts::default();
        counts.add(Err(crate::client::Lost::Refused));
        Report::new(3, "The shut door", "a refusal", "nobody listens")
            .unchanged()
            .observed(&counts)
    }

    #[test]
    fn json_has_what_a_program_reads() {
        let json = serde_json::to_value(Play::of(vec![report().judged(Ok(()))])).unwrap();
        assert_eq!(json["passed"], false, "one act is no play");
        let act = &json["acts"][0];
        assert_eq!(act["act"], 3);
        assert_eq!(act["name"], "The shut door");
        assert_eq!(act["configured"][0], "nothing more");
        assert_eq!(act["observed"]["requests"], 1);
        assert_eq!(act["observed"]["failures"]["connection refused"], 1);
        assert_eq!(act["expected"], "a refusal");
        assert_eq!(act["passed"], true);
        assert_eq!(act["why"], "nobody listens");
    }

    #[test]
    fn a_play_passes_by_all_four_acts() {
        let acts = |passed: [bool; 4]| {
            let judge = |passed| if passed { Ok(()) } else { Err("no".to_owned()) };
            passed.map(|passed| report().judged(judge(passed))).into()
        };
        assert!(Play::of(acts([true; 4])).passed);
        assert!(!Play::of(acts([true, true, true, false])).passed);
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        let long = Report::new(1, "Long", "short", "").failed("word ".repeat(60));
        let text = long.to_string();
        assert!(
            text.lines()
                .all(|line| line.chars().count() <= 2 + LABEL + TEXT)
        );
        assert_eq!(text.matches("word").count(), 60);
        assert!(text.contains("\n              word"), "{text}");
    }

    #[tokio::test]
    async fn a_failed_act_says_what_is_wrong_and_where_to_look() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mesh-gateway.log");
        std::fs::write(&file, "cannot listen\n").unwrap();
        let logs = Logs::Files(directory.path().to_owned());
        let report = report().reads(&["mesh-gateway"]);
        let failed = report.judged(Err("20 requests were let in".to_owned()));
        let failed = failed.with_logs(&logs).await;
        let text = failed.to_string();
        assert!(text.contains("20 requests were let in"), "{text}");
        let look_into = format!("look into   {}\n    | cannot listen", file.display());
        assert!(text.contains(&look_into), "{text}");
        assert!(text.contains("FAILED"), "{text}");
    }
}
