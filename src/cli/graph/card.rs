//! [`Card`]: the content and size of a box in a picture.

use super::grid::{GAP, Grid};
use super::measure::{cut, width};
use super::view::{Unit, View};

/// The sizes of the name, and of all other lines.
pub(super) const NAME: f64 = 13.0;
pub(super) const SMALL: f64 = 10.5;
/// The padding inside the border.
pub(super) const PAD: f64 = 13.0;
/// The height of the bar that replaces cells.
pub(super) const BAR: f64 = 10.0;
/// How much wider bold letters are.
pub(super) const BOLD: f64 = 1.07;
/// Room beside the count, where pages have a button that opens the stage.
const BUTTON: f64 = 20.0;
/// The least height that an arrow takes at a side.
const PORT: f64 = 16.0;
const WIDEST: f64 = 320.0;

/// How the instances of a stage are shown.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// It is one instance: nothing to show.
    None,
    /// A cell for each.
    Grid(Grid),
    /// One bar for all.
    Bar,
}

/// A box.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) name: String,
    /// `×48`; empty for one instance.
    pub(super) count: String,
    /// The axes, else the kind; may be empty.
    pub(super) sub: String,
    pub(super) body: Body,
    /// The counts by status; empty without `--status`.
    pub(super) footer: String,
    pub(super) size: (f64, f64),
}

impl Card {
    /// `cells`: whether a stage's instances are shown as cells.
    pub(super) fn new(view: &View, unit: &Unit, cells: bool) -> Self {
        let group = &view.folded.groups[unit.group];
        let ids = view.ids(unit);
        let (name, count) = match unit.node {
            Some(id) => (view.plan.graph.node(id).short(), String::new()),
            None if ids.len() == 1 => (group.stage.clone(), String::new()),
            None => (group.stage.clone(), format!("×{}", ids.len())),
        };
        let sub = match (unit.node, view.folded.axes(group)) {
            (None, axes) if !axes.is_empty() => axes,
            _ => group.other_kind().to_owned(),
        };
        let body = match (ids.len(), cells) {
            (1, _) => Body::None,
            (_, true) => Body::Grid(Grid::new(view.plan, group)),
            (_, false) => Body::Bar,
        };
        let footer = view.states.as_ref().map(|states| states.words(ids)).unwrap_or_default();
        let (name, sub) = (cut(&name, NAME * BOLD, WIDEST), cut(&sub, SMALL, WIDEST));
        let mut card = Self { name, count, sub, body, footer, size: (0.0, 0.0) };
        card.size = card.measured();
        card
    }

    /// Where the body begins, below the top of the box.
    pub(super) fn top(&self) -> f64 {
        if self.sub.is_empty() { 34.0 } else { 48.0 }
    }

    /// How wide and high the body is.
    pub(super) fn body_size(&self) -> (f64, f64) {
        match &self.body {
            Body::None => (0.0, -8.0),
            Body::Bar => (90.0, BAR),
            Body::Grid(grid) => {
                let (width, height) = grid.size();
                (width - GAP, height - GAP)
            }
        }
    }

    /// Makes room for this many arrows at one side.
    pub(super) fn hold(&mut self, arrows: usize) {
        self.size.1 = self.size.1.max(arrows as f64 * PORT + 12.0);
    }

    fn measured(&self) -> (f64, f64) {
        // The name is bold; the count follows it.
        let count = if self.count.is_empty() { 0.0 } else { 9.0 + width(&self.count, SMALL) + BUTTON };
        let head = width(&self.name, NAME * BOLD) + count;
        let (body_width, body_height) = self.body_size();
        let inner = [head, width(&self.sub, SMALL), width(&self.footer, SMALL), body_width, 56.0];
        let footer = if self.footer.is_empty() { 0.0 } else { 19.0 };
        let wide = inner.into_iter().fold(0.0, f64::max);
        ((wide + 2.0 * PAD).ceil(), (self.top() + body_height + footer + PAD - 1.0).ceil().max(38.0))
    }
}
