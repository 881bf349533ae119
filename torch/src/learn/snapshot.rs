//! [`Snapshot`]: everything that a run carries from step to step, as named tensors and a serialisable state.

use std::collections::BTreeMap;

use tch::Tensor;

/// Everything that a run needs to go on. `S` is the part that is not tensors.
pub struct Snapshot<S> {
    /// Tensors by name. They share memory with the run that made them, and change with its next step: write them, or
    /// [`copy`](Snapshot::copy) them, before that.
    pub tensors: BTreeMap<String, Tensor>,
    /// The rest.
    pub state: S,
}

impl<S> Snapshot<S> {
    /// A copy that later steps do not change.
    pub fn copy(&self) -> Self
    where
        S: Clone,
    {
        let tensors = self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect();
        Self { tensors, state: self.state.clone() }
    }

    /// The tensors called `prefix.NAME`, by `NAME`.
    pub fn part(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        let rest = |name: &str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
        self.tensors.iter().filter_map(|(name, tensor)| Some((rest(name)?, tensor.shallow_clone()))).collect()
    }

    /// One snapshot of several runs, for one checkpoint. The names of runs have no `/`.
    ///
    /// # Panics
    /// When the name of a run has a `/`.
    pub fn join(runs: impl IntoIterator<Item = (String, Self)>) -> Snapshot<BTreeMap<String, S>> {
        let mut joined = Snapshot { tensors: BTreeMap::new(), state: BTreeMap::new() };
        for (run, snapshot) in runs {
            assert!(!run.contains('/'), "`{run}` names a run");
            let named = snapshot.tensors.into_iter().map(|(name, tensor)| (format!("{run}/{name}"), tensor));
            joined.tensors.extend(named);
            joined.state.insert(run, snapshot.state);
        }
        joined
    }
}

impl<S> Snapshot<BTreeMap<String, S>> {
    /// The snapshots that [`join`](Snapshot::join) put together, by the names of their runs. Tensors of no run are left
    /// out.
    pub fn split(self) -> BTreeMap<String, Snapshot<S>> {
        let empty = |state| Snapshot { tensors: BTreeMap::new(), state };
        let mut runs: BTreeMap<_, _> = self.state.into_iter().map(|(run, state)| (run, empty(state))).collect();
        for (name, tensor) in self.tensors {
            if let Some((snapshot, name)) =
                name.split_once('/').and_then(|(run, name)| Some((runs.get_mut(run)?, name)))
            {
                snapshot.tensors.insert(name.to_owned(), tensor);
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(value: f32) -> Snapshot<u64> {
        let tensors = [("adapter.a".to_owned(), Tensor::from_slice(&[value])), ("b".to_owned(), Tensor::from(1i64))];
        Snapshot { tensors: tensors.into(), state: value as u64 }
    }

    #[test]
    fn joined_snapshots_come_apart_again() {
        let joined = Snapshot::join([("x".to_owned(), snapshot(3.0)), ("y".to_owned(), snapshot(4.0))]);
        assert_eq!(joined.tensors.keys().collect::<Vec<_>>(), ["x/adapter.a", "x/b", "y/adapter.a", "y/b"]);
        for (run, value) in joined.split().into_values().zip([3.0, 4.0]) {
            assert_eq!((&run.tensors, run.state), (&snapshot(value).tensors, value as u64));
        }
    }

    #[test]
    fn part_has_the_names_behind_its_prefix() {
        let part = snapshot(3.0).part("adapter");
        assert_eq!(part, BTreeMap::from([("a".to_owned(), Tensor::from_slice(&[3f32]))]));
    }

    #[test]
    fn copy_keeps_its_values_when_the_original_changes() {
        let mut original = snapshot(3.0);
        let copy = original.copy();
        let _ = original.tensors.get_mut("adapter.a").unwrap().fill_(9.0);
        assert_eq!((copy.tensors, copy.state), (snapshot(3.0).tensors, 3));
    }
}
