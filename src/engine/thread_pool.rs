//! [`ThreadPool`]: the threads on which nodes run, one for each node that runs at the same time. A thread is kept for
//! later nodes.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Scope;

/// The work of a thread.
pub type Task<'a> = Box<dyn FnOnce() + Send + 'a>;

/// As many threads as were ever busy at once. They end when the pool is dropped and their tasks are done.
#[derive(Default)]
pub struct ThreadPool<'a> {
    threads: usize,
    tasks: Option<(mpsc::Sender<Task<'a>>, Arc<Mutex<mpsc::Receiver<Task<'a>>>>)>,
}

impl<'a> ThreadPool<'a> {
    /// Runs `task` on a thread of the pool. `busy` is the number of tasks that run now, including this one.
    pub fn give<'s>(&mut self, task: Task<'a>, busy: usize, scope: &'s Scope<'s, 'a>)
    where
        'a: 's,
    {
        let (sender, receiver) = self.tasks.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel();
            (sender, Arc::new(Mutex::new(receiver)))
        });
        while self.threads < busy {
            let receiver = receiver.clone();
            scope.spawn(move || {
                // One thread waits for a task with the lock; the others wait for the lock.
                let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(task) = next() {
                    task();
                }
            });
            self.threads += 1;
        }
        sender.send(task).expect("the receiver is held here");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn thread_pool_has_one_thread_for_each_concurrent_task() {
        let threads = Mutex::new(HashSet::new());
        let done = Mutex::new(0);
        let meet = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            let mut hands = ThreadPool::default();
            let task = || {
                threads.lock().unwrap().insert(std::thread::current().id());
                *done.lock().unwrap() += 1;
            };
            let (sender, ended) = mpsc::channel();
            for _ in 0..10 {
                let sender = sender.clone();
                let told = move || {
                    task();
                    sender.send(()).unwrap();
                };
                hands.give(Box::new(told), 1, scope);
                ended.recv().unwrap();
            }
            // All of them at once: each waits for the others.
            for busy in 1..=3 {
                let meet = &meet;
                let met = move || {
                    meet.wait();
                    task();
                };
                hands.give(Box::new(met), busy, scope);
            }
        });
        assert_eq!(*done.lock().unwrap(), 13);
        assert!((3..=4).contains(&threads.lock().unwrap().len()));
    }
}
