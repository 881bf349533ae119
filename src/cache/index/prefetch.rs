//! [`Prefetch`]: checks the stat signatures of many objects, each once. Several threads may work on it together, and
//! one may begin before it is known which answers a run needs, so that the checks go on while the plan is still being
//! made.
//!
//! It knows the index as it was read, and nothing that changed since.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::file::IndexFile;
use crate::cache::object_dir::ObjectDir;

/// How many objects a thread takes at a time.
const BATCH: usize = 64;

const SAME: u8 = 1;
const CHANGED: u8 = 2;

/// A list of objects to check, and the answers so far.
#[derive(Debug)]
pub struct Prefetch {
    file: Arc<IndexFile>,
    folder: Arc<ObjectDir>,
    /// The rows of the objects to check.
    list: Vec<u32>,
    /// The place in the list that is checked next.
    next: AtomicUsize,
    /// The answer for each object of the file: not yet known (0), [`SAME`] or [`CHANGED`].
    answers: Vec<AtomicU8>,
}

impl Prefetch {
    /// Lists the objects of the results with these rows.
    pub fn of_results(file: Arc<IndexFile>, folder: Arc<ObjectDir>, results: impl Iterator<Item = u32>) -> Self {
        let mut listed = vec![false; file.objects()];
        let mut list = Vec::new();
        for result in results {
            let objects = file.objects_of(result);
            list.extend(objects.filter(|object| !std::mem::replace(&mut listed[*object as usize], true)));
        }
        let answers = listed.iter().map(|_| AtomicU8::new(0)).collect();
        Self { file, folder, list, next: AtomicUsize::new(0), answers }
    }

    /// The number of objects to check.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns `true` if the rows of this prefetch are those of `file`.
    pub fn is_of(&self, file: &Arc<IndexFile>) -> bool {
        Arc::ptr_eq(&self.file, file)
    }

    /// Checks objects, together with whoever else does, until none is left to take.
    pub fn work(&self) {
        while let begin = self.next.fetch_add(BATCH, Ordering::Relaxed)
            && let Some(batch) = self.list.get(begin..self.list.len().min(begin + BATCH))
            && !batch.is_empty()
        {
            for object in batch {
                self.is_same(*object);
            }
        }
    }

    /// Returns `true` if an object has the signature that it had when its bytes were last known to be right.
    fn is_same(&self, object: u32) -> bool {
        let answer = &self.answers[object as usize];
        match answer.load(Ordering::Relaxed) {
            SAME => true,
            CHANGED => false,
            // Another thread may be asking at this moment. Asking twice is quicker than waiting.
            _ => {
                let known = self.file.object_memo(object).map(|memo| memo.signature);
                let same = known.is_some() && known == self.folder.signature(&self.file.object(object));
                answer.store(if same { SAME } else { CHANGED }, Ordering::Relaxed);
                same
            }
        }
    }

    /// Returns `true` if all files of the result with row `result` are the same.
    pub fn is_whole(&self, result: u32) -> bool {
        self.file.objects_of(result).all(|object| self.is_same(object))
    }
}
