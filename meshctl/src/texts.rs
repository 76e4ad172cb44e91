//! Where the texts come from, and how they become one text whose lines are still known by their files.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use mesh_config::DEFAULT_NAMESPACE;

use crate::exit;

/// What the API calls the text that it was sent.
const BODY: &str = "request body:";

/// All texts of one apply, in order.
#[derive(Debug, Default)]
pub(crate) struct Texts(Vec<Text>);

#[derive(Debug)]
struct Text {
    /// The file, or what stands for it in messages.
    name: PathBuf,
    /// Without a byte order mark, and with a line break at its end.
    content: String,
}

/// Why there is no text to apply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The system's reason.
    #[error("cannot read {}: {source}; check -f", name.display())]
    Read { name: PathBuf, source: io::Error },
    /// The directory holds nothing that could be applied.
    #[error("the directory {} has no .yaml, .yml or .json file; name another one with -f", .0.display())]
    NoFiles(PathBuf),
    /// The variable is not there.
    #[error(
        "the environment variable {0} is not set to a text; set it, or name another one with --from-env"
    )]
    NoVariable(String),
    /// Those bytes are no text.
    #[error("{} is not UTF-8 text: {source}; save the file as UTF-8", name.display())]
    NotText {
        name: PathBuf,
        source: std::str::Utf8Error,
    },
    /// The texts are wrong; each line says what and where.
    #[error("nothing was applied:\n{0}")]
    Wrong(String),
    /// There is no object in all the texts.
    #[error(
        "{0}: there is no object in it; write at least one, with apiVersion, kind and metadata.name"
    )]
    Empty(String),
}

impl SourceError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::NoFiles(_) => exit::FAILED,
            Self::NoVariable(_) => exit::USAGE,
            Self::NotText { .. } | Self::Wrong(_) | Self::Empty(_) => exit::DATA,
        }
    }
}

impl Texts {
    /// Reads all sources and checks each.
    pub(crate) fn read(files: &[PathBuf], variables: &[String]) -> Result<Self, SourceError> {
        let mut texts = Self::default();
        let mut wrong = Vec::new();
        let mut objects = 0;
        let mut take = |name: PathBuf, bytes: &[u8]| {
            match mesh_config::parse_bytes(&name, bytes, DEFAULT_NAMESPACE) {
                Ok(parsed) => objects += parsed.len(),
                Err(findings) => wrong.extend(findings.iter().map(ToString::to_string)),
            }
            texts
                .0
                .push(Text::new(name, &String::from_utf8_lossy(bytes)));
        };
        gather(files, variables, false, &mut take)?;
        if !wrong.is_empty() {
            return Err(SourceError::Wrong(wrong.join("\n")));
        }
        if objects == 0 {
            let names = texts.0.iter().map(|text| text.name.display().to_string());
            return Err(SourceError::Empty(names.collect::<Vec<_>>().join(", ")));
        }
        Ok(texts)
    }

    /// Texts that were read before; they must be texts, whatever stands in them.
    pub(crate) fn checked(sources: &[(PathBuf, Vec<u8>)]) -> Result<Self, SourceError> {
        let texts = sources.iter().map(|(name, bytes)| {
            let text = str::from_utf8(bytes).map_err(|source| SourceError::NotText {
                name: name.clone(),
                source,
            });
            Ok(Text::new(name.clone(), text?))
        });
        texts.collect::<Result<_, _>>().map(Self)
    }

    /// One text of them all. A line `...` ends what stands before it, whatever that was.
    pub(crate) fn joined(&self) -> String {
        let contents: Vec<&str> = self.0.iter().map(|text| text.content.as_str()).collect();
        contents.join("...\n")
    }

    /// A message about the joined text, by the files' own names and lines.
    pub(crate) fn with_files(&self, message: &str) -> String {
        let mut parts = message.split(BODY);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            match part[..digits]
                .parse()
                .ok()
                .and_then(|line| self.place_of(line))
            {
                // The document's number counts in the joined text: it says nothing here.
                Some((name, line)) => {
                    let rest = without_document(&part[digits..]);
                    told += &format!("{}:{line}{rest}", name.display());
                }
                None => {
                    told += BODY;
                    told += part;
                }
            }
        }
        told
    }

    /// The file and its line that are the joined text's line.
    pub(crate) fn place_of(&self, mut line: usize) -> Option<(&Path, usize)> {
        for text in &self.0 {
            let lines = text.content.matches('\n').count();
            if line <= lines {
                return Some((&text.name, line));
            }
            // And the line that ends it.
            line = line.checked_sub(lines + 1)?;
        }
        None
    }
}

impl Text {
    fn new(name: PathBuf, text: &str) -> Self {
        let mut content = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        // YAML reads some of JSON's escapes differently: such a text is written without them, as the API
        // itself does with JSON.
        let is_json = content.trim_start().starts_with(['{', '[']);
        if is_json
            && (content.contains("\\u") || content.contains("\\/"))
            && let Ok(value) = serde_json::from_str::<serde_json::Value>(&content)
        {
            content = format!("{value:#}");
        }
        if !content.ends_with('\n') {
            content.push('\n');
        }
        Self { name, content }
    }
}

/// `:3 (document 2): …` without the document.
fn without_document(rest: &str) -> String {
    let Some((before, after)) = rest.split_once(" (document ") else {
        return rest.to_owned();
    };
    match after.split_once(')') {
        Some((number, after)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{before}{after}")
        }
        _ => rest.to_owned(),
    }
}

/// Hands every source to `take`, in order, with its name.
pub(crate) fn gather(
    files: &[PathBuf],
    variables: &[String],
    recursive: bool,
    take: &mut impl FnMut(PathBuf, &[u8]),
) -> Result<(), SourceError> {
    for path in files {
        let failed = |source| SourceError::Read {
            name: path.clone(),
            source,
        };
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).map_err(failed)?;
            take(PathBuf::from("standard input"), &bytes);
            continue;
        }
        for file in expand(path, recursive)? {
            take(file.clone(), &std::fs::read(&file).map_err(failed)?);
        }
    }
    for variable in variables {
        let text =
            std::env::var(variable).map_err(|_| SourceError::NoVariable(variable.clone()))?;
        take(PathBuf::from(format!("${variable}")), text.as_bytes());
    }
    Ok(())
}

/// The files that a path stands for: itself, or those of a directory by name, perhaps with those of the
/// directories in it.
fn expand(path: &Path, recursive: bool) -> Result<Vec<PathBuf>, SourceError> {
    let failed = |source| SourceError::Read {
        name: path.to_owned(),
        source,
    };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file() {
            files.push(file);
        } else if recursive && file.is_dir() && !file.is_symlink() {
            match expand(&file, recursive) {
                Ok(inner) => files.extend(inner),
                Err(SourceError::NoFiles(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    if files.is_empty() {
        return Err(SourceError::NoFiles(path.to_owned()));
    }
    files.sort();
    Ok(files)
}
