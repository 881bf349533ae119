//! Checks the length of a program's arguments and variables against the limits of the system.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

use crate::base::diag::{Class, Diag};

use super::settings::CommandRun;
use super::template::{self, Piece};
use super::workdir::WorkDir;

/// How much of a text is shown.
const SHOWN: usize = 40;
/// What the Linux kernel takes at most, whatever the limit of the stack is.
const MOST: usize = 6 << 20;
/// What the Linux kernel takes at least, whatever the limit of the stack is.
const LEAST: usize = 128 * 1024;
/// What macOS takes. A system that takes less refuses to start the program.
const ELSEWHERE: usize = 1 << 20;
/// What every system takes.
const ALWAYS: usize = 100 * 1024;

/// What is to be started.
pub struct Start<'a> {
    pub run: &'a CommandRun,
    pub workdir: &'a WorkDir,
    pub arguments: &'a [String],
    pub environment: &'a BTreeMap<String, OsString>,
}

/// What the system takes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// One argument or variable, in bytes.
    one: usize,
    /// All of them.
    all: usize,
}

impl Limits {
    fn of_this_system() -> Self {
        if !cfg!(target_os = "linux") {
            return Self { one: ELSEWHERE, all: ELSEWHERE };
        }
        // Linux: a quarter of the stack's limit for all, 32 pages for one, with the byte that ends it.
        let stack = getrlimit(Resource::Stack).current.and_then(|bytes| usize::try_from(bytes).ok());
        let all = (stack.unwrap_or(usize::MAX) / 4).clamp(LEAST, MOST);
        Self { one: 32 * page_size() - 1, all }
    }
}

/// Checks that the system takes the program's arguments and variables.
///
/// # Errors
/// It does not: how long they are, which is the longest, and what to do.
pub fn check(start: &Start) -> Result<(), Diag> {
    // With the byte that ends each, and a pointer to it.
    let each = 1 + size_of::<usize>();
    let arguments = start.arguments.iter().map(|argument| argument.len() + each);
    let variables = start.environment.iter().map(|(name, value)| length(name, value) + each);
    let all: usize = arguments.chain(variables).sum();
    if all < ALWAYS {
        return Ok(());
    }
    let limits = Limits::of_this_system();
    if let Some(at) = start.arguments.iter().position(|argument| argument.len() > limits.one) {
        return Err(start.long_argument(at, limits));
    }
    if let Some((name, value)) = start.environment.iter().find(|(name, value)| length(name, value) > limits.one) {
        let (what, help) = start.variable(name);
        return Err(too_long(&what, length(name, value), limits.one, limits).help(help));
    }
    if all > limits.all {
        return Err(start.long_together(all, limits));
    }
    Ok(())
}

/// Of a variable with its name.
fn length(name: &str, value: &OsStr) -> usize {
    name.len() + 1 + value.len()
}

fn too_long(what: &str, bytes: usize, limit: usize, limits: Limits) -> Diag {
    let message = format!("{what} is too long: {} bytes, and the system takes {}", grouped(bytes), grouped(limit));
    let kib = |bytes: usize| grouped(bytes.div_ceil(1024));
    let note = format!(
        "one argument or variable may have {} KiB, all of them together {} KiB",
        kib(limits.one),
        kib(limits.all)
    );
    Diag::error(Class::Environment, message).note(note).lasting()
}

const FILE: &str = "write it into a file that `files` names; or into `params` as a list, which is no variable: `{params}` is a \
                    JSON file of all parameters";

impl Start<'_> {
    /// Returns the arguments of `run` as they are written, each with what it became.
    fn written(&self) -> Vec<(String, Vec<Piece>, Vec<String>)> {
        let CommandRun::Program(arguments) = self.run else { return Vec::new() };
        let became = |pieces: &Vec<Piece>| template::expand(std::slice::from_ref(pieces), &self.workdir.meanings);
        arguments.iter().map(|pieces| (written(pieces), pieces.clone(), became(pieces).unwrap_or_default())).collect()
    }

    fn long_argument(&self, at: usize, limits: Limits) -> Diag {
        let bytes = self.arguments[at].len();
        if matches!(self.run, CommandRun::Shell(_)) {
            return too_long("the text of `run`", bytes, limits.one, limits)
                .help("write it into a script that `code` names, and start that");
        }
        let mut before = 0;
        let from = self.written().into_iter().find(|(_, _, became)| {
            before += became.len();
            at < before
        });
        let text = from.map_or_else(String::new, |(text, ..)| text);
        too_long(&format!("the argument `{text}` of `run`"), bytes, limits.one, limits).help(FILE)
    }

    /// Returns a variable as a person knows it, and what to do when it is too long.
    fn variable(&self, name: &str) -> (String, String) {
        let param =
            self.workdir.meanings.params.keys().find(|param| super::environment::variable("PARAM", param) == name);
        match param {
            Some(param) => (format!("the parameter `{param}`, which is the variable `{name}`,"), FILE.to_owned()),
            None => (format!("the variable `{name}`"), "set it to a shorter text where `dpt` is started".to_owned()),
        }
    }

    fn long_together(&self, all: usize, limits: Limits) -> Diag {
        let diag =
            too_long("what the program is given as arguments and variables, all together,", all, limits.all, limits);
        let size = |became: &[String]| became.iter().map(|text| text.len() + 1 + size_of::<usize>()).sum::<usize>();
        let argument = self.written().into_iter().max_by_key(|(_, _, became)| size(became));
        let variable = self.environment.iter().max_by_key(|(name, value)| length(name, value));
        let longest = variable.map_or(0, |(name, value)| length(name, value));
        match (argument, variable) {
            (Some((text, pieces, became)), _) if size(&became) >= longest => {
                let diag = diag.note(format!(
                    "`{text}` became {} arguments with {} bytes",
                    grouped(became.len()),
                    grouped(size(&became))
                ));
                let role = pieces.iter().find_map(|piece| match piece {
                    Piece::In(role) | Piece::InFile(role, _) => Some(role),
                    _ => None,
                });
                match role {
                    Some(role) => diag.help(format!(
                        "give the program `{{in.{role}.manifest}}`, a JSON file that lists all files of the role, or the \
                         folder `{{in.{role}}}`"
                    )),
                    None => diag.help(FILE),
                }
            }
            (_, Some((name, value))) => {
                let (what, help) = self.variable(name);
                diag.note(format!("the longest is {what} with {} bytes", grouped(length(name, value)))).help(help)
            }
            _ => diag,
        }
    }
}

/// Returns an argument as it is written in `run`, its beginning.
fn written(pieces: &[Piece]) -> String {
    let one = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::In(role) => format!("{{in.{role}}}"),
        Piece::InFile(role, file) => format!("{{in.{role}/{file}}}"),
        Piece::Manifest(role) => format!("{{in.{role}.manifest}}"),
        Piece::Out(name) => format!("{{out.{name}}}"),
        Piece::Param(name) => format!("{{param.{name}}}"),
        Piece::File(name) => format!("{{files.{name}}}"),
        Piece::Params => "{params}".to_owned(),
    };
    let text: String = pieces.iter().map(one).collect();
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", text[..at].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

/// `1,234,567`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let part = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        [comma.then_some(','), Some(digit)].into_iter().flatten()
    };
    digits.chars().enumerate().flat_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
