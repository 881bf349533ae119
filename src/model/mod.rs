//! Which backbones there are ([`MODELS`]) and what they are ([`config`]). How they compute is in the crate `dpt-torch`,
//! below the same name.

pub mod config;
pub mod fit;

use crate::base::choice::choice;

choice! {
    /// The type that a backbone is held in.
    pub enum Dtype {
        /// Four bytes a number.
        Float32 = "float32",
        /// Two bytes, with the exponent of `float32`.
        BFloat16 = "bfloat16",
        /// Two bytes, with a longer fraction.
        Float16 = "float16",
    }
}

/// A family of backbones that can be loaded.
#[derive(Debug)]
pub struct ModelKind {
    /// The value of `model_type` in `config.json`.
    pub name: &'static str,
    /// One line for help texts.
    pub about: &'static str,
}

/// Every family, by the `model_type` of its `config.json`.
pub const MODELS: &[ModelKind] = &[
    ModelKind {
        name: "t5",
        about: "T5 v1.0 and v1.1, LM-adapted included: relative position bias, RMS norm, no biases",
    },
    ModelKind { name: "mt5", about: "mT5: T5 v1.1 with a multilingual vocabulary" },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        for (i, model) in MODELS.iter().enumerate() {
            assert!(!model.about.is_empty());
            assert!(MODELS[..i].iter().all(|other| other.name != model.name));
        }
    }
}
