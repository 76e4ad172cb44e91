//! What a plain (unquoted) scalar means.
//!
//! `kubectl` and `istioctl` read YAML 1.1, so we do: `yes`, `on` and `y` are booleans, `0777` is
//! octal, `1_000` is a thousand. Dates stay text, and there are no sexagesimal numbers.

use std::borrow::Cow;

use granit_parser::{ScalarStyle, Tag};
use serde_json::Number;

use super::Value;

/// What a scalar means, by its style and its tag.
pub(super) fn value(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<Value, String> {
    let Some(tag) = tag else {
        return match style {
            ScalarStyle::Plain => resolve(&text),
            _ => Ok(Value::String(text.into_owned())),
        };
    };
    if tag.original() == "!" {
        return Ok(Value::String(text.into_owned()));
    }
    // Not the text itself: it is not known yet whether it is a secret.
    let wrong = |what: &str| format!("this is no {what}, as its tag says");
    match tag.core_suffix() {
        Some("str") => Ok(Value::String(text.into_owned())),
        Some("null") => Ok(Value::Null),
        Some("bool") => boolean(&text)
            .map(|value| Value::Bool(value, text.as_ref().into()))
            .ok_or_else(|| wrong("boolean")),
        Some("int" | "float") => match number(&text) {
            Some(number) => number.map(|number| Value::Number(number, text.as_ref().into())),
            None => Err(wrong("number")),
        },
        _ => Err(unsupported(tag)),
    }
}

/// The sentence for a tag that we do not know.
pub(super) fn unsupported(tag: &Tag) -> String {
    format!("the tag {} has no meaning here; remove it", tag.original())
}

/// What a plain scalar is without a tag. `Err` says why it has no meaning in JSON.
fn resolve(text: &str) -> Result<Value, String> {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Ok(Value::Null);
    }
    if let Some(value) = boolean(text) {
        return Ok(Value::Bool(value, text.into()));
    }
    match number(text) {
        Some(Ok(number)) => Ok(Value::Number(number, text.into())),
        Some(Err(message)) => Err(message),
        None => Ok(Value::String(text.to_owned())),
    }
}

/// The booleans of YAML 1.1.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            Some(false)
        }
        _ => None,
    }
}

/// The numbers of YAML 1.1; `None` where the text is no number at all.
fn number(text: &str) -> Option<Result<Number, String>> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(Err(format!(
            "{text} is a number that JSON cannot say; use a finite number, or quote it"
        )));
    }
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(number) = whole(&plain) {
        return Some(Ok(number));
    }
    if !looks_like_a_float(plain.strip_prefix(['-', '+']).unwrap_or(&plain)) {
        return None;
    }
    let value: f64 = plain.parse().ok()?;
    match Number::from_f64(value) {
        Some(number) => Some(Ok(number)),
        None => Some(Err("this number is too large; quote it".to_owned())),
    }
}

/// The number as an integer, also where it was written as `80.0` or `8e1`.
pub(super) fn integer(number: &Number) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: beyond it, floats skip integers
    number.as_i64().or_else(|| {
        let value = number.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it has no fraction and its size was checked"
        )]
        (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
    })
}

/// Decimal, `0x`, `0o`, `0b`, and octal by a leading zero.
fn whole(plain: &str) -> Option<Number> {
    let (negative, body) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let lower = body.to_ascii_lowercase();
    let (radix, digits) = if let Some(digits) = lower.strip_prefix("0x") {
        (16, digits)
    } else if let Some(digits) = lower.strip_prefix("0o") {
        (8, digits)
    } else if let Some(digits) = lower.strip_prefix("0b") {
        (2, digits)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        i64::try_from(-i128::from(magnitude)).ok().map(Number::from)
    } else {
        Some(Number::from(magnitude))
    }
}

/// `digits[.digits][e[+-]digits]` or `.digits[e…]`, nothing else that Rust's parser would take.
fn looks_like_a_float(body: &str) -> bool {
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    let all_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let some_digit = !before.is_empty() || !after.is_empty();
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    some_digit && all_digits(before) && all_digits(after) && exponent_is_fine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        super::super::to_json(&super::super::Node {
            mark: super::super::Mark::default(),
            value: resolve(text).expect("it has a meaning"),
        })
    }

    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        use serde_json::json;
        let table = [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("yes", json!(true)),
            ("y", json!(true)),
            ("on", json!(true)),
            ("NO", json!(false)),
            ("off", json!(false)),
            ("nO", json!("nO")),
            ("80", json!(80)),
            ("-1", json!(-1)),
            ("+5", json!(5)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("017", json!(15)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1.10", json!(1.1)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("08", json!(8.0)),
            ("1.2.3", json!("1.2.3")),
            ("1.10.0-rc", json!("1.10.0-rc")),
            ("v1", json!("v1")),
            ("10s", json!("10s")),
            ("12:30:00", json!("12:30:00")),
            ("2001-12-14", json!("2001-12-14")),
            ("-", json!("-")),
            (".", json!(".")),
            ("e3", json!("e3")),
            ("infinity", json!("infinity")),
            ("+-1", json!("+-1")),
            ("0x", json!("0x")),
        ];
        for (text, expected) in table {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_without_json_are_refused() {
        for text in [".inf", "-.INF", ".nan", "1e999"] {
            resolve(text).expect_err(text);
        }
    }

    #[test]
    fn whole_floats_are_integers() {
        let integer_of = |text| number(text).expect(text).map(|n| integer(&n)).expect(text);
        assert_eq!(integer_of("80.0"), Some(80));
        assert_eq!(integer_of("8e1"), Some(80));
        assert_eq!(integer_of("80.5"), None);
        assert_eq!(integer_of("1e300"), None);
        assert_eq!(integer_of("18446744073709551615"), None);
    }
}
