//! `dpt adapter`: trained prompts between dpt and Hugging Face PEFT.

mod export;
mod import;
mod place;

use crate::cli::CommandResult;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt adapter import ../my-adapter --to prompts/mine --task rte
      read a PEFT prompt-tuning adapter; in a pipeline a download of format `adapter` does the same
  dpt adapter export pipelines/quickstart.toml 'train[rte,dpt,42]' --to rte-prompt
      write the prompt that a node has trained as a PEFT adapter

`dpt adapter import --help` and `dpt adapter export --help` have more.";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Make an adapter of dpt from a PEFT prompt-tuning adapter
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// Write a trained prompt as an adapter that PEFT loads
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
}

/// Does it.
///
/// # Errors
/// What is no adapter of that kind, and what cannot be written.
pub fn run(args: &Args) -> CommandResult {
    match &args.what {
        What::Import(args) => import::run(args),
        What::Export(args) => export::run(args),
    }
}
