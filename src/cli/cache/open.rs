//! Opens the store of a `dpt cache` command, and counts entries for a person.

use std::path::Path;

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cache::store::LAYOUT;
use crate::cli::common::{StoreArgs, shown};

/// Opens the store for the current directory. Fails if there is none.
pub(super) fn open(args: &StoreArgs) -> Result<Store, Vec<Diag>> {
    let folder = args.folder(Path::new("."));
    if !folder.join(LAYOUT).is_dir() {
        let diag = Diag::error(Class::Usage, format!("there is no store in `{}`", shown(&folder)));
        return Err(vec![diag.help("name another folder with `--cache DIR`; `dpt run` creates the store")]);
    }
    args.open(Path::new("."))
}

/// `1 entry`, `3 entries`.
pub(super) fn entry_count(n: usize) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") }
}
