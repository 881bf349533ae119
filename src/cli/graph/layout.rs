//! [`Layout`]: boxes, arrows, and where they are: what the figure and the page share.

use std::collections::HashMap;

use crate::base::diag::{Class, Diag};

use super::card::Card;
use super::measure::width;
use super::place::{BETWEEN, Placed, place};
use super::view::{Link, Unit, View};

/// The maximum number of boxes in a picture.
pub(super) const MOST_BOXES: usize = 1000;
/// The maximum number of arrows in a picture. The layout takes quadratic time.
pub(super) const MOST_ARROWS: usize = 2000;
/// More cells than this are drawn as a bar, unless the stage is opened in an interactive page.
pub(super) const MOST_CELLS: usize = 400;
/// The size of roles.
pub(super) const ROLE: f64 = 9.5;

/// A layout: boxes, arrows, and where they are.
pub(super) struct Layout {
    pub(super) units: Vec<Unit>,
    pub(super) links: Vec<Link>,
    pub(super) cards: Vec<Card>,
    pub(super) placed: Placed,
}

impl Layout {
    /// `cells`: whether the cells of a group are drawn.
    ///
    /// # Errors
    /// Fails if there are too many boxes or arrows.
    pub(super) fn new(view: &View, open: &[bool], cells: impl Fn(usize) -> bool) -> Result<Self, Vec<Diag>> {
        let (units, links) = view.units(open);
        if let Some(many) = too_many(&units, &links) {
            return Err(vec![Diag::error(Class::Usage, many).help(
                "draw only some targets, such as `train[task=rte]`, or use `--format dot` or `json`, which have no limit",
            )]);
        }
        let mut cards: Vec<Card> = units.iter().map(|unit| Card::new(view, unit, cells(unit.group))).collect();
        fit(&mut cards, &units, &links);
        let sizes: Vec<_> = cards.iter().map(|card| card.size).collect();
        let pairs: Vec<_> = links.iter().map(|link| (link.from, link.to)).collect();
        let mut placed = place(&sizes, &pairs);
        for (route, link) in placed.routes.iter_mut().zip(&links) {
            let told = role_text(view, &units[link.from], &units[link.to], link);
            route.run = if told.is_empty() { 10.0 } else { (width(&told, ROLE) + 14.0).min(0.6 * BETWEEN) };
        }
        Ok(Self { units, links, cards, placed })
    }

    /// The left upper corner of a box.
    pub(super) fn corner(&self, number: usize) -> (f64, f64) {
        let (spot, (width, height)) = (self.placed.spots[number], self.cards[number].size);
        (self.placed.columns[spot.column].x - width / 2.0, spot.y - height / 2.0)
    }

    /// Width and height of all boxes.
    pub(super) fn size(&self) -> (f64, f64) {
        let far = |(w, h): (f64, f64), number: usize| {
            let ((x, y), (width, height)) = (self.corner(number), self.cards[number].size);
            (w.max(x + width), h.max(y + height))
        };
        let passes = self.placed.routes.iter().flat_map(|r| &r.passes).map(|(_, y)| *y).fold(0.0, f64::max);
        let (width, height) = (0..self.cards.len()).fold((0.0, 0.0), far);
        (width, f64::max(height, passes))
    }
}

/// Returns what exceeds the limits of a picture, or `None`.
pub(super) fn too_many(units: &[Unit], links: &[Link]) -> Option<String> {
    let more = |n: usize, what, most| {
        (n > most).then(|| format!("{n} {what} are too many for a picture, which has at most {most}"))
    };
    more(units.len(), "boxes", MOST_BOXES).or_else(|| more(links.len(), "arrows", MOST_ARROWS))
}

/// Makes room for the arrows at each side of a box; instances of one stage are of one size.
fn fit(cards: &mut [Card], units: &[Unit], links: &[Link]) {
    let mut arrows = vec![(0, 0); cards.len()];
    for link in links.iter().filter(|link| link.from != link.to) {
        arrows[link.from].0 += 1;
        arrows[link.to].1 += 1;
    }
    let mut widest: HashMap<usize, f64> = HashMap::new();
    for (card, unit) in cards.iter().zip(units) {
        let wide = widest.entry(unit.group).or_default();
        *wide = wide.max(card.size.0);
    }
    for ((card, unit), (leave, enter)) in cards.iter_mut().zip(units).zip(arrows) {
        card.size.0 = widest[&unit.group];
        // Many arrows need no extra room, since their roles are not written.
        card.hold(enter.max(leave).min(6));
    }
}

/// What a role is called between two stages, where that says more than the producer's name.
pub(super) fn role_text(view: &View, from: &Unit, to: &Unit, link: &Link) -> String {
    if from.node.is_some() || to.node.is_some() {
        return String::new();
    }
    let stage = &view.folded.groups[from.group].stage;
    let roles: Vec<&str> = link.roles.iter().map(String::as_str).filter(|role| role != stage).collect();
    roles.join(", ")
}
