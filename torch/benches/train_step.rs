//! One training step of `dpt` (100 virtual tokens, rank 10, batch 16) on a random T5 of small's shape: examples a
//! second, the median of a few rounds. `cargo bench --bench train_step -- [threads] [bfloat16]`.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::time::Instant;

use dpt::base::value::{Params, Value};
use dpt::{base::diag::Diag, data::encoded::Encoded};
use dpt_torch::learn::batch::{Batch, BatchSource, collate};
use dpt_torch::learn::fit::{FitOptions, Unwatched, fit};
use dpt_torch::learn::optim::OptimizerKind;
use dpt_torch::learn::schedule::ScheduleKind;
use dpt_torch::model::config::{T5Config, TensorInit};
use dpt_torch::model::device;
use dpt_torch::model::t5::T5;
use dpt_torch::prompt::{self, Adapter, Init};
use tch::{Device, Kind, Tensor};

/// Steps of a round; the first round warms up.
const STEPS: u64 = 1;
const ROUNDS: usize = 4;

/// A T5 v1.0 of small's shape.
fn small(dtype: Kind) -> T5 {
    device::seed(1);
    let config = T5Config::default();
    let tensors: BTreeMap<_, _> = config
        .tensors()
        .into_iter()
        .map(|spec| {
            let tensor = match spec.init {
                TensorInit::Constant(value) => Tensor::full(&spec.shape, value, (Kind::Float, Device::Cpu)),
                TensorInit::Normal(std) => Tensor::randn(&spec.shape, (dtype, Device::Cpu)) * std,
            };
            (spec.name, tensor)
        })
        .collect();
    T5::from_tensors(config, tensors).frozen()
}

/// The same batch for ever.
struct Same(Vec<Encoded>);

impl BatchSource for Same {
    fn batch(&self, _step: u64) -> Result<Batch, Diag> {
        Ok(collate(&self.0.iter().collect::<Vec<_>>(), 0))
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let threads = arguments.iter().find_map(|a| a.parse().ok()).unwrap_or(2);
    let dtype = if arguments.iter().any(|a| a == "bfloat16") { Kind::BFloat16 } else { Kind::Float };
    device::set_threads(threads);
    let t5 = small(dtype);
    let forward = prompt::find("dpt").expect("a method");
    let rank = Params::from([("rank".to_owned(), Value::Int(10))]);
    let shape = forward.method().shape(100, 512, &rank).expect("a shape of it");
    println!("t5-small shape, {dtype:?}, {threads} threads");
    for length in [40, 128] {
        let example = |i: i32| Encoded {
            input_ids: (0..length - i % 8).map(|j| 3 + (i * 31 + j * 17) % 20_000).collect(),
            target_ids: if i % 2 == 0 { vec![3, 632, 1] } else { vec![209, 1] },
            ..Encoded::default()
        };
        let source = Same((0..16).map(example).collect());
        let options = FitOptions {
            steps: STEPS,
            learning_rate: 0.3,
            own_rates: Default::default(),
            optimizer: OptimizerKind::AdamW,
            epsilon: None,
            schedule: ScheduleKind::Linear,
            weight_decay: 1e-5,
            warmup_steps: 0,
            max_grad_norm: 1.0,
            eval_every: 0,
            patience: 0,
            checkpoint_every: 0,
            dropout: 0.0,
            seed: 1,
        };
        let mut rates = Vec::new();
        for round in 0..ROUNDS {
            let init = Init::Uniform { scale: 0.5 };
            let adapter = Adapter::init(forward, shape.clone(), &init, 1, Device::Cpu).expect("an adapter");
            let begun = Instant::now();
            fit(&t5, adapter, &options, &source, None, &Unwatched, None).expect("a finite loss");
            if round > 0 {
                rates.push((STEPS * 16) as f64 / begun.elapsed().as_secs_f64());
            }
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "source {length:>3} tokens: {:.1} examples/s (from {:.1} to {:.1})",
            rates[rates.len() / 2],
            rates[0],
            rates[rates.len() - 1]
        );
    }
}
