//! What this machine is, as far as it shapes floating-point results unasked: libraries choose their kernels by the kind
//! of CPU, and other kernels sum in another order. Two machines of one [`cpu_kind`] give the same bits; of two kinds,
//! perhaps not.
#![allow(clippy::disallowed_methods, reason = "files of `/proc` and `/sys` may be missing, which is no error")]

use std::collections::BTreeMap;
use std::path::Path;

/// Variables by which users make libtorch and the libraries below it choose other kernels than the CPU's own.
const CHOOSERS: &[&str] = &[
    "ATEN_CPU_CAPABILITY",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
];

/// The kind of this CPU: maker, family and model (which libraries look at to choose kernels), the widest vectors that
/// it has, and what the environment chooses instead: `AuthenticAMD-25-17 avx512`. Model names and speeds do not matter,
/// and are not in it.
pub fn cpu_kind() -> String {
    let chosen = CHOOSERS.iter().filter_map(|name| {
        let value = crate::base::env::var(name).ok().filter(|value| !value.is_empty())?;
        Some(format!(" {name}={value}"))
    });
    std::iter::once(kind()).chain(chosen).collect()
}

/// What shapes the floating-point results of a stage that runs libtorch here, on a GPU or not, unasked. What a stage
/// records and what a run asks for are both made here, so that they can be equal.
pub fn numerics(gpu: bool, libtorch: &str, threads: usize) -> BTreeMap<String, String> {
    let (device, name, kind) = if gpu { ("cuda", "gpu", gpu_kind()) } else { ("cpu", "cpu", cpu_kind()) };
    let threads = threads.to_string();
    let fields = [("device", device), (name, &kind), ("libtorch", libtorch), ("threads", &threads)];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(target_arch = "x86_64")]
fn kind() -> String {
    use std::arch::x86_64::__cpuid;
    let maker = __cpuid(0);
    let bytes: Vec<u8> = [maker.ebx, maker.edx, maker.ecx].iter().flat_map(|r| r.to_le_bytes()).collect();
    let maker: String = bytes.iter().map(|b| *b as char).filter(char::is_ascii_alphanumeric).collect();
    let signature = __cpuid(1).eax;
    let (family, model) = (signature >> 8 & 0xf, signature >> 4 & 0xf);
    let wide = matches!(family, 6 | 15);
    let family = family + if family == 15 { signature >> 20 & 0xff } else { 0 };
    let model = model | if wide { (signature >> 16 & 0xf) << 4 } else { 0 };
    let fma = is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    let vectors = match fma {
        true if avx512 => "avx512",
        true if is_x86_feature_detected!("avx2") => "avx2",
        _ => "sse",
    };
    format!("{maker}-{family}-{model} {vectors}")
}

#[cfg(not(target_arch = "x86_64"))]
fn kind() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |name| field(&info, name).unwrap_or("unknown");
    format!("{}-{}-{}", std::env::consts::ARCH, of("CPU implementer"), of("CPU part"))
}

/// The CPU's name as its maker gave it, for people; `unknown` where the system does not say.
pub fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&info, "model name").unwrap_or("unknown").to_owned()
}

/// The GPUs' names, each once, sorted: `NVIDIA H200`. Empty where the driver shows none.
pub fn gpu_kind() -> String {
    let cards = std::fs::read_dir(Path::new("/proc/driver/nvidia/gpus")).into_iter().flatten().flatten();
    let name = |card: std::fs::DirEntry| {
        let info = std::fs::read_to_string(card.path().join("information")).ok()?;
        field(&info, "Model").map(str::to_owned)
    };
    let mut names: Vec<String> = cards.filter_map(name).collect();
    names.sort();
    names.dedup();
    names.join(" + ")
}

/// `value` of the first line `name : value`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let of = |line: &'a str| line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
    info.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_one_word_or_two_and_stays_the_same() {
        let kind = kind();
        assert_eq!(kind, super::kind());
        assert!(kind.contains('-') && kind.split(' ').count() <= 2, "{kind}");
        assert!(cpu_kind().starts_with(&kind));
    }

    #[test]
    fn fields_of_what_the_system_says() {
        let info = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel\t\t: 17\n";
        assert_eq!((field(info, "model"), field(info, "model name")), (Some("17"), Some("AMD EPYC")));
        assert_eq!(field(info, "mode"), None);
    }
}
