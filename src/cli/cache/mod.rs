//! `dpt cache`: looks into the store, clears it up, carries results away and takes them in.

mod du;
mod export;
mod gc;
mod import;
mod ls;
mod pick;
mod roots;
mod show;
mod units;

use std::path::Path;

use clap::Subcommand;

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::cache::store::LAYOUT;
use crate::cli::CommandResult;
use crate::cli::common::{StoreArgs, shown};

/// For the end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt cache ls 'train[rte]' --sort size
  dpt cache show 'train[rte,dpt,42]'
      recipe, files, figures
  dpt cache gc
      what could go, and why the rest stays; `--yes` removes it
  dpt cache gc --keep-pipeline pipelines/*.toml --max-size 20GiB
  dpt cache export results.tar --pipeline pipelines/quickstart.toml
  dpt cache import results.tar";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// List entries: stage kind, node, key, size, age, how long it took, figures
    Ls(ls::Args),
    /// Show one entry: recipe, files with digests, numerics, figures
    Show(show::Args),
    /// Show what takes how much space
    Du(du::Args),
    /// Remove what nothing reaches any more; tells first, and does nothing without `--yes`
    Gc(gc::Args),
    /// Write results with their files to one archive
    Export(export::Args),
    /// Take in the results of an archive, after checking all of it
    Import(import::Args),
}

/// Does it.
///
/// # Errors
/// A store that is not there or cannot be read or written; what each part says.
pub fn run(args: &Args) -> CommandResult {
    match &args.what {
        What::Ls(args) => ls::run(args),
        What::Show(args) => show::run(args),
        What::Du(args) => du::run(args),
        What::Gc(args) => gc::run(args),
        What::Export(args) => export::run(args),
        What::Import(args) => import::run(args),
    }
}

/// The store from here, which must be there.
fn open(args: &StoreArgs) -> Result<Store, Vec<Diag>> {
    let folder = args.folder(Path::new("."));
    if !folder.join(LAYOUT).is_dir() {
        let diag = Diag::error(Class::Usage, format!("there is no store in `{}`", shown(&folder)));
        return Err(vec![diag.help("name another with `--cache DIR`; `dpt run` makes one")]);
    }
    args.open(Path::new("."))
}

/// `1 entry`, `3 entries`.
fn entries(n: usize) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") }
}
