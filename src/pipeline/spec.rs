//! [`Spec`]: the pipeline as typed. Its shape is checked and each part has its span, but no name is resolved. Knows no
//! stage kinds.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::base::diag::Span;
use crate::base::value::Value;
use crate::engine::graph::Accept;

use super::doc::{Entry, Item, Table};
use super::tolerance::Tolerance;

/// A text and its place.
#[derive(Clone, Debug)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Its place.
    pub span: Span,
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `[pipeline] name`, else the file's name without its ending.
    pub name: String,
    /// `[pipeline] targets`.
    pub targets: Option<Vec<Word>>,
    /// `[axes]`, in file order. This is the order of axes everywhere.
    pub axes: Vec<Axis>,
    /// `[[axes.exclude]]`.
    pub exclude: Vec<Row>,
    /// `[[axes.include]]`.
    pub include: Vec<Row>,
    /// `[params]`.
    pub params: Table,
    /// `[source.NAME]`.
    pub sources: Vec<SourceSpec>,
    /// `[stage.NAME]`.
    pub stages: Vec<StageSpec>,
    /// `[tolerance]`.
    pub tolerance: Tolerance,
}

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its name.
    pub name: Word,
    /// Its values: first the declared ones, then those that only `include` rows have.
    pub values: Vec<AxisValue>,
    /// How many are declared.
    pub declared: usize,
    /// The values that the file had, where `--set` gave others: conditions may still name them.
    pub former: Option<Vec<String>>,
    /// The values by their texts, where they are many and one was looked for.
    by_text: OnceLock<HashMap<String, usize>>,
}

impl Axis {
    /// Returns an axis with these values, all of them declared.
    pub fn new(name: Word, values: Vec<AxisValue>) -> Self {
        Self { name, declared: values.len(), values, former: None, by_text: OnceLock::new() }
    }

    /// Adds a value that only an `include` row has.
    pub fn push(&mut self, value: AxisValue) {
        if let Some(by_text) = self.by_text.get_mut() {
            by_text.entry(value.text.clone()).or_insert(self.values.len());
        }
        self.values.push(value);
    }

    /// Returns the index of the value that prints as `text`.
    pub fn find(&self, text: &str) -> Option<usize> {
        const FEW: usize = 32;
        if self.values.len() <= FEW {
            return self.values.iter().position(|v| v.text == text);
        }
        let values = || self.values.iter().enumerate().rev().map(|(i, v)| (v.text.clone(), i)).collect();
        self.by_text.get_or_init(values).get(text).copied()
    }
}

/// One value of an axis.
#[derive(Clone, Debug)]
pub struct AxisValue {
    /// As a parameter takes it.
    pub value: Value,
    /// As names show it.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}

/// A row of conditions: it holds where every one does.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where it begins.
    pub span: Span,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// `axis = value` or `axis = [values]`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The axis.
    pub axis: Word,
    /// Its values, as typed: any of them.
    pub values: Vec<Item>,
}

/// `[source.NAME]`.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Its name.
    pub name: Word,
    /// `https://…` or `file:…`, nothing substituted yet.
    pub url: Item,
    /// `true` if what arrives is checked against the pins.
    pub verify: bool,
    /// `files`, in file order.
    pub files: Vec<FileSpec>,
}

/// A row of `[source.NAME.files]`.
#[derive(Clone, Debug)]
pub struct FileSpec {
    /// Its key.
    pub key: Word,
    /// Below the source's url.
    pub path: Item,
    /// 64 hex digits.
    pub sha256: Option<Word>,
    /// Its size.
    pub bytes: Option<(u64, Span)>,
}

/// `[stage.NAME]`.
#[derive(Clone, Debug)]
pub struct StageSpec {
    /// Its name.
    pub name: Word,
    /// Its kind, or else its name with `-` for `_`.
    pub kind: Word,
    /// The axes that it depends on, as typed.
    pub axes: Vec<Word>,
    /// Where it exists.
    pub when: Vec<Condition>,
    /// What it reads.
    pub needs: Vec<Need>,
    /// Where `needs` is written, else the stage's name.
    pub needs_span: Span,
    /// `true` if some of `needs` was malformed and left out.
    pub needs_broken: bool,
    /// `resources`.
    pub resources: ResourcesSpec,
    /// `accept`.
    pub accept: Option<Accept>,
    /// `description`.
    pub description: Option<String>,
    /// All other keys: the parameters of its kind.
    pub settings: Vec<Entry>,
    /// `[[stage.NAME.by]]`, in file order.
    pub by: Vec<ByRow>,
}

/// One role of `needs`.
#[derive(Clone, Debug)]
pub struct Need {
    /// The role.
    pub role: Word,
    /// The producers, as typed: `stage`, `stage?`, `stage[task=rte,*]`.
    pub producers: Vec<Item>,
}

/// `resources`; what is not set is the kind's default.
#[derive(Clone, Debug, Default)]
pub struct ResourcesSpec {
    /// CPU slots.
    pub cpu: Option<usize>,
    /// GPU slots.
    pub gpu: Option<usize>,
    /// Tries after a failure.
    pub retries: Option<u32>,
    /// Seconds before the second try.
    pub backoff: Option<u64>,
    /// Seconds.
    pub timeout: Option<u64>,
}

/// A `by` row. Which of its keys are conditions is known only with the axes at hand.
#[derive(Clone, Debug)]
pub struct ByRow {
    /// Where it begins.
    pub span: Span,
    /// Conditions on axes, and settings.
    pub entries: Vec<Entry>,
    /// `resources` of the row.
    pub resources: ResourcesSpec,
    /// `accept` of the row.
    pub accept: Option<Accept>,
}

/// The keys of a stage's table that no parameter may have for a name.
pub const STAGE_KEYS: &[&str] = &["kind", "axes", "when", "needs", "resources", "accept", "description", "by"];
