//! `dpt adapter`: imports prompts from Hugging Face PEFT and exports them to it.

mod export;
mod import;
mod place;

use crate::cli::CommandResult;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Examples:
  dpt adapter import ../my-adapter --to prompts/mine --task rte
      import a PEFT prompt-tuning adapter; in a pipeline, a download of format `adapter` does the same
  dpt adapter export pipelines/quickstart.toml 'train[rte,dpt,42]' --to rte-prompt
      export the prompt of a node as a PEFT adapter

See also `dpt adapter import --help` and `dpt adapter export --help`.";

/// The arguments of `dpt adapter`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: AdapterCommand,
}

#[derive(clap::Subcommand, Debug)]
enum AdapterCommand {
    /// Import a PEFT prompt-tuning adapter
    #[command(after_help = import::EXAMPLES)]
    Import(import::Args),
    /// Export a trained prompt as an adapter that PEFT can load
    #[command(after_help = export::EXAMPLES)]
    Export(export::Args),
}

/// Runs the subcommand.
///
/// # Errors
/// Fails if the adapter is of another kind or cannot be written.
pub fn run(args: &Args) -> CommandResult {
    match &args.command {
        AdapterCommand::Import(args) => import::run(args),
        AdapterCommand::Export(args) => export::run(args),
    }
}
