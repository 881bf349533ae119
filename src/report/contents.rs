//! [`Report`]: the tables and pictures of a report in their sections, which renderers turn into files.

use super::charts::CHARTS;
use super::inputs::Inputs;
use super::picture::{ChartKind, Picture};
use super::section::Section;
use super::summary::Summary;
use super::table::{Table, TableKind};
use super::tables::TABLES;

/// A report, ready to be rendered.
#[derive(Debug)]
pub struct Report<'a> {
    /// Its numbers.
    pub summary: &'a Summary,
    /// The names of the formats in which it is written.
    pub formats: Vec<&'static str>,
    /// Its sections, in order. A section that could be there and has nothing to show has no parts.
    pub sections: Vec<ReportSection>,
}

/// A section of a report.
#[derive(Debug)]
pub struct ReportSection {
    /// Its name.
    pub section: Section,
    /// Its parts, in order. `None`: nothing to show here this time.
    pub parts: Vec<ReportPart>,
}

/// A part of a section.
#[derive(Debug)]
pub enum ReportPart {
    /// A table.
    Table(&'static TableKind, Option<Box<Table>>),
    /// Pictures of one or more kinds that are shown together.
    Gallery(Vec<(&'static ChartKind, Vec<Picture>)>),
}

impl ReportPart {
    /// Returns `true` if there is nothing to show.
    pub fn is_empty(&self) -> bool {
        match self {
            ReportPart::Table(_, table) => table.is_none(),
            ReportPart::Gallery(charts) => charts.iter().all(|(_, pictures)| pictures.is_empty()),
        }
    }
}

impl ReportSection {
    /// Returns `true` if there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(ReportPart::is_empty)
    }
}

impl<'a> Report<'a> {
    /// Makes every table of the registry, and every picture if `inputs` are given.
    pub fn of(summary: &'a Summary, inputs: Option<&Inputs>, formats: Vec<&'static str>) -> Self {
        Self::with(summary, inputs, formats, TABLES, CHARTS)
    }

    /// Makes these tables and, if `inputs` are given, these pictures.
    pub fn with(
        summary: &'a Summary,
        inputs: Option<&Inputs>,
        formats: Vec<&'static str>,
        tables: &[&'static TableKind],
        charts: &[&'static ChartKind],
    ) -> Self {
        let mut report = Self { summary, formats, sections: Vec::new() };
        for table in tables {
            report.section(table.section()).parts.push(ReportPart::Table(table, (table.make)(summary).map(Box::new)));
            for chart in charts.iter().filter(|chart| chart.after == table.id) {
                let pictures = inputs.map(|inputs| (chart.make)(inputs, summary)).unwrap_or_default();
                report.section(chart.section).add_pictures(chart, pictures);
            }
        }
        report
    }

    /// Returns the last section if it is this one, else begins it.
    fn section(&mut self, section: Section) -> &mut ReportSection {
        if self.sections.last().is_none_or(|last| last.section != section) {
            self.sections.push(ReportSection { section, parts: Vec::new() });
        }
        self.sections.last_mut().expect("just pushed")
    }

    /// Returns every table that has something to show, in order.
    pub fn tables(&self) -> impl Iterator<Item = (&'static TableKind, &Table)> {
        self.sections.iter().flat_map(|section| &section.parts).filter_map(|part| match part {
            ReportPart::Table(kind, Some(table)) => Some((*kind, table.as_ref())),
            _ => None,
        })
    }
}

impl ReportSection {
    fn add_pictures(&mut self, kind: &'static ChartKind, pictures: Vec<Picture>) {
        match self.parts.last_mut() {
            Some(ReportPart::Gallery(charts)) => charts.push((kind, pictures)),
            _ => self.parts.push(ReportPart::Gallery(vec![(kind, pictures)])),
        }
    }
}
