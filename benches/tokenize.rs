//! How fast text becomes ids: `cargo bench --bench tokenize -- FOLDER`, where `FOLDER` holds a `spiece.model` or a
//! `tokenizer.json` (a T5 checkpoint will do). Prints examples and ids a second, by number of threads.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark prints its figures"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dpt::data::tokenizer::Tokenizer;
use rayon::prelude::*;

/// As long as BoolQ's passages are on average.
const WORDS: usize = 110;
const EXAMPLES: usize = 2000;

fn main() {
    let Some(folder) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) else {
        println!("skipped: name a folder with a `spiece.model` or a `tokenizer.json`");
        return;
    };
    let files: BTreeMap<String, PathBuf> = ["spiece.model", "tokenizer.json"]
        .into_iter()
        .map(|name| (name.to_owned(), Path::new(&folder).join(name)))
        .filter(|(_, path)| path.is_file())
        .collect();
    let start = Instant::now();
    let tokenizer = match Tokenizer::load(&files) {
        Ok(tokenizer) => tokenizer,
        Err(e) => return println!("{e}"),
    };
    println!("loaded in {:.0} ms", 1e3 * start.elapsed().as_secs_f64());

    let texts: Vec<String> = (0..EXAMPLES).map(text).collect();
    for threads in [1, std::thread::available_parallelism().map_or(1, usize::from)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
        let start = Instant::now();
        let ids: usize = pool.install(|| texts.par_iter().map(|text| tokenizer.encode(text).len()).sum());
        let seconds = start.elapsed().as_secs_f64();
        println!("{threads} threads: {:.0} examples/s, {:.0} ids/s", EXAMPLES as f64 / seconds, ids as f64 / seconds);
    }
}

/// Words that differ from example to example, so that a cache of whole words does not answer for all.
fn text(i: usize) -> String {
    const STEMS: [&str; 8] = ["animation", "screen", "located", "energy", "anime", "question", "the", "of"];
    let word = |j: usize| format!("{}{}", STEMS[(i + j * 7) % 8], (i * WORDS + j) % 997);
    (0..WORDS).map(word).collect::<Vec<_>>().join(" ")
}
