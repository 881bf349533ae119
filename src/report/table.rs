//! [`Table`]: a table as data, which every format renders. A table says *what* is in its cells and which column matters
//! more; how that looks is the renderer's.

use std::borrow::Cow;

use super::section::Section;
use super::stats::Sample;
use super::summary::Summary;

/// A row of [`super::tables::TABLES`].
#[derive(Clone, Copy, Debug)]
pub struct TableKind {
    /// Unique; the name of its files and its anchor: kebab-case.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The section of the page that it belongs to; `None`: one of its own.
    pub section: Option<Section>,
    /// Has figures that [`Summary`] lacks, so `report.json` lists its rows under `tables`.
    pub adds_figures: bool,
    /// Makes the table; `None` if there is nothing to show.
    pub make: fn(&Summary) -> Option<Table>,
}

impl TableKind {
    /// Returns the section that it belongs to.
    pub fn section(&self) -> Section {
        self.section.unwrap_or(Section { id: self.id, title: self.title })
    }
}

/// The purpose of a format. Tables name media and not formats, so that a new format shows the right columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A page on a screen: pictures, small type, little width.
    Page,
    /// Plain text, for a terminal or a pull request.
    Text,
    /// A paper.
    Paper,
    /// Data for programs: every column, unrounded.
    Data,
}

impl Medium {
    /// All of them.
    pub const ALL: &'static [Medium] = &[Medium::Page, Medium::Text, Medium::Paper, Medium::Data];
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// How it is set.
    pub style: TableStyle,
    /// Names of groups of columns, which share a head.
    pub groups: Vec<String>,
    /// Its columns, from left to right. Columns of a group are adjacent, and come after all columns without a group.
    pub columns: Vec<Column>,
    /// Its rows; each has a cell for every column.
    pub rows: Vec<Vec<Cell>>,
    /// Rows below the others that sum them up.
    pub totals: Vec<Vec<Cell>>,
    /// Text before and after it.
    pub prose: Vec<Prose>,
    /// Remarks about its rows.
    pub remarks: Remarks,
}

impl Table {
    /// Returns the indices of the columns that `medium` shows.
    pub fn shown_on(&self, medium: Medium) -> Vec<usize> {
        (0..self.columns.len()).filter(|i| self.columns[*i].shown_on(medium)).collect()
    }

    /// Returns the text that `medium` shows before or after the table.
    pub fn prose_at(&self, place: ProsePlace, medium: Medium) -> impl Iterator<Item = &Prose> {
        self.prose.iter().filter(move |prose| prose.place == place && prose.media.contains(&medium))
    }

    /// Returns all rows, totals last.
    pub fn all_rows(&self) -> impl Iterator<Item = &Vec<Cell>> {
        self.rows.iter().chain(&self.totals)
    }
}

/// How a table is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableStyle {
    /// The first column names the row.
    #[default]
    Grid,
    /// A long list in small type, which may break over pages.
    List,
}

/// The type of the cells of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Text.
    Text,
    /// Names that a program understands.
    Code,
    /// Full digests: code in small type.
    Hash,
    /// Fractions of 1, shown in percent.
    Percent,
    /// Means with their spread: fractions of 1, shown in percent.
    MeanSd,
    /// Counts, with thin spaces between groups of digits.
    Count,
    /// Whole numbers as they are.
    Integer,
    /// Numbers, shown with three digits.
    Figure,
    /// Least and most of some counts.
    Range,
    /// Marks on a line from 0 to 100: only a page can draw them.
    Marks,
}

/// The side at which a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// How much a column matters beside its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emphasis {
    /// As much as others.
    Plain,
    /// What the table is about. In a group it represents the group.
    Main,
    /// Only for comparison. A page leaves the spread out.
    Soft,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its head; code in it is in back quotes. Not escaped in Markdown, so it is our own words or an axis' name.
    pub head: String,
    /// The type of its cells.
    pub holds: Holds,
    /// The side at which it is aligned.
    pub align: Align,
    /// The unit of its numbers, if they have one.
    pub unit: Option<&'static str>,
    /// Every cell shows the unit, and the head does not.
    pub unit_in_cells: bool,
    /// How much it matters.
    pub emphasis: Emphasis,
    /// The group that it belongs to: an index into [`Table::groups`].
    pub group: Option<usize>,
    /// Its cells may have flags.
    pub flagged: bool,
    /// The media that show it.
    pub media: &'static [Medium],
    /// Differences on a page.
    pub page: OnPage,
}

/// How a page shows a column differently.
#[derive(Clone, Debug, Default)]
pub struct OnPage {
    /// Another head.
    pub head: Option<&'static str>,
    /// Another alignment.
    pub align: Option<Align>,
    /// Shown in small type below the column before it, between these two texts, instead of in a column.
    pub fold: Option<(&'static str, &'static str)>,
}

impl Column {
    /// A column of `holds`: text to the left, numbers to the right.
    pub fn new(head: impl Into<String>, holds: Holds) -> Self {
        let left = matches!(holds, Holds::Text | Holds::Code | Holds::Hash | Holds::Marks);
        Self {
            head: head.into(),
            holds,
            align: if left { Align::Left } else { Align::Right },
            unit: matches!(holds, Holds::Percent | Holds::MeanSd).then_some("%"),
            unit_in_cells: false,
            emphasis: Emphasis::Plain,
            group: None,
            flagged: false,
            media: if holds == Holds::Marks { &[Medium::Page] } else { Medium::ALL },
            page: OnPage::default(),
        }
    }

    /// The same, in a group.
    pub fn in_group(mut self, group: usize) -> Self {
        self.group = Some(group);
        self
    }

    /// The same, with this emphasis.
    pub fn emphasis(mut self, emphasis: Emphasis) -> Self {
        self.emphasis = emphasis;
        self
    }

    /// The same, with its unit in every cell.
    pub fn with_unit_in_cells(mut self) -> Self {
        self.unit_in_cells = true;
        self
    }

    /// The same, with cells that may have flags.
    pub fn flagged(mut self) -> Self {
        self.flagged = true;
        self
    }

    /// The same, shown by these media only.
    pub fn only_on(mut self, media: &'static [Medium]) -> Self {
        self.media = media;
        self
    }

    /// The same, with another head on a page.
    pub fn page_head(mut self, head: &'static str) -> Self {
        self.page.head = Some(head);
        self
    }

    /// The same, with another alignment on a page.
    pub fn page_align(mut self, align: Align) -> Self {
        self.page.align = Some(align);
        self
    }

    /// The same, shown by a page in small type below the column before it, between `before` and `after`.
    pub fn folded(mut self, before: &'static str, after: &'static str) -> Self {
        self.page.fold = Some((before, after));
        self
    }

    /// Returns `true` if `medium` shows it.
    pub fn shown_on(&self, medium: Medium) -> bool {
        self.media.contains(&medium)
    }
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its value.
    pub value: CellValue,
    /// Its flags.
    pub flags: Vec<CellFlag>,
}

impl Cell {
    /// The same, with `flag` if `set`.
    pub fn flag_if(mut self, set: bool, flag: CellFlag) -> Self {
        if set {
            self.flags.push(flag);
        }
        self
    }

    /// Returns the flags that `medium` shows.
    pub fn flags_on(&self, medium: Medium) -> impl Iterator<Item = CellFlag> {
        self.flags.iter().copied().filter(move |flag| flag.media().contains(&medium))
    }
}

impl From<CellValue> for Cell {
    fn from(value: CellValue) -> Self {
        Self { value, flags: Vec::new() }
    }
}

/// The value of a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum CellValue {
    /// Text.
    Text(String),
    /// A name that a program understands.
    Code(String),
    /// A fraction of 1.
    Percent(f64),
    /// A mean and its spread: fractions of 1.
    MeanSd(Sample),
    /// A count.
    Count(u64),
    /// A whole number.
    Integer(i64),
    /// The number of runs behind a mean. A page leaves a zero blank.
    SampleSize(usize),
    /// A number.
    Figure(f64),
    /// Least and most.
    Range(u64, u64),
    /// Marks on a line.
    Marks(Vec<Mark>),
    /// There is no such value.
    Absent,
    /// There should be a value.
    Missing,
    /// Nothing, not even a dash.
    Blank,
}

impl CellValue {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A name that a program understands.
    pub fn code(code: impl Into<String>) -> Self {
        Self::Code(code.into())
    }

    /// A percentage, if there is one.
    pub fn percent(fraction: Option<f64>) -> Self {
        fraction.map_or(Self::Absent, Self::Percent)
    }

    /// A mean, if there is one.
    pub fn mean_sd(sample: Option<&Sample>) -> Self {
        sample.map_or(Self::Absent, |sample| Self::MeanSd(sample.clone()))
    }

    /// A mean that should be there.
    pub fn wanted_mean_sd(sample: Option<&Sample>) -> Self {
        sample.map_or(Self::Missing, |sample| Self::MeanSd(sample.clone()))
    }

    /// A number, if there is one.
    pub fn figure(number: Option<f64>) -> Self {
        number.map_or(Self::Absent, Self::Figure)
    }

    /// A whole number, if there is one.
    pub fn integer(number: Option<i64>) -> Self {
        number.map_or(Self::Absent, Self::Integer)
    }

    /// Returns `true` if a column of `holds` may have it.
    pub fn fits(&self, holds: Holds) -> bool {
        match self {
            Self::Text(_) => holds == Holds::Text,
            Self::Code(_) => matches!(holds, Holds::Code | Holds::Hash),
            Self::Percent(_) => holds == Holds::Percent,
            Self::MeanSd(_) => holds == Holds::MeanSd,
            Self::Count(_) => holds == Holds::Count,
            Self::Integer(_) | Self::SampleSize(_) => holds == Holds::Integer,
            Self::Figure(_) => holds == Holds::Figure,
            Self::Range(..) => holds == Holds::Range,
            Self::Marks(_) => holds == Holds::Marks,
            Self::Absent | Self::Missing | Self::Blank => true,
        }
    }
}

/// A remark about a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellFlag {
    /// The best of its row as printed; ties are all best.
    Best,
    /// Nearly all answers are the same.
    Collapsed,
    /// Fewer runs than its neighbours.
    Short,
}

impl CellFlag {
    /// Returns its word.
    pub fn word(self) -> &'static str {
        match self {
            CellFlag::Best => "best",
            CellFlag::Collapsed => "collapsed",
            CellFlag::Short => "short",
        }
    }

    /// Returns the media that show it.
    pub fn media(self) -> &'static [Medium] {
        match self {
            CellFlag::Best => &[Medium::Paper],
            CellFlag::Collapsed => Medium::ALL,
            CellFlag::Short => &[Medium::Page, Medium::Paper, Medium::Data],
        }
    }
}

/// A mark on a line from 0 to 100.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Its kind.
    pub kind: MarkKind,
    /// The group that it belongs to; `None`: all of them.
    pub group: Option<usize>,
    /// Its position: a fraction of 1.
    pub at: f64,
    /// Its tooltip.
    pub title: String,
}

/// The meaning of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// The best constant answer.
    Constant,
    /// A mean before training.
    Before,
    /// A score after training.
    After,
}

/// A paragraph before or after a table.
#[derive(Clone, Debug)]
pub struct Prose {
    /// Its place.
    pub place: ProsePlace,
    /// The media that show it.
    pub media: &'static [Medium],
    /// The text.
    pub text: Vec<Span>,
}

/// The place of a paragraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProsePlace {
    /// Before the table.
    Before,
    /// After the table.
    After,
}

/// A piece of a paragraph.
#[derive(Clone, Debug)]
pub enum Span {
    /// Our own words: nothing in them needs escaping in Markdown or HTML.
    Words(Cow<'static, str>),
    /// A name of the user's.
    Name(String),
    /// A term that is being explained.
    Term(&'static str),
    /// The same, where it begins a sentence of its own.
    Strong(&'static str),
    /// Code.
    Code(&'static str),
}

impl From<&'static str> for Span {
    fn from(words: &'static str) -> Self {
        Span::Words(words.into())
    }
}

impl Prose {
    /// A paragraph before the table.
    pub fn before(media: &'static [Medium], text: Vec<Span>) -> Self {
        Self { place: ProsePlace::Before, media, text }
    }

    /// A paragraph after the table.
    pub fn after(media: &'static [Medium], text: Vec<Span>) -> Self {
        Self { place: ProsePlace::After, media, text }
    }
}

/// Remarks about the rows of a table.
#[derive(Clone, Debug, Default)]
pub struct Remarks {
    /// How to read it; `None` if the table never has such remarks.
    pub notes: Option<Notes>,
    /// Runs that are missing, in words.
    pub gaps: Vec<String>,
    /// Warnings of the nodes in it; `None` if the table never has any.
    pub warnings: Option<Vec<NodeWarning>>,
}

/// Remarks in our words, with names of the user's in them.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// How to read it.
    pub notes: Vec<String>,
    /// Why to be careful.
    pub cautions: Vec<String>,
}

/// A warning of a node.
#[derive(Clone, Debug)]
pub struct NodeWarning {
    /// The node.
    pub node: String,
    /// The warning.
    pub text: String,
}
