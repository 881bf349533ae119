//! Reads the libraries that an ELF file needs. Used by the tests of both crates.

use std::fs;
use std::path::Path;

/// The names that a 64-bit ELF file needs (its `DT_NEEDED` entries), read from its dynamic section.
pub fn needed(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let number = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0usize, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(&bytes[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
    let (table, size, count) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    const DYNAMIC: usize = 6;
    let section = |i: usize| table + i * size;
    let dynamic = (0..count).map(section).find(|at| number(at + 4, 4) == DYNAMIC).expect("a dynamic section");
    let strings = number(section(number(dynamic + 0x28, 4)) + 0x18, 8);
    let (start, length) = (number(dynamic + 0x18, 8), number(dynamic + 0x20, 8));
    const NEEDED: usize = 1;
    (start..start + length)
        .step_by(16)
        .filter(|at| number(*at, 8) == NEEDED)
        .map(|at| {
            let name = &bytes[strings + number(at + 8, 8)..];
            String::from_utf8_lossy(&name[..name.iter().position(|b| *b == 0).unwrap()]).into_owned()
        })
        .collect()
}

/// Returns the names of libtorch's and CUDA's libraries.
pub fn torch(needs: &[String]) -> Vec<&String> {
    needs.iter().filter(|name| name.contains("torch") || name.contains("c10") || name.contains("cuda")).collect()
}
