//! The prompt methods: one file and one row each. The other half of a method, how it computes with libtorch, is a file
//! and a row in `torch/src/prompt/`. No other list names a method.

pub mod accept;
pub mod adept;
pub mod dept;
pub mod dpt;
pub mod ept;
pub mod late_dpt;
pub mod lipt;
pub mod lopt2;
pub mod mpt;
pub mod p_tuning;
pub mod pilot;
pub mod prompt_tuning;
pub mod residual;
mod shared;
pub mod smop;
pub mod ulpt;

use crate::base::diag::{Class, Diag};
use crate::base::suggest;
use crate::base::value::Params;

use super::method::{FromMatrix, Method};

/// Every method, in the order in which help texts list them.
pub const METHODS: &[&Method] = &[
    &dpt::METHOD,
    &prompt_tuning::METHOD,
    &residual::METHOD,
    &dept::METHOD,
    &adept::METHOD,
    &ulpt::METHOD,
    &p_tuning::METHOD,
    &mpt::METHOD,
    &smop::METHOD,
    &accept::METHOD,
    &lopt2::METHOD,
    &ept::METHOD,
    &lipt::METHOD,
    &late_dpt::METHOD,
    &pilot::METHOD,
];

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
    use super::super::method::{Decay, Limit, Peft, Rate, Shape, Size};
    use super::*;
    use crate::base::param::{Param, Type};
    use crate::base::value::Value;

    /// The shape with these values of whole numbers among the method's parameters, and the others at their default.
    fn shape(method: &Method, virtual_tokens: i64, d_model: i64, set: &[(&str, i64)]) -> Shape {
        let defaults = method.params.iter().filter_map(|p| Some((p.name.to_owned(), p.default.value()?)));
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), Value::Int(*value)));
        method.shape(virtual_tokens, d_model, &defaults.chain(set).collect()).unwrap()
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

    /// The same for the other methods, in the sizes that their papers or authors' code have.
    #[test]
    fn counts_of_all_other_methods_are_those_of_their_formulas() {
        type Row<'a> = (&'a str, i64, &'a [(&'a str, i64)], [i64; 3]);
        let rows: &[Row] = &[
            ("dept", 40, &[("rank", 45)], [55_040, 76_800, 98_560]),
            ("adept", 60, &[("rank", 19)], [50_707, 76_051, 101_395]),
            ("ulpt", 100, &[("rank", 64)], [7_424, 7_936, 8_448]),
            ("ulpt", 100, &[("rank", 2)], [1_224, 1_736, 2_248]),
            ("p-tuning", 100, &[], [839_168, 1_848_576, 3_251_200]),
            ("mpt", 100, &[("rank", 1)], [51_812, 77_668, 103_524]),
            ("smop", 5, &[], [12_288, 18_432, 24_576]),
            ("accept", 60, &[], [49_920, 74_880, 99_840]),
            ("lopt2", 20, &[], [5_120, 7_680, 10_240]),
            ("lipt", 10, &[], [49_706, 74_538, 99_370]),
            ("late-dpt", 100, &[], [6_120, 8_680, 11_240]),
            ("pilot", 100, &[], [100 * 100 + 100 + 51_200, 100 * 100 + 100 + 76_800, 100 * 100 + 100 + 102_400]),
        ];
        for (name, length, set, wanted) in rows {
            let method = find(name).unwrap();
            let found = [512, 768, 1024].map(|d| method.parameters(&shape(method, *length, d, set)));
            assert_eq!(found, *wanted, "{name} {set:?}");
        }
        // Options of ours, at rank 10 and 100 virtual tokens.
        let dpt = find("dpt").unwrap();
        let option = |set: &[(&str, Value)]| {
            let set: Params = set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            let params: Params =
                dpt.params.iter().filter_map(|p| Some((p.name.to_owned(), p.default.value()?))).collect();
            let all: Params = params.into_iter().chain(set).collect();
            [512, 768, 1024].map(|d| dpt.parameters(&dpt.shape(100, d, &all).unwrap()))
        };
        assert_eq!(option(&[("shift", Value::Bool(true))]), [6_632, 9_448, 12_264]);
        assert_eq!(option(&[("row_scale", Value::Bool(true))]), [6_220, 8_780, 11_340]);
        assert_eq!(option(&[("blocks", Value::Int(4))]), [9_120, 11_680, 14_240]);
        assert_eq!(option(&[("sparse", Value::Int(50))]), [6_170, 8_730, 11_290]);
        let ept = find("ept").unwrap();
        let found =
            [(512, 21), (768, 23), (1024, 25)].map(|(d, rank)| ept.parameters(&shape(ept, 40, d, &[("rank", rank)])));
        assert_eq!(found, [50_949, 75_781, 101_637]);
        let tested = |name: &str| rows.iter().any(|(row, ..)| *row == name);
        let elsewhere = ["dpt", "prompt-tuning", "residual", "ept"];
        assert!(METHODS.iter().all(|m| tested(m.name) || elsewhere.contains(&m.name)));

        // What is stored and not trained is counted apart.
        let ulpt = find("ulpt").unwrap();
        assert_eq!(ulpt.stored(&shape(ulpt, 100, 768, &[("rank", 64)])), 7_936 + 64 * 768);
        let lopt2 = find("lopt2").unwrap();
        assert_eq!(lopt2.stored(&shape(lopt2, 20, 768, &[])), 7_680 + 20 * 768);
    }

    /// A pipeline that goes over several methods sets a parameter for all that have it.
    #[test]
    fn parameters_of_one_name_are_of_one_type() {
        let all = || METHODS.iter().flat_map(|m| m.params.iter().chain(m.training).map(|p| (m.name, p)));
        for (method, param) in all() {
            for (other, same) in all().filter(|(_, p)| p.name == param.name) {
                assert_eq!(format!("{:?}", same.ty), format!("{:?}", param.ty), "`{}`: {method}, {other}", param.name);
            }
        }
    }

    #[test]
    fn declarations_agree_with_themselves() {
        for method in METHODS {
            let own = |name: &str| method.params.iter().any(|p| p.name == name);
            let small: Vec<_> =
                method.params.iter().filter(|p| p.since == 1 && matches!(p.ty, Type::Int(..))).collect();
            let small: Vec<_> = small.iter().map(|p| (p.name, 2)).collect();
            let specs = (method.tensors)(&shape(method, 5, 8, &small));
            for (i, spec) in specs.iter().enumerate() {
                assert!(spec.numel() > 0 && specs[..i].iter().all(|other| other.name != spec.name), "{}", spec.name);
                let trains = |param: &str| method.training.iter().any(|p| p.name == param);
                if let Rate::Own(param) = spec.rate {
                    let has_default = |p: &Param| p.name == param && p.default.value().is_some();
                    assert!(method.training.iter().any(has_default), "{}: rate `{param}`", method.name);
                }
                if let Decay::Own(param) = spec.decay {
                    assert!(trains(param), "{}: decay `{param}`", method.name);
                }
            }
            assert!(specs.iter().any(|spec| spec.trained), "{}", method.name);
            let has = |tensor: &str, shape: [i64; 2]| specs.iter().any(|s| s.name == tensor && s.shape == shape);
            match method.from_matrix {
                FromMatrix::Factors { a, b, rank } => {
                    assert!(has(a, [5, 2]) && has(b, [2, 8]) && own(rank));
                }
                FromMatrix::Whole { tensor, .. } => assert!(has(tensor, [5, 8])),
                FromMatrix::Nothing => {}
            }
            assert!(method.positions.is_none_or(own), "{}", method.name);
            for limit in method.limits {
                let (Limit::AtMost(name, size) | Limit::Below(name, size) | Limit::Divides(name, size)) = *limit else {
                    continue;
                };
                assert!(own(name), "{}: limit of `{name}`", method.name);
                assert!(if let Size::Param(other) = size { own(other) } else { true }, "{}: {limit:?}", method.name);
            }
            assert!(method.prompt.is_some() || method.peft != Peft::Holds, "{}", method.name);
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
