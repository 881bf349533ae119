//! The engine must not link libtorch, which costs a quarter of a second before `main`.

use std::path::Path;

use crate::elf::{needed, torch};

#[test]
fn engine_does_not_link_libtorch() {
    let needs = needed(Path::new(env!("CARGO_BIN_EXE_dpt")));
    assert!(needs.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
    assert_eq!(torch(&needs), Vec::<&String>::new());
}
