//! L2: getting files from elsewhere: over HTTP(S), from local folders, out of archives; always with their sizes and
//! digests. Knows no stage, no store and no terminal. Callers pass the target paths and a [`Watch`].
//!
//! | file      | does                                                                                        |
//! |-----------|---------------------------------------------------------------------------------------------|
//! | `source`  | a pipeline's `[source.NAME]` table, and which place stands for it in this run                |
//! | `http`    | one file over HTTP(S): resumed, retried, checked                                            |
//! | `local`   | one file of this machine: copied or read, checked                                           |
//! | `archive` | members of `.zip`, `.tar`, `.tar.gz` and `.gz` files, kept inside their folder and in bounds |
//! | `hash`    | SHA-256 (what hubs publish) and blake3 (what the store uses) in one pass                     |
//! | `record`  | what was read, for provenance and pins                                                       |

pub mod archive;
pub mod hash;
pub mod http;
pub mod local;
pub mod record;
pub mod source;

use crate::base::diag::Diag;

/// The listener to progress, which can also cancel the work.
pub trait Watch {
    /// `done` of `total` bytes of `what` (`downloading BoolQ.zip`) are through.
    fn progress(&self, what: &str, done: u64, total: Option<u64>);
    /// A line that the user should see now.
    fn note(&self, text: &str);
    /// Asked between chunks.
    ///
    /// # Errors
    /// When the work should end; passed on as it is.
    fn check(&self) -> Result<(), Diag>;
}

/// Bytes in the unit that reads best: `512 bytes`, `4.1 MB` (powers of ten, as hubs show them).
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} byte{}", if bytes == 1 { "" } else { "s" });
    }
    let mut value = bytes as f64 / 1e3;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Tells nobody, never ends.
    pub(crate) struct Nobody;

    impl Watch for Nobody {
        fn progress(&self, _: &str, _: u64, _: Option<u64>) {}
        fn note(&self, _: &str) {}
        fn check(&self) -> Result<(), Diag> {
            Ok(())
        }
    }

    #[test]
    fn sizes_read_well() {
        let cases = [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (4_118_001, "4.1 MB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(999_999), "1.0 MB");
        assert_eq!(size(891_646_390), "891.6 MB");
        assert_eq!(size(u64::MAX), "18446744.1 TB");
    }
}
