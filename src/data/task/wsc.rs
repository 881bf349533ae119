//! WSC: does a pronoun mean a given noun? In the DPT paper's code: which noun does it mean (see
//! [`Template::DptPaper`]); the two are different tasks under one name, never to be compared.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value as Json, json};

use super::{Cell, Column, Fields, LABEL, LabelForm, MetricMode, Prediction, Task, TaskRow};
use crate::base::diag::{Class, Diag};
use crate::data::template::{Example, Rendering, Template};

/// Its name.
pub const NAME: &str = "wsc";

/// See the module.
pub struct Wsc;

impl Task for Wsc {
    fn name(&self) -> &'static str {
        NAME
    }

    fn folder(&self) -> &'static str {
        "WSC"
    }

    fn about(&self) -> &'static str {
        "whether a pronoun means a given noun"
    }

    fn labels(&self) -> &'static [&'static str] {
        &["false", "true"]
    }

    /// Span 1 is the noun, span 2 the pronoun; indices count words.
    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::int("idx"),
            Column::text("text"),
            Column::int("span1_index"),
            Column::text("span1_text"),
            Column::int("span2_index"),
            Column::text("span2_text"),
            LABEL,
        ];
        COLUMNS
    }

    fn read(&self, fields: &Fields, rows: &mut Vec<Vec<Cell>>) {
        let (text, idx, label) = (fields.text("text"), fields.int("idx"), fields.label(self, LabelForm::Bool));
        // Hugging Face's copy has the spans beside the text.
        let nested = if fields.has("span1_text") { None } else { Some(fields.object("target")) };
        let target = match &nested {
            None => fields,
            Some(Some(target)) => target,
            Some(None) => return,
        };
        let (at1, at2) = (target.index("span1_index"), target.index("span2_index"));
        let (span1, span2) = (target.text("span1_text"), target.text("span2_text"));
        let (Some(text), Some(idx), Some(label)) = (text, idx, label) else { return };
        let (Some(at1), Some(span1), Some(at2), Some(span2)) = (at1, span1, at2, span2) else { return };
        rows.push(vec![
            idx.into(),
            text.into(),
            (at1 as i64).into(),
            span1.into(),
            (at2 as i64).into(),
            span2.into(),
            label.into(),
        ]);
    }

    fn verbalizer(&self, template: Template) -> &'static [&'static str] {
        match template {
            Template::Plain => &["false", "true"],
            Template::DptPaper => &[],
        }
    }

    fn check(&self, template: Template, mode: MetricMode) -> Result<(), Diag> {
        if template != Template::DptPaper || mode != MetricMode::Official {
            return Ok(());
        }
        let message = "template `dpt-paper` makes `wsc` write nouns, which the official metric cannot score";
        Err(Diag::error(Class::Usage, message)
            .help("take `template = \"plain\"` for SuperGLUE's two-class task, or `metric_mode = \"dpt-paper\"`"))
    }

    fn render(&self, row: &TaskRow, how: &Rendering) -> Vec<Example> {
        let (text, id) = (row.text("text"), row.int("idx").to_string());
        let noun = Span::new(text, row.text("span1_text"), row.int("span1_index"));
        let pronoun = Span::new(text, row.text("span2_text"), row.int("span2_index"));
        match how.template {
            Template::Plain => {
                let marked = mark_both(text, &noun, &pronoun);
                let source = format!("pronoun: {} noun: {} text: {marked}", pronoun.text, noun.text);
                vec![Example::new(id, source).labelled(row.label(), &how.verbalizer)]
            }
            Template::DptPaper => {
                let mut example = Example::new(id, mark_as_reference(text, &pronoun));
                example.target = Some(noun.text.clone());
                example.answers = Some(vec![noun.text]);
                example.keep = row.label() != Some(0);
                vec![example]
            }
        }
    }

    fn metrics(&self, mode: MetricMode) -> &'static [&'static str] {
        match mode {
            MetricMode::Official => &["accuracy"],
            MetricMode::DptPaper => &["wsc-match"],
        }
    }

    /// `True` or `False`, capitalised as SuperGLUE's server wants it. Where nouns were written, the class is whether
    /// the written noun matches (`metrics::wsc`).
    fn submission_label(&self, prediction: &Prediction) -> Option<Json> {
        Some(json!(["False", "True"].get(prediction.label?)?))
    }
}

/// A span as Hugging Face's `wsc.fixed` corrects it: where its text does not occur in the whole, its first letter gets
/// the case of the word at its index, it loses full stops at its end, and line ends become blanks.
struct Span {
    text: String,
    index: usize,
}

impl Span {
    fn new(whole: &str, text: &str, index: i64) -> Self {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if whole.contains(text) {
            return Self { text: text.to_owned(), index };
        }
        let mut letters = text.chars();
        let first = letters.next().map(|c| c.to_string()).unwrap_or_default();
        let cased = match whole.split_whitespace().nth(index).and_then(|word| word.chars().next()) {
            Some(c) if c.is_lowercase() => first.to_lowercase(),
            Some(_) => first.to_uppercase(),
            None => first,
        };
        let text = format!("{cased}{}", letters.as_str());
        Self { text: text.trim_end_matches('.').replace('\n', " "), index }
    }

    /// Its position: at the word of its index, else its occurrence nearest to that. It begins and ends where a word
    /// does; where it does not occur as written, its first letter may be of the other case.
    fn find(&self, whole: &str) -> Option<Range<usize>> {
        self.find_text(whole, &self.text).or_else(|| self.find_text(whole, &other_case(&self.text)))
    }

    fn find_text(&self, whole: &str, text: &str) -> Option<Range<usize>> {
        if text.is_empty() {
            return None;
        }
        let starts: Vec<usize> =
            whole.split_whitespace().map(|word| word.as_ptr() as usize - whole.as_ptr() as usize).collect();
        let word_of = |byte: usize| starts.partition_point(|start| *start <= byte).saturating_sub(1);
        let words = |at: &usize| is_words(whole, *at..*at + text.len());
        let at = starts.get(self.index).copied().filter(|start| whole[*start..].starts_with(text)).filter(words);
        let at = at.or_else(|| {
            // Occurrences may overlap: each is tried.
            let all = whole.char_indices().map(|(byte, _)| byte).filter(|byte| whole[*byte..].starts_with(text));
            all.filter(words).min_by_key(|byte| word_of(*byte).abs_diff(self.index))
        })?;
        Some(at..at + text.len())
    }
}

/// The text with its first letter in the other case.
fn other_case(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| match c.is_uppercase() {
        true => c.to_lowercase().to_string(),
        false => c.to_uppercase().to_string(),
    });
    first.unwrap_or_default() + letters.as_str()
}

/// Returns `true` if a range begins and ends where words do. `'s` and other punctuation may follow; what stands behind
/// an apostrophe (the `t` of `don't`) is no word of its own.
fn is_words(whole: &str, at: Range<usize>) -> bool {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\w").expect("a valid pattern"));
    let of_word = |c: Option<char>| c.is_some_and(|c| WORD.is_match(c.encode_utf8(&mut [0; 4])));
    let (mut before, mut inside) = (whole[..at.start].chars().rev(), whole[at.clone()].chars());
    let (last, next) = (inside.clone().next_back(), whole[at.end..].chars().next());
    let previous = before.next();
    let begins = !of_word(inside.next())
        || !(of_word(previous) || matches!(previous, Some('\'' | '’')) && of_word(before.next()));
    let ends = !(of_word(last) && of_word(next));
    begins && ends
}

/// The noun as `* noun *`, the pronoun as `# pronoun #`. Spans that overlap or are not found stay unmarked; the source
/// names both in any case.
fn mark_both(text: &str, noun: &Span, pronoun: &Span) -> String {
    let (noun_at, pronoun_at) = (noun.find(text), pronoun.find(text));
    let mut marks: Vec<_> = noun_at.map(|at| (at, '*')).into_iter().chain(pronoun_at.map(|at| (at, '#'))).collect();
    marks.sort_by_key(|(at, _)| at.start);
    if let [(first, _), (second, _)] = marks.as_slice()
        && first.end > second.start
    {
        marks.clear();
    }
    let mut marked = String::with_capacity(text.len() + 8);
    let mut done = 0;
    for (at, mark) in marks {
        marked.push_str(&text[done..at.start]);
        marked.push_str(&format!("{mark} {} {mark}", &text[at.clone()]));
        done = at.end;
    }
    marked.push_str(&text[done..]);
    marked
}

/// The reference's `^((?:\S+\s){index})(pronoun)` → `\1* \2 *`: exactly one white-space character between words, the
/// pronoun's text taken as a pattern. Where that does not fit, the text stays as it is. (A pronoun that is no valid
/// pattern ends the reference's run; here it is taken as plain text.)
fn mark_as_reference(text: &str, pronoun: &Span) -> String {
    let mut rest = text;
    for _ in 0..pronoun.index {
        let Some(end) = rest.find(char::is_whitespace).filter(|end| *end > 0) else { return text.to_owned() };
        let blank = rest[end..].chars().next().expect("`find` has found one");
        rest = &rest[end + blank.len_utf8()..];
    }
    let pattern = |inner: &str| Regex::new(&format!("^(?:{inner})"));
    let pattern = pattern(&pronoun.text).or_else(|_| pattern(&regex::escape(&pronoun.text)));
    let Some(found) = pattern.ok().and_then(|pattern| pattern.find(rest)) else { return text.to_owned() };
    let before = &text[..text.len() - rest.len()];
    format!("{before}* {} *{}", found.as_str(), &rest[found.end()..])
}

#[cfg(test)]
mod tests {
    use super::super::testing::{render, submit};
    use super::*;

    const ROWS: &str = r#"{"text": "The dog bit Tom because he shouted.", "target": {"span1_index": 3, "span1_text": "Tom", "span2_index": 5, "span2_text": "he"}, "idx": 0, "label": true}
{"text": "The dog bit Tom because he shouted.", "target": {"span1_index": 0, "span1_text": "the dog.", "span2_index": 5, "span2_text": "he"}, "idx": 1, "label": false}"#;

    #[test]
    fn rows_to_text() {
        let plain = render(&Wsc, ROWS, Template::Plain);
        assert_eq!(plain[0].source, "pronoun: he noun: Tom text: The dog bit * Tom * because # he # shouted.");
        assert_eq!((plain[0].target.as_deref(), plain[0].label), (Some("true"), Some(1)));
        assert_eq!(plain[1].source, "pronoun: he noun: The dog text: * The dog * bit Tom because # he # shouted.");
        assert_eq!((plain[1].target.as_deref(), plain[1].keep), (Some("false"), true));

        let paper = render(&Wsc, ROWS, Template::DptPaper);
        assert_eq!(paper[0].source, "The dog bit Tom because * he * shouted.");
        assert_eq!((paper[0].target.as_deref(), paper[0].label), (Some("Tom"), None));
        assert_eq!(paper[0].answers.as_deref().unwrap(), ["Tom"]);
        assert_eq!(paper.iter().map(|e| e.keep).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_wrong_index_takes_the_nearest_occurrence() {
        let span = |text: &str, index| Span { text: text.to_owned(), index };
        let whole = "he saw that he knew";
        assert_eq!(span("he", 2).find(whole), Some(12..14), "the second is one word away");
        assert_eq!(span("he", 99).find(whole), Some(12..14));
        assert_eq!(span("she", 0).find(whole), None);
        assert_eq!(mark_both("a b", &span("b", 1), &span("b", 1)), "a b", "overlapping spans stay unmarked");
    }

    #[test]
    fn spans_begin_and_end_where_words_do() {
        let marked = |text: &str, noun: (&str, i64), pronoun: (&str, i64)| {
            let span = |(part, index)| Span::new(text, part, index);
            mark_both(text, &span(noun), &span(pronoun))
        };
        let rows = [
            (
                "The mother told Sam that the heir left because he was tired.",
                ("Sam", 3),
                ("he", 0),
                "The mother told * Sam * that the heir left because # he # was tired.",
            ),
            ("Anna saw the theater when she left.", ("Anna", 0), ("he", 2), "* Anna * saw the theater when she left."),
            ("Ann told her that he left.", ("Ann", 0), ("he", 2), "* Ann * told her that # he # left."),
            ("Sam's hat is where he's put it.", ("Sam", 0), ("he", 4), "* Sam *'s hat is where # he #'s put it."),
            ("\"He left,\" said Al.", ("Al", 3), ("He", 0), "\"# He # left,\" said * Al *."),
            ("I don't see it: t is lost.", ("I", 0), ("t", 1), "* I * don't see it: # t # is lost."),
            ("Zoë met Zo\u{eb}lle; Zo\u{eb} left.", ("Zo", 0), ("left", 3), "Zoë met Zoëlle; Zoë # left #."),
            ("Hector said he left.", ("Hector", 0), ("He", 0), "* Hector * said # he # left."),
        ];
        for (text, noun, pronoun, expected) in rows {
            assert_eq!(marked(text, noun, pronoun), expected);
        }
    }

    #[test]
    fn handed_in_capitalised() {
        assert_eq!(submit(&Wsc, &[("0", Some(1), "")]), "{\"idx\":0,\"label\":\"True\"}\n");
    }
}
