//! `dpt hash`: prints the digests that the store uses for files. For measurements and debugging.

use std::path::PathBuf;

use crate::artifact::{byte_digest, kind_of, logical_digest};
use crate::cli::CommandResult;
use crate::cli::exit::Exit;
use crate::cli::render;

/// The end of the help text.
pub const EXAMPLES: &str = "\
Example:
  dpt hash model.safetensors --logical";

/// The arguments of `dpt hash`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Files to hash
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Hash the content of tables, tensors and JSON instead of the bytes
    #[arg(long)]
    logical: bool,
}

/// Prints a line for each file: its blake3 digest in 64 hex digits and its name, like `b3sum`.
///
/// # Errors
/// Fails if a file cannot be read or does not match its ending.
pub fn run(args: &Args) -> CommandResult {
    for path in &args.files {
        let name = path.to_string_lossy();
        let meant = args.logical && kind_of(&name).name != "bytes";
        let digest = if meant { logical_digest(&name, path) } else { byte_digest(path) };
        render::out(&format!("{}  {name}\n", digest.map_err(|diag| vec![diag])?.hex()));
    }
    Ok(Exit::Done)
}
