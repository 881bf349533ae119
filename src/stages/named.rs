//! [`NamedRoles`] and [`NamedOutput`]: roles and outputs that a pipeline names, for stage kinds without a fixed list of
//! them.

use crate::base::glob;
use crate::base::value::Params;

/// How a kind reads stages by roles that the pipeline names.
#[derive(Clone, Copy, Debug)]
pub struct NamedRoles {
    /// The parameter whose texts refer to roles and to their files.
    pub param: &'static str,
    /// Returns the files that a node with these parameters reads by a role, as patterns; `*` for all.
    pub files: fn(&Params, &str) -> Vec<String>,
    /// Returns the roles that these parameters refer to, each once.
    pub referred: fn(&Params) -> Vec<String>,
    /// Returns a reference to a role, or to one of its files, as the parameter has it.
    pub reference: fn(&str, Option<&str>) -> String,
    /// One line for help texts.
    pub doc: &'static str,
}

/// A file or folder that a node writes because its pipeline says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedOutput {
    /// One file.
    File(String),
    /// A folder, kept with all files in it; without the `/` at its end.
    Folder(String),
}

impl NamedOutput {
    /// Returns its path.
    pub fn path(&self) -> &str {
        match self {
            Self::File(path) | Self::Folder(path) => path,
        }
    }

    /// Returns it as messages show it: `` `a.json` ``, `` `plots/` ``.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => format!("`{path}`"),
            Self::Folder(path) => format!("`{path}/`"),
        }
    }

    /// Returns the pattern that the names of its files match.
    pub fn pattern(&self) -> String {
        match self {
            Self::File(path) => path.clone(),
            Self::Folder(path) => format!("{path}/*"),
        }
    }

    /// Returns whether a port that reads files of this pattern may find one of its files.
    pub fn may_fit(&self, pattern: &str) -> bool {
        match self {
            Self::File(path) => glob::matches(pattern, path),
            Self::Folder(path) => glob::meet(pattern, &format!("{path}/*")),
        }
    }
}
