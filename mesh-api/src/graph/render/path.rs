//! Edges as smooth curves.

use std::fmt::Write;

use super::layout::{DIAMOND, Point, Rect};

/// An SVG path along the points: a B-spline, which stays within their hull and so never swings out.
pub(super) fn smooth(points: &[Point]) -> String {
    let mut path = String::new();
    let Some((first, rest)) = points.split_first() else {
        return path;
    };
    let _ = write!(path, "M{:.1},{:.1}", first.x, first.y);
    match rest {
        [] => {}
        [last] => {
            let _ = write!(path, "L{:.1},{:.1}", last.x, last.y);
        }
        _ => {
            let last = points[points.len() - 1];
            // Repeated ends make the curve begin and end in them.
            let mut knots = vec![*first];
            knots.extend_from_slice(points);
            knots.push(last);
            let start = between(knots[0], knots[1], knots[2]);
            let _ = write!(path, "L{:.1},{:.1}", start.x, start.y);
            for knot in knots.windows(3).skip(1) {
                let (before, at, after) = (knot[0], knot[1], knot[2]);
                let end = between(before, at, after);
                let one = third(before, at);
                let two = third(at, before);
                let _ = write!(
                    path,
                    "C{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}",
                    one.x, one.y, two.x, two.y, end.x, end.y
                );
            }
            let _ = write!(path, "L{:.1},{:.1}", last.x, last.y);
        }
    }
    path
}

/// Where a B-spline passes near its knot.
fn between(before: Point, at: Point, after: Point) -> Point {
    Point {
        x: (before.x + 4.0 * at.x + after.x) / 6.0,
        y: (before.y + 4.0 * at.y + after.y) / 6.0,
    }
}

/// A third of the way.
fn third(from: Point, to: Point) -> Point {
    Point {
        x: (2.0 * from.x + to.x) / 3.0,
        y: (2.0 * from.y + to.y) / 3.0,
    }
}

/// Where a line from outside meets the diamond in the middle of a service's place.
pub(super) fn to_diamond(place: Rect, outside: Point) -> Point {
    let (dx, dy) = (outside.x - place.x, outside.y - place.y);
    let distance = dx.abs() + dy.abs();
    if distance <= DIAMOND {
        return outside;
    }
    Point {
        x: place.x + dx / distance * DIAMOND,
        y: place.y + dy / distance * DIAMOND,
    }
}

#[cfg(test)]
mod tests {
    use super::{smooth, to_diamond};
    use crate::graph::render::layout::{DIAMOND, Point, Rect};

    #[test]
    fn a_curve_begins_and_ends_in_its_ends() {
        let points = [(0.0, 0.0), (50.0, 40.0), (100.0, 0.0)].map(|(x, y)| Point { x, y });
        let path = smooth(&points);
        assert!(
            path.starts_with("M0.0,0.0") && path.ends_with("L100.0,0.0"),
            "{path}"
        );
        assert_eq!(smooth(&points[..2]), "M0.0,0.0L50.0,40.0");
        assert_eq!(smooth(&[]), "");
    }

    #[test]
    fn lines_end_at_the_diamond() {
        let place = Rect {
            x: 100.0,
            y: 100.0,
            width: 80.0,
            height: 90.0,
        };
        let left = to_diamond(place, Point { x: 0.0, y: 100.0 });
        assert_eq!((left.x, left.y), (100.0 - DIAMOND, 100.0));
        let inside = Point { x: 101.0, y: 100.0 };
        assert_eq!(to_diamond(place, inside), inside);
    }
}
