//! `cargo bench --bench hash [-- MIB]`: how fast files and recipes are hashed. Prints rates; asserts nothing.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark prints its figures"
)]

use std::hint::black_box;
use std::time::Instant;

use dpt::artifact::tensors::{self, Dtype, Tensor};
use dpt::artifact::{byte_digest, logical_digest};
use dpt::base::digest::Digest;
use dpt::base::value::Value;
use dpt::cache::recipe::{FieldContent, FieldName, Recipe};

fn main() {
    let mib: usize = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(256);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.safetensors");
    let bytes = vec![7u8; 1 << 20];
    let names: Vec<_> = (0..mib).map(|i| format!("layer.{i}")).collect();
    let tensors: Vec<_> =
        names.iter().map(|name| Tensor { name, dtype: Dtype::U8, shape: &[1 << 20], bytes: &bytes }).collect();
    tensors::write(&path, &tensors).expect("room for the file");

    let rate = |what: &str, work: &dyn Fn() -> Digest| {
        black_box(work());
        let started = Instant::now();
        black_box(work());
        let seconds = started.elapsed().as_secs_f64();
        println!("{what:<32} {mib} MiB in {seconds:.3} s: {:.2} GiB/s", mib as f64 / 1024.0 / seconds);
    };
    rate("bytes, all cores", &|| byte_digest(&path).expect("the file was written"));
    rate("safetensors, logical, all cores", &|| logical_digest("x.safetensors", &path).expect("the file was written"));

    let count = 10_000;
    let started = Instant::now();
    for i in 0..count {
        black_box(recipe(i).key());
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{:<32} {count} in {seconds:.3} s: {:.2} µs each", "recipes of 30 fields", seconds / count as f64 * 1e6);
}

/// About what a `train` node has.
fn recipe(seed: i64) -> Recipe {
    let mut recipe =
        Recipe::new("train", 1).with(FieldName::Param("seed".into()), FieldContent::Value(Value::Int(seed)));
    for i in 0..20 {
        recipe.push(FieldName::Param(format!("parameter_{i}")), FieldContent::Value(Value::Float(0.3)));
    }
    for i in 0..6 {
        let name = FieldName::Input { role: "data".into(), at: String::new(), file: format!("file-{i}.parquet") };
        recipe.push(name, FieldContent::Digest(Digest::of(&[i])));
    }
    recipe
}
