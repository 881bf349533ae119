//! The formats of a report. To add one, add its file, its `mod` line and its row in [`RENDERERS`].

pub mod csv;
pub mod html;
pub mod json;
pub mod kind;
pub mod latex;
pub mod markdown;

use kind::{RenderedFile, Renderer};

use super::contents::Report;
use super::inputs::Inputs;
use super::summary::Summary;
use super::table::Medium;
use crate::base::diag::Diag;

/// Every format. The first three are written by default.
pub const RENDERERS: &[&Renderer] =
    &[&markdown::RENDERER, &html::RENDERER, &json::RENDERER, &csv::RENDERER, &latex::RENDERER];

/// Renders `summary` with these renderers. Pictures are drawn only if one of them makes a page.
///
/// # Errors
/// Fails only by a bug: if a renderer does not fit what it renders.
pub fn render(summary: &Summary, inputs: &Inputs, renderers: &[&Renderer]) -> Result<Vec<RenderedFile>, Diag> {
    let pictures = renderers.iter().any(|renderer| renderer.medium == Medium::Page);
    let formats = renderers.iter().map(|renderer| renderer.name).collect();
    let report = Report::of(summary, pictures.then_some(inputs), formats);
    let files = renderers.iter().map(|renderer| (renderer.render)(&report)).collect::<Result<Vec<_>, _>>()?;
    Ok(files.into_iter().flatten().collect())
}
