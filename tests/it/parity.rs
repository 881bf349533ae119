//! Comparisons with other programs. Each one is checked and recorded in cargo's target folder, from which
//! `cargo xtask parity` makes the table of `docs/parity.md`. Used by the tests of both crates.
//!
//! ```ignore
//! let mut parity = Parity::new("T5", "forward");
//! parity.within("logits", "Hugging Face", 1e-4, difference, "which case, for the message");
//! parity.same("greedy ids", "Hugging Face", &ours, &theirs, "which case");
//! ```

use std::fmt::{Debug, Display};
use std::path::Path;

use serde_json::json;

/// The comparisons of one test. Dropping it writes them, unless the test has failed.
pub struct Parity {
    part: &'static str,
    test: &'static str,
    rows: Vec<Row>,
}

/// One row of the table.
struct Row {
    what: String,
    against: String,
    cases: u64,
    largest: f64,
    /// The largest tolerance of its cases; `None` if they must be equal.
    tolerance: Option<f64>,
}

impl Parity {
    /// Starts the comparisons of one `test` (a unique name of letters and `_`), under the heading `part`.
    pub fn new(part: &'static str, test: &'static str) -> Self {
        Self { part, test, rows: Vec::new() }
    }

    /// Checks that one case of `what` differs by at most `tolerance` from `against`. A failure names `case`.
    pub fn within(&mut self, what: &str, against: &str, tolerance: f64, difference: f64, case: impl Display) {
        assert!(
            difference <= tolerance,
            "{what}, {case}: differs by {difference:e} from {against}, allowed are {tolerance:e}"
        );
        self.count(what, against, Some(tolerance), difference);
    }

    /// Checks that one case of `what` is equal to the last bit.
    pub fn same<T: PartialEq + Debug + ?Sized>(
        &mut self,
        what: &str,
        against: &str,
        ours: &T,
        theirs: &T,
        case: impl Display,
    ) {
        assert!(ours == theirs, "{what}, {case}: not as {against} has it\n  ours: {ours:?}\ntheirs: {theirs:?}");
        self.count(what, against, None, 0.0);
    }

    fn count(&mut self, what: &str, against: &str, tolerance: Option<f64>, difference: f64) {
        let same = |row: &&mut Row| {
            row.what == what && row.against == against && row.tolerance.is_none() == tolerance.is_none()
        };
        match self.rows.iter_mut().find(same) {
            Some(row) => {
                row.cases += 1;
                row.largest = row.largest.max(difference);
                row.tolerance = row.tolerance.into_iter().chain(tolerance).reduce(f64::max);
            }
            None => {
                let (what, against) = (what.to_owned(), against.to_owned());
                self.rows.push(Row { what, against, cases: 1, largest: difference, tolerance });
            }
        }
    }
}

impl Drop for Parity {
    fn drop(&mut self) {
        if std::thread::panicking() || self.rows.is_empty() {
            return;
        }
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "what": row.what,
                    "against": row.against,
                    "cases": row.cases,
                    "largest": row.largest,
                    "tolerance": row.tolerance,
                })
            })
            .collect();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parity");
        let text = format!("{:#}\n", json!({ "part": self.part, "rows": rows }));
        dpt::base::fs::write_atomic(&folder.join(format!("{}.json", self.test)), text.as_bytes()).unwrap();
    }
}
