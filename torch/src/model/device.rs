//! The settings of libtorch that affect numbers: device, threads, seed, determinism. No other file sets them.

use std::collections::BTreeMap;
use std::ffi::c_void;

use tch::{Cuda, Device, Kind};

use crate::base::diag::{Class, Diag};
use crate::base::machine;

use super::Dtype;

/// The device called `name`: `cpu`, `cuda` (the first) or `cuda:N`.
///
/// # Errors
/// A name of another form; a CUDA device that libtorch does not see.
pub fn parse(name: &str) -> Result<Device, Diag> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let index = match name.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse::<usize>().ok()),
        None => None,
    };
    let Some(index) = index else {
        return Err(Diag::error(Class::Usage, format!("`{name}` is not a device"))
            .help("write `cpu`, `cuda` or `cuda:N`, such as `cuda:1`"));
    };
    let count = if Cuda::is_available() { Cuda::device_count() } else { 0 };
    if (index as i64) < count {
        return Ok(Device::Cuda(index));
    }
    let note = match count {
        0 if !tch::utils::has_cuda() => "libtorch's CUDA part is not loaded".to_owned(),
        0 => "libtorch sees no CUDA device".to_owned(),
        n => format!("libtorch sees {n} CUDA devices, numbered from 0"),
    };
    Err(Diag::error(Class::Environment, format!("there is no device `{name}`"))
        .note(note)
        .help("pass `--device cpu` for this run"))
}

/// The libtorch dtype of `dtype`.
pub fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::BFloat16 => Kind::BFloat16,
        Dtype::Float16 => Kind::Half,
    }
}

/// Sets how many threads one operation may use, for the whole process.
pub fn set_threads(threads: usize) {
    let threads = threads.max(1) as i32;
    if tch::get_num_threads() != threads {
        tch::set_num_threads(threads);
    }
}

/// The version of the libtorch that this process runs with, as `major.minor.patch`, from libtorch itself: a path or a
/// link may name another. Returns `None` if it is too old to say.
pub fn running_libtorch() -> Option<String> {
    // SAFETY: the name is a valid C string, and the default scope has libtorch, which is linked.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"aoti_torch_abi_version".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: `uint64_t aoti_torch_abi_version()` is part of libtorch's stable C interface.
    let version: extern "C" fn() -> u64 = unsafe { std::mem::transmute(symbol) };
    Some(version_of(version()))
}

/// `TORCH_ABI_VERSION` holds major, minor and patch in its highest three bytes.
fn version_of(abi: u64) -> String {
    let [major, minor, patch, ..] = abi.to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

unsafe extern "C" {
    // `at::globalContext()` and `at::Context::setDeterministicAlgorithms(bool, bool)`: tch has no call for them. Both
    // are exported by libtorch_cpu, which is pinned, and take plain pointers and bools by the C++ ABI of Linux and
    // macOS.
    #[link_name = "_ZN2at13globalContextEv"]
    fn at_global_context() -> *mut c_void;
    #[link_name = "_ZN2at7Context26setDeterministicAlgorithmsEbb"]
    fn at_set_deterministic_algorithms(context: *mut c_void, on: bool, warn_only: bool);
}

/// Makes libtorch use deterministic algorithms, for the whole process, and refuse operations that have none. CUDA's
/// matrix products are deterministic only with `CUBLAS_WORKSPACE_CONFIG=:4096:8` in the environment, set before CUDA
/// starts: the parent of the process does that.
pub fn deterministic() {
    // SAFETY: the signatures are those of libtorch 2.11's `ATen/Context.h`; the context lives as long as the process.
    unsafe { at_set_deterministic_algorithms(at_global_context(), true, false) }
}

/// Seeds libtorch's global generators, on the CPU and on every CUDA device. Only dropout and the noise of prompt
/// methods draw from them: initial values and data order have their own generators.
pub fn seed(seed: u64) {
    tch::manual_seed(seed as i64);
}

/// The implicit inputs of floating-point results, such as libtorch's version and the kind of device, to be recorded
/// with them.
pub fn numerics(device: Device) -> BTreeMap<String, String> {
    let threads = tch::get_num_threads().max(1) as usize;
    let libtorch = running_libtorch().unwrap_or_else(|| "unknown".to_owned());
    machine::numerics(matches!(device, Device::Cuda(_)), &libtorch, threads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::LIBTORCH;

    #[test]
    fn names_of_devices() {
        assert_eq!(parse("cpu").unwrap(), Device::Cpu);
        assert_eq!(parse("gpu").unwrap_err().message, "`gpu` is not a device");
        assert_eq!(parse("cuda:x").unwrap_err().class, Class::Usage);
        if !Cuda::is_available() {
            let error = parse("cuda:0").unwrap_err();
            assert_eq!((error.class, error.message.as_str()), (Class::Environment, "there is no device `cuda:0`"));
        }
    }

    #[test]
    fn running_libtorch_says_its_version() {
        assert_eq!(running_libtorch().as_deref(), Some(LIBTORCH));
        assert_eq!(numerics(Device::Cpu)["libtorch"], LIBTORCH);
        assert_eq!(version_of(0x020c_0100_0000_0007), "2.12.1");
    }

    #[test]
    fn deterministic_mode_can_be_asked_for() {
        deterministic();
        seed(3);
        let draw = || tch::Tensor::rand([4], tch::kind::FLOAT_CPU);
        let first = draw();
        seed(3);
        assert_eq!(first, draw());
    }
}
