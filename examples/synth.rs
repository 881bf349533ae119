//! Shows the synthetic language: `cargo run --example synth` prints a row of each task, `cargo run --example synth -- rte 5`
//! five rows of one. The files under `examples/data` are made by stage `generate`, see `pipelines/tiny_t5.toml`.
#![allow(clippy::print_stdout, reason = "an example prints its rows")]

use dpt::data::synth::{self, Split};

fn main() {
    let mut args = std::env::args().skip(1);
    let wanted = args.next();
    let rows = args.next().map_or(1, |n| n.parse().expect("a number of rows"));
    for task in synth::TASKS.iter().filter(|task| wanted.as_deref().is_none_or(|name| name == task.name)) {
        for row in synth::generate(task, Split::Train, rows, 0) {
            println!("{} {row}", task.name);
        }
    }
}
