//! Reads a file at a git revision with the `git` program.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::base::diag::{Class, Diag};

/// Returns the text of the file at `path` at a revision.
///
/// # Errors
/// Fails if there is no `git`, no repository, no such revision, or no such file in it.
pub fn show(path: &Path, revision: &str) -> Result<String, Diag> {
    if revision.starts_with('-') || revision.is_empty() {
        return Err(Diag::error(Class::Usage, format!("`{revision}` is not a git revision")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["show", &format!("{revision}:./{name}")])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            Diag::error(Class::Environment, format!("cannot start `git`: {error}"))
                .help("`dpt` reads revisions with `git`: install it, or compare two files")
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("nothing").trim_start_matches("fatal: ").to_owned();
        return Err(Diag::error(Class::Usage, format!("`{}` cannot be read at revision `{revision}`", path.display()))
            .note(format!("git says: {said}"))
            .help(
                "arguments after a pipeline file are git revisions; to compare runs, leave it out: `dpt diff last~1 last`",
            ));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Diag::error(Class::Usage, format!("`{}` at `{revision}` is not UTF-8", path.display())))
}
