//! A prompt method of this file's own: it adds to the text's embeddings by position, enters behind the first encoder
//! block, and has a second learning rate. It is trained and scored by the product as it is, so a method needs no other
//! file.

use std::collections::BTreeMap;

use dpt::adapter::method::{FromMatrix, Method, Peft, Shape, Start, TensorSpec};
use dpt::base::diag::Diag;
use dpt::base::param::{Literal, Param, Type};
use dpt::base::value::{Params, Value};
use dpt_torch::learn::batch::{Batch, BatchSource};
use dpt_torch::learn::fit::{Evaluator, FitOptions, Score, Unwatched, fit};
use dpt_torch::learn::optim::OptimizerKind;
use dpt_torch::learn::schedule::ScheduleKind;
use dpt_torch::model::config::T5Config;
use dpt_torch::model::t5::{EncoderInput, T5};
use dpt_torch::prompt::{Adapter, Folded, Forward, Init, Text, Trained};
use tch::{Device, Kind, Tensor};

static STUB: Method = Method {
    name: "stub",
    about: "an offset a position, and a prompt behind the first block",
    params: &[Param::with_default("positions", Type::Int(1, 99), Literal::Int(6), "positions that have an offset")],
    training: &[Param::with_default("offset_rate", Type::Float(0.0, 9.0), Literal::Float(0.5), "rate of the offset")],
    defaults: &[],
    limits: &[],
    positions: None,
    tensors: |shape| {
        let d = shape.d_model;
        vec![
            TensorSpec::new("stub.prompt", [shape.virtual_tokens, d], Start::Uniform(0.5)).chosen(),
            TensorSpec::new("stub.offset", [shape.int("positions"), d], Start::Zeros)
                .rate("offset_rate")
                .without_decay(),
            TensorSpec::new("stub.scale", [], Start::Ones),
        ]
    },
    from_matrix: FromMatrix::Nothing,
    prompt: None,
    peft: Peft::Refuses("it also adds to the text's embeddings"),
};

struct Stub;

impl Forward for Stub {
    fn method(&self) -> &'static Method {
        &STUB
    }

    fn fold(&self, t: &Trained) -> Vec<Tensor> {
        vec![t.get("stub.prompt").shallow_clone(), t.get("stub.offset") * t.get("stub.scale")]
    }

    fn enter(&self, t5: &T5, _: &Shape, parts: &[Tensor], text: Text) -> EncoderInput {
        let offset = parts[1].narrow(0, 0, text.ids.size()[1]);
        let input = EncoderInput { states: text.embeddings + offset, mask: text.mask, block: 0 };
        t5.run_blocks(input, 1).with_prefix(&parts[0])
    }
}

fn t5() -> T5 {
    let config =
        T5Config { d_model: 8, d_kv: 4, d_ff: 12, num_layers: 2, num_heads: 2, vocab_size: 20, ..T5Config::default() };
    let wave = |shape: &[i64]| {
        let n = shape.iter().product::<i64>();
        (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 0.7).sin().view(shape)
    };
    let tensors = config.tensors().into_iter().map(|spec| (spec.name, wave(&spec.shape))).collect();
    T5::from_tensors(config, tensors).frozen()
}

struct One;

impl BatchSource for One {
    /// Two rows of four positions; nobody has the last two.
    fn batch(&self, _step: u64) -> Result<Batch, Diag> {
        Ok(Batch {
            input_ids: Tensor::from_slice(&[3i64, 4, 5, 1, 6, 1, 0, 0]).view([2, 4]),
            mask: Tensor::from_slice(&[1i64, 1, 1, 1, 1, 1, 0, 0]).view([2, 4]),
            labels: Tensor::from_slice(&[7i64, 1, 8, -100]).view([2, 2]),
        })
    }
}

/// Less of the loss is better.
struct Loss;

impl Evaluator for Loss {
    fn split(&self) -> &str {
        "train"
    }
    fn evaluate(&self, t5: &T5, adapter: &Folded) -> Result<Vec<Score>, Diag> {
        let batch = One.batch(0)?;
        let (states, mask) = adapter.encode(t5, &batch.input_ids, &batch.mask);
        Ok(vec![("loss".to_owned(), -t5.loss(&states, &mask, &batch.labels).double_value(&[]))])
    }
}

fn adapter() -> Adapter {
    let shape = STUB.shape(3, 8, &Params::from([("positions".to_owned(), Value::Int(6))])).unwrap();
    Adapter::init(&Stub, shape, &Init::Uniform { scale: 0.5 }, 1, Device::Cpu).unwrap()
}

fn options(steps: u64) -> FitOptions {
    FitOptions {
        steps,
        learning_rate: 0.05,
        own_rates: BTreeMap::from([("offset_rate".to_owned(), 0.2)]),
        optimizer: OptimizerKind::AdamW,
        epsilon: None,
        schedule: ScheduleKind::Constant,
        weight_decay: 0.0,
        warmup_steps: 0,
        max_grad_norm: 0.0,
        eval_every: 1,
        patience: 0,
        checkpoint_every: 0,
        dropout: 0.0,
        seed: 1,
    }
}

#[test]
fn stub_method_is_trained_and_scored_without_another_file() {
    let t5 = t5();
    let start = adapter();
    let fitted = fit(&t5, adapter(), &options(1), &One, None, &Unwatched, None).unwrap();
    let moved: Vec<_> = fitted.adapter.tensors().iter().zip(start.tensors()).map(|(a, b)| (a - b).detach()).collect();
    // Adam's first step is as large as the rate, wherever there is a gradient.
    assert!((moved[0].abs().max().double_value(&[]) - 0.05).abs() < 1e-4);
    assert!((moved[1].abs().max().double_value(&[]) - 0.2).abs() < 1e-4);
    assert_eq!(moved[1].narrow(0, 4, 2).abs().max().double_value(&[]), 0.0, "no text has these positions");
    assert_eq!((moved[2].size(), fitted.adapter.parameters()), (vec![], 3 * 8 + 6 * 8 + 1));

    let fitted = fit(&t5, adapter(), &options(30), &One, Some(&Loss), &Unwatched, None).unwrap();
    let (first, best) = (f64::from(fitted.curves[0].loss), fitted.best_score.unwrap().1);
    assert!(-best < first - 0.1, "the loss went from {first} to {}", -best);
    assert!(STUB.peft == Peft::Refuses("it also adds to the text's embeddings"));
}

#[test]
fn prefix_behind_a_block_leaves_the_blocks_before_it_alone() {
    let (t5, adapter) = (t5(), adapter());
    let batch = One.batch(0).unwrap();
    let (states, mask) = adapter.fold().encode(&t5, &batch.input_ids, &batch.mask);
    let early = t5.run_blocks(t5.text(&batch.input_ids, &batch.mask), 1);
    let (expected, expected_mask) = t5.encode(early.with_prefix(&adapter.prompt()));
    assert_eq!((states.size(), &states, &mask), (vec![2, 7, 8], &expected, &expected_mask));
    let whole = t5.encode(t5.text(&batch.input_ids, &batch.mask)).0;
    let parts = t5.run_blocks(t5.text(&batch.input_ids, &batch.mask), 1);
    assert_eq!(t5.encode(parts).0, whole, "all blocks at once, or one after the other");
}
