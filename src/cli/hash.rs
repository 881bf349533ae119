//! `dpt hash`: the digests of files, as the store sees them. For measurements, and for whoever wonders what an object is.

use std::path::PathBuf;

use crate::artifact::{byte_digest, kind_of, logical_digest};
use crate::cli::CommandResult;
use crate::cli::exit::Exit;
use crate::cli::render;

/// For the end of the help text.
pub const EXAMPLES: &str = "\
Example:
  dpt hash model.safetensors --logical";

/// Its arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What they mean (of tables, tensors and JSON) instead of their bytes.
    #[arg(long)]
    logical: bool,
}

/// Does it: a line a file, its blake3 in 64 hex digits first, as `b3sum` prints.
///
/// # Errors
/// A file that cannot be read, or is not what its ending says.
pub fn run(args: &Args) -> CommandResult {
    for path in &args.files {
        let name = path.to_string_lossy();
        let meant = args.logical && kind_of(&name).name != "bytes";
        let digest = if meant { logical_digest(&name, path) } else { byte_digest(path) };
        render::out(&format!("{}  {name}\n", digest.map_err(|diag| vec![diag])?.hex()));
    }
    Ok(Exit::Done)
}
