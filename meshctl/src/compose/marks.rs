//! Edits of a text by whole lines, each with a mark by which it is undone to the byte.
//!
//! ```text
//! # mesh: added by …             what follows up to the end mark was not there
//! # mesh: end
//! # mesh: instead of |ports: …   the next line stood as it is written after the bar
//! # mesh: no line break …        the text's last line had none
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use super::Refusal;

const ADDED: &str =
    "# mesh: added by `meshctl compose inject`, taken out again by `meshctl compose uninject`";
const END: &str = "# mesh: end";
const INSTEAD: &str = "# mesh: instead of |";
const NO_BREAK: &str = "# mesh: the line above had no line break";

/// What is to be done to a text.
#[derive(Debug)]
pub(super) struct Edits<'a> {
    text: &'a str,
    /// Where each line begins.
    starts: Vec<usize>,
    /// Blocks of lines, by the line before which they stand.
    added: BTreeMap<usize, Vec<Block>>,
    /// Bytes and what stands there now, by line.
    replaced: BTreeMap<usize, Vec<(Range<usize>, String)>>,
}

#[derive(Debug)]
struct Block {
    indent: usize,
    lines: Vec<String>,
}

impl<'a> Edits<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0)
            .chain(breaks)
            .filter(|start| *start < text.len());
        Self {
            text,
            starts: starts.collect(),
            added: BTreeMap::new(),
            replaced: BTreeMap::new(),
        }
    }

    /// The index of the line that has this byte; that of the line behind the last one at the text's end.
    pub(super) fn line_at(&self, byte: usize) -> usize {
        if byte >= self.text.len() {
            return self.starts.len();
        }
        self.starts.partition_point(|start| *start <= byte) - 1
    }

    /// What stands on the byte's line in front of it.
    pub(super) fn before(&self, byte: usize) -> &'a str {
        let line = self.line_at(byte);
        &self.text[self.starts.get(line).copied().unwrap_or(byte)..byte]
    }

    /// Adds lines before a line. Each is indented by its own; the marks by `indent`.
    pub(super) fn add(&mut self, line: usize, indent: usize, lines: Vec<String>) {
        let blocks = self.added.entry(line).or_default();
        blocks.push(Block { indent, lines });
    }

    /// Replaces bytes within one line.
    pub(super) fn replace(&mut self, range: Range<usize>, new: String) {
        let line = self.line_at(range.start);
        let edits = self.replaced.entry(line).or_default();
        edits.push((range, new));
        edits.sort_by_key(|(range, _)| range.start);
    }

    /// The text with all edits and their marks.
    pub(super) fn apply(&self) -> String {
        let line_break = match self.text.split_inclusive('\n').next() {
            Some(first) if first.ends_with("\r\n") => "\r\n",
            _ => "\n",
        };
        let mut out = String::with_capacity(self.text.len() * 2);
        let add = |out: &mut String, line: usize| {
            for block in self.added.get(&line).into_iter().flatten() {
                let mark = |mark: &str| format!("{:1$}{mark}", "", block.indent);
                for line in [&[mark(ADDED)], &block.lines[..], &[mark(END)]].concat() {
                    out.push_str(&line);
                    out.push_str(line_break);
                }
            }
        };
        let ends_open = !self.text.is_empty() && !self.text.ends_with('\n');
        for (index, &start) in self.starts.iter().enumerate() {
            let end = self
                .starts
                .get(index + 1)
                .copied()
                .unwrap_or(self.text.len());
            add(&mut out, index);
            let line = &self.text[start..end];
            let content = line.trim_end_matches('\n').trim_end_matches('\r');
            let own_break = if line.ends_with('\n') {
                &line[content.len()..]
            } else {
                line_break
            };
            if let Some(edits) = self.replaced.get(&index) {
                let indent = content.len() - content.trim_start_matches(' ').len();
                out.push_str(&format!("{:indent$}{INSTEAD}{content}{own_break}", ""));
                let mut from = start;
                for (range, new) in edits {
                    out.push_str(&self.text[from..range.start]);
                    out.push_str(new);
                    from = range.end;
                }
                out.push_str(&self.text[from..end]);
            } else {
                out.push_str(line);
            }
        }
        if ends_open {
            out.push_str(line_break);
        }
        add(&mut out, self.starts.len());
        if ends_open {
            out.push_str(NO_BREAK);
            out.push_str(line_break);
        }
        out
    }
}

/// The text as it was before all edits that have marks.
///
/// # Errors
/// A mark without its other half: somebody edited there.
pub(super) fn undo(text: &str) -> Result<String, Refusal> {
    let broken = |line: usize, what: &str| {
        Refusal::new(
            (line + 1, 1),
            format!("{what}; take out by hand what meshctl added, or restore the file from a copy"),
        )
    };
    let mut out = String::with_capacity(text.len());
    // A byte order mark stays in front, whatever stands in the first line.
    let text = text.strip_prefix('\u{feff}').map_or(text, |text| {
        out.push('\u{feff}');
        text
    });
    let mut lines = text.split_inclusive('\n').enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let mark = line.trim();
        if mark == ADDED {
            loop {
                match lines.next() {
                    Some((_, line)) if line.trim() == END => break,
                    Some((_, line)) if line.trim() != ADDED => {}
                    _ => return Err(broken(number, "this mark has no end mark")),
                }
            }
        } else if mark == END {
            return Err(broken(number, "this end mark has no beginning"));
        } else if let Some((_, old)) = line.split_once(INSTEAD)
            && mark.starts_with(INSTEAD)
        {
            let (_, new) = lines
                .next()
                .ok_or_else(|| broken(number, "this mark has no line after it"))?;
            out.push_str(old.trim_end_matches('\n').trim_end_matches('\r'));
            out.push_str(&new[new.trim_end_matches('\n').trim_end_matches('\r').len()..]);
        } else if mark == NO_BREAK && lines.peek().is_none() {
            let is_long = out
                .split_inclusive('\n')
                .next()
                .is_some_and(|first| first.ends_with("\r\n"));
            let length = if is_long { 2 } else { 1 };
            out.truncate(out.len().saturating_sub(length));
        } else {
            out.push_str(line);
        }
    }
    Ok(out)
}
