//! The engine starts without libtorch, which costs a quarter of a second before `main`.

use std::path::Path;

use crate::elf::{needed, torch};

#[test]
fn the_engine_does_not_link_libtorch() {
    let needs = needed(Path::new(env!("CARGO_BIN_EXE_dpt")));
    assert!(needs.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
    assert_eq!(torch(&needs), Vec::<&String>::new());
}
