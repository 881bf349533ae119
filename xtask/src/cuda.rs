//! Adds what a GPU needs: torch's CUDA libraries and the NVIDIA wheels that torch's METADATA asks for, laid out as in
//! `site-packages`, because that is where the libraries look for each other. The CPU set stays as it is; `dpt-worker`
//! loads this one at run time.

use std::path::Path;

use crate::wheel::{Unpacked, Wheel};
use crate::{Context, Failed, Result, libtorch, pip};

/// Makes the CUDA set be there.
pub fn ensure(root: &Path) -> Result {
    let home = libtorch::home(root);
    if home.join("current/lib/libtorch_cuda.so").exists() {
        eprintln!("the libtorch in use has its CUDA libraries already");
        return Ok(());
    }
    let name = format!("{}-cuda", libtorch::VERSION);
    let folder = home.join(&name);
    if folder.exists() {
        eprintln!("the CUDA set is in target/libtorch/{name} already");
        return Ok(());
    }
    eprintln!("fetching the CUDA set with pip: about 2.5 GB, once; it takes 3.3 GB in target/libtorch/{name}");
    let wheels = home.join("wheels-cuda");
    pip::download(&wheels, &[&format!("torch=={}", libtorch::VERSION)], false)?;
    let torch = pip::wheel(&wheels, "torch")?;
    let needs = needs(&Wheel::open(&torch)?.requires()?);
    if needs.is_empty() {
        return Err(Failed(format!(
            "`{}` is a CPU-only build: pip's index has no other; set DPT_LIBTORCH_CUDA to the `lib` folder of a CUDA \
             build of torch {}",
            torch.display(),
            libtorch::VERSION
        )));
    }
    pip::download(&wheels, &needs.iter().map(String::as_str).collect::<Vec<_>>(), true)?;
    let beside = home.join(format!(".{name}.part"));
    libtorch::remove(&beside)?;
    eprintln!("unpacking, each file checked against its wheel's RECORD");
    let mut unpacked = Unpacked::default();
    for wheel in pip::wheels(&wheels)? {
        unpacked =
            libtorch::add(unpacked, Wheel::open(&wheel)?.unpack(|name| wanted(name).then(|| beside.join(name)))?);
    }
    std::fs::rename(&beside, &folder).context(|| format!("cannot make `{}`", folder.display()))?;
    libtorch::remove(&wheels)?;
    eprintln!(
        "unpacked {} files, {} MB: the CUDA set is in target/libtorch/{name}",
        unpacked.files,
        unpacked.bytes / 1_000_000
    );
    Ok(())
}

/// Of torch's `Requires-Dist`, NVIDIA's libraries (and neither Triton nor Python bindings), without their markers.
fn needs(requires: &[String]) -> Vec<String> {
    let plain = requires.iter().map(|line| line.split(';').next().unwrap_or(line).trim().to_owned());
    plain.filter(|need| need.starts_with("nvidia-") || need.starts_with("cuda-toolkit")).collect()
}

/// Returns `true` if a file of a wheel is a library that torch loads.
fn wanted(name: &str) -> bool {
    let torch = ["libtorch_cuda", "libc10_cuda", "libcaffe2_nvrtc", "libtorch_nvshmem"];
    match name.strip_prefix("torch/lib/") {
        Some(file) => torch.iter().any(|library| file.starts_with(library)),
        None => name.starts_with("nvidia/") && name.contains("/lib/") && name.contains(".so"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvidia_s_libraries_are_needed_and_nothing_else() {
        let requires = [
            "filelock",
            "cuda-toolkit[cublas,cudart]==13.0.2; platform_system == \"Linux\"",
            "cuda-bindings<14,>=13.0.3; platform_system == \"Linux\"",
            "nvidia-cudnn-cu13==9.19.0.56; platform_system == \"Linux\"",
            "triton==3.6.0; platform_system == \"Linux\"",
        ]
        .map(str::to_owned);
        assert_eq!(needs(&requires), ["cuda-toolkit[cublas,cudart]==13.0.2", "nvidia-cudnn-cu13==9.19.0.56"]);
    }

    #[test]
    fn libraries_are_wanted_where_torch_looks_for_them() {
        for name in
            ["torch/lib/libtorch_cuda.so", "torch/lib/libtorch_cuda_linalg.so", "nvidia/cu13/lib/libcublas.so.13"]
        {
            assert!(wanted(name), "{name}");
        }
        for name in ["torch/lib/libtorch_cpu.so", "torch/cuda.py", "nvidia/cu13/include/x.h", "nvidia/cu13/lib/x.a"] {
            assert!(!wanted(name), "{name}");
        }
    }
}
