//! `Trainer` as a stage drives it, by its public names only: resumed in the middle, several in turn over one backbone,
//! two simulated clients whose tensors are averaged, and several in one pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use dpt::artifact::tensors::Tensors;
use dpt::base::diag::Diag;
use dpt::base::draw::Draws;
use dpt::base::param::Param;
use dpt::base::value::{Params, Value};
use dpt::data::encoded::Encoded;
use dpt::svd::decompose::Svd;
use dpt::svd::factor::{Fill, Split, factor};
use dpt::svd::matrix::Matrix;
use dpt_torch::learn::batch::{BatchSource, Epochs, Order};
use dpt_torch::learn::fit::{Evaluator, FitOptions, Score, Unwatched, fit};
use dpt_torch::learn::optim::OptimizerKind;
use dpt_torch::learn::schedule::ScheduleKind;
use dpt_torch::learn::selection::{Selection, SelectionState};
use dpt_torch::learn::snapshot::Snapshot;
use dpt_torch::learn::trainer::{Trainer, TrainerState};
use dpt_torch::model::config::T5Config;
use dpt_torch::model::device;
use dpt_torch::model::t5::{EncoderInput, T5};
use dpt_torch::model::tensors;
use dpt_torch::prompt::{Adapter, Folded, Init, METHODS, find};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::stage_train::small;

const STEPS: u64 = 6;

fn t5() -> T5 {
    device::set_threads(1);
    let config =
        T5Config { d_model: 8, d_kv: 4, d_ff: 12, num_layers: 2, num_heads: 2, vocab_size: 40, ..T5Config::default() };
    let wave = |shape: &[i64]| {
        let n = shape.iter().product::<i64>();
        (Tensor::arange(n, (Kind::Float, Device::Cpu)) * 0.7).sin().view(shape) * 0.5
    };
    let tensors = config.tensors().into_iter().map(|spec| (spec.name, wave(&spec.shape))).collect();
    T5::from_tensors(config, tensors).frozen()
}

fn examples() -> Vec<Encoded> {
    let example = |i: i32| Encoded {
        example_id: i.to_string(),
        input_ids: (0..3 + i % 5).map(|j| 3 + (i * 7 + j * 5) % 30).collect(),
        target_ids: vec![33 + i % 2, 1],
        ..Encoded::default()
    };
    (0..13).map(example).collect()
}

/// Without dropout: it draws from a generator of the whole process, which other tests seed at the same time.
fn options(seed: i64) -> FitOptions {
    FitOptions {
        steps: STEPS,
        learning_rate: 0.05,
        own_rates: own_rates(),
        optimizer: OptimizerKind::AdamW,
        epsilon: None,
        schedule: ScheduleKind::Linear,
        weight_decay: 0.01,
        warmup_steps: 2,
        max_grad_norm: 1.0,
        eval_every: 2,
        patience: 0,
        checkpoint_every: 0,
        dropout: 0.0,
        seed,
    }
}

/// The rates and the weight decay of all methods' tensors that have their own.
fn own_rates() -> BTreeMap<String, f64> {
    let training = METHODS.iter().flat_map(|forward| forward.method().training);
    let rate = |param: &Param| match param.default.value() {
        Some(Value::Float(rate)) => Some((param.name.to_owned(), rate)),
        _ => None,
    };
    training.filter_map(rate).collect()
}

fn adapter_of(method: &str) -> Adapter {
    let forward = find(method).unwrap();
    let params: Params = small(forward.method()).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let shape = forward.method().shape(4, 8, &params).unwrap();
    let t5 = t5();
    let start = Init::Reference { scale: None, table: Some(t5.embedding_table()) };
    Adapter::init(forward, shape, &start, 1, Device::Cpu).unwrap()
}

fn adapter() -> Adapter {
    adapter_of("dpt")
}

fn epochs(examples: &[Encoded], seed: i64) -> Epochs<'_> {
    Epochs::new(examples, 3, Order::Dpt, seed, 0).unwrap()
}

/// The loss on some examples; less is better.
struct Loss<'a>(Epochs<'a>);

impl Evaluator for Loss<'_> {
    fn split(&self) -> &str {
        "train"
    }
    fn evaluate(&self, t5: &T5, adapter: &Folded) -> Result<Vec<Score>, Diag> {
        let batch = self.0.batch(0)?;
        let (states, mask) = adapter.encode(t5, &batch.input_ids, &batch.mask);
        Ok(vec![("loss".to_owned(), -t5.loss(&states, &mask, &batch.labels).double_value(&[]))])
    }
}

/// One step, and a scoring after every second.
fn step(trainer: &mut Trainer, source: &dyn BatchSource, evaluator: &dyn Evaluator) {
    if trainer.step(source).unwrap().row.step.is_multiple_of(2) {
        trainer.score(evaluator).unwrap();
    }
}

/// Everything that two trainers can differ in: tensors, curves and scorings.
fn same(a: &Trainer, b: &Trainer) -> bool {
    let (x, y) = (a.snapshot(), b.snapshot());
    x.tensors == y.tensors && x.state == y.state
}

/// Steps `method` to its end, and again from a snapshot before each step.
fn restore_before_each_step(method: &str, options: &FitOptions) {
    let (t5, examples) = (t5(), examples());
    let (source, loss) = (epochs(&examples, 1), Loss(epochs(&examples, 2)));
    let mut whole = Trainer::new(&t5, adapter_of(method), options).unwrap();
    let mut snapshots = Vec::new();
    while !whole.ended() {
        snapshots.push(whole.snapshot().copy());
        step(&mut whole, &source, &loss);
    }
    assert_eq!(snapshots.len() as u64, STEPS);
    for snapshot in snapshots {
        let at = snapshot.state.descent.step;
        let mut restored = Trainer::new(&t5, adapter_of(method), options).unwrap();
        restored.restore(snapshot).unwrap();
        assert_eq!(restored.steps_done(), at);
        while !restored.ended() {
            step(&mut restored, &source, &loss);
        }
        assert!(same(&restored, &whole), "{method}, restored after step {at}");
    }
}

/// Steps two trainers of `method` in turn, and each alone.
fn step_in_turn(method: &str, options: impl Fn(i64) -> FitOptions) {
    let (t5, examples) = (t5(), examples());
    let loss = Loss(epochs(&examples, 3));
    let sources = [epochs(&examples, 1), epochs(&examples, 2)];
    let fresh = |seed| Trainer::new(&t5, adapter_of(method), &options(seed)).unwrap();
    let alone = [0, 1].map(|i| {
        let mut trainer = fresh(i as i64);
        while !trainer.ended() {
            step(&mut trainer, &sources[i], &loss);
        }
        trainer
    });
    let mut turns = [fresh(0), fresh(1)];
    while !turns[0].ended() {
        for (trainer, source) in turns.iter_mut().zip(&sources) {
            step(trainer, source, &loss);
        }
    }
    assert!(same(&turns[0], &alone[0]) && same(&turns[1], &alone[1]), "{method}");
    assert!(!same(&alone[0], &alone[1]), "{method}: they are different runs");
}

#[test]
fn trainer_restored_after_any_step_equals_an_undisturbed_one() {
    restore_before_each_step("dpt", &options(1));
    restore_before_each_step("dpt", &FitOptions { optimizer: OptimizerKind::AdamWHf, patience: 9, ..options(1) });
}

#[test]
fn two_trainers_in_turn_over_one_backbone_equal_each_alone() {
    step_in_turn("dpt", options);
}

#[test]
#[ignore = "started by the test below"]
fn train_every_method_with_dropout() {
    let with_dropout = |seed| FitOptions { dropout: 0.1, ..options(seed) };
    for method in METHODS.iter().map(|forward| forward.method().name) {
        restore_before_each_step(method, &with_dropout(1));
        step_in_turn(method, with_dropout);
    }
}

/// In a process of its own, see [`options`].
#[test]
fn trainers_of_every_method_with_dropout_equal_undisturbed_ones() {
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["trainer::train_every_method_with_dropout", "--exact", "--include-ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn refused_snapshot_leaves_the_trainer_as_it_was() {
    let (t5, examples) = (t5(), examples());
    let source = epochs(&examples, 1);
    let loss = Loss(epochs(&examples, 2));
    let fresh = || Trainer::new(&t5, adapter(), &options(1)).unwrap();
    let (mut trainer, mut other) = (fresh(), fresh());
    for _ in 0..2 {
        step(&mut trainer, &source, &loss);
        step(&mut other, &source, &loss);
    }
    other.step(&source).unwrap();
    for missing in other.snapshot().tensors.into_keys() {
        let mut snapshot = other.snapshot().copy();
        snapshot.tensors.remove(&missing);
        let before = trainer.snapshot().copy();
        assert!(trainer.restore(snapshot).is_err(), "{missing}");
        assert_eq!((before.tensors, before.state), (trainer.snapshot().tensors, trainer.snapshot().state), "{missing}");
    }
    let mut longer = options(1);
    longer.steps = 2;
    let mut shorter = Trainer::new(&t5, adapter(), &longer).unwrap();
    assert!(shorter.restore(other.snapshot()).is_err(), "more steps than this run has");
    trainer.restore(other.snapshot().copy()).unwrap();
    assert!(same(&trainer, &other));
}

#[test]
fn fit_is_a_trainer_driven_to_its_end() {
    let (t5, examples) = (t5(), examples());
    let (source, loss) = (epochs(&examples, 1), Loss(epochs(&examples, 2)));
    let mut trainer = Trainer::new(&t5, adapter(), &options(1)).unwrap();
    while !trainer.ended() {
        step(&mut trainer, &source, &loss);
    }
    let trained = trainer.finish();
    let fitted = fit(&t5, adapter(), &options(1), &source, Some(&loss), &Unwatched, None).unwrap();
    assert_eq!((fitted.curves, fitted.evals), (trained.curves, trained.selection.evals));
    assert_eq!(fitted.adapter.tensors(), trained.adapter.tensors());
}

#[test]
fn two_trainers_in_one_pass_equal_each_alone_up_to_rounding() {
    let (t5, examples) = (t5(), examples());
    let source = epochs(&examples, 1);
    let options = options(1);
    let fresh = |scale| {
        let mut trainer = Trainer::new(&t5, adapter(), &options).unwrap();
        let scaled =
            trainer.adapter().named().map(|(name, tensor)| (name.to_owned(), tensor.detach() * scale)).collect();
        trainer.set(&scaled).unwrap();
        trainer
    };
    let (mut alone, mut together) = ([fresh(1.0), fresh(0.5)], [fresh(1.0), fresh(0.5)]);
    for step in 0..STEPS {
        for trainer in &mut alone {
            trainer.step(&source).unwrap();
        }
        // One encoder pass over the rows of both, then a loss each.
        let batch = source.batch(step).unwrap();
        let inputs = together
            .each_ref()
            .map(|trainer| t5.text(&batch.input_ids, &batch.mask).with_prefix(&trainer.adapter().prompt()));
        let states = Tensor::cat(&inputs.each_ref().map(|input| &input.states), 0);
        let mask = Tensor::cat(&inputs.each_ref().map(|input| &input.mask), 0);
        let (states, mask) = t5.encode(EncoderInput { states, mask, block: 0 });
        let (states, mask) = (states.chunk(2, 0), mask.chunk(2, 0));
        let losses = [0, 1].map(|i| t5.loss(&states[i], &mask[i], &batch.labels));
        let trained: Vec<_> = together.iter().flat_map(|trainer| trainer.adapter().tensors()).collect();
        let mut gradients = Tensor::run_backward(&[&losses[0] + &losses[1]], &trained, false, false).into_iter();
        for (trainer, loss) in together.iter_mut().zip(&losses) {
            let own = gradients.by_ref().take(trainer.adapter().tensors().len()).collect();
            trainer.apply(loss, own).unwrap();
        }
    }
    for (alone, together) in alone.iter().zip(&together) {
        for ((name, a), b) in alone.adapter().named().zip(together.adapter().tensors()) {
            assert!(a.allclose(b, 1e-3, 1e-4, false), "{name}: {}", (a - b).abs().max().double_value(&[]));
        }
        assert_eq!(alone.curves().len(), together.curves().len());
    }
}

/// How a server makes its tensors of those of the clients.
#[derive(Clone, Copy)]
enum Average {
    /// The mean of each tensor.
    Tensors,
    /// The mean of the prompts, decomposed again.
    Products,
}

/// Clients that take some steps each from the server's tensors, over rounds, and a server that averages and scores
/// them.
struct Federation<'a> {
    t5: &'a T5,
    clients: Vec<(Trainer, Epochs<'a>)>,
    server: Adapter,
    selection: Selection,
    average: Average,
    local_steps: u64,
    resets: bool,
}

/// What the checkpoint of a federation has beside its tensors.
#[derive(Clone, Serialize, Deserialize)]
struct FederationState {
    clients: BTreeMap<String, TrainerState>,
    selection: SelectionState,
}

impl<'a> Federation<'a> {
    fn new(t5: &'a T5, parts: &[&'a [Encoded]], local_steps: u64, average: Average) -> Self {
        let client = |(i, part): (usize, &&'a [Encoded])| {
            (Trainer::new(t5, adapter(), &options(i as i64)).unwrap(), epochs(part, i as i64))
        };
        Self {
            t5,
            clients: parts.iter().enumerate().map(client).collect(),
            server: adapter(),
            selection: Selection::new(0),
            average,
            local_steps,
            resets: true,
        }
    }

    /// Steps of all clients so far.
    fn steps_done(&self) -> u64 {
        self.clients.iter().map(|(client, _)| client.steps_done()).sum()
    }

    fn ended(&self) -> bool {
        self.clients.iter().all(|(client, _)| client.ended())
    }

    /// The next step of the next client: a round is `local_steps` of the first, then of the second. The last step of a
    /// round is followed by the average and its score.
    fn step(&mut self, evaluator: &dyn Evaluator) {
        let (clients, local) = (self.clients.len() as u64, self.local_steps);
        let done = self.steps_done();
        let (client, source) = &mut self.clients[(done / local % clients) as usize];
        if done.is_multiple_of(local) {
            let values = self.server.named().map(|(name, tensor)| (name.to_owned(), tensor.detach())).collect();
            client.set(&values).unwrap();
            if self.resets {
                client.reset_optimizer();
            }
        }
        client.step(source).unwrap();
        let done = done + 1;
        if done.is_multiple_of(local * clients) {
            self.server.set(&self.averaged()).unwrap();
            self.selection.score(self.t5, &self.server, evaluator, done / clients, STEPS).unwrap();
        }
    }

    fn averaged(&self) -> BTreeMap<String, Tensor> {
        let adapters = || self.clients.iter().map(|(client, _)| client.adapter());
        let mean =
            |tensors: Vec<Tensor>| Tensor::stack(&tensors, 0).to_kind(Kind::Double).mean_dim(0, false, Kind::Double);
        match self.average {
            Average::Tensors => {
                let names: Vec<_> = self.server.named().map(|(name, _)| name).collect();
                let of = |i: usize| mean(adapters().map(|adapter| adapter.tensors()[i].detach()).collect());
                names.into_iter().enumerate().map(|(i, name)| (name.to_owned(), of(i).to_kind(Kind::Float))).collect()
            }
            Average::Products => {
                let product = mean(adapters().map(|adapter| adapter.prompt().detach()).collect());
                let matrix = Matrix::new(4, 8, Vec::try_from(product.flatten(0, 1)).unwrap());
                let mut draws = Draws::new("test.fill", 1);
                let factors = factor(&Svd::of(&matrix), 2, Split::Sqrt, Fill::Random, 0.01, &mut draws).unwrap();
                let tensor = |m: &Matrix| Tensor::from_slice(&m.to_f32()).view([m.rows as i64, m.cols as i64]);
                [("factor_a", tensor(&factors.a)), ("factor_b", tensor(&factors.b))]
                    .map(|(name, tensor)| (name.to_owned(), tensor))
                    .into()
            }
        }
    }

    fn snapshot(&self) -> Snapshot<FederationState> {
        let clients =
            self.clients.iter().enumerate().map(|(i, (client, _))| (format!("client-{i}"), client.snapshot()));
        let Snapshot { mut tensors, state } = Snapshot::join(clients);
        tensors.extend(self.server.named().map(|(name, tensor)| (format!("server.{name}"), tensor.detach())));
        tensors.extend(self.selection.tensors());
        Snapshot { tensors, state: FederationState { clients: state, selection: self.selection.state().clone() } }
    }

    fn restore(&mut self, snapshot: Snapshot<FederationState>) {
        self.server.set(&snapshot.part("server")).unwrap();
        let state = snapshot.state.selection.clone();
        self.selection = self.selection.restored(&self.server, state, &snapshot.part("best")).unwrap();
        let runs = Snapshot { tensors: snapshot.tensors, state: snapshot.state.clients }.split();
        for ((client, _), run) in self.clients.iter_mut().zip(runs.into_values()) {
            client.restore(run).unwrap();
        }
    }
}

/// Through a file, as a checkpoint goes.
fn written_and_read(snapshot: Snapshot<FederationState>, folder: &Path) -> Snapshot<FederationState> {
    let path = folder.join("checkpoint.safetensors");
    tensors::write(&path, &snapshot.tensors).unwrap();
    let state = serde_json::to_string(&snapshot.state).unwrap();
    let tensors = tensors::read(&Tensors::open(&path).unwrap()).unwrap();
    Snapshot { tensors, state: serde_json::from_str(&state).unwrap() }
}

#[test]
fn federation_resumed_after_any_step_equals_an_undisturbed_one() {
    let (t5, examples, folder) = (t5(), examples(), tempfile::tempdir().unwrap());
    let loss = Loss(epochs(&examples, 9));
    let parts = [&examples[..6], &examples[6..]];
    for average in [Average::Tensors, Average::Products] {
        let mut whole = Federation::new(&t5, &parts, 2, average);
        let mut snapshots = Vec::new();
        while !whole.ended() {
            snapshots.push(whole.snapshot().copy());
            whole.step(&loss);
        }
        assert_eq!(snapshots.len() as u64, 2 * STEPS);
        assert_eq!(whole.selection.state().evals.len(), 3, "a score a round");
        for snapshot in snapshots {
            let mut resumed = Federation::new(&t5, &parts, 2, average);
            resumed.restore(written_and_read(snapshot, folder.path()));
            let at = resumed.steps_done();
            while !resumed.ended() {
                resumed.step(&loss);
            }
            assert_eq!(resumed.server.tensors(), whole.server.tensors(), "after step {at}");
            assert_eq!(resumed.snapshot().tensors, whole.snapshot().tensors, "after step {at}");
            assert_eq!(resumed.selection.state(), whole.selection.state(), "after step {at}");
        }
    }
}

#[test]
fn schedule_of_a_client_runs_over_all_rounds() {
    let (t5, examples) = (t5(), examples());
    let loss = Loss(epochs(&examples, 9));
    let mut federation = Federation::new(&t5, &[&examples[..6], &examples[6..]], 3, Average::Tensors);
    while !federation.ended() {
        federation.step(&loss);
    }
    for (client, _) in &federation.clients {
        let rates: Vec<_> = client.curves().iter().map(|row| row.learning_rate).collect();
        let wanted: Vec<_> = (0..STEPS).map(|step| client.rates_at(step)[0]).collect();
        assert_eq!(rates, wanted);
        assert_eq!(rates[..3], [0.0, 0.025, 0.05], "two steps of warm-up, once");
    }
}

#[test]
fn one_client_that_keeps_its_optimizer_equals_central_training() {
    let (t5, examples) = (t5(), examples());
    let loss = Loss(epochs(&examples, 9));
    let mut central = Trainer::new(&t5, adapter(), &options(0)).unwrap();
    let source = epochs(&examples, 0);
    while !central.ended() {
        central.step(&source).unwrap();
    }
    let run = |resets| {
        let mut federation = Federation::new(&t5, &[&examples], 2, Average::Tensors);
        federation.resets = resets;
        while !federation.ended() {
            federation.step(&loss);
        }
        federation.server
    };
    assert_eq!(run(false).tensors(), central.adapter().tensors());
    assert_ne!(run(true).tensors(), central.adapter().tensors(), "fresh moments each round are another training");
}
