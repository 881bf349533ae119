//! Parses times and sizes such as `30d` and `20GiB`, and formats ages such as `3 days`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cli::render;

const TIMES: &[(&str, u64)] = &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let factor = units.iter().find(|(unit, _)| *unit == text[at..].trim_start())?.1;
    let value: f64 = text[..at].parse().ok()?;
    let product = value * factor as f64;
    (product.is_finite() && product < u64::MAX as f64).then_some(product as u64)
}

/// Parses a time such as `30d`.
pub fn time(text: &str) -> Result<Duration, String> {
    let seconds =
        number(text, TIMES).ok_or("expected a number with the unit `s`, `m`, `h`, `d` or `w`, such as `30d`")?;
    Ok(Duration::from_secs(seconds))
}

/// Parses a size such as `20GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    number(text, SIZES).ok_or_else(|| {
        "expected a number with a unit such as `MB`, `GB`, `MiB` or `GiB`, for example `20GiB`".to_owned()
    })
}

/// Returns the time since `at`, in seconds since 1970. Returns zero if it is in the future.
pub fn since(at: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(at))
}

/// Formats an age: `45 s`, `2h 03m`, `3 days`.
pub fn age(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds @ 60..172_800 => render::duration(Duration::from_secs(seconds)),
        seconds => render::count((seconds / 86_400) as usize, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_parsed() {
        assert_eq!(time("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(time("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!([size("20GiB"), size("1 kB"), size("0B")], [Ok(20 << 30), Ok(1000), Ok(0)]);
        for bad in ["", "30", "d", "-1d", "1.2.3h", "9e9h", "3 fortnights", "99999999999999999999w", "é"] {
            assert!(time(bad).is_err(), "{bad}");
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn future_time_has_age_zero() {
        assert_eq!(since(u64::MAX), Duration::ZERO);
        assert_eq!(age(since(u64::MAX)), "1 s");
        assert_eq!(age(Duration::from_secs(259_200)), "3 days");
    }
}
