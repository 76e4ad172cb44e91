//! The query of a resource's URL: what is acted on, and what must not be ignored in silence.

use super::status::{ApiError, Reason};

/// What a query asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Check and answer, but change nothing.
    pub(crate) dry_run: bool,
}

impl Options {
    /// Reads the query. Parameters that only tune how an answer is made (`limit`, `timeoutSeconds`,
    /// `fieldManager`, …) may be left aside; those that change what it means are refused.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut options = Self::default();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, value) {
                (_, "") => {}
                ("dryRun", "All") => options.dry_run = true,
                ("dryRun", _) => return Err(bad("dryRun takes only All")),
                ("watch", "1" | "true") => {
                    return Err(bad("watch is not served yet; list again instead"));
                }
                ("labelSelector" | "fieldSelector" | "continue", _) => {
                    return Err(bad(&format!(
                        "{name} is not served yet; list everything and choose from that"
                    )));
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

fn bad(message: &str) -> ApiError {
    ApiError::new(Reason::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_changes_the_meaning_is_ignored() {
        let parse = |query| {
            Options::parse(Some(query))
                .ok()
                .map(|options| options.dry_run)
        };
        assert_eq!(parse(""), Some(false));
        assert_eq!(parse("limit=500&fieldManager=kubectl-create"), Some(false));
        assert_eq!(parse("pretty&dryRun=All"), Some(true));
        assert_eq!(parse("labelSelector="), Some(false));
        for refused in [
            "dryRun=Some",
            "watch=true",
            "labelSelector=a%3Db",
            "continue=x",
        ] {
            assert_eq!(parse(refused), None, "{refused}");
        }
    }
}
