//! [`Template`]: the words by which a row becomes source and target text. Each task's file has its words.

use super::verbalizer::Verbalizer;

/// A way of writing examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// Ours: every field named, short fields first (the source is cut at its end), words as targets, two-class WSC
    /// with both spans marked, ReCoRD evaluated once a query with the passage's entities as choices. The task is
    /// not named in the text: telling it is the prompt's work.
    Plain,
    /// As the released code of the DPT paper writes them: class numbers as targets, WSC as writing the noun (rows with
    /// label `false` dropped), ReCoRD once an answer. The protocol to compare with the paper by.
    DptPaper,
}

/// Every template, by name, with a line for help texts.
pub const TEMPLATES: &[(&str, Template, &str)] = &[
    ("plain", Template::Plain, "words as targets, every field named, all tasks as SuperGLUE scores them"),
    ("dpt-paper", Template::DptPaper, "byte for byte what the DPT paper's code feeds to T5"),
];

impl Template {
    /// The template called `name`.
    pub fn find(name: &str) -> Option<Self> {
        TEMPLATES.iter().find(|(known, ..)| *known == name).map(|(_, template, _)| *template)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        TEMPLATES.iter().find(|(_, template, _)| *template == self).expect("every template has its row").0
    }
}

/// The purpose of the examples. Only ReCoRD in [`Template::Plain`] differs: trained once an answer, evaluated once a
/// query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To learn from.
    Train,
    /// To be scored on.
    Evaluate,
}

/// Which class of the reference's code reads RTE. Only [`Template::DptPaper`] looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RteFields {
    /// `sentence1: … sentence2: …`, which is what the paper's main script does with `rte`.
    Glue,
    /// `premise: … hypothesis: …`.
    SuperGlue,
}

/// How to write a row.
#[derive(Clone, Debug)]
pub struct Rendering {
    /// By which words.
    pub template: Template,
    /// For what.
    pub purpose: Purpose,
    /// The target text of each class; empty where targets are free text.
    pub verbalizer: Verbalizer,
    /// RTE's field names in [`Template::DptPaper`].
    pub rte_fields: RteFields,
    /// `true` if ReCoRD's sources begin with `superglue-record ` in [`Template::DptPaper`] (the reference's default).
    pub record_prefix: bool,
}

impl Rendering {
    /// `template` with its own verbalizer for `task` and the reference's defaults.
    pub fn new(task: &dyn super::task::Task, template: Template, purpose: Purpose) -> Self {
        Self {
            template,
            purpose,
            verbalizer: Verbalizer::of(task, template),
            rte_fields: RteFields::Glue,
            record_prefix: true,
        }
    }
}

/// One example as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Unique in its split: the row's `idx`; `paragraph-question-answer` for MultiRC, `passage-query` for ReCoRD, with
    /// `#1`, `#2`, … from a query's second answer on where it gives several examples.
    pub id: String,
    /// The text for the encoder.
    pub source: String,
    /// The expected text of the decoder; `None` in a test split.
    pub target: Option<String>,
    /// The class: an index into the verbalizer, or into `choices` where they are given. `None` for free text and in a
    /// test split.
    pub label: Option<usize>,
    /// The group of answers that are scored together (MultiRC: the question).
    pub group: Option<String>,
    /// Free text only: the right answers, any of which will do.
    pub answers: Option<Vec<String>>,
    /// The row's own candidates, instead of the verbalizer's texts.
    pub choices: Option<Vec<String>>,
    /// `false` where the template leaves the row out of training and evaluation.
    pub keep: bool,
}

impl Example {
    /// An example with only a source, kept.
    pub fn new(id: String, source: String) -> Self {
        Self { id, source, target: None, label: None, group: None, answers: None, choices: None, keep: true }
    }

    /// Sets class and target from the row's `label` column.
    pub fn labelled(mut self, label: Option<i64>, verbalizer: &Verbalizer) -> Self {
        self.label = label.and_then(|label| usize::try_from(label).ok());
        self.target = self.label.map(|label| verbalizer.text(label).to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_found_by_its_name() {
        for (name, template, about) in TEMPLATES {
            assert_eq!(Template::find(name), Some(*template));
            assert_eq!(template.name(), *name);
            assert!(!about.is_empty());
        }
        assert_eq!(Template::find("fancy"), None);
    }
}
