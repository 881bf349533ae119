//! [`Draw`]: choices, from a seeded and pinned generator: a seed gives the same rows everywhere.

use crate::base::draw::Draws;

use super::split::Split;

/// A seeded source of choices.
pub struct Draw(Draws);

impl Draw {
    /// The stream of `seed` in `domain`.
    pub fn new(domain: &str, seed: i64) -> Self {
        Self(Draws::new(domain, seed))
    }

    /// A whole number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.below(n as u64) as usize
    }

    /// Heads.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of `items`.
    pub fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One of `items` that is not among `taken`.
    pub fn other<T: Copy + PartialEq>(&mut self, items: &[T], taken: &[T]) -> T {
        loop {
            let item = self.of(items);
            if !taken.contains(&item) {
                return item;
            }
        }
    }

    /// `n` different ones of `items`, in random order.
    pub fn some<T: Copy + PartialEq>(&mut self, items: &[T], n: usize) -> Vec<T> {
        let mut out: Vec<T> = Vec::with_capacity(n);
        while out.len() < n {
            let item = self.other(items, &out);
            out.push(item);
        }
        out
    }

    /// Puts `items` in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Draws until the text of what is drawn belongs to `split`: this is what keeps the splits apart.
    pub fn within<T>(&mut self, split: Split, mut draw: impl FnMut(&mut Self) -> (String, T)) -> (String, T) {
        loop {
            let (text, rest) = draw(self);
            if Split::of(&text) == split {
                return (text, rest);
            }
        }
    }
}
