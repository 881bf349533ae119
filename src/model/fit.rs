//! Checks if a checkpoint's tensors are those that its config asks for: names, shapes and types, as far as the headers
//! of its files tell. What does not fit is told at once, as one table.

use std::collections::BTreeMap;

use super::config::{T5Config, TensorSpec};
use crate::base::diag::{Class, Diag};

/// A tensor of a checkpoint.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its type's name, such as `F32`.
    pub dtype: String,
}

impl Held {
    /// Returns `true` if weights of this type are read.
    fn is_read(&self) -> bool {
        ["F32", "F16", "BF16"].contains(&self.dtype.as_str())
    }
}

/// The token table.
pub const TABLE: &str = "shared.weight";
/// The output matrix.
pub const HEAD: &str = "lm_head.weight";
/// Names under which older checkpoints repeat the token table. The table itself counts when both are there.
pub const TABLE_COPIES: &[&str] = &["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"];

/// A tensor of older checkpoints that no T5 uses: cross-attention has no position bias.
const UNUSED: &str = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
/// A tensor that every T5 has, by whose name the prefix of all is known.
const MARK: &str = "encoder.final_layer_norm.weight";

/// How many rows of the table are shown.
const SHOWN: usize = 12;

/// What wrappers (`module.` of data parallel training, `model.` of Lightning, `_orig_mod.` of `torch.compile`, and
/// others) have put before the names of a model's tensors; empty: nothing.
pub fn prefix<'n>(names: impl Iterator<Item = &'n str>) -> &'n str {
    let prefixes = names.filter_map(|name| name.strip_suffix(MARK));
    prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).min_by_key(|prefix| prefix.len()).unwrap_or("")
}

/// The name of a tensor without the prefix.
pub fn without<'n>(prefix: &str, name: &'n str) -> &'n str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// The tensors that a model of shape `config` takes from a checkpoint that has `held`. `transformers` 5 ties the output
/// matrix to the token table where the checkpoint has no other one, and writes `scale_decoder_outputs`; before, the
/// flag `tie_word_embeddings` alone decided.
pub fn wanted(config: &T5Config, held: &BTreeMap<String, Held>) -> Vec<TensorSpec> {
    let own_head = match config.scale_decoder_outputs {
        Some(_) => held.contains_key(HEAD),
        None => !config.tie_word_embeddings,
    };
    let untied = T5Config { tie_word_embeddings: false, ..config.clone() };
    untied.tensors().into_iter().filter(|spec| own_head || spec.name != HEAD).collect()
}

/// The name under which `held` has the tensor `name`: a token table may have the name of one of its copies alone.
pub fn find<'h, T>(held: &'h BTreeMap<String, T>, name: &str) -> Option<(&'h str, &'h T)> {
    let copies = if name == TABLE { TABLE_COPIES } else { &[] };
    let mut names = std::iter::once(name).chain(copies.iter().copied());
    names.find_map(|name| held.get_key_value(name)).map(|(name, held)| (name.as_str(), held))
}

/// The tensors of `held` that a model does not take and that should equal its token table, and why.
pub fn passed_over(config: &T5Config, held: &BTreeMap<String, Held>) -> Vec<(&'static str, &'static str)> {
    let taken = wanted(config, held);
    let table = find(held, TABLE).map(|(name, _)| name);
    let copies = TABLE_COPIES.iter().map(|copy| (*copy, "a T5 has one table for both"));
    let head = [(HEAD, "the config ties them")];
    copies
        .chain(head)
        .filter(|(name, _)| held.contains_key(*name) && table != Some(*name))
        .filter(|(name, _)| taken.iter().all(|spec| spec.name != *name))
        .collect()
}

/// Compares names (without the prefix), shapes and types with what `config` asks for. `origin` names the checkpoint in
/// messages.
///
/// # Errors
/// One message with a table of the tensors that are missing, unknown, or of another shape or type.
pub fn check(config: &T5Config, held: &BTreeMap<String, Held>, origin: &str) -> Result<Vec<TensorSpec>, Diag> {
    let wanted = wanted(config, held);
    let mut rows: Vec<(Kind, [String; 3])> = Vec::new();
    for spec in &wanted {
        let want = format!("{:?}", spec.shape);
        let (kind, row) = match find(held, &spec.name).map(|(_, held)| held) {
            None => (Kind::Missing, [spec.name.clone(), want, "missing".into()]),
            Some(held) if held.shape != spec.shape => {
                (Kind::Shape, [spec.name.clone(), want, format!("{:?}", held.shape)])
            }
            Some(held) if !held.is_read() => {
                (Kind::Type, [spec.name.clone(), "F32, F16 or BF16".into(), held.dtype.clone()])
            }
            Some(_) => continue,
        };
        rows.push((kind, row));
    }
    let table = vec![config.vocab_size, config.d_model];
    for (name, held) in held {
        let copy = TABLE_COPIES.contains(&name.as_str()) || name == HEAD;
        let is_wanted = wanted.iter().any(|spec| spec.name == *name);
        if is_wanted || name == UNUSED {
            continue;
        }
        if !copy {
            rows.push((Kind::Unknown, [name.clone(), "no such tensor".into(), format!("{:?}", held.shape)]));
        } else if held.shape != table {
            rows.push((Kind::Shape, [name.clone(), format!("{table:?}"), format!("{:?}", held.shape)]));
        }
    }
    if rows.is_empty() {
        return Ok(wanted);
    }
    let counts = Kind::ALL.iter().filter_map(|kind| {
        let count = rows.iter().filter(|(of, _)| of == kind).count();
        (count > 0).then(|| format!("{count} {}", kind.what()))
    });
    let counts: Vec<_> = counts.collect();
    let text = format!(
        "checkpoint `{origin}` does not fit its `config.json`: of {} tensors {}",
        wanted.len(),
        counts.join(", ")
    );
    let diag = Diag::error(Class::Stage, text).note(table_note(&rows));
    let of_file = find(held, TABLE).and_then(|(_, table)| table.shape.get(1).copied());
    Err(match of_file {
        Some(d) if d != config.d_model => diag.help(format!(
            "the weights have d_model {d}, the config {}: take both files from the same model",
            config.d_model
        )),
        _ => diag,
    })
}

/// In which way a tensor does not fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Missing,
    Unknown,
    Shape,
    Type,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Missing, Kind::Unknown, Kind::Shape, Kind::Type];

    fn what(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Unknown => "unknown",
            Kind::Shape => "of another shape",
            Kind::Type => "of another type",
        }
    }
}

/// The rows under a head line, in columns. Where they are too many, some of each kind.
fn table_note(rows: &[(Kind, [String; 3])]) -> String {
    let of = |kind: Kind| rows.iter().enumerate().filter(move |(_, (of, _))| *of == kind).map(|(i, _)| i);
    let mut by_turns: Vec<(usize, usize)> = Kind::ALL.iter().flat_map(|kind| of(*kind).enumerate()).collect();
    by_turns.sort_by_key(|(turn, _)| *turn);
    let mut chosen: Vec<usize> = by_turns.into_iter().take(SHOWN).map(|(_, i)| i).collect();
    chosen.sort_unstable();
    let head = ["tensor".to_owned(), "wanted".to_owned(), "in the file".to_owned()];
    let shown: Vec<_> = std::iter::once(&head).chain(chosen.iter().map(|i| &rows[*i].1)).collect();
    let width = |column: usize| shown.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let mut lines: Vec<_> = shown.iter().map(|[a, b, c]| format!("{a:first$}   {b:second$}   {c}")).collect();
    if rows.len() > SHOWN {
        lines.push(format!("and {} more", rows.len() - SHOWN));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> T5Config {
        T5Config { d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2, vocab_size: 20, ..T5Config::default() }
    }

    fn held(config: &T5Config) -> BTreeMap<String, Held> {
        let one = |spec: TensorSpec| (spec.name, Held { shape: spec.shape, dtype: "F32".into() });
        config.tensors().into_iter().map(one).collect()
    }

    #[test]
    fn prefix_is_what_stands_before_the_names_of_a_model() {
        let own = held(&config());
        assert_eq!(prefix(own.keys().map(String::as_str)), "");
        for put in ["module.", "model.", "_orig_mod.", "transformer.", "_orig_mod.module.", "model.t5."] {
            let names: Vec<_> = own.keys().map(|name| format!("{put}{name}")).collect();
            assert_eq!(prefix(names.iter().map(String::as_str)), put);
            let short: Vec<_> = names.iter().map(|name| without(put, name)).collect();
            assert!(own.keys().eq(short));
        }
        assert_eq!(prefix(["xencoder.final_layer_norm.weight"].into_iter()), "", "a part of another name");
        assert_eq!(prefix(["a", "b"].into_iter()), "");
    }

    #[test]
    fn output_matrix_follows_from_the_file_where_transformers_5_wrote_the_config() {
        let named = |config: &T5Config, held: &BTreeMap<String, Held>| {
            check(config, held, "w").map(|specs| specs.iter().any(|spec| spec.name == HEAD))
        };
        let untied = T5Config { tie_word_embeddings: false, ..config() };
        let (one, two) = (held(&config()), held(&untied));
        for scale in [true, false] {
            for tie in [true, false] {
                let config = T5Config { scale_decoder_outputs: Some(scale), tie_word_embeddings: tie, ..config() };
                assert!(!named(&config, &one).unwrap() && named(&config, &two).unwrap(), "{scale} {tie}");
                assert_eq!(config.scales_output(), scale);
            }
        }
        assert!(!named(&config(), &one).unwrap() && !named(&config(), &two).unwrap());
        assert!(named(&untied, &two).unwrap());
        let e = named(&untied, &one).unwrap_err();
        assert!(e.message.ends_with("of 27 tensors 1 missing"), "{e}");
    }

    #[test]
    fn tensors_that_repeat_the_table_are_passed_over() {
        let names = |config: &T5Config, held: &BTreeMap<String, Held>| {
            passed_over(config, held).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let mut all = held(&T5Config { tie_word_embeddings: false, ..config() });
        assert_eq!(names(&config(), &all), [HEAD]);
        let table = all[TABLE].clone();
        TABLE_COPIES.iter().for_each(|copy| drop(all.insert((*copy).to_owned(), table.clone())));
        assert_eq!(names(&config(), &all), [TABLE_COPIES[0], TABLE_COPIES[1], HEAD]);
        let five = T5Config { scale_decoder_outputs: Some(true), ..config() };
        assert_eq!(names(&five, &all), TABLE_COPIES, "the output matrix is taken");
        all.remove(TABLE);
        assert_eq!(names(&five, &all), [TABLE_COPIES[1]], "the first copy is the table");
    }

    #[test]
    fn long_table_shows_some_of_each_kind() {
        let mut all: BTreeMap<_, _> =
            held(&config()).into_iter().map(|(name, held)| (format!("other.{name}"), held)).collect();
        all.insert(TABLE.into(), Held { shape: vec![20, 8], dtype: "I64".into() });
        let e = check(&config(), &all, "w").unwrap_err();
        assert!(e.message.ends_with("of 26 tensors 25 missing, 26 unknown, 1 of another type"), "{e}");
        let rows: Vec<_> = e.notes[0].lines().collect();
        let count = |what: &str| rows.iter().filter(|row| row.contains(what)).count();
        assert_eq!((rows.len(), count("missing"), count("no such tensor"), count("I64")), (14, 6, 5, 1), "{e}");
        assert_eq!(rows[13], "and 40 more");
    }

    #[test]
    fn position_bias_of_an_upper_block_is_told() {
        let config = T5Config { num_layers: 2, ..config() };
        let mut all = held(&config);
        let name = "decoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight";
        all.insert(name.into(), Held { shape: vec![32, 2], dtype: "F32".into() });
        let e = check(&config, &all, "w").unwrap_err();
        assert!(e.message.ends_with("1 unknown") && e.notes[0].contains(name), "{e}");
        all.remove(name);
        all.insert(UNUSED.into(), Held { shape: vec![32, 2], dtype: "F32".into() });
        check(&config, &all, "w").unwrap();
    }
}
