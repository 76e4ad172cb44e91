//! What colours, dashes and signs mean, at the foot of the picture.

use super::layout::text_width;
use super::shapes::padlock;
use super::svg::Canvas;
use super::words::{Lock, OUTSIDE, Tone};

/// Height of one row.
const ROW: f64 = 24.0;
const GAP: f64 = 26.0;

/// One sign with its meaning.
#[derive(Clone, Copy)]
enum Sign {
    Line(Tone),
    Bypass,
    Padlock(Lock),
    Diamond,
}

const SIGNS: [(Sign, &str); 8] = [
    (Sign::Line(Tone::Fine), "healthy"),
    (Sign::Line(Tone::Degraded), "degraded"),
    (Sign::Line(Tone::Failing), "failing"),
    (Sign::Line(Tone::Tcp), "TCP"),
    (Sign::Bypass, OUTSIDE),
    (Sign::Padlock(Lock::Closed), "mutual TLS"),
    (Sign::Padlock(Lock::Open), "plain text"),
    (Sign::Diamond, "service"),
];

fn width(sign: Sign) -> f64 {
    match sign {
        Sign::Line(_) | Sign::Bypass => 34.0,
        Sign::Padlock(_) => 12.0,
        Sign::Diamond => 14.0,
    }
}

/// Which signs go on which row.
fn rows(available: f64) -> Vec<Vec<(f64, Sign, &'static str)>> {
    let mut rows = vec![Vec::new()];
    let mut x = 24.0;
    for (sign, text) in SIGNS {
        let wide = width(sign) + 8.0 + text_width(text, 11.0);
        if x + wide > available - 24.0 && x > 24.0 {
            rows.push(Vec::new());
            x = 24.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, sign, text));
        }
        x += wide + GAP;
    }
    rows
}

/// The height that the legend takes in a picture of that width.
pub(super) fn height(available: f64) -> f64 {
    rows(available).len() as f64 * ROW + 20.0
}

/// Draws the legend from the origin downwards.
pub(super) fn draw(canvas: &mut Canvas, available: f64) {
    canvas.raw(format_args!(
        "<path class=\"rule\" d=\"M24,0H{:.1}\"/>",
        available - 24.0
    ));
    for (index, row) in rows(available).iter().enumerate() {
        let y = 24.0 + index as f64 * ROW;
        for (x, sign, text) in row {
            match sign {
                Sign::Line(tone) => line(canvas, *x, y, tone.as_str()),
                Sign::Bypass => line(canvas, *x, y, "past bypass"),
                Sign::Padlock(lock) => padlock(canvas, *lock, *x, y - 6.0),
                Sign::Diamond => canvas.raw(format_args!(
                    "<path class=\"diamond\" d=\"M{x:.1},{y:.1}l7,-7l7,7l-7,7z\"/>"
                )),
            }
            canvas.text("legend", x + width(*sign) + 8.0, y + 4.0, "start", text);
        }
    }
}

fn line(canvas: &mut Canvas, x: f64, y: f64, class: &str) {
    canvas.raw(format_args!(
        "<path class=\"line {class}\" stroke-width=\"2.5\" d=\"M{x:.1},{y:.1}h34\"/>"
    ));
}
