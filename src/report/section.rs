//! The sections of a page, which hold tables and pictures.

/// A section: its anchor and its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The anchor on the page.
    pub id: &'static str,
    /// The heading.
    pub title: &'static str,
}

/// Pictures of the trainings.
pub const TRAINING: Section = Section { id: "training", title: "Training" };

/// The section on initial and trained prompts.
pub const PROMPTS: Section = Section { id: "prompts", title: "Prompts" };
