//! [`Groups`]: which nodes of a producer each instance of a consumer reads. Producers are grouped once for each entry
//! of `needs`, by the values of the axes that are matched, so that the cost is linear in nodes and edges.

use crate::pipeline::doc::Item;
use crate::pipeline::expand::Cell;
use crate::pipeline::pattern::Pick;

use super::consumer::Consumer;

/// A checked producer of one role.
pub(super) struct Want<'a> {
    pub(super) item: &'a Item,
    /// The number of its stage.
    pub(super) producer: usize,
    /// One for each of its axes.
    pub(super) picks: Vec<Pick>,
    pub(super) optional: bool,
}

/// The producers of one entry of `needs`, by the values of the axes that both stages have.
pub(super) struct Groups {
    /// The consumer's positions of these axes, and how many values each has.
    here: Vec<(usize, u64)>,
    /// Combination of values, and cell number; sorted.
    producers: Vec<(u64, usize)>,
}

impl Groups {
    /// Returns how many nodes there are in all groups.
    pub(super) fn len(&self) -> usize {
        self.producers.len()
    }

    /// Returns whether no axis is matched: every instance reads all nodes.
    pub(super) fn matches_nothing(&self) -> bool {
        self.here.is_empty()
    }

    /// Returns the cell numbers of all nodes.
    pub(super) fn cells(&self) -> impl Iterator<Item = usize> + Clone {
        self.producers.iter().map(|(_, cell)| *cell)
    }

    /// Returns the nodes that the consumer's cell reads.
    pub(super) fn of(&self, cell: &[u32]) -> &[(u64, usize)] {
        let wanted = numbered(cell, &self.here);
        let begin = self.producers.partition_point(|(number, _)| *number < wanted);
        let rest = &self.producers[begin..];
        let length = rest.iter().take_while(|(number, _)| *number == wanted).count();
        &rest[..length]
    }
}

/// Returns the number of a combination of values. The sweep of a stage is bounded, so it is small.
fn numbered(cell: &[u32], axes: &[(usize, u64)]) -> u64 {
    axes.iter().fold(0, |number, (at, size)| number.wrapping_mul(*size).wrapping_add(u64::from(cell[*at])))
}

impl Consumer<'_, '_> {
    /// Groups the nodes of a producer that are picked.
    pub(super) fn groups(&self, want: &Want) -> Groups {
        let sweep = &self.all.sweeps[want.producer];
        let shared = self.shared(want);
        let sizes = shared.iter().map(|(_, at)| self.all.spec.axes[sweep.axes[*at]].values.len() as u64);
        let here: Vec<_> = shared.iter().map(|(at, _)| *at).zip(sizes.clone()).collect();
        let there: Vec<_> = shared.iter().map(|(_, at)| *at).zip(sizes).collect();
        let picked = |cell: &Cell| {
            want.picks.iter().zip(cell.iter()).all(|(p, v)| !matches!(p, Pick::Value(picked) if picked != v))
        };
        let cells = sweep.cells.iter().enumerate().filter(|(_, cell)| picked(cell));
        let mut producers: Vec<_> = cells.map(|(number, cell)| (numbered(cell, &there), number)).collect();
        producers.sort();
        Groups { here, producers }
    }

    /// Returns the positions of the axes that are matched by value: in the consumer's cell and in the producer's.
    fn shared(&self, want: &Want) -> Vec<(usize, usize)> {
        let axes = self.all.sweeps[want.producer].axes.iter().zip(&want.picks).enumerate();
        let matched = |(at, (id, pick)): (usize, (&usize, &Pick))| {
            let here = self.sweep.position(*id)?;
            // `[*]` gathers the axes that the consumer lacks; `[task=*]` gathers all values even of one that it has.
            matches!(pick, Pick::Open | Pick::Rest).then_some((here, at))
        };
        axes.filter_map(matched).collect()
    }
}
