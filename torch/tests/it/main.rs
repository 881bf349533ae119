//! The integration tests of all that needs libtorch, one binary, so that it is linked once.

#[path = "../../../tests/it/elf.rs"]
mod elf;
mod golden;
mod golden_t5;
mod golden_train;
mod linkage;
mod stage_train;
mod stages_chain;
mod worker;
