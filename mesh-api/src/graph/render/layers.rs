//! The plain layout of large graphs: columns by distance from the roots, rows by where the callers are.
//!
//! Linear in nodes and edges but for sorting, so that a thousand nodes take milliseconds. Boxes are
//! left out: their members may be columns apart.

use super::layout::{CARD_HEIGHT, Layout, Point, Rect, Route, Structure};

const COLUMN_GAP: f64 = 190.0;
const ROW_GAP: f64 = 26.0;
const MARGIN: f64 = 24.0;
/// Times that rows are sorted anew by their neighbours.
const SWEEPS: usize = 4;

pub(super) fn lay_out(structure: &Structure) -> Layout {
    let columns = columns(structure);
    let mut layout = Layout {
        nodes: vec![None; structure.nodes.len()],
        ..Layout::default()
    };
    let row = |index: usize| f64::from(structure.nodes[index].1).max(CARD_HEIGHT) + ROW_GAP;
    let heights: Vec<f64> = columns
        .iter()
        .map(|column| column.iter().map(|index| row(*index)).sum())
        .collect();
    let tallest = heights.iter().copied().fold(0.0, f64::max);
    let mut left = MARGIN;
    for (column, height) in columns.iter().zip(heights) {
        let widths = column.iter().map(|index| structure.nodes[*index].0);
        let width = f64::from(widths.max().unwrap_or(0));
        let mut top = MARGIN + (tallest - height) / 2.0;
        for &index in column {
            let (own_width, own_height, _) = structure.nodes[index];
            layout.nodes[index] = Some(Rect {
                x: left + width / 2.0,
                y: top + row(index) / 2.0,
                width: f64::from(own_width),
                height: f64::from(own_height),
            });
            top += row(index);
        }
        left += width + COLUMN_GAP;
    }
    for &(source, target) in &structure.edges {
        let ends = (layout.nodes[source], layout.nodes[target]);
        layout.edges.push(match ends {
            (Some(from), Some(to)) => route(from, to),
            _ => Route::default(),
        });
    }
    layout.fit();
    layout
}

/// Straight to the right; backwards, or within a column, around.
fn route(from: Rect, to: Rect) -> Route {
    let start = Point {
        x: from.right(),
        y: from.y,
    };
    let end = Point {
        x: to.left(),
        y: to.y,
    };
    let bend = 40.0;
    let points = if to.left() > from.right() {
        let out = Point {
            x: start.x + bend,
            ..start
        };
        let into = Point {
            x: end.x - bend,
            ..end
        };
        vec![start, out, into, end]
    } else {
        // Above both, so that it is not taken for an edge of what lies between.
        let above = from.top().min(to.top()) - ROW_GAP / 2.0;
        let right = start.x + bend;
        let back = end.x - bend;
        vec![
            start,
            Point {
                x: right,
                y: start.y,
            },
            Point { x: right, y: above },
            Point { x: back, y: above },
            Point { x: back, y: end.y },
            end,
        ]
    };
    let (one, two) = (points[points.len() / 2 - 1], points[points.len() / 2]);
    Route {
        label: Point {
            x: (one.x + two.x) / 2.0,
            y: (one.y + two.y) / 2.0,
        },
        points,
    }
}

/// Nodes by column, each column sorted by the average row of its callers.
fn columns(structure: &Structure) -> Vec<Vec<usize>> {
    let count = structure.nodes.len();
    let mut depth = depths(structure);
    move_roots(structure, &mut depth);
    let deepest = depth.iter().copied().max().unwrap_or(0);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); deepest + 1];
    for index in (0..count).filter(|index| !structure.is_box[*index]) {
        columns[depth[index]].push(index);
    }
    columns.retain(|column| !column.is_empty());
    let mut callers = vec![Vec::new(); count];
    let mut callees = vec![Vec::new(); count];
    for &(source, target) in &structure.edges {
        callers[target].push(source);
        callees[source].push(target);
    }
    let mut row = vec![0.0; count];
    let number = |column: &[usize], row: &mut Vec<f64>| {
        for (place, &index) in column.iter().enumerate() {
            // In the middle, so that columns of different height compare.
            row[index] = place as f64 - column.len() as f64 / 2.0;
        }
    };
    for column in &columns {
        number(column, &mut row);
    }
    for sweep in 0..SWEEPS {
        let forwards = sweep % 2 == 0;
        let neighbours = if forwards { &callers } else { &callees };
        let mut order: Vec<usize> = (0..columns.len()).collect();
        if !forwards {
            order.reverse();
        }
        for place in order {
            let column = &mut columns[place];
            let mut weighed: Vec<(f64, usize)> = column
                .iter()
                .map(|&index| {
                    let near = &neighbours[index];
                    let sum: f64 = near.iter().map(|other| row[*other]).sum();
                    let weight = if near.is_empty() {
                        row[index]
                    } else {
                        sum / near.len() as f64
                    };
                    (weight, index)
                })
                .collect();
            weighed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            *column = weighed.into_iter().map(|(_, index)| index).collect();
            number(column, &mut row);
        }
    }
    columns
}

/// A root stands beside what it calls first, not in the first column of all.
fn move_roots(structure: &Structure, depth: &mut [usize]) {
    let mut nearest = vec![usize::MAX; depth.len()];
    let mut is_called = vec![false; depth.len()];
    for &(source, target) in &structure.edges {
        nearest[source] = nearest[source].min(depth[target]);
        is_called[target] = true;
    }
    for index in 0..depth.len() {
        if !is_called[index] && nearest[index] != usize::MAX {
            depth[index] = nearest[index].saturating_sub(1);
        }
    }
}

/// The longest way from a root, not counting edges that lead back.
fn depths(structure: &Structure) -> Vec<usize> {
    let count = structure.nodes.len();
    let mut callees = vec![Vec::new(); count];
    let mut incoming = vec![0_usize; count];
    for &(source, target) in &structure.edges {
        if source != target {
            callees[source].push(target);
            incoming[target] += 1;
        }
    }
    let mut depth = vec![0; count];
    let mut done = vec![false; count];
    let mut ready: Vec<usize> = (0..count).filter(|index| incoming[*index] == 0).collect();
    let mut rest = 0;
    loop {
        while let Some(index) = ready.pop() {
            if std::mem::replace(&mut done[index], true) {
                continue;
            }
            for &next in &callees[index] {
                if !done[next] {
                    depth[next] = depth[next].max(depth[index] + 1);
                    incoming[next] = incoming[next].saturating_sub(1);
                    if incoming[next] == 0 {
                        ready.push(next);
                    }
                }
            }
        }
        // Only circles are left: the first node opens one.
        while rest < count && done[rest] {
            rest += 1;
        }
        if rest == count {
            return depth;
        }
        ready.push(rest);
    }
}
