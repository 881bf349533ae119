//! The prompt methods: one file and one row each. The other half of a method, how it computes with libtorch, is a file and a row
//! in `torch/src/prompt/`. No other list names a method.

pub mod dpt;
pub mod prompt_tuning;
pub mod residual;

use crate::base::diag::{Class, Diag};
use crate::base::suggest;
use crate::base::value::Params;

use super::method::{FromMatrix, Method};

/// Every method, in the order in which help texts list them.
pub const METHODS: &[&Method] = &[&dpt::METHOD, &prompt_tuning::METHOD, &residual::METHOD];

/// The method of a stage that does not say one.
pub const DEFAULT: &str = "dpt";

/// Their names, for `Type::Choice`.
pub const NAMES: &[&str] = &names();

const fn names() -> [&'static str; METHODS.len()] {
    let mut names = [""; METHODS.len()];
    let mut i = 0;
    while i < METHODS.len() {
        names[i] = METHODS[i].name;
        i += 1;
    }
    names
}

/// The method called `name`.
///
/// # Errors
/// There is none of that name: suggests the nearest.
pub fn find(name: &str) -> Result<&'static Method, Diag> {
    if let Some(method) = METHODS.iter().find(|method| method.name == name) {
        return Ok(method);
    }
    let diag = Diag::error(Class::Usage, format!("there is no prompt method `{name}`"));
    Err(match suggest::nearest(name, NAMES.iter().copied()) {
        Some(near) => diag.help(format!("did you mean `{near}`?")),
        None => diag.note(format!(
            "the methods are {}",
            NAMES.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )),
    })
}

/// The parameters of `params` that some method declares, and the others. A node has those of its own method only.
pub fn split(params: &Params) -> (Params, Params) {
    let declared = |name: &str| METHODS.iter().any(|m| m.params.iter().chain(m.training).any(|p| p.name == name));
    params.clone().into_iter().partition(|(name, _)| declared(name))
}

/// The method whose only tensor is the prompt, and that tensor: what an imported prompt becomes.
///
/// # Panics
/// When no method is of that kind.
pub fn plain_prompt() -> (&'static Method, &'static str) {
    let plain = METHODS.iter().find_map(|method| match method.from_matrix {
        FromMatrix::Whole { tensor, exact: true } => Some((*method, tensor)),
        _ => None,
    });
    plain.expect("a method whose tensor is the prompt itself")
}

#[cfg(test)]
mod tests {
    use super::super::method::{Rate, Shape};
    use super::*;
    use crate::base::value::Value;

    /// The shape with these values of whole numbers among the method's parameters.
    fn shape(method: &Method, virtual_tokens: i64, d_model: i64, set: &[(&str, i64)]) -> Shape {
        let params: Params = set.iter().map(|(name, value)| ((*name).to_owned(), Value::Int(*value))).collect();
        method.shape(virtual_tokens, d_model, &params).unwrap()
    }

    const SET: &[(&str, i64)] = &[("rank", 10), ("hidden", 400)];

    #[test]
    fn method_names_are_unique_and_described() {
        for (i, method) in METHODS.iter().enumerate() {
            assert!(crate::base::name::is_name(method.name) && !method.about.is_empty());
            assert!(METHODS[..i].iter().all(|other| other.name != method.name));
        }
        assert_eq!(find("prompt-tunning").unwrap_err().help.as_deref(), Some("did you mean `prompt-tuning`?"));
        assert!(find("lora").unwrap_err().notes[0].starts_with("the methods are `dpt`, "));
    }

    /// The counts that the papers print, T5-small, base and large at 100 virtual tokens, rank 10 and 400 hidden units.
    #[test]
    fn parameter_counts_are_those_of_the_papers() {
        let count = |name: &str, d_model| {
            let method = find(name).unwrap();
            method.parameters(&shape(method, 100, d_model, SET))
        };
        assert_eq!([512, 768, 1024].map(|d| count("dpt", d)), [6_120, 8_680, 11_240]);
        assert_eq!([512, 768, 1024].map(|d| count("prompt-tuning", d)), [51_200, 76_800, 102_400]);
        assert_eq!([512, 768, 1024].map(|d| count("residual", d)), [462_736, 693_904, 925_072]);
    }

    #[test]
    fn declarations_agree_with_themselves() {
        for method in METHODS {
            let specs = (method.tensors)(&shape(method, 5, 8, SET));
            for (i, spec) in specs.iter().enumerate() {
                assert!(spec.numel() > 0 && specs[..i].iter().all(|other| other.name != spec.name), "{}", spec.name);
                if let Rate::Own(param) = spec.rate {
                    assert!(method.training.iter().any(|p| p.name == param), "{}: rate `{param}`", method.name);
                }
            }
            let has = |tensor: &str, shape: [i64; 2]| specs.iter().any(|s| s.name == tensor && s.shape == shape);
            match method.from_matrix {
                FromMatrix::Factors { a, b, rank } => {
                    assert!(has(a, [5, 10]) && has(b, [10, 8]) && method.params.iter().any(|p| p.name == rank));
                }
                FromMatrix::Whole { tensor, .. } => assert!(has(tensor, [5, 8])),
                FromMatrix::Nothing => {}
            }
        }
    }

    #[test]
    fn shape_refuses_missing_and_ill_typed_parameters() {
        let dpt = find("dpt").unwrap();
        assert_eq!(dpt.shape(5, 8, &Params::new()).unwrap_err().message, "parameter `rank` of method `dpt` is missing");
        let zero = Params::from([("rank".to_owned(), Value::Int(0))]);
        assert!(dpt.shape(5, 8, &zero).unwrap_err().message.ends_with("`0`, which it cannot be"));
    }
}
