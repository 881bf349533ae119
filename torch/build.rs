//! Lets the binaries find libtorch by themselves: a run path to the folder that they were linked against, and to the
//! one beside `target/<profile>`, so that a moved checkout still runs.
#![allow(clippy::disallowed_methods, reason = "a build script has no library to use")]

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=build.rs");
    let Some(libtorch) = std::env::var_os("LIBTORCH") else { return };
    let lib = Path::new(&libtorch).join("lib");
    let lib = lib.canonicalize().unwrap_or(lib);
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../libtorch/current/lib");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
