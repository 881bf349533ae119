//! [`Picture`]: a picture of a report, and [`ChartKind`], its row in the registry.

use super::inputs::Inputs;
use super::section::Section;
use super::summary::Summary;

/// A row of [`super::charts::CHARTS`].
#[derive(Clone, Copy, Debug)]
pub struct ChartKind {
    /// Unique; kebab-case.
    pub id: &'static str,
    /// The section of the page that it belongs to.
    pub section: Section,
    /// The id of the table that it follows.
    pub after: &'static str,
    /// Its colours are those of the variants, so the page draws their legend above it.
    pub variants_legend: bool,
    /// A remark below all its pictures; may be empty.
    pub note: &'static str,
    /// Draws the pictures; none if there is nothing to show.
    pub make: fn(&Inputs, &Summary) -> Vec<Picture>,
}

/// One picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Pictures with the same row are shown side by side.
    pub row: String,
    /// The caption below it.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// The SVG text.
    pub svg: String,
    /// Names of its colours, where they are not those of the variants.
    pub legend: Vec<LegendItem>,
}

/// A colour with its name.
#[derive(Clone, Debug)]
pub struct LegendItem {
    /// Index of the colour.
    pub colour: usize,
    /// What has it.
    pub name: String,
    /// Drawn with dashes.
    pub dashed: bool,
}
