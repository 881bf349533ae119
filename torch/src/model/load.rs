//! Checkpoints: files of backbone weights in Hugging Face's layout. Names, shapes and dtypes are compared with the
//! config before anything is loaded; one message lists all tensors that do not fit, as a table.
//!
//! The first of [`WEIGHTS`] that exists is read: safetensors or `torch.save`, in one file or in shards. Tensors may be
//! float32, float16 or bfloat16, also mixed. They are read one by one, and each is freed as soon as it is copied: while
//! it is loaded, a model takes memory for itself only, not for the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use crate::artifact::tensors;
use crate::artifact::weights::Weights;
use crate::base::diag::{Class, Diag};
use crate::base::fs;

use super::config::T5Config;
use super::fit::{self, Held};
use super::t5::{T5, joined};

/// A checkpoint's tensors by name. Their bytes are read lazily.
pub struct Checkpoint {
    /// The file (or index) that messages name.
    name: String,
    tensors: BTreeMap<String, Stored>,
}

/// A stored tensor: where it is, and its shape and dtype.
struct Stored {
    held: Held,
    /// `None`: a dtype that is not read.
    kind: Option<Kind>,
    /// The file that has it.
    file: Weights,
    /// Its name there, which may have a prefix.
    name: String,
}

/// The files that may hold a checkpoint, in order of preference. An index names its shards.
const WEIGHTS: &[&str] =
    &["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

impl T5 {
    /// The frozen backbone in `files` (file name to path: `config.json` and the weights), on `device`, held in `dtype`.
    /// Norm weights stay float32. In float16 so do the output matrices of feed-forwards, whose results would overflow.
    ///
    /// # Errors
    /// Files that are missing or cannot be read; tensors that are missing, unknown, or of a shape or dtype that the
    /// config does not allow (all of them, in one table).
    pub fn load(files: &BTreeMap<String, PathBuf>, device: Device, dtype: Kind) -> Result<T5, Diag> {
        let config =
            files.get("config.json").ok_or_else(|| Diag::error(Class::Stage, "the model has no `config.json`"))?;
        let config = T5Config::parse(&fs::read_to_string(config)?, "config.json")?;
        let tensors = Checkpoint::open(files)?.load(&config, device, dtype)?;
        Ok(T5::from_tensors(config, tensors))
    }
}

impl Checkpoint {
    /// Reads the headers of the checkpoint in `files` (file name to path).
    ///
    /// # Errors
    /// No weights among the files, a shard that is missing, a file that is damaged or of another format.
    pub fn open(files: &BTreeMap<String, PathBuf>) -> Result<Self, Diag> {
        let mut tensors = BTreeMap::new();
        let Some(name) = WEIGHTS.iter().find(|name| files.contains_key(**name)) else {
            let has: Vec<_> = files.keys().map(|f| format!("`{f}`")).collect();
            let wanted: Vec<_> = WEIGHTS.iter().map(|f| format!("`{f}`")).collect();
            return Err(Diag::error(Class::Stage, "the model has no weights")
                .note(format!("it has {}", has.join(", ")))
                .note(format!("looked for {}", wanted.join(", "))));
        };
        if name.ends_with(".index.json") {
            for shard in shards(name, &fs::read_to_string(&files[*name])?)? {
                let path = files.get(&shard).ok_or_else(|| {
                    Diag::error(Class::Stage, format!("the model has no file `{shard}`, which `{name}` names"))
                })?;
                read(&shard, path, &mut tensors)?;
            }
        } else {
            read(name, &files[*name], &mut tensors)?;
        }
        let prefix = fit::prefix(tensors.keys().map(String::as_str)).to_owned();
        let mut short = BTreeMap::new();
        for (long, stored) in tensors {
            if let Some(other) = short.insert(fit::without(&prefix, &long).to_owned(), stored) {
                return Err(Diag::error(
                    Class::Stage,
                    format!("checkpoint `{name}` has `{}` and `{long}`", other.name),
                )
                .note(format!("without the prefix `{prefix}` they are one"))
                .help("keep the tensors of one model only"));
            }
        }
        Ok(Self { name: (*name).to_owned(), tensors: short })
    }

    /// The tensors of a frozen model of shape `config`: all that `T5Config::tensors` lists, checked, on `device` in
    /// `dtype`. Matrices that a frozen model fuses are loaded into one.
    ///
    /// # Errors
    /// One message with a table of all tensors that are missing, unknown, or of another shape or dtype.
    pub fn load(&self, config: &T5Config, device: Device, dtype: Kind) -> Result<BTreeMap<String, Tensor>, Diag> {
        let held = self.tensors.iter().map(|(name, stored)| (name.clone(), stored.held.clone())).collect();
        let mut tensors = BTreeMap::new();
        for spec in fit::check(config, &held, &self.name)? {
            let (_, stored) = fit::find(&self.tensors, &spec.name).expect("just checked");
            let kind = match spec.shape.len() {
                1 => Kind::Float,
                _ if dtype == Kind::Half && spec.name.ends_with(".wo.weight") => Kind::Float,
                _ => dtype,
            };
            let empty = |rows: i64| Tensor::empty([&[rows][..], &spec.shape[1..]].concat(), (kind, device));
            let rows = spec.shape[0];
            let mut place = match joined(&spec.name) {
                // Parts of one matrix have as many rows each.
                Some(joined) => {
                    let whole = tensors.entry(joined.name).or_insert_with(|| empty(rows * joined.of.len() as i64));
                    whole.narrow(0, rows * joined.part as i64, rows)
                }
                None => tensors.entry(spec.name.clone()).or_insert_with(|| empty(rows)).shallow_clone(),
            };
            stored.copy_to(&mut place)?;
        }
        Ok(tensors)
    }

    /// Only the tensor called `name` (`shared.weight`: also under the name of a copy), float32 on the CPU, if the
    /// checkpoint has it.
    ///
    /// # Errors
    /// A dtype that is not read, or bytes that libtorch refuses.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>, Diag> {
        let Some((name, stored)) = fit::find(&self.tensors, name) else { return Ok(None) };
        if stored.kind.is_none() {
            let found = format!("tensor `{name}` of checkpoint `{}` has type {}", self.name, stored.held.dtype);
            return Err(Diag::error(Class::Stage, found).note("expected F32, F16 or BF16"));
        }
        Ok(Some(finite(stored.tensor()?.to_kind(Kind::Float), name)?))
    }
}

impl Stored {
    /// A copy on the CPU, in the stored dtype.
    fn tensor(&self) -> Result<Tensor, Diag> {
        let weight = self.file.require(&self.name)?;
        let stored =
            tensors::Tensor { name: &self.name, dtype: weight.dtype, shape: &weight.shape, bytes: &weight.bytes };
        super::tensors::tensor(&stored)
    }

    /// Copies the elements to `place`, of the same shape and any dtype and device.
    ///
    /// # Errors
    /// Numbers that are not finite, in the file or in the dtype of `place`.
    fn copy_to(&self, place: &mut Tensor) -> Result<(), Diag> {
        let weight = self.file.require(&self.name)?;
        let kind = self.kind.expect("types are checked before anything is loaded");
        let start = weight.bytes.as_ptr();
        if start.align_offset(kind.elt_size_in_bytes()) == 0 {
            let shape = &self.held.shape;
            let strides: Vec<i64> = (1..=shape.len()).map(|after| shape[after..].iter().product()).collect();
            // SAFETY: the bytes hold as many elements as the shape says (the file's header was checked), are aligned,
            // and outlive the tensor, which is only read and gone at the end of this block. On a GPU the copy waits,
            // since the memory is pageable.
            let read = unsafe { Tensor::from_blob(start, shape, &strides, kind, Device::Cpu) };
            place.copy_(&read);
        } else {
            place.copy_(&self.tensor()?);
        }
        finite(place.shallow_clone(), &self.name).map(drop)
    }
}

/// Fails if `tensor` has a number that is not finite. It would make every result of the model meaningless, and greedy
/// decoding would not even show it.
fn finite(tensor: Tensor, name: &str) -> Result<Tensor, Diag> {
    if tensor.numel() == 0 {
        return Ok(tensor);
    }
    // Both are NaN where any number is.
    let (least, largest) = tensor.aminmax(None, false);
    let (least, largest) = (least.double_value(&[]), largest.double_value(&[]));
    if least.is_finite() && largest.is_finite() {
        return Ok(tensor);
    }
    let kind = format!("{:?}", tensor.kind()).to_lowercase();
    Err(Diag::error(Class::Stage, format!("tensor `{name}` of the checkpoint has numbers that are not finite"))
        .note(format!("as {kind}, its numbers are from {least} to {largest}"))
        .help(
            "the file is damaged, or its numbers do not fit this `dtype`: try `float32`, or get the checkpoint again",
        ))
}

/// Adds the tensors of a file.
fn read(name: &str, path: &Path, tensors: &mut BTreeMap<String, Stored>) -> Result<(), Diag> {
    let file = Weights::open(name, path)?;
    for tensor in file.names() {
        let (dtype, shape) = file.describe(&tensor).expect("the name comes from the file");
        let stored = Stored {
            held: Held { shape: shape.iter().map(|&n| n as i64).collect(), dtype: format!("{dtype:?}") },
            kind: super::tensors::kind_of(dtype).filter(|&kind| is_read(kind)),
            file: file.clone(),
            name: tensor.clone(),
        };
        if tensors.insert(tensor.clone(), stored).is_some() {
            return Err(Diag::error(Class::Stage, format!("two files of the checkpoint have a tensor `{tensor}`"))
                .note(format!("the second is `{name}`")));
        }
    }
    Ok(())
}

/// Returns `true` for dtypes that weights may have.
fn is_read(kind: Kind) -> bool {
    matches!(kind, Kind::Float | Kind::Half | Kind::BFloat16)
}

/// The shards that an index names, without duplicates.
fn shards(name: &str, text: &str) -> Result<Vec<String>, Diag> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_str(text)
        .map_err(|e| Diag::error(Class::Stage, format!("`{name}` is not the index of a sharded checkpoint: {e}")))?;
    let mut shards: Vec<_> = index.weight_map.into_values().collect();
    shards.sort();
    shards.dedup();
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::json;
    use serde_json::json;

    fn config() -> T5Config {
        T5Config { d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2, vocab_size: 20, ..T5Config::default() }
    }

    fn tensors(config: &T5Config) -> BTreeMap<String, Tensor> {
        let one = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
        config.tensors().into_iter().map(|spec| (spec.name, one(&spec.shape))).collect()
    }

    /// Files of a folder, by name.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(config: &T5Config) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            fs::write_atomic(&folder.path("config.json"), config.to_json().as_bytes()).unwrap();
            folder
        }
        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }
        fn write(&self, name: &str, tensors: &BTreeMap<String, Tensor>) {
            crate::model::tensors::write(&self.path(name), tensors).unwrap();
        }
        fn load(&self, dtype: Kind) -> Result<T5, Diag> {
            let entries = std::fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().path());
            let files = entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect();
            T5::load(&files, Device::Cpu, dtype)
        }
    }

    #[test]
    fn whole_and_in_shards_and_of_any_float_type() {
        let folder = Folder::new(&config());
        let mut all = tensors(&config());
        let table = all.get_mut("shared.weight").unwrap();
        *table = table.to_kind(Kind::BFloat16);
        let second = all.split_off("encoder");
        folder.write("model-00001-of-00002.safetensors", &all);
        folder.write("model-00002-of-00002.safetensors", &second);
        let shard = |name: &String| if all.contains_key(name) { 1 } else { 2 };
        let map: BTreeMap<_, _> = all
            .keys()
            .chain(second.keys())
            .map(|name| (name.clone(), format!("model-0000{}-of-00002.safetensors", shard(name))))
            .collect();
        json::write(&folder.path("model.safetensors.index.json"), &json!({"weight_map": map})).unwrap();
        assert_eq!(folder.load(Kind::Float).unwrap().kind(), Kind::Float);
        let half = folder.load(Kind::Half).unwrap();
        assert_eq!(half.kind(), Kind::Half);
        assert_eq!(half.tensors()["encoder.block.0.layer.1.DenseReluDense.wo.weight"].kind(), Kind::Float);
        assert_eq!(half.tensors()["encoder.final_layer_norm.weight"].kind(), Kind::Float);

        std::fs::remove_file(folder.path("model-00002-of-00002.safetensors")).unwrap();
        let error = folder.load(Kind::Float).err().unwrap();
        assert!(error.message.starts_with("the model has no file `model-00002-of-00002.safetensors`"), "{error}");
    }

    /// Two shards, one in each form that `torch.save` has had, in three types, matrices by rows and by columns.
    #[test]
    fn what_torch_save_wrote() {
        let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/torch_files");
        let names = ["config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"];
        let mut files: BTreeMap<String, PathBuf> =
            names.iter().map(|name| ((*name).to_owned(), made.join("t5_sharded").join(name))).collect();
        assert!(T5::load(&files, Device::Cpu, Kind::Float).is_err(), "a shard is missing");
        let second = "pytorch_model-00002-of-00002.bin";
        files.insert(second.to_owned(), made.join("t5_sharded").join(second));
        let ours = T5::load(&files, Device::Cpu, Kind::Float).unwrap();
        files.retain(|name, _| name == "config.json");
        files.insert("model.safetensors".into(), made.join("t5_expected.safetensors"));
        let theirs = T5::load(&files, Device::Cpu, Kind::Float).unwrap();
        assert_eq!(ours.tensors(), theirs.tensors());
    }

    #[test]
    fn all_that_does_not_fit_is_told_at_once() {
        let folder = Folder::new(&config());
        let mut all = tensors(&config());
        let zeros = |shape: &[i64], kind| Tensor::zeros(shape, (kind, Device::Cpu));
        all.remove("encoder.final_layer_norm.weight");
        all.insert("encoder.block.0.layer.0.SelfAttention.q.weight".into(), zeros(&[4, 8], Kind::Float));
        all.insert("decoder.final_layer_norm.weight".into(), zeros(&[8], Kind::Int64));
        all.insert("lm_head.bias".into(), zeros(&[20], Kind::Float));
        all.insert("encoder.embed_tokens.weight".into(), zeros(&[20, 8], Kind::Float));
        folder.write("model.safetensors", &all);
        let error = folder.load(Kind::Float).err().unwrap();
        assert_eq!(
            error.to_string(),
            "checkpoint `model.safetensors` does not fit its `config.json`: \
             of 26 tensors 1 missing, 1 unknown, 1 of another shape, 1 of another type\n  \
             = note: tensor                                           wanted             in the file\n\
             encoder.block.0.layer.0.SelfAttention.q.weight   [8, 8]             [4, 8]\n\
             encoder.final_layer_norm.weight                  [8]                missing\n\
             decoder.final_layer_norm.weight                  F32, F16 or BF16   I64\n\
             lm_head.bias                                     no such tensor     [20]"
        );
    }

    fn prefixed(prefix: &str, all: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
        all.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect()
    }

    #[test]
    fn weights_under_a_prefix_are_loaded() {
        let folder = Folder::new(&config());
        folder.write("model.safetensors", &tensors(&config()));
        let plain = folder.load(Kind::Float).unwrap();
        for prefix in ["module.", "_orig_mod.module."] {
            folder.write("model.safetensors", &prefixed(prefix, tensors(&config())));
            assert_eq!(folder.load(Kind::Float).unwrap().tensors(), plain.tensors());
            let files = BTreeMap::from([("model.safetensors".to_owned(), folder.path("model.safetensors"))]);
            assert!(Checkpoint::open(&files).unwrap().tensor("shared.weight").unwrap().is_some());
        }
    }

    #[test]
    fn two_models_in_one_file_are_refused() {
        let folder = Folder::new(&config());
        let mut both = prefixed("module.", tensors(&config()));
        both.insert("shared.weight".into(), both["module.shared.weight"].shallow_clone());
        folder.write("model.safetensors", &both);
        let error = folder.load(Kind::Float).err().unwrap();
        let names = "`module.shared.weight` and `shared.weight`";
        assert_eq!(error.message, format!("checkpoint `model.safetensors` has {names}"));
    }

    /// As transformers 5 writes it: tied, with outputs that are not scaled.
    #[test]
    fn one_table_without_scaling_gives_what_two_equal_tables_give() {
        let five = T5Config { scale_decoder_outputs: Some(false), tie_word_embeddings: true, ..config() };
        let four = T5Config { tie_word_embeddings: false, ..config() };
        let mut all = tensors(&config());
        let table = Tensor::arange(160, (Kind::Float, Device::Cpu)).view([20, 8]).sin();
        all.insert("shared.weight".into(), table.shallow_clone());
        let hidden = Tensor::arange(16, (Kind::Float, Device::Cpu)).view([2, 8]).cos();
        let load = |config: &T5Config, all: &BTreeMap<String, Tensor>| {
            let folder = Folder::new(config);
            folder.write("model.safetensors", all);
            folder.load(Kind::Float)
        };
        let one = load(&five, &all).unwrap();
        assert!(load(&four, &all).is_err(), "transformers 4 has no output matrix to take");
        all.insert("lm_head.weight".into(), table.shallow_clone());
        let two = load(&four, &all).unwrap();
        assert!(!one.config().scales_output() && !two.config().scales_output());
        assert_eq!(one.logits(&hidden), two.logits(&hidden));
        all.insert("lm_head.weight".into(), -&table);
        assert_eq!(load(&five, &all).unwrap().logits(&hidden), -one.logits(&hidden), "a table of its own is taken");
        assert_eq!(load(&config(), &all).unwrap().logits(&hidden), one.logits(&hidden), "the config ties them");
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let folder = Folder::new(&config());
        for (value, dtype) in [(f64::NAN, Kind::Float), (f64::NEG_INFINITY, Kind::Float), (1e5, Kind::Half)] {
            let mut all = tensors(&config());
            let _ = all.get_mut("shared.weight").unwrap().get(3).get(2).fill_(value);
            folder.write("model.safetensors", &all);
            let error = folder.load(dtype).err().unwrap();
            let text = "tensor `shared.weight` of the checkpoint has numbers that are not finite";
            assert_eq!(error.message, text, "{value}");
        }
    }

    /// Some writers do not align the numbers.
    #[test]
    fn numbers_at_odd_places() {
        let folder = Folder::new(&config());
        let mut all = tensors(&config());
        let q = all.get_mut("encoder.block.0.layer.0.SelfAttention.q.weight").unwrap();
        *q = Tensor::arange(64, (Kind::Float, Device::Cpu)).view([8, 8]);
        folder.write("model.safetensors", &all);
        let aligned = folder.load(Kind::Float).unwrap();
        let bytes = fs::read(&folder.path("model.safetensors")).unwrap();
        let (len, rest) = bytes.split_at(8);
        let len = u64::from_le_bytes(len.try_into().unwrap());
        let (header, data) = rest.split_at(len as usize);
        let odd = [&(len + 1).to_le_bytes()[..], header, b" ", data].concat();
        fs::write_atomic(&folder.path("model.safetensors"), &odd).unwrap();
        assert_eq!(folder.load(Kind::Float).unwrap().tensors(), aligned.tensors());
    }

    #[test]
    fn another_models_weights() {
        let folder = Folder::new(&config());
        folder.write("model.safetensors", &tensors(&T5Config { d_model: 16, ..config() }));
        let error = folder.load(Kind::Float).err().unwrap();
        assert_eq!(
            error.help.as_deref(),
            Some("the weights have d_model 16, the config 8: take both files from the same model")
        );
        assert!(error.notes[0].ends_with("more"), "a long table is cut: {error}");
    }

    #[test]
    fn a_table_under_another_name_alone() {
        let folder = Folder::new(&config());
        let mut all = tensors(&config());
        let table = all.remove("shared.weight").unwrap();
        all.insert("encoder.embed_tokens.weight".into(), table);
        folder.write("model.safetensors", &all);
        folder.load(Kind::Float).unwrap();
    }

    #[test]
    fn files_that_are_no_checkpoint() {
        let folder = Folder::new(&config());
        assert_eq!(folder.load(Kind::Float).err().unwrap().message, "the model has no weights");
        fs::write_atomic(&folder.path("pytorch_model.bin"), b"\x80\x02cposix\nsystem\n").unwrap();
        let error = folder.load(Kind::Float).err().unwrap();
        assert!(error.message.contains("is not a file of tensors that `torch.save` wrote"), "{error}");
        folder.write("model.safetensors", &tensors(&config()));
        let bytes = fs::read(&folder.path("model.safetensors")).unwrap();
        fs::write_atomic(&folder.path("model.safetensors"), &bytes[..bytes.len() - 9]).unwrap();
        assert!(folder.load(Kind::Float).is_err());
    }
}
