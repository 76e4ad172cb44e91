//! The style sheet of the SVG, for light and dark screens.
//!
//! Plain classes, no variables: not every renderer of SVG knows those. Colours tell health, and dashes
//! tell it again for those who do not see the colours.

pub(super) const FONT: &str =
    "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif";

/// Geometry and light colours.
const LIGHT: &str = "\
text{fill:#1d2733;font-size:13px}
.bg{fill:#fbfcfd}
.h{font-size:19px;font-weight:650}
.s{fill:#566473;font-size:12px}
.n{font-weight:600}
.b{fill:#566473;font-size:11px}
.clear{stroke:#fbfcfd;stroke-width:4px;stroke-linejoin:round;paint-order:stroke}
.card{fill:#fff;stroke:#c5ced8;stroke-width:1.2}
.outside{fill:#f1f3f6;stroke:#8a96a3;stroke-width:1.4;stroke-dasharray:5 4}
.diamond{fill:#eef3fb;stroke:#7f95b5;stroke-width:1.4}
.box{fill:#edf1f6;fill-opacity:.7;stroke:#c5ced8;stroke-width:1}
.tab{fill:#dfe6ee}
.badge{fill:#33475f}
.badge-text{fill:#fff;font-size:9.5px;font-weight:600}
.line{fill:none;stroke-linecap:round}
.pill{fill:#fff;stroke:#dbe1e8;stroke-width:1}
.p1{font-size:11.5px;font-weight:600}
.p2{fill:#566473;font-size:10.5px}
.err{fill:#c01f35;font-weight:600}
.word{fill:#a63c06;font-size:10.5px;font-weight:600}
.legend{fill:#566473;font-size:11px}
.rule{stroke:#dbe1e8}
.fine{stroke:#2c9b5a}.fill-fine{fill:#2c9b5a}
.degraded{stroke:#d17a00;stroke-dasharray:11 5}.fill-degraded{fill:#d17a00}
.failing{stroke:#d1293d;stroke-dasharray:9 4 2 4}.fill-failing{fill:#d1293d}
.tcp{stroke:#2f6fd6}.fill-tcp{fill:#2f6fd6}
.idle{stroke:#9aa5b1}.fill-idle{fill:#9aa5b1}
.past{stroke:#a63c06}.fill-past{fill:#a63c06}
.bypass{stroke-dasharray:2 6}
.lock{fill:none;stroke:#566473;stroke-width:1.5}.lock-body{fill:#566473}
.open{fill:none;stroke:#c2500f;stroke-width:1.5}.open-body{fill:#c2500f}
";

/// What a dark screen changes.
const DARK: &str = "\
text{fill:#e4e9ef}
.bg{fill:#11161c}
.s,.b,.p2,.legend{fill:#98a5b3}
.clear{stroke:#11161c}
.card{fill:#1b232d;stroke:#3b4856}
.outside{fill:#171d25;stroke:#6d7a88}
.diamond{fill:#1d2838;stroke:#6a83a8}
.box{fill:#1a212a;stroke:#33404d}
.tab{fill:#2a3542}
.badge{fill:#b9cbe0}.badge-text{fill:#11161c}
.pill{fill:#151b22;stroke:#323e4b}
.err{fill:#ff7a86}
.word{fill:#ffa066}
.rule{stroke:#323e4b}
.fine{stroke:#4bbf7c}.fill-fine{fill:#4bbf7c}
.degraded{stroke:#f0a63a}.fill-degraded{fill:#f0a63a}
.failing{stroke:#ff6370}.fill-failing{fill:#ff6370}
.tcp{stroke:#6ea3ff}.fill-tcp{fill:#6ea3ff}
.idle{stroke:#6d7a88}.fill-idle{fill:#6d7a88}
.past{stroke:#ffa066}.fill-past{fill:#ffa066}
.lock{stroke:#98a5b3}.lock-body{fill:#98a5b3}
.open{stroke:#ffa066}.open-body{fill:#ffa066}
";

/// The whole sheet.
pub(super) fn sheet() -> String {
    let dark = DARK.trim_end();
    format!("{LIGHT}@media (prefers-color-scheme:dark){{\n{dark}\n}}\n")
}

/// The sheet for pictures within a page: the same, for what is in `.picture` only.
#[must_use]
pub fn page_sheet() -> String {
    format!(".picture {{\n{}}}\n", sheet())
}

#[cfg(test)]
mod tests {
    use super::{DARK, LIGHT};

    /// The colour that a sheet gives a selector, the last rule for it first.
    fn color(sheets: &[&str], selector: &str, property: &str) -> String {
        let rules = sheets.iter().flat_map(|sheet| sheet.split('}'));
        let mut found = None;
        for rule in rules {
            let Some((selectors, body)) = rule.split_once('{') else {
                continue;
            };
            if selectors.trim().split(',').any(|one| one == selector) {
                let declared = body.split(';').filter_map(|one| one.split_once(':'));
                for (_, value) in declared.filter(|(name, _)| *name == property) {
                    found = Some(value.to_owned());
                }
            }
        }
        found.unwrap_or_else(|| panic!("{selector} has no {property}"))
    }

    /// Relative luminance, as WCAG 2 defines it.
    fn luminance(color: &str) -> f64 {
        let hex = color.trim_start_matches('#');
        let hex = if hex.len() == 3 {
            hex.chars().flat_map(|c| [c, c]).collect()
        } else {
            hex.to_owned()
        };
        let part = |at: usize| {
            let value = u8::from_str_radix(&hex[at..at + 2], 16).expect("two hexadecimal digits");
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(0) + 0.7152 * part(2) + 0.0722 * part(4)
    }

    fn contrast(one: &str, two: &str) -> f64 {
        let (one, two) = (luminance(one), luminance(two));
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    #[test]
    fn text_and_signs_stand_out_on_light_and_dark_screens() {
        assert!((contrast("#000", "#ffffff") - 21.0).abs() < 1e-9);
        // What is read: WCAG AA wants 4.5. What is seen: 3.
        let pairs = [
            ("text", ".card", 4.5),
            ("text", ".pill", 4.5),
            ("text", ".outside", 4.5),
            ("text", ".bg", 4.5),
            (".b", ".card", 4.5),
            (".b", ".outside", 4.5),
            (".b", ".tab", 4.5),
            (".p2", ".pill", 4.5),
            (".err", ".pill", 4.5),
            (".word", ".pill", 4.5),
            (".word", ".bg", 4.5),
            (".s", ".bg", 4.5),
            (".legend", ".bg", 4.5),
            (".badge-text", ".badge", 4.5),
            (".fill-fine", ".bg", 3.0),
            (".fill-degraded", ".bg", 3.0),
            (".fill-failing", ".bg", 3.0),
            (".fill-tcp", ".bg", 3.0),
            (".fill-past", ".bg", 3.0),
            (".lock-body", ".pill", 3.0),
            (".open-body", ".pill", 3.0),
        ];
        for (name, sheets) in [("light", &[LIGHT][..]), ("dark", &[LIGHT, DARK][..])] {
            for (front, back, least) in pairs {
                let found = contrast(&color(sheets, front, "fill"), &color(sheets, back, "fill"));
                assert!(found >= least, "{name}: {front} on {back} is {found:.2}");
            }
        }
    }
}
