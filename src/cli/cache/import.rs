//! `dpt cache import`: adds the results of archives to the store.

use std::path::{Path, PathBuf};

use crate::base::diag::{Class, Diag};
use crate::base::look;
use crate::base::watch::{Counting, Work};
use crate::cache::archive as archives;
use crate::cli::CommandResult;
use crate::cli::common::{StoreArgs, cancel_on_ctrl_c, shown};
use crate::cli::exit::Exit;
use crate::cli::progress::Bar;
use crate::cli::render;

use super::open::entry_count;

/// The arguments of `dpt cache import`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Archives from `dpt cache export`. Import only archives that you trust: `dpt` cannot check that a recipe gives
    /// these files without running it
    #[arg(value_name = "FILE", required = true)]
    archives: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Imports every valid archive.
///
/// # Errors
/// Returns the errors of the others.
pub fn run(args: &Args) -> CommandResult {
    let store = args.store.open(Path::new("."))?;
    let cancel = cancel_on_ctrl_c()?;
    let mut wrong: Vec<Diag> = Vec::new();
    for archive in &args.archives {
        if !look::is_file(archive).map_err(|e| vec![e.into()])? {
            let text = format!("there is no archive `{}`", archive.display());
            wrong.push(Diag::error(Class::Usage, text));
            continue;
        }
        let bar = Bar::new();
        let (check, show) = (|| cancel.check("dpt cache import"), |amount| bar.show(amount));
        let unpacked = archives::import(&store, archive, &Counting::new(Work::default(), &check, &show));
        drop(bar);
        match unpacked {
            Ok(done) => {
                let new = done.packed.entries - done.known - done.busy.len();
                let known = if done.known > 0 { format!(", {} already there", done.known) } else { String::new() };
                render::err(&format!(
                    "{}: {} new of {}, {} of {}{known}\n",
                    shown(archive),
                    new,
                    entry_count(done.packed.entries),
                    render::count(done.new_objects, "new file"),
                    done.packed.objects,
                ));
                for key in done.busy {
                    render::err(&format!("skipped {key}: another process is making it\n"));
                }
            }
            Err(diag) if diag.class == Class::Interrupted => return Err(vec![diag]),
            Err(diag) => wrong.push(diag),
        }
    }
    if wrong.is_empty() { Ok(Exit::Done) } else { Err(wrong) }
}
