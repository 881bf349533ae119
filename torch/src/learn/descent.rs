//! [`Descent`]: the part of a training loop that does not depend on what is trained. Of a loss and its gradients it
//! makes one step: clip, take the rates from the schedules, update the tensors, keep the row of the curves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::base::diag::{Class, Diag};

use super::optim::{Optimizer, OptimizerKind, ParamGroup, clip};
use super::schedule::Schedule;

/// The figures of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurveRow {
    /// Counted from 1.
    pub step: u64,
    /// Cross-entropy of the step's batch before the step, nats a label token.
    pub loss: f32,
    /// The rate used.
    pub learning_rate: f64,
    /// 2-norm of all gradients before clipping.
    pub grad_norm: f32,
}

/// How to update tensors.
#[derive(Clone, Debug)]
pub struct DescentOptions {
    /// Which optimizer.
    pub optimizer: OptimizerKind,
    /// Its epsilon; `None`: that of [`default_epsilon`](super::optim::default_epsilon).
    pub epsilon: Option<f64>,
    /// The optimizer's groups of parameters.
    pub groups: Vec<ParamGroup>,
    /// One a group. The first gives the rate of the curves.
    pub schedules: Vec<Schedule>,
    /// Gradients are scaled to at most this 2-norm; 0: never.
    pub max_grad_norm: f64,
}

/// The part of a [`Descent`] that is not tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DescentState {
    /// Steps done.
    pub step: u64,
    /// How many of them were done when the optimizer's state was last fresh.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fresh_at: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Optimizer, schedules, step counter and curves of one run. The trained tensors are the caller's: it passes the same
/// ones, in the same order, to every call.
pub struct Descent {
    options: DescentOptions,
    optimizer: Optimizer,
    state: DescentState,
    curves: Vec<CurveRow>,
}

impl Descent {
    /// At step 0, for `parameters`.
    pub fn new(parameters: &[Tensor], options: DescentOptions) -> Self {
        let optimizer = fresh_optimizer(parameters, &options);
        Self { options, optimizer, state: DescentState::default(), curves: Vec::new() }
    }

    /// Steps done, and since when the optimizer has its state.
    pub fn state(&self) -> &DescentState {
        &self.state
    }

    /// One row a step.
    pub fn curves(&self) -> &[CurveRow] {
        &self.curves
    }

    /// One row a step, at its end.
    pub fn into_curves(self) -> Vec<CurveRow> {
        self.curves
    }

    /// The rates used at `step`, counted from 0: one a group.
    pub fn rates_at(&self, step: u64) -> Vec<f64> {
        self.options.schedules.iter().map(|schedule| schedule.at(step)).collect()
    }

    /// Updates `parameters` along `gradients` (one a parameter) of `loss` (a scalar): the reference's order of
    /// clipping, rate and update.
    ///
    /// # Errors
    /// The loss or the norm of the gradients is not finite; nothing was updated then.
    pub fn apply(
        &mut self,
        parameters: &mut [Tensor],
        loss: &Tensor,
        mut gradients: Vec<Tensor>,
    ) -> Result<CurveRow, Diag> {
        let step = self.state.step;
        let grad_norm = clip(&mut gradients, self.options.max_grad_norm);
        let rates = self.rates_at(step);
        let row = CurveRow {
            step: step + 1,
            loss: loss.double_value(&[]) as f32,
            learning_rate: rates[0],
            grad_norm: grad_norm as f32,
        };
        if !row.loss.is_finite() || !grad_norm.is_finite() {
            return Err(diverged(&row, self.curves.last()));
        }
        self.optimizer.step(parameters, &gradients, &rates);
        self.curves.push(row);
        self.state.step += 1;
        Ok(row)
    }

    /// Gives the optimizer a fresh state. Steps, schedules and curves go on.
    pub fn reset_optimizer(&mut self, parameters: &[Tensor]) {
        self.optimizer = fresh_optimizer(parameters, &self.options);
        self.state.fresh_at = self.state.step;
    }

    /// The optimizer's tensors, and the curves as `curves.loss`, `curves.learning_rate` and `curves.grad_norm`. `names`
    /// are those of the parameters.
    pub fn tensors(&self, names: &[&str]) -> BTreeMap<String, Tensor> {
        let mut tensors = self.optimizer.tensors(names);
        let column =
            |value: fn(&CurveRow) -> f32| Tensor::from_slice(&self.curves.iter().map(value).collect::<Vec<_>>());
        tensors.insert("curves.loss".into(), column(|row| row.loss));
        let rates: Vec<_> = self.curves.iter().map(|row| row.learning_rate).collect();
        tensors.insert("curves.learning_rate".into(), Tensor::from_slice(&rates));
        tensors.insert("curves.grad_norm".into(), column(|row| row.grad_norm));
        tensors
    }

    /// The same descent at `state`, with tensors named as [`tensors`](Descent::tensors) names them. Returns `None` if
    /// they do not fit the state or the parameters.
    pub fn restored(
        &self,
        parameters: &[Tensor],
        names: &[&str],
        state: &DescentState,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Option<Self> {
        let mut optimizer = fresh_optimizer(parameters, &self.options);
        let steps = i32::try_from(state.step.checked_sub(state.fresh_at)?).ok()?;
        optimizer.restore(names, steps, tensors)?;
        let floats = |name: &str| Vec::<f32>::try_from(tensors.get(name)?).ok();
        let (losses, norms) = (floats("curves.loss")?, floats("curves.grad_norm")?);
        let rates = Vec::<f64>::try_from(tensors.get("curves.learning_rate")?).ok()?;
        if [losses.len(), rates.len(), norms.len()] != [usize::try_from(state.step).ok()?; 3] {
            return None;
        }
        let rows = losses.into_iter().zip(rates).zip(norms).zip(1..);
        let curves = rows
            .map(|(((loss, learning_rate), grad_norm), step)| CurveRow { step, loss, learning_rate, grad_norm })
            .collect();
        Some(Self { options: self.options.clone(), optimizer, state: state.clone(), curves })
    }
}

fn fresh_optimizer(parameters: &[Tensor], options: &DescentOptions) -> Optimizer {
    Optimizer::new(parameters, options.groups.clone(), options.optimizer, options.epsilon)
}

fn diverged(row: &CurveRow, before: Option<&CurveRow>) -> Diag {
    let (what, value) = if row.loss.is_finite() { ("gradient norm", row.grad_norm) } else { ("loss", row.loss) };
    let diag = Diag::error(Class::Stage, format!("training diverged: at step {} the {what} is {value}", row.step));
    match before {
        Some(before) => {
            diag.note(format!("the step before had loss {} and gradient norm {}", before.loss, before.grad_norm))
        }
        None => diag.note("it was the first step: the backbone or the initial values already overflow"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::schedule::ScheduleKind;

    fn options() -> DescentOptions {
        let group = ParamGroup { members: vec![0], weight_decay: 0.0 };
        let schedule = Schedule { kind: ScheduleKind::Linear, rate: 0.1, warmup: 0, total: 4 };
        DescentOptions {
            optimizer: OptimizerKind::AdamW,
            epsilon: None,
            groups: vec![group],
            schedules: vec![schedule],
            max_grad_norm: 0.0,
        }
    }

    fn step(descent: &mut Descent, parameters: &mut [Tensor], gradient: f32) -> CurveRow {
        descent.apply(parameters, &Tensor::from(1f32), vec![Tensor::from_slice(&[gradient])]).unwrap()
    }

    #[test]
    fn reset_optimizer_starts_its_moments_anew_and_keeps_the_schedule() {
        let mut parameters = [Tensor::from_slice(&[1f32])];
        let mut descent = Descent::new(&parameters, options());
        step(&mut descent, &mut parameters, 5.0);
        descent.reset_optimizer(&parameters);
        let before = parameters[0].double_value(&[0]);
        let row = step(&mut descent, &mut parameters, -0.25);
        assert_eq!((row.step, row.learning_rate), (2, 0.1 * 0.75));
        // The first step of fresh moments is as long as the rate, whatever the gradient.
        assert!((parameters[0].double_value(&[0]) - before - 0.075).abs() < 1e-6);
        assert_eq!(descent.state(), &DescentState { step: 2, fresh_at: 1 });

        let restored = |state: &DescentState| {
            let tensors = descent.tensors(&["w"]).into_iter().map(|(name, t)| (name, t.copy())).collect();
            Descent::new(&parameters, options()).restored(&parameters, &["w"], state, &tensors)
        };
        let mut again = restored(descent.state()).unwrap();
        let mut copies = [parameters[0].copy()];
        assert_eq!(step(&mut again, &mut copies, 2.0), step(&mut descent, &mut parameters, 2.0));
        assert_eq!(copies, parameters);
    }

    #[test]
    fn state_that_does_not_fit_its_tensors_is_not_restored() {
        let mut parameters = [Tensor::from_slice(&[1f32])];
        let mut descent = Descent::new(&parameters, options());
        step(&mut descent, &mut parameters, 5.0);
        let tensors = descent.tensors(&["w"]);
        let restored = |state, names: &[&str]| descent.restored(&parameters, names, &state, &tensors).is_some();
        assert!(restored(DescentState { step: 1, fresh_at: 0 }, &["w"]));
        assert!(!restored(DescentState { step: 2, fresh_at: 0 }, &["w"]), "another number of rows");
        assert!(!restored(DescentState { step: 1, fresh_at: 2 }, &["w"]), "fresh after its last step");
        assert!(!restored(DescentState { step: 1, fresh_at: 0 }, &["v"]), "moments of another tensor");
    }

    #[test]
    fn loss_that_is_not_finite_updates_nothing() {
        let mut parameters = [Tensor::from_slice(&[1f32])];
        let mut descent = Descent::new(&parameters, options());
        let error = descent.apply(&mut parameters, &Tensor::from(f32::NAN), vec![Tensor::from_slice(&[1f32])]);
        assert_eq!(error.unwrap_err().message, "training diverged: at step 1 the loss is NaN");
        assert_eq!((parameters[0].double_value(&[0]), descent.state().step), (1.0, 0));
    }
}
