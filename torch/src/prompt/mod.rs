//! The prompt methods: what is trained, and how a soft prompt `[virtual_tokens, d_model]` comes of it. Knows no
//! stage, no task and no training loop.
//!
//! To add a method: its file, its `mod` line, its row in [`METHODS`].

mod adapter;
mod dpt;
mod init;
mod prompt_tuning;

use tch::Tensor;

use crate::base::diag::{Class, Diag};
use crate::base::suggest;

pub use crate::adapter::AdapterInfo;
pub use adapter::Adapter;
pub use init::Init;

/// The sizes that a method's tensors depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// Rows of the soft prompt, L.
    pub virtual_tokens: i64,
    /// Inner size of a low-rank product (the paper's bottleneck), b. Methods without one pass over it.
    pub rank: i64,
    /// Width of the backbone's residual stream, d.
    pub d_model: i64,
}

/// A way to make a soft prompt from trained tensors.
pub trait Method: Sync {
    /// As written in `method = "…"`: kebab-case.
    fn name(&self) -> &'static str;

    /// One line for help texts.
    fn about(&self) -> &'static str;

    /// Whether it has an inner size: whether `rank` counts.
    fn has_rank(&self) -> bool;

    /// The trained tensors, names and shapes, in the order in which the reference draws their initial values.
    fn tensors(&self, dims: Dims) -> Vec<(&'static str, [i64; 2])>;

    /// The soft prompt `[virtual_tokens, d_model]` of the trained tensors, in the order of [`tensors`](Method::tensors).
    /// Differentiable.
    fn prompt(&self, tensors: &[Tensor]) -> Tensor;

    /// The trained tensors of a given soft prompt `[virtual_tokens, d_model]`, where the method can hold any.
    fn hold(&self, prompt: &Tensor) -> Option<Vec<Tensor>>;

    /// How many numbers are trained.
    fn parameters(&self, dims: Dims) -> i64 {
        self.tensors(dims).iter().map(|(_, shape)| shape[0] * shape[1]).sum()
    }
}

/// Every method.
pub const METHODS: &[&dyn Method] = &[&dpt::Dpt, &prompt_tuning::PromptTuning];

/// The method called `name`.
///
/// # Errors
/// There is none of that name: suggests the nearest.
pub fn find(name: &str) -> Result<&'static dyn Method, Diag> {
    if let Some(method) = METHODS.iter().find(|m| m.name() == name) {
        return Ok(*method);
    }
    let diag = Diag::error(Class::Usage, format!("there is no prompt method `{name}`"));
    Err(match suggest::nearest(name, METHODS.iter().map(|m| m.name())) {
        Some(near) => diag.help(format!("did you mean `{near}`?")),
        None => diag.note(format!(
            "known are {}",
            METHODS.iter().map(|m| format!("`{}`", m.name())).collect::<Vec<_>>().join(", ")
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        for (i, method) in METHODS.iter().enumerate() {
            assert!(crate::base::name::is_name(method.name()) && !method.about().is_empty());
            assert!(METHODS[..i].iter().all(|other| other.name() != method.name()));
        }
        let error = find("prompt-tunning").err().unwrap();
        assert_eq!(error.help.as_deref(), Some("did you mean `prompt-tuning`?"));
    }

    /// The counts that the papers print, T5-small, base and large at 100 virtual tokens and rank 10.
    #[test]
    fn parameter_counts() {
        let count = |name, d_model| find(name).unwrap().parameters(Dims { virtual_tokens: 100, rank: 10, d_model });
        assert_eq!([512, 768, 1024].map(|d| count("dpt", d)), [6_120, 8_680, 11_240]);
        assert_eq!([512, 768, 1024].map(|d| count("prompt-tuning", d)), [51_200, 76_800, 102_400]);
    }

    #[test]
    fn prompts_have_their_shape_and_pass_gradients_on() {
        let dims = Dims { virtual_tokens: 5, rank: 2, d_model: 8 };
        for method in METHODS {
            let adapter = Adapter::init(*method, dims, &Init::Uniform { scale: 0.5 }, 1, tch::Device::Cpu).unwrap();
            assert_eq!(adapter.prompt().size(), [5, 8], "{}", method.name());
            adapter.prompt().square().sum(tch::Kind::Float).backward();
            for (name, tensor) in adapter.named() {
                assert!(tensor.grad().abs().min().double_value(&[]) > 0.0, "{name}");
            }
        }
    }
}
