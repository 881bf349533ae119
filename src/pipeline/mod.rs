//! L5: reads a pipeline file (TOML), its pins and `--set`, and makes a [`Plan`]: a checked graph of concrete nodes.
//! Runs nothing, and knows no store, terminal or libtorch.
//!
//! Text → [`doc`] (values and places) ← [`pins`], [`sets`] → [`parse`] → [`spec`] → [`expand`] (cells) → [`settings`]
//! (parameters, with [`subst`] and [`coerce`]) and [`edges`] → [`plan`]. Every step continues after a problem, so that
//! all problems of a file are reported at once, in file order. `docs/pipeline.md` explains the file by example.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::base::fs;
use crate::stages::STAGES;
use crate::stages::stage::{Outside, StageKind};

pub mod coerce;
pub mod doc;
pub mod edges;
pub mod expand;
pub mod origin;
pub mod parse;
pub mod pattern;
pub mod pins;
pub mod plan;
pub mod sets;
pub mod settings;
pub mod source;
pub mod spec;
pub mod subst;
pub mod tolerance;

pub use plan::Plan;

/// What besides the file shapes a plan.
#[derive(Clone, Debug)]
pub struct LoadOptions<'a> {
    /// `--set KEY=VALUE`, in order.
    pub sets: Vec<(String, String)>,
    /// `--mirror NAME=DIR`.
    pub mirrors: BTreeMap<String, PathBuf>,
    /// The text of the pins, in the place of the file beside the pipeline.
    pub pins: Option<String>,
    /// Every stage kind there is.
    pub stages: &'a [&'static StageKind],
}

impl Default for LoadOptions<'_> {
    fn default() -> Self {
        Self { sets: Vec::new(), mirrors: BTreeMap::new(), pins: None, stages: STAGES }
    }
}

/// Returns the plan of the pipeline file at `path`.
///
/// # Errors
/// Every problem of the file, in file order, with the warnings among them.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Plan, Vec<Diag>> {
    let text = fs::read_to_string(path).map_err(|e| {
        let missing = e.source.kind() == std::io::ErrorKind::NotFound;
        let mut diag = Diag::from(e);
        diag.class = Class::Usage;
        vec![if missing { diag.help("name a pipeline file, such as `pipelines/quickstart.toml`") } else { diag }]
    })?;
    load_text(path, text, options)
}

/// Returns the plan of a pipeline whose text is `text`; `path` is where it would lie.
///
/// # Errors
/// As [`load`].
pub fn load_text(path: &Path, text: String, options: &LoadOptions) -> Result<Plan, Vec<Diag>> {
    let source = source::Source::new(path, text);
    let mut diags = source::Diags::new();
    let (mut document, syntax) = doc::read(&source);
    let broken = !syntax.is_empty();
    let lines: Vec<usize> = syntax.iter().filter_map(|d| Some(d.span.as_ref()?.line_column().0)).collect();
    syntax.into_iter().for_each(|d| diags.push(d));
    pins::merge(path, options.pins.as_deref(), &mut document, &mut diags);
    let replaced = sets::apply(&mut document, &options.sets, options.stages, &mut diags);
    let mut shape = source::Diags::new();
    let spec = parse::parse(&source, path, &document, &replaced, &mut shape);
    // If the TOML itself is broken, the content of the broken lines is unknown, and so is what is missing. Only
    // problems of other lines are worth reporting.
    for diag in shape.in_order(&source) {
        let line = diag.span.as_ref().map(|s| s.line_column().0);
        if !broken || line.is_some_and(|l| l > 1 && !lines.contains(&l)) {
            diags.push(diag);
        }
    }
    if broken {
        return Err(diags.in_order(&source));
    }
    let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let outside = Outside { base, mirrors: options.mirrors.clone() };
    let setup = plan::Setup { path, source: &source, kinds: options.stages, outside };
    let plan = plan::build(spec, setup, &mut diags);
    plan::finish(plan, diags, &source)
}

#[cfg(test)]
mod tests;
