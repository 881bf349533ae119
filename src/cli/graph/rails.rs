//! [`Rails`]: the lines at the left of the terminal drawing. Knows stages only by number.

use std::collections::BTreeSet;

/// The lines at the left of the drawing. A rail begins at its stage and goes down to the last one that reads it.
#[derive(Default)]
pub(super) struct Rails {
    /// The stage of the rail in each column.
    columns: Vec<Option<usize>>,
    /// Columns in which the row above had something that ended there.
    ended: BTreeSet<usize>,
}

impl Rails {
    /// The row of stage `number`. `later`: whether a stage is read below this row.
    pub(super) fn row(&mut self, number: usize, producers: &BTreeSet<usize>, later: &dyn Fn(usize) -> bool) -> String {
        let reads = |stage: &Option<usize>| stage.is_some_and(|s| producers.contains(&s));
        let ends = |stage: &Option<usize>| stage.is_some_and(|s| !later(s));
        // A rail that ends here leads straight down to the stage; else it takes a free column.
        let here = self.columns.iter().position(|c| reads(c) && ends(c)).unwrap_or_else(|| {
            let free = (0..self.columns.len()).find(|i| self.columns[*i].is_none() && !self.ended.contains(i));
            free.unwrap_or(self.columns.len())
        });
        if here == self.columns.len() {
            self.columns.push(None);
        }
        let joined: Vec<usize> = (0..self.columns.len()).filter(|i| *i == here || reads(&self.columns[*i])).collect();
        let (first, last) = (joined[0], joined[joined.len() - 1]);
        let mut text = String::new();
        for (i, stage) in self.columns.iter().enumerate() {
            let inside = first < i && i < last;
            let mark = match stage {
                _ if i == here => "●",
                Some(_) if reads(stage) => match (ends(stage), i == first, i == last) {
                    (true, true, _) => "╰",
                    (true, _, true) => "╯",
                    (true, ..) => "┴",
                    (false, true, _) => "├",
                    (false, _, true) => "┤",
                    (false, ..) => "┼",
                },
                Some(_) => "│",
                None if inside => "─",
                None => " ",
            };
            text.push_str(mark);
            text.push_str(if first <= i && i < last { "──" } else { "  " });
        }
        self.ended.clear();
        for i in 0..self.columns.len() {
            if i != here && reads(&self.columns[i]) && ends(&self.columns[i]) {
                self.columns[i] = None;
            }
        }
        self.columns[here] = later(number).then_some(number);
        if self.columns[here].is_none() {
            self.ended.insert(here);
        }
        text.trim_end().to_owned()
    }

    /// The rails that go on below the last row.
    pub(super) fn below(&self) -> String {
        let text: String = self.columns.iter().map(|c| if c.is_some() { "│  " } else { "   " }).collect();
        text.trim_end().to_owned()
    }
}
