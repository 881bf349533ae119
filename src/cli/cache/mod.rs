//! `dpt cache`: inspects and cleans the store, exports and imports results.

mod du;
mod export;
mod gc;
mod import;
mod ls;
mod open;
mod pick;
mod roots;
mod show;
mod units;

use clap::Subcommand;

use crate::cli::CommandResult;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt cache ls 'train[rte]' --sort size
  dpt cache show 'train[rte,dpt,42]'
      show recipe, files and metrics of a result
  dpt cache gc
      show what could be removed, then ask; `--yes` removes it without asking
  dpt cache gc --keep-pipeline pipelines/*.toml --max-size 20GiB
  dpt cache export results.tar --pipeline pipelines/quickstart.toml
  dpt cache import results.tar";

/// The arguments of `dpt cache`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The subcommand.
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Subcommand, Debug)]
enum CacheCommand {
    /// List stored results with key, node, size, age, run time and metrics
    Ls(ls::Args),
    /// Show one stored result: recipe, files with digests, numerics, metrics
    Show(show::Args),
    /// Show how much space stages or pipelines use
    Du(du::Args),
    /// Remove results that are no longer used; lists them first, and asks unless `--yes` is given
    Gc(gc::Args),
    /// Write results with their files to an archive
    Export(export::Args),
    /// Check an archive and add its results to the store
    Import(import::Args),
}

/// Runs the subcommand.
///
/// # Errors
/// Fails if there is no store, or if it cannot be read or written.
pub fn run(args: &Args) -> CommandResult {
    match &args.command {
        CacheCommand::Ls(args) => ls::run(args),
        CacheCommand::Show(args) => show::run(args),
        CacheCommand::Du(args) => du::run(args),
        CacheCommand::Gc(args) => gc::run(args),
        CacheCommand::Export(args) => export::run(args),
        CacheCommand::Import(args) => import::run(args),
    }
}
