//! The engine must not link libtorch, which costs a quarter of a second before `main`.

use std::path::Path;

use dpt::testing::MARK;

use crate::elf::{needed, torch};

#[test]
fn engine_does_not_link_libtorch() {
    let needs = needed(Path::new(env!("CARGO_BIN_EXE_dpt")));
    assert!(needs.iter().any(|name| name.starts_with("libc.so")), "{needs:?}");
    assert_eq!(torch(&needs), Vec::<&String>::new());
}

#[test]
fn program_has_no_code_of_the_tests() {
    let has = |path: &Path| std::fs::read(path).unwrap().windows(MARK.len()).any(|part| part == MARK.as_bytes());
    assert!(!has(Path::new(env!("CARGO_BIN_EXE_dpt"))));
    assert!(has(&std::env::current_exe().unwrap()), "the mark is in the program of the tests");
}
