//! What every method must hold, over the whole table of methods.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::adapter::method::{Array, Peft, Start, Values};
use crate::base::param::Type;
use crate::base::value::{Params, Value};
use crate::model::config::T5Config;

/// Parameters of `method`: `set`, whole numbers that are not set at 2, and others at their default.
fn params(method: &Method, set: &[(&str, Value)]) -> Params {
    let value = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let small = |ty: &Type| if matches!(ty, Type::Int(..)) { Some(Value::Int(2)) } else { None };
    let all = method.params.iter().filter_map(|param| {
        Some((param.name.to_owned(), value(param.name).or_else(|| small(&param.ty)).or_else(|| param.default.value())?))
    });
    all.collect()
}

/// A shape of `method` at 5 virtual tokens and width 8.
fn shape(method: &Method, set: &[(&str, Value)]) -> Shape {
    let defaults = &[("positions", Value::Int(6)), ("prompt_layer", Value::Int(1)), ("hidden", Value::Int(6))];
    let all: Vec<_> = set.iter().chain(defaults).cloned().collect();
    method.shape(5, 8, &params(method, &all)).unwrap()
}

fn wave(shape: &[i64], phase: f64) -> Tensor {
    let n = shape.iter().product::<i64>();
    ((Tensor::arange(n, (Kind::Float, Device::Cpu)) * 0.7 + phase).sin() * 0.5).view(shape)
}

fn t5() -> T5 {
    let config =
        T5Config { d_model: 8, d_kv: 4, d_ff: 12, num_layers: 2, num_heads: 2, vocab_size: 20, ..T5Config::default() };
    let tensors =
        config.tensors().into_iter().map(|spec| (spec.name.clone(), wave(&spec.shape, spec.name.len() as f64)));
    let tensors = tensors.collect();
    T5::from_tensors(config, tensors).frozen()
}

/// Two rows of four positions, of which the second row has three.
fn batch() -> (Tensor, Tensor) {
    let ids = Tensor::from_slice(&[3i64, 4, 5, 6, 7, 4, 9, 0]).view([2, 4]);
    let mask = Tensor::from_slice(&[1i64, 1, 1, 1, 1, 1, 1, 0]).view([2, 4]);
    (ids, mask)
}

/// An adapter whose tensors are all away from 0, but those that `set` gives.
fn warm(forward: &'static dyn Forward, shape: Shape, set: &[(&str, Tensor)]) -> Adapter {
    let specs = (forward.method().tensors)(&shape);
    let named: BTreeMap<String, Tensor> = specs
        .iter()
        .enumerate()
        .map(|(i, spec)| {
            let given = set.iter().find(|(name, _)| *name == spec.name).map(|(_, tensor)| tensor.shallow_clone());
            (spec.name.to_owned(), given.unwrap_or_else(|| wave(&spec.shape, i as f64 + 0.3)))
        })
        .collect();
    Adapter::init(forward, shape, &Init::Given(&named), 1, Device::Cpu).unwrap()
}

/// The states that enter, and the block.
fn entered(adapter: &Adapter, t5: &T5, step: Step) -> EncoderInput {
    let (ids, mask) = batch();
    adapter.fold().enter(t5, &ids, &mask, step)
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).contiguous().view(-1)).unwrap()
}

#[test]
fn both_tables_have_the_same_methods() {
    let ours: Vec<_> = METHODS.iter().map(|method| method.method().name).collect();
    assert_eq!(ours, methods::NAMES);
}

#[test]
fn text_enters_behind_the_prompt_and_gradients_pass() {
    let t5 = t5();
    for forward in METHODS {
        let name = forward.method().name;
        let adapter = warm(*forward, shape(forward.method(), &[]), &[]);
        let input = entered(&adapter, &t5, Step::Inference);
        assert_eq!(input.states.size(), [2, 9, 8], "{name}");
        assert_eq!(Vec::<i64>::try_from(input.mask.get(1)).unwrap(), [1, 1, 1, 1, 1, 1, 1, 1, 0], "{name}");
        assert!(input.block == 0 || matches!(forward.method().peft, Peft::Refuses(_)), "{name}");
        if forward.method().prompt.is_some() {
            assert_eq!(adapter.prompt().size(), [5, 8], "{name}");
        }
        // A weighted sum: a norm's bias would have no gradient of a sum of squares about 0.
        (input.states.square() * wave(&[2, 9, 8], 0.1)).sum(Kind::Float).backward();
        for (tensor, value) in adapter.named() {
            assert!(value.grad().abs().max().double_value(&[]) > 0.0, "{name}: {tensor}");
        }
        let trained: Vec<_> = adapter.named().map(|(name, _)| name).collect();
        for (tensor, value) in adapter.stored().filter(|(name, _)| !trained.contains(name)) {
            assert!(!value.requires_grad() && !value.grad().defined(), "{name}: {tensor}");
        }
    }
}

/// Along a direction of each trained tensor, against a central difference.
#[test]
fn gradients_are_those_of_the_values() {
    let t5 = t5();
    let weights = wave(&[2, 9, 8], 0.4);
    for forward in METHODS {
        let name = forward.method().name;
        let shape = shape(forward.method(), &[]);
        let value = |adapter: &Adapter| {
            let states = entered(adapter, &t5, Step::Inference).states;
            (states * &weights).sum(Kind::Double)
        };
        let adapter = warm(*forward, shape.clone(), &[]);
        let gradients = Tensor::run_backward(&[&value(&adapter)], adapter.tensors(), false, false);
        for (i, (tensor, start)) in adapter.named().enumerate() {
            let direction = wave(&start.size(), i as f64 + 1.1);
            let moved = |by: f64| {
                let mut set: Vec<_> = adapter.stored().map(|(name, t)| (name, t.detach())).collect();
                set.iter_mut().find(|(name, _)| *name == tensor).unwrap().1 = start.detach() + &direction * by;
                let _guard = tch::no_grad_guard();
                value(&warm(*forward, shape.clone(), &set)).double_value(&[])
            };
            let found = (&gradients[i] * &direction).sum(Kind::Double).double_value(&[]);
            let wanted = (moved(2e-3) - moved(-2e-3)) / 4e-3;
            assert!((found - wanted).abs() < 2e-3 + 0.02 * wanted.abs(), "{name}: {tensor}: {found} and {wanted}");
        }
    }
}

/// Bounds, mean and standard deviation of what each tensor starts with, or its rule.
#[test]
fn initial_values_have_the_statistics_of_their_rule() {
    let table = wave(&[2000, 64], 0.0);
    for forward in METHODS {
        let method = forward.method();
        let set = [("positions", Value::Int(96)), ("rank", Value::Int(16)), ("hidden", Value::Int(48))];
        let shape = method.shape(40, 64, &params(method, &set)).unwrap();
        let init = Init::Reference { scale: None, table: Some(&table) };
        let make = |seed| Adapter::init(*forward, shape.clone(), &init, seed, Device::Cpu).unwrap();
        let (one, again, other) = (make(1), make(1), make(2));
        let mut differ = false;
        for spec in (method.tensors)(&shape) {
            let find = |adapter: &Adapter| adapter.stored().find(|(name, _)| *name == spec.name).unwrap().1.detach();
            let tensor = find(&one);
            let name = format!("{}: {}", method.name, spec.name);
            assert_eq!(tensor, find(&again), "{name}: one seed, one draw");
            differ |= tensor != find(&other);
            let values = numbers(&tensor);
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let deviation = (values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt();
            // Five standard errors of the mean, and of the deviation.
            let near = |wanted_mean: f64, wanted: f64| {
                assert!((mean - wanted_mean).abs() < 5.0 * wanted / n.sqrt(), "{name}: mean {mean}");
                assert!((deviation / wanted - 1.0).abs() < 5.0 / (2.0 * n).sqrt(), "{name}: deviation {deviation}");
            };
            let uniform = |least: f64, most: f64| {
                assert!(values.iter().all(|x| (least - 1e-6..=most + 1e-6).contains(x)), "{name}: bounds");
                near((least + most) / 2.0, (most - least) / 12f64.sqrt());
            };
            match spec.start {
                Start::Uniform(bound) => uniform(-bound, bound),
                Start::Between(least, most) => uniform(least, most),
                Start::FanIn(inputs) => uniform(-1.0 / (inputs as f64).sqrt(), 1.0 / (inputs as f64).sqrt()),
                Start::Gaussian(wanted) => near(0.0, wanted),
                Start::Zeros => assert!(values.iter().all(|x| *x == 0.0), "{name}"),
                Start::Ones => assert!(values.iter().all(|x| *x == 1.0), "{name}"),
                Start::Vocabulary => {
                    let rows: Vec<_> = (0..spec.shape[0]).map(|i| numbers(&tensor.get(i))).collect();
                    let known: Vec<_> = (3..2000).map(|i| numbers(&table.get(i))).collect();
                    assert!(rows.iter().all(|row| known.contains(row)), "{name}: rows of the table");
                    assert!((1..rows.len()).all(|i| !rows[..i].contains(&rows[i])), "{name}: no row twice");
                }
                Start::Orthonormal => {
                    let product = if spec.shape[0] <= spec.shape[1] {
                        tensor.matmul(&tensor.tr())
                    } else {
                        tensor.tr().matmul(&tensor)
                    };
                    let identity = Tensor::eye(product.size()[0], tch::kind::FLOAT_CPU);
                    assert!(difference(&product, &identity) < 1e-5, "{name}: orthonormal");
                }
                Start::Derived(make) => {
                    let array =
                        |t: &Tensor| Array { shape: t.size().iter().map(|&n| n as usize).collect(), data: numbers(t) };
                    let others = Values::new(one.stored().map(|(name, t)| (name.to_owned(), array(t))));
                    let wanted = make(&shape, &others);
                    assert!(values.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs().max(1.0)), "{name}");
                }
            }
        }
        assert!(differ, "{}: another seed draws other values", method.name);
    }
}

/// The states of an adapter of `prompt-tuning` with this prompt.
fn plain(prompt: &Tensor) -> Adapter {
    let forward = METHODS.iter().find(|forward| forward.method().name == methods::plain_prompt().0.name).unwrap();
    warm(*forward, shape(forward.method(), &[]), &[(methods::plain_prompt().1, prompt.detach())])
}

/// What is exported gives what training used: a plain prompt, or a prompt and what is added to the text by position or
/// token.
#[test]
fn folded_form_gives_the_same_states() {
    let t5 = t5();
    let _guard = tch::no_grad_guard();
    let (ids, mask) = batch();
    for forward in METHODS {
        let method = forward.method();
        let adapter = warm(*forward, shape(method, &[]), &[]);
        let states = t5.encode(entered(&adapter, &t5, Step::Inference)).0;
        let folded = adapter.fold();
        if let Some(prompt) = method.prompt {
            let array = |t: &Tensor| Array { shape: t.size().iter().map(|&n| n as usize).collect(), data: numbers(t) };
            let values = Values::new(adapter.stored().map(|(name, t)| (name.to_owned(), array(t))));
            let prompt = prompt(adapter.shape(), &values);
            let prompt = Tensor::from_slice(&prompt.to_f32()).view([5, 8]);
            let exported = t5.encode(entered(&plain(&prompt), &t5, Step::Inference)).0;
            assert!(difference(&states, &exported) < 1e-5, "{}", method.name);
        } else if method.positions.is_some() {
            let [prompt, offset] = folded.parts() else { panic!("{}", method.name) };
            assert_eq!(offset.size(), [6, 8], "{}", method.name);
            let text =
                EncoderInput { states: t5.embed(&ids) + offset.narrow(0, 0, 4), mask: mask.shallow_clone(), block: 0 };
            assert!(difference(&states, &t5.encode(text.with_prefix(prompt)).0) < 1e-6, "{}", method.name);
        } else {
            // By token or by text: a text alone is encoded as beside others, and a token as in any text.
            for row in 0..2 {
                let length = mask.get(row).sum(Kind::Int64).int64_value(&[]);
                let (ids, mask) =
                    (ids.narrow(0, row, 1).narrow(1, 0, length), mask.narrow(0, row, 1).narrow(1, 0, length));
                let own = t5.encode(folded.enter(&t5, &ids, &mask, Step::Inference)).0;
                let beside = states.narrow(0, row, 1).narrow(1, 0, 5 + length);
                assert!(difference(&own, &beside) < 1e-5, "{}: row {row}", method.name);
            }
        }
    }
}

/// With its extra part at zero (or at one, where it multiplies) a method is its plain form.
#[test]
fn method_without_its_extra_part_is_its_plain_form() {
    let t5 = t5();
    let _guard = tch::no_grad_guard();
    let find = |name: &str| *METHODS.iter().find(|forward| forward.method().name == name).unwrap();
    let zeros = |shape: &[i64]| Tensor::zeros(shape, tch::kind::FLOAT_CPU);
    let ones = |shape: &[i64]| Tensor::ones(shape, tch::kind::FLOAT_CPU);
    let (p, a, b) = (wave(&[5, 8], 0.9), wave(&[5, 2], 0.2), wave(&[2, 8], 1.7));
    let product = a.matmul(&b);
    let (int, on) = (Value::Int, Value::Bool(true));
    let word = |text: &str| Value::Str(text.to_owned());
    type Case<'a> = (&'a str, Vec<(&'a str, Value)>, Vec<(&'a str, Tensor)>, &'a Tensor);
    let mut cases: Vec<Case> = vec![
        ("prompt-tuning", vec![], vec![("prompt", p.copy())], &p),
        (
            "dpt",
            vec![("blocks", int(1)), ("sparse", int(0))],
            vec![("factor_a", a.copy()), ("factor_b", b.copy())],
            &product,
        ),
        (
            "dpt",
            vec![("blocks", int(1)), ("sparse", int(3)), ("shift", on.clone()), ("row_scale", on)],
            vec![
                ("factor_a", a.copy()),
                ("factor_b", b.copy()),
                ("shift", zeros(&[8])),
                ("row_scale", product.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float).sqrt()),
                ("sparse_values", zeros(&[3])),
            ],
            &product,
        ),
        ("residual", vec![], vec![("prompt", p.copy()), ("norm.weight", zeros(&[8])), ("norm.bias", zeros(&[8]))], &p),
        ("dept", vec![], vec![("prompt", p.copy()), ("lora_b", zeros(&[2, 8]))], &p),
        ("adept", vec![], vec![("prompt", p.copy()), ("w2", zeros(&[2, 8])), ("b2", zeros(&[8]))], &p),
        (
            "ulpt",
            vec![],
            vec![("z", a.copy()), ("random_projection", b.copy()), ("scale", ones(&[8])), ("shift", zeros(&[8]))],
            &product,
        ),
        (
            "mpt",
            vec![("rank", int(1))],
            vec![("prompt", p.copy()), ("task_cols", ones(&[1, 5, 1])), ("task_rows", ones(&[1, 1, 8]))],
            &p,
        ),
        ("smop", vec![("prompts", int(1)), ("top_k", int(1))], vec![("prompts", p.copy())], &p),
        (
            "accept",
            vec![("prompt_block", int(8)), ("added_block", int(8))],
            vec![
                ("prompt_weights", a.unsqueeze(1)),
                ("prompt_codes", b.unsqueeze(0)),
                ("added_codes", zeros(&[1, 2, 8])),
            ],
            &product,
        ),
        (
            "ept",
            vec![],
            vec![("prompt", p.copy()), ("b", zeros(&[2, 8])), ("gamma", zeros(&[])), ("v_spaces", zeros(&[2, 2, 8]))],
            &p,
        ),
        (
            "lipt",
            vec![("prompt_layer", int(0)), ("branches", Value::List(vec![int(3)]))],
            vec![("prompt", p.copy()), ("up1", zeros(&[3, 8])), ("e1", zeros(&[8]))],
            &p,
        ),
        ("late-dpt", vec![("prompt_layer", int(0))], vec![("factor_a", a.copy()), ("factor_b", b.copy())], &product),
    ];
    let eye = Tensor::eye(5, tch::kind::FLOAT_CPU);
    cases.push(("pilot", vec![("gate", word("plain"))], vec![("u", eye), ("sigma", ones(&[5])), ("v", p.copy())], &p));
    let rows = ones(&[5, 1]) * wave(&[1, 8], 0.6);
    let bias = wave(&[1, 8], 0.6).view(8);
    cases.push(("p-tuning", vec![], vec![("mlp.4.weight", zeros(&[8, 6])), ("mlp.4.bias", bias)], &rows));
    let nothing = zeros(&[5, 8]);
    cases.push(("lopt2", vec![], vec![("u", zeros(&[8, 2]))], &nothing));
    for (name, set, tensors, wanted) in &cases {
        let forward = find(name);
        let found = entered(&warm(forward, shape(forward.method(), set), tensors), &t5, Step::Inference);
        let wanted = entered(&plain(wanted), &t5, Step::Inference);
        assert!(difference(&found.states, &wanted.states) < 1e-5, "{name}");
    }
    assert!(METHODS.iter().all(|forward| cases.iter().any(|(name, ..)| *name == forward.method().name)));
}

#[test]
fn noise_counts_in_training_only_and_is_that_which_is_given() {
    let t5 = t5();
    let _guard = tch::no_grad_guard();
    for forward in METHODS.iter().filter(|forward| forward.draws()) {
        let name = forward.method().name;
        let adapter = warm(*forward, shape(forward.method(), &[]), &[]);
        let states = |step| entered(&adapter, &t5, step).states;
        let seeded = |seed| {
            crate::model::device::seed(seed);
            states(Step::Training)
        };
        assert_eq!(states(Step::Inference), states(Step::Inference), "{name}");
        assert_eq!(seeded(1), seeded(1), "{name}");
        assert!((1..20).any(|seed| seeded(seed) != states(Step::Inference)), "{name}");
    }
}

/// The options of the product together, and each block as a product of its own.
#[test]
fn options_of_the_product_are_what_they_say() {
    let forward = METHODS[0];
    let on = Value::Bool(true);
    let set = [("shift", on.clone()), ("row_scale", on), ("blocks", Value::Int(4)), ("sparse", Value::Int(3))];
    let (a, b) = (wave(&[5, 8], 0.4), wave(&[2, 8], 0.8));
    let index = Tensor::from_slice(&[0f32, 13.0, 39.0]);
    let tensors = [("factor_a", a.copy()), ("factor_b", b.copy()), ("sparse_index", index)];
    let adapter = warm(forward, shape(forward.method(), &set), &tensors);
    let find = |name: &str| adapter.stored().find(|(known, _)| *known == name).unwrap().1.detach();
    let blocks: Vec<_> = (0..4).map(|k| a.narrow(1, 2 * k, 2).matmul(&b.narrow(1, 2 * k, 2))).collect();
    let product = Tensor::cat(&blocks, 1);
    let norms = product.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float).sqrt();
    let rows = &product / &norms * find("row_scale").unsqueeze(1) + find("shift");
    let mut wanted = numbers(&rows);
    for (at, value) in [0, 13, 39].into_iter().zip(numbers(&find("sparse_values"))) {
        wanted[at] += value;
    }
    assert!(numbers(&adapter.prompt()).iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5));

    // A fresh one starts at its product: the rows' sizes are those of the product, whatever the factors are.
    let fresh = Adapter::init(forward, adapter.shape().clone(), &Init::Uniform { scale: 0.5 }, 3, Device::Cpu).unwrap();
    let plain = [("blocks", Value::Int(4)), ("sparse", Value::Int(0))];
    let plain = Adapter::init(forward, shape(forward.method(), &plain), &Init::Uniform { scale: 0.5 }, 3, Device::Cpu);
    assert!(difference(&fresh.prompt(), &plain.unwrap().prompt()) < 1e-6);
}

#[test]
fn free_entries_are_those_of_the_largest_slope() {
    let t5 = t5();
    let forward = METHODS[0];
    let set = [("blocks", Value::Int(1)), ("sparse", Value::Int(4))];
    let mut adapter = warm(forward, shape(forward.method(), &set), &[("sparse_values", wave(&[4], 0.0) * 0.0)]);
    let (ids, mask) = batch();
    let labels = Tensor::from_slice(&[7i64, 1, 8, 1]).view([2, 2]);
    let prompt = adapter.prompt().detach().set_requires_grad(true);
    let (states, wide) = t5.encode(t5.text(&ids, &mask).with_prefix(&prompt));
    t5.loss(&states, &wide, &labels).backward();
    let slopes: Vec<f64> = numbers(&prompt.grad()).iter().map(|x| x.abs()).collect();
    adapter.prepare(&t5, &ids, &mask, &labels).unwrap();
    let chosen: Vec<usize> = numbers(adapter.stored().last().unwrap().1).iter().map(|x| *x as usize).collect();
    let least = chosen.iter().map(|i| slopes[*i]).fold(f64::MAX, f64::min);
    assert!(chosen.is_sorted() && slopes.iter().filter(|slope| **slope >= least).count() == 4, "{chosen:?}");
    assert!(difference(&adapter.prompt(), &prompt.detach()) < 1e-6, "they start at 0");
}

#[test]
fn misfits_name_the_parameter_and_what_would_be_right() {
    let t5 = t5();
    let refused = |method: &'static Method, set: &[(&str, Value)], longest| {
        let all: Vec<_> = set.iter().cloned().chain([("prompt_layer", Value::Int(1))]).collect();
        let shape = method.shape(5, 8, &params(method, &all));
        shape.and_then(|shape| check(method, &shape, &t5, longest)).unwrap_err()
    };
    let of = |name: &str| methods::find(name).unwrap();
    let long = refused(of("dept"), &[("positions", Value::Int(6))], 7);
    assert_eq!(long.message, "a text has 7 tokens, and `positions` of method `dept` is 6");
    assert!(long.help.unwrap().starts_with("train with `positions = 7` or more"));
    let rank = refused(of("ept"), &[("rank", Value::Int(9)), ("positions", Value::Int(20))], 3);
    assert_eq!(rank.message, "`rank` is 9, above the model's width, which is 8");
    assert_eq!(rank.help.unwrap(), "set `rank` to at most 8");
    let block = refused(of("lipt"), &[("prompt_layer", Value::Int(2))], 3);
    assert_eq!(block.message, "`prompt_layer` is 2, not below the number of the encoder's blocks, which is 2");
    assert_eq!(block.help.unwrap(), "set `prompt_layer` to at most 1");
    let width = refused(of("accept"), &[("prompt_block", Value::Int(5))], 3);
    assert_eq!(width.message, "`prompt_block` is 5, which does not divide the model's width, 8");
    assert_eq!(width.help.unwrap(), "set `prompt_block` to a divisor of 8, such as 4");
    let top = refused(of("smop"), &[("top_k", Value::Int(3))], 3);
    assert_eq!(top.message, "`top_k` is 3, above `prompts`, which is 2");
    let branches = refused(of("lipt"), &[("branches", Value::List(vec![Value::Int(0)]))], 3);
    assert_eq!(branches.message, "`branches` is [0]");
}
