//! The worker links the CPU part of libtorch alone: CUDA is loaded at run time, where there is one.

use std::path::Path;

use crate::elf::{needed, torch};

#[test]
fn the_worker_links_the_cpu_part_alone() {
    let needs = needed(Path::new(env!("CARGO_BIN_EXE_dpt-worker")));
    assert_eq!(torch(&needs), ["libtorch_cpu.so", "libc10.so"]);
}
