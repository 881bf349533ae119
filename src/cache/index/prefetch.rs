//! [`Prefetch`]: asks the system, for all objects of a pipeline's last results, whether they are as they were, each once. Several
//! threads may ask together, and a thread may begin before it is known which of the answers will be needed: so the asking
//! goes on while a plan is still being made.
//!
//! Knows what was read of the index, and nothing that changed since.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::file::{IndexFile, NONE};
use crate::cache::object_dir::ObjectDir;

/// How many objects a thread takes at a time.
const TAKEN: usize = 64;

const SAME: u8 = 1;
const CHANGED: u8 = 2;

/// The questions, and their answers so far.
#[derive(Debug)]
pub struct Prefetch {
    packed: Arc<IndexFile>,
    folder: Arc<ObjectDir>,
    /// The objects to be asked for.
    list: Vec<u32>,
    /// Which of these comes next.
    next: AtomicUsize,
    /// By object.
    answers: Vec<AtomicU8>,
}

impl Prefetch {
    /// Of the objects of these results.
    pub fn of(packed: Arc<IndexFile>, folder: Arc<ObjectDir>, results: impl Iterator<Item = u32>) -> Self {
        let mut listed = vec![false; packed.objects() as usize];
        let mut list = Vec::new();
        for result in results.filter(|result| *result != NONE) {
            let objects = packed.outputs(result).map(|output| packed.output_object(output));
            list.extend(objects.filter(|object| !std::mem::replace(&mut listed[*object as usize], true)));
        }
        let answers = listed.iter().map(|_| AtomicU8::new(0)).collect();
        Self { packed, folder, list, next: AtomicUsize::new(0), answers }
    }

    /// Of the last results of the nodes in these rows.
    pub fn of_nodes(packed: Arc<IndexFile>, folder: Arc<ObjectDir>, nodes: Range<u32>) -> Self {
        let rows = packed.clone();
        Self::of(packed, folder, nodes.map(|node| rows.node_result(node)))
    }

    /// How many objects are to be asked for.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether it is about this.
    pub fn is_of(&self, packed: &Arc<IndexFile>) -> bool {
        Arc::ptr_eq(&self.packed, packed)
    }

    /// Asks, together with whoever else does, until nothing is left to be asked for.
    pub fn work(&self) {
        while let begin = self.next.fetch_add(TAKEN, Ordering::Relaxed)
            && let Some(list) = self.list.get(begin..self.list.len().min(begin + TAKEN))
            && !list.is_empty()
        {
            for object in list {
                self.same(*object);
            }
        }
    }

    /// Whether an object is as it was when its bytes were last known to be right.
    fn same(&self, object: u32) -> bool {
        let answer = &self.answers[object as usize];
        match answer.load(Ordering::Relaxed) {
            SAME => true,
            CHANGED => false,
            // Perhaps somebody asks just now: to ask too is quicker than to wait.
            _ => {
                let known = self.packed.seen(object).map(|seen| seen.signature);
                let same = known.is_some() && known == self.folder.signature(&self.packed.object(object));
                answer.store(if same { SAME } else { CHANGED }, Ordering::Relaxed);
                same
            }
        }
    }

    /// Whether all files of a result are.
    pub fn whole(&self, result: u32) -> bool {
        self.packed.outputs(result).all(|output| self.same(self.packed.output_object(output)))
    }
}
