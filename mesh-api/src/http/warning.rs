//! Warnings as Kubernetes' clients show them: one `Warning` header each.

use http::{HeaderMap, HeaderValue, header};
use mesh_config::Finding;

/// Some clients refuse answers with more than a hundred headers.
const MOST: usize = 50;

/// Longest text of one warning, in bytes.
const LONGEST: usize = 1000;

/// Adds a header per warning, and one that counts those beyond the limit.
pub(crate) fn add(headers: &mut HeaderMap, warnings: &[Finding]) {
    let shown = if warnings.len() > MOST {
        MOST - 1
    } else {
        warnings.len()
    };
    for warning in &warnings[..shown] {
        append(headers, &warning.to_string());
    }
    if shown < warnings.len() {
        append(headers, &format!("and {} more", warnings.len() - shown));
    }
}

fn append(headers: &mut HeaderMap, text: &str) {
    if let Ok(value) = HeaderValue::from_bytes(encode(text).as_bytes()) {
        headers.append(header::WARNING, value);
    }
}

/// `299 - "text"` with quotes escaped and without control characters.
fn encode(text: &str) -> String {
    let mut encoded = String::from("299 - \"");
    for character in text.chars() {
        if encoded.len() > LONGEST {
            encoded.push('…');
            break;
        }
        match character {
            '"' | '\\' => {
                encoded.push('\\');
                encoded.push(character);
            }
            character if character.is_control() => encoded.push(' '),
            character => encoded.push(character),
        }
    }
    encoded.push('"');
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_cannot_leave_its_quotes_or_its_line() {
        assert_eq!(
            encode("say \"no\\yes\"\r\nx: y"),
            r#"299 - "say \"no\\yes\"  x: y""#
        );
        let long = encode(&"ä".repeat(2000));
        assert!(long.len() < LONGEST + 10 && long.ends_with("…\""));
    }
}
