//! A checkpoint is read and copied tensor by tensor, and never twice in memory: measured as the kernel counts, in a process of its
//! own.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use dpt_torch::model::config::T5Config;
use dpt_torch::model::t5::T5;
use tch::{Device, Kind, Tensor};

const FOLDER: &str = "DPT_TEST_LOAD_FOLDER";

/// 400 MB in float32.
fn config() -> T5Config {
    T5Config {
        d_model: 1024,
        d_kv: 64,
        d_ff: 4096,
        num_layers: 3,
        num_heads: 16,
        vocab_size: 8192,
        ..T5Config::default()
    }
}

/// A file of zeros with the header of a checkpoint: the zeros are a hole, which takes no disk.
fn write_checkpoint(path: &Path, config: &T5Config, dtype: &str, width: i64) {
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for spec in config.tensors() {
        let end = at + spec.shape.iter().product::<i64>() * width;
        let entry = serde_json::json!({"dtype": dtype, "shape": spec.shape, "data_offsets": [at, end]});
        header.insert(spec.name, entry);
        at = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + at as u64).unwrap();
}

/// A line of `/proc/self/status`, in bytes.
fn of_this_process(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
}

/// The other process: loads what the variable names and prints by how much its memory grew at most.
#[test]
#[ignore = "started by the test below"]
fn load_and_print_the_peak() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let files = crate::golden::checkpoint(Path::new(&folder));
    tch::set_num_threads(1);
    let ones = Tensor::ones([256, 256], (Kind::BFloat16, Device::Cpu));
    assert_eq!(
        Tensor::cat(&[&ones, &ones], 0).to_kind(Kind::Float).matmul(&ones.to_kind(Kind::Float)).size(),
        [512, 256]
    );
    let before = of_this_process("VmRSS:");
    let model = T5::load(&files, Device::Cpu, Kind::Float).unwrap();
    println!("grew by {}", of_this_process("VmHWM:").saturating_sub(before));
    assert!(model.tensors().len() > 10);
}

#[test]
fn a_checkpoint_is_never_twice_in_memory() {
    if !Path::new("/proc/self/status").exists() {
        println!("skipped: this system does not tell the memory of a process");
        return;
    }
    let config = config();
    let loaded = config.parameters() as u64 * 4;
    assert!(loaded > 380_000_000, "{loaded}");
    for (dtype, width) in [("F32", 4), ("BF16", 2)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config.to_json()).unwrap();
        write_checkpoint(&folder.path().join("model.safetensors"), &config, dtype, width);
        let ran = Command::new(std::env::current_exe().unwrap())
            .args(["load_memory::load_and_print_the_peak", "--exact", "--include-ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
        let grew = said.lines().find_map(|line| line.rsplit_once("grew by ")).expect("it says so").1;
        let grew: u64 = grew.trim().parse().unwrap();
        let share = grew as f64 / loaded as f64;
        println!("{dtype}: grew by {grew} bytes at most, {share:.3} of its {loaded} bytes in float32");
        assert!((1.0..1.3).contains(&share), "{dtype}: {share:.3} times the tensors' own size");
    }
}
