//! The backbone cache of this process: loaded once, kept for the next job. A worker trains many runs of a sweep one
//! after another on the same backbone; reading it each time would cost more than a short run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind};

use crate::base::diag::Diag;
use crate::base::digest::{Digest, FieldHasher};

use super::t5::T5;

/// The last backbone that was loaded. Only one is kept.
static KEPT: Mutex<Option<(Key, T5)>> = Mutex::new(None);

#[derive(Clone, Copy, PartialEq)]
struct Key {
    files: Digest,
    device: Device,
    dtype: Kind,
}

/// The digest that identifies a backbone: of its config and weights, by the logical digests of their files. Tokenizer
/// files and `backbone.json` (provenance) do not count.
pub fn digest(digests: &BTreeMap<String, Digest>) -> Digest {
    let mut hasher = FieldHasher::new("dpt.backbone.1");
    let counts = |name: &str| {
        name == "config.json"
            || name.ends_with(".safetensors")
            || name.ends_with(".bin")
            || name.ends_with(".index.json")
    };
    for (name, digest) in digests.iter().filter(|(name, _)| counts(name)) {
        hasher.field(name.as_bytes()).field(&digest.0);
    }
    hasher.finish()
}

/// The frozen backbone in `files`, whose logical digests are `digests`, on `device` in `dtype`. Loads it unless it is
/// the cached one. See [`T5::load`].
///
/// # Errors
/// Those of [`T5::load`].
pub fn backbone(
    files: &BTreeMap<String, PathBuf>,
    digests: &BTreeMap<String, Digest>,
    device: Device,
    dtype: Kind,
) -> Result<T5, Diag> {
    let key = Key { files: digest(digests), device, dtype };
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, model)) = kept.as_ref().filter(|(k, _)| *k == key) {
        return Ok(model.shallow_clone());
    }
    *kept = None; // Frees the old backbone before the new one is loaded.
    let model = T5::load(files, device, dtype)?;
    let handle = model.shallow_clone();
    *kept = Some((key, model));
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::logical_digest;
    use crate::model::config::T5Config;
    use tch::Tensor;

    #[test]
    fn loaded_once_and_shared() {
        let dir = tempfile::tempdir().unwrap();
        let config = T5Config {
            d_model: 8,
            d_kv: 4,
            d_ff: 12,
            num_layers: 1,
            num_heads: 2,
            vocab_size: 20,
            ..T5Config::default()
        };
        let tensors = config.tensors().into_iter();
        let tensors = tensors.map(|spec| (spec.name, Tensor::ones(&spec.shape, (Kind::Float, Device::Cpu)))).collect();
        let path = |name: &str| dir.path().join(name);
        crate::model::tensors::write(&path("model.safetensors"), &tensors).unwrap();
        crate::base::fs::write_atomic(&path("config.json"), config.to_json().as_bytes()).unwrap();
        let files: BTreeMap<_, _> =
            ["config.json", "model.safetensors"].iter().map(|name| (name.to_string(), path(name))).collect();
        let digests: BTreeMap<_, _> =
            files.iter().map(|(name, path)| (name.clone(), logical_digest(name, path).unwrap())).collect();

        let first = backbone(&files, &digests, Device::Cpu, Kind::Float).unwrap();
        std::fs::remove_file(path("model.safetensors")).unwrap();
        let second = backbone(&files, &digests, Device::Cpu, Kind::Float).unwrap();
        assert_eq!(first.embedding_table().data_ptr(), second.embedding_table().data_ptr());
        assert!(backbone(&files, &digests, Device::Cpu, Kind::BFloat16).is_err(), "another type is loaded anew");
    }

    #[test]
    fn provenance_and_tokenizer_do_not_count() {
        let one = |name: &str, text: &str| (name.to_owned(), Digest::of(text.as_bytes()));
        let weights = one("model.safetensors", "w");
        let a = BTreeMap::from([weights.clone(), one("backbone.json", "a"), one("spiece.model", "a")]);
        let b = BTreeMap::from([weights, one("backbone.json", "b")]);
        assert_eq!(digest(&a), digest(&b));
        assert_ne!(digest(&a), digest(&BTreeMap::from([one("model.safetensors", "v")])));
    }
}
