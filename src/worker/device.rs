//! [`DeviceChoice`]: the device that the user asked for with `--device`. Does not use libtorch: the engine, the command
//! line and the worker all need it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceChoice {
    /// A GPU where there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU, whatever there is. CUDA is not even loaded.
    Cpu,
    /// A GPU, or an error: the one with this number, or any.
    Cuda(Option<usize>),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(None) => f.write_str("cuda"),
            DeviceChoice::Cuda(Some(n)) => write!(f, "cuda:{n}"),
        }
    }
}

/// A text that names no device.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a device: write `auto`, `cpu`, `cuda` or `cuda:N`, such as `cuda:0`")]
pub struct BadDevice(String);

impl FromStr for DeviceChoice {
    type Err = BadDevice;
    fn from_str(text: &str) -> Result<Self, BadDevice> {
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(None)),
            _ => text
                .strip_prefix("cuda:")
                .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|n| n.parse().ok())
                .map(|n| DeviceChoice::Cuda(Some(n)))
                .ok_or_else(|| BadDevice(text.to_owned())),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(wanted: DeviceChoice) -> String {
        wanted.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = BadDevice;
    fn try_from(text: String) -> Result<Self, BadDevice> {
        text.parse()
    }
}

/// Returns whether the machine shows an NVIDIA GPU: a device file of its driver (or of WSL's). Looks at nothing else,
/// so it costs nothing and may be wrong in a container that hides the device.
pub fn gpu_present() -> bool {
    ["/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"].iter().any(|path| Path::new(path).exists())
}

/// Returns the GPUs to make slots for, guessed without CUDA from the driver's device files (so that a run with nothing
/// to do need not load it). `visible`: what `CUDA_VISIBLE_DEVICES` says, which numbers the devices anew.
pub fn gpu_slots(wanted: DeviceChoice, visible: Option<&str>) -> Vec<String> {
    let files = || (0..64).take_while(|n| Path::new(&format!("/dev/nvidia{n}")).exists()).count();
    slots(wanted, visible, files().max(usize::from(gpu_present())))
}

fn slots(wanted: DeviceChoice, visible: Option<&str>, present: usize) -> Vec<String> {
    let count = visible.map_or(present, |list| list.split(',').filter(|id| !id.trim().is_empty()).count().min(present));
    match wanted {
        DeviceChoice::Cpu => vec![],
        DeviceChoice::Cuda(Some(n)) => vec![format!("cuda:{n}")],
        DeviceChoice::Auto => (0..count).map(|n| format!("cuda:{n}")).collect(),
        DeviceChoice::Cuda(None) => (0..count.max(1)).map(|n| format!("cuda:{n}")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_for_each_gpu() {
        assert_eq!(slots(DeviceChoice::Auto, None, 2), ["cuda:0", "cuda:1"]);
        assert_eq!(slots(DeviceChoice::Auto, Some("1"), 2), ["cuda:0"]);
        assert_eq!(slots(DeviceChoice::Auto, Some(""), 2), [""; 0]);
        assert_eq!(slots(DeviceChoice::Cpu, None, 2), [""; 0]);
        assert_eq!(slots(DeviceChoice::Cuda(None), None, 0), ["cuda:0"]);
        assert_eq!(slots(DeviceChoice::Cuda(Some(1)), None, 2), ["cuda:1"]);
    }

    #[test]
    fn read_back_as_printed() {
        for text in ["auto", "cpu", "cuda", "cuda:0", "cuda:13"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_words_are_refused_with_the_right_ones() {
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "CPU"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("`cuda:N`"), "{error}");
        }
    }
}
