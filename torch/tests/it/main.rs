//! The integration tests of all that needs libtorch, one binary, so that it is linked once.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests write and read files of their own"
)]

mod bench;
#[path = "../../../tests/it/elf.rs"]
mod elf;
mod golden;
mod golden_methods;
mod golden_peft;
mod golden_t5;
mod golden_train;
mod linkage;
mod load_memory;
#[path = "../../../tests/it/parity.rs"]
mod parity;
mod peft_python;
mod pretrain_resume;
mod stage_train;
mod stages_chain;
mod stub_method;
mod trainer;
mod worker;
