//! [`Verbalizer`]: class to target text, and back.

use super::task::Task;
use super::template::Template;
use crate::base::diag::{Class, Diag};
use crate::base::suggest;
use crate::base::value::{Params, Value};

/// The target text of each class of a task, in class order. Empty where targets are free text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verbalizer {
    entries: Vec<(String, String)>,
}

impl Verbalizer {
    /// The template's own.
    pub fn of(task: &dyn Task, template: Template) -> Self {
        let texts = task.verbalizer(template);
        let entries = task.labels().iter().zip(texts).map(|(l, t)| ((*l).to_owned(), (*t).to_owned())).collect();
        Self { entries }
    }

    /// The template's own, with the texts of `table` (label = text) in place of some or all of them.
    ///
    /// # Errors
    /// A label that the task does not have, a value that is not text, an empty text, two classes with one text, or a
    /// task whose targets are free text.
    pub fn with_table(task: &dyn Task, template: Template, table: &Params) -> Result<Self, Diag> {
        let mut verbalizer = Self::of(task, template);
        let name = task.name();
        if verbalizer.is_empty() && !table.is_empty() {
            let message = format!("`verbalizer` is set, but `{name}` has no classes in template `{}`", template.name());
            return Err(Diag::error(Class::Usage, message).note("its targets are free text"));
        }
        for (label, text) in table {
            let Some(entry) = verbalizer.entries.iter_mut().find(|(known, _)| known == label) else {
                let diag = Diag::error(Class::Usage, format!("`verbalizer` names `{label}`, not a label of `{name}`"))
                    .note(format!("its labels are {}", quoted(task.labels())));
                return Err(match suggest::nearest(label, task.labels().iter().copied()) {
                    Some(near) => diag.help(format!("did you mean `{near}`?")),
                    None => diag,
                });
            };
            match text {
                Value::Str(text) if !text.trim().is_empty() => entry.1.clone_from(text),
                other => {
                    let message = format!("the verbalizer's text for `{label}` is {other}, expected words");
                    return Err(Diag::error(Class::Usage, message).help(format!("write `{label} = \"{label}\"`")));
                }
            }
        }
        for (i, (label, text)) in verbalizer.entries.iter().enumerate() {
            if let Some((other, _)) = verbalizer.entries[..i].iter().find(|(_, earlier)| earlier == text) {
                let message = format!("the verbalizer gives `{other}` and `{label}` the same text `{text}`");
                return Err(Diag::error(Class::Usage, message));
            }
        }
        Ok(verbalizer)
    }

    /// How many classes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if targets are free text.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Label name and target text of each class, in class order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|(label, text)| (label.as_str(), text.as_str()))
    }

    /// The target text of class `label`.
    ///
    /// # Panics
    /// When there is no such class: labels are checked where rows are read.
    pub fn text(&self, label: usize) -> &str {
        &self.entries[label].1
    }

    /// The class whose text is exactly `text`.
    pub fn label_of(&self, text: &str) -> Option<usize> {
        self.entries.iter().position(|(_, known)| known == text)
    }
}

/// `` `a`, `b`, `c` ``.
pub(crate) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::task;

    fn table(rows: &[(&str, &str)]) -> Params {
        rows.iter().map(|(k, v)| ((*k).to_owned(), Value::Str((*v).to_owned()))).collect()
    }

    #[test]
    fn texts_can_be_replaced_one_by_one() {
        let cb = task::find("cb").unwrap();
        let v = Verbalizer::with_table(cb, Template::Plain, &table(&[("neutral", "maybe")])).unwrap();
        let rows: Vec<_> = v.iter().collect();
        assert_eq!(rows, [("entailment", "entailment"), ("contradiction", "contradiction"), ("neutral", "maybe")]);
        assert_eq!(v.label_of("maybe"), Some(2));
        assert_eq!(v.label_of("Maybe"), None);
    }

    #[test]
    fn wrong_tables_are_refused() {
        let boolq = task::find("boolq").unwrap();
        let refuse = |rows: &[(&str, &str)]| {
            Verbalizer::with_table(boolq, Template::Plain, &table(rows)).unwrap_err().to_string()
        };
        assert_eq!(
            refuse(&[("ture", "yes")]),
            "`verbalizer` names `ture`, not a label of `boolq`\n  = note: its labels are `false`, `true`\n  = help: did you mean `true`?"
        );
        assert_eq!(refuse(&[("true", "false")]), "the verbalizer gives `false` and `true` the same text `false`");
        assert!(refuse(&[("true", " ")]).contains("expected words"));
        let record = task::find("record").unwrap();
        assert!(Verbalizer::with_table(record, Template::Plain, &table(&[("a", "b")])).is_err());
    }
}
