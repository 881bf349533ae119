//! [`Placed`]: the places of boxes and arrows. `dagre` layers boxes from left to right. Arrows run horizontally past
//! the boxes of a column and bend only between columns.

use dagre::graph::{Graph, GraphOptions};
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir};

/// The gap between columns, in which arrows bend and roles are written.
pub(super) const BETWEEN: f64 = 92.0;
/// The gap between boxes of a column.
const APART: f64 = 26.0;
/// The most that arrows at one side of a box stand apart.
const PORTS: f64 = 18.0;

/// A column of boxes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its middle.
    pub(super) x: f64,
    pub(super) width: f64,
}

/// The middle of a box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) column: usize,
    pub(super) y: f64,
}

/// The way of an arrow.
#[derive(Clone, Debug, Default)]
pub(super) struct Route {
    /// How far from the middle of its box it begins.
    pub(super) leaves: f64,
    /// How far from the middle of its box it ends.
    pub(super) enters: f64,
    /// How far it runs level before it ends, for its role to stand there.
    pub(super) run: f64,
    /// Columns that it passes, and where.
    pub(super) passes: Vec<(usize, f64)>,
}

/// Where everything goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Placed {
    pub(super) columns: Vec<Column>,
    pub(super) spots: Vec<Spot>,
    pub(super) routes: Vec<Route>,
}

/// Places boxes of these sizes; `links` are pairs of their numbers.
pub(super) fn place(sizes: &[(f64, f64)], links: &[(usize, usize)]) -> Placed {
    let mut graph = Graph::with_options(GraphOptions { directed: true, multigraph: false, compound: false });
    for (i, (width, height)) in sizes.iter().enumerate() {
        graph.set_node(i.to_string(), Some(NodeLabel { width: *width, height: *height, ..NodeLabel::default() }));
    }
    for (from, to) in links.iter().filter(|(from, to)| from != to) {
        graph.set_edge(from.to_string(), to.to_string(), Some(EdgeLabel::default()), None);
    }
    let options = LayoutOptions {
        rankdir: RankDir::LR,
        nodesep: APART,
        edgesep: 16.0,
        ranksep: BETWEEN,
        // Keeps the order of the pipeline file where nothing speaks against it.
        tie_keep_first: true,
        ..LayoutOptions::default()
    };
    dagre::layout(&mut graph, Some(options));
    let middle = |i: usize| {
        let node = graph.node(&i.to_string()).expect("it was added");
        (node.x.unwrap_or_default(), node.y.unwrap_or_default())
    };
    let middles: Vec<(f64, f64)> = (0..sizes.len()).map(middle).collect();
    // Which side is up is of no matter to the layout: what comes first in the pipeline file goes up.
    let flipped = upside_down(&middles);
    let bottom = middles.iter().zip(sizes).map(|((_, y), (_, height))| y + height / 2.0).fold(0.0, f64::max);
    let up = |y: f64| if flipped { bottom - y } else { y };
    let middles: Vec<(f64, f64)> = middles.into_iter().map(|(x, y)| (x, up(y))).collect();
    let columns = columns(&middles, sizes);
    let column = |x: f64| columns.iter().position(|c| (c.x - x).abs() < 0.5);
    let spots: Vec<Spot> =
        middles.iter().map(|(x, y)| Spot { column: column(*x).expect("each box has a column"), y: *y }).collect();
    let route = |(from, to): &(usize, usize)| {
        let edge = graph.edge(&from.to_string(), &to.to_string(), None);
        let points = edge.map(|edge| &edge.points[..]).unwrap_or_default();
        let ends = [spots[*from].column, spots[*to].column];
        let passes = points.iter().filter_map(|p| Some((column(p.x)?, up(p.y)))).filter(|(c, _)| !ends.contains(c));
        Route { passes: passes.collect(), ..Route::default() }
    };
    let mut routes: Vec<Route> = links.iter().map(route).collect();
    for i in 0..sizes.len() {
        ports(i, links, &spots, sizes, &mut routes);
    }
    Placed { columns, spots, routes }
}

/// Returns `true` if boxes of one column mostly stand above those that come before them.
fn upside_down(middles: &[(f64, f64)]) -> bool {
    let mut sorted: Vec<usize> = (0..middles.len()).collect();
    sorted.sort_by(|a, b| middles[*a].0.total_cmp(&middles[*b].0).then(a.cmp(b)));
    let mates = sorted.windows(2).filter(|w| (middles[w[0]].0 - middles[w[1]].0).abs() < 0.5);
    mates.map(|w| if middles[w[1]].1 < middles[w[0]].1 { 1 } else { -1 }).sum::<i64>() > 0
}

/// Boxes with the same middle are one column.
fn columns(middles: &[(f64, f64)], sizes: &[(f64, f64)]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for ((x, _), (width, _)) in middles.iter().zip(sizes) {
        match columns.iter_mut().find(|c| (c.x - x).abs() < 0.5) {
            Some(column) => column.width = column.width.max(*width),
            None => columns.push(Column { x: *x, width: *width }),
        }
    }
    columns.sort_by(|a, b| a.x.total_cmp(&b.x));
    columns
}

/// Spreads the arrows at both sides of a box, in the order in which they come and go.
fn ports(i: usize, links: &[(usize, usize)], spots: &[Spot], sizes: &[(f64, f64)], routes: &mut [Route]) {
    let spread = |n: usize| if n > 1 { PORTS.min((sizes[i].1 - 16.0) / (n - 1) as f64) } else { 0.0 };
    for entering in [false, true] {
        let mine = |(from, to): (usize, usize)| from != to && if entering { to == i } else { from == i };
        let mut at: Vec<(f64, usize)> = Vec::new();
        for (number, link) in links.iter().enumerate().filter(|(_, link)| mine(**link)) {
            let passes = &routes[number].passes;
            let (near, far) = if entering { (passes.last(), link.0) } else { (passes.first(), link.1) };
            at.push((near.map_or(spots[far].y, |(_, y)| *y), number));
        }
        at.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (rank, (_, number)) in at.iter().enumerate() {
            let offset = (rank as f64 - (at.len() - 1) as f64 / 2.0) * spread(at.len());
            let route = &mut routes[*number];
            if entering { route.enters = offset } else { route.leaves = offset }
        }
    }
}

impl Placed {
    /// The arrow `number` as a path, and where it ends.
    pub(super) fn path(&self, number: usize, link: (usize, usize), sizes: &[(f64, f64)]) -> (String, (f64, f64)) {
        let route = &self.routes[number];
        let (from, to) = (self.spots[link.0], self.spots[link.1]);
        let edge = |spot: Spot, width: f64, side: f64| self.columns[spot.column].x + side * width / 2.0;
        let level = |column: usize, side: f64| self.columns[column].x + side * self.columns[column].width / 2.0;
        if link.0 == link.1 {
            // A stage whose instances read each other: a loop over its corner.
            let (right, top) = (edge(from, sizes[link.0].0, 1.0), from.y - sizes[link.0].1 / 2.0);
            let (a, b) = (right - 40.0, right - 16.0);
            return (
                format!(
                    "M{} {}C{} {} {} {} {} {}",
                    n(a),
                    n(top),
                    n(a),
                    n(top - 22.0),
                    n(b),
                    n(top - 22.0),
                    n(b),
                    n(top)
                ),
                (b, top),
            );
        }
        // Stages that read each other in a circle: one arrow goes back, from the left side to the right one.
        let side = if to.column < from.column { -1.0 } else { 1.0 };
        let begin = (edge(from, sizes[link.0].0, side), from.y + route.leaves);
        let end = (edge(to, sizes[link.1].0, -side), to.y + route.enters);
        let mut text = format!("M{} {}", n(begin.0), n(begin.1));
        let mut at = (level(from.column, side), begin.1);
        let mut line = |x: f64| text.push_str(&format!("H{}", n(x)));
        if (at.0 - begin.0).abs() > 0.5 {
            line(at.0);
        }
        let last = (level(to.column, -side) - side * route.run, end.1);
        let passes = route.passes.iter().map(|(c, y)| ((level(*c, -side), *y), Some(level(*c, side))));
        for (next, leave) in passes.chain([(last, None)]) {
            let half = (at.0 + next.0) / 2.0;
            text.push_str(&format!("C{} {} {} {} {} {}", n(half), n(at.1), n(half), n(next.1), n(next.0), n(next.1)));
            at = next;
            if let Some(x) = leave {
                text.push_str(&format!("H{}", n(x)));
                at.0 = x;
            }
        }
        if (end.0 - at.0).abs() > 0.5 {
            text.push_str(&format!("H{}", n(end.0)));
        }
        (text, end)
    }
}

/// A coordinate with at most one digit behind the point.
pub(super) fn n(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    // Never `-0`.
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Boxes of one column do not touch, and arrows pass between them.
    fn holds(sizes: &[(f64, f64)], links: &[(usize, usize)]) {
        let placed = place(sizes, links);
        for (i, a) in placed.spots.iter().enumerate() {
            for (j, b) in placed.spots[..i].iter().enumerate().filter(|(_, b)| b.column == a.column) {
                let gap = (a.y - b.y).abs() - (sizes[i].1 + sizes[j].1) / 2.0;
                assert!(gap > 1.0, "{i} and {j} touch in column {}", a.column);
            }
        }
        for pair in placed.columns.windows(2) {
            assert!(pair[0].x + pair[0].width / 2.0 < pair[1].x - pair[1].width / 2.0);
        }
        for (number, link) in links.iter().enumerate() {
            for (column, y) in &placed.routes[number].passes {
                let hit = |(i, spot): (usize, &Spot)| spot.column == *column && (spot.y - y).abs() < sizes[i].1 / 2.0;
                assert!(!placed.spots.iter().enumerate().any(hit), "arrow {link:?} crosses a box");
            }
            let (path, (x, y)) = placed.path(number, *link, sizes);
            assert!(path.starts_with('M') && x.is_finite() && y.is_finite() && !path.contains("NaN"), "{path}");
        }
    }

    #[test]
    fn circles_loops_and_lone_boxes_are_placed() {
        let sizes = [(80.0, 40.0), (120.0, 90.0), (60.0, 200.0)];
        holds(&sizes, &[]);
        holds(&sizes, &[(0, 1), (1, 2), (0, 2)]);
        holds(&sizes, &[(0, 1), (1, 0), (2, 2)]);
        holds(&sizes[..1], &[]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        #[test]
        fn any_graph_is_placed(
            sizes in proptest::collection::vec((40.0..260.0_f64, 38.0..300.0_f64), 1..14),
            pairs in proptest::collection::btree_set((0_usize..14, 0_usize..14), 0..30),
        ) {
            let links: Vec<_> = pairs.into_iter().filter(|(a, b)| a < b && *b < sizes.len()).collect();
            holds(&sizes, &links);
        }
    }
}
