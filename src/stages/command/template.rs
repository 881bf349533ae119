//! The references in a command's arguments, such as `{in.data}` and `{out.png}`, and their values.
//!
//! An argument is cut into [`Piece`]s once. [`expand`] gives the arguments of the program: one for one, except that an
//! argument which is a single reference with several values (a gather, a pattern of files) becomes several.

use std::collections::BTreeMap;

use crate::base::name::{is_name, is_relative_file};

/// What an argument is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// `{in.ROLE}`: the folder of a producer's files.
    In(String),
    /// `{in.ROLE/FILE}`: one of its files, or all that fit a pattern.
    InFile(String, String),
    /// `{in.ROLE.manifest}`: a JSON file that lists the producers.
    Manifest(String),
    /// `{out.NAME}`.
    Out(String),
    /// `{param.NAME}`.
    Param(String),
    /// `{files.NAME}`.
    File(String),
    /// `{params}`: the JSON file of all parameters.
    Params,
}

/// The references of a command's own: whole, or what they begin with.
pub const REFERENCES: &[&str] = &["in.", "out.", "param.", "files.", "params"];

/// Returns the reference to a role, or to a file of its producers.
pub fn reference_to(role: &str, file: Option<&str>) -> String {
    match file {
        None => format!("{{in.{role}}}"),
        Some(file) => format!("{{in.{role}/{file}}}"),
    }
}

/// What is wrong with a reference: the message, and what to do.
pub type Wrong = (String, String);

/// Returns the pieces of one argument.
///
/// # Errors
/// A brace without its other half, or a reference of no known form.
pub fn pieces(text: &str) -> Result<Vec<Piece>, Wrong> {
    let escape = "a brace that is meant as one is written twice: `{{`, `}}`".to_owned();
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(i) = rest.find(['{', '}']) {
        plain.push_str(&rest[..i]);
        let (brace, after) = (&rest[i..=i], &rest[i + 1..]);
        if let Some(after) = after.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let Some((inside, after)) = after.split_once('}').filter(|_| brace == "{") else {
            return Err((format!("`{text}` has a brace without its other half"), escape));
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(reference(inside).ok_or_else(|| {
            let help = "there are `{in.ROLE}`, `{in.ROLE/FILE}`, `{in.ROLE.manifest}`, `{out.NAME}`, `{param.NAME}`, \
                        `{files.NAME}` and `{params}`";
            (format!("`{{{inside}}}` is not a reference"), format!("{help}; {escape}"))
        })?);
        rest = after;
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

fn reference(inside: &str) -> Option<Piece> {
    if inside == "params" {
        return Some(Piece::Params);
    }
    let (head, rest) = inside.split_once('.')?;
    let name = |make: fn(String) -> Piece| is_name(rest).then(|| make(rest.to_owned()));
    match head {
        "out" => name(Piece::Out),
        "param" => name(Piece::Param),
        "files" => name(Piece::File),
        "in" => {
            if let Some((role, file)) = rest.split_once('/') {
                return (is_name(role) && is_relative_file(file))
                    .then(|| Piece::InFile(role.to_owned(), file.to_owned()));
            }
            match rest.strip_suffix(".manifest") {
                Some(role) => is_name(role).then(|| Piece::Manifest(role.to_owned())),
                None => name(Piece::In),
            }
        }
        _ => None,
    }
}

/// What each reference stands for.
#[derive(Clone, Debug, Default)]
pub struct Meanings {
    /// By role: the folder of each producer, and the names of the files in it.
    pub inputs: BTreeMap<String, Vec<(String, Vec<String>)>>,
    /// By role: its manifest.
    pub manifests: BTreeMap<String, String>,
    /// Paths of outputs.
    pub outputs: BTreeMap<String, String>,
    /// Parameters, as texts.
    pub params: BTreeMap<String, String>,
    /// Paths of files.
    pub files: BTreeMap<String, String>,
    /// The path of the file of parameters.
    pub all_params: String,
}

/// Returns the arguments of the program.
///
/// # Errors
/// A reference to several things, or to none, inside a longer text; a file that a producer does not have.
pub fn expand(arguments: &[Vec<Piece>], meanings: &Meanings) -> Result<Vec<String>, Wrong> {
    let mut done = Vec::new();
    for pieces in arguments {
        if let [alone] = &pieces[..] {
            done.extend(meanings.of(alone)?);
            continue;
        }
        let mut text = String::new();
        for piece in pieces {
            match &meanings.of(piece)?[..] {
                [one] => text.push_str(one),
                several => {
                    let message = format!("a reference inside `{text}…` has {} values", several.len());
                    return Err((message, "make it an argument of its own, which becomes as many".to_owned()));
                }
            }
        }
        done.push(text);
    }
    Ok(done)
}

impl Meanings {
    fn of(&self, piece: &Piece) -> Result<Vec<String>, Wrong> {
        let one = |map: &BTreeMap<String, String>, name: &String| map.get(name).cloned().into_iter().collect();
        Ok(match piece {
            Piece::Text(text) => vec![text.clone()],
            Piece::Out(name) => one(&self.outputs, name),
            Piece::Param(name) => one(&self.params, name),
            Piece::File(name) => one(&self.files, name),
            Piece::Manifest(role) => one(&self.manifests, role),
            Piece::Params => vec![self.all_params.clone()],
            Piece::In(role) => self.producers(role).iter().map(|(folder, _)| folder.clone()).collect(),
            Piece::InFile(role, file) => {
                let mut paths = Vec::new();
                for (folder, names) in self.producers(role) {
                    let before = paths.len();
                    let fits = names.iter().filter(|name| crate::base::glob::matches(file, name));
                    paths.extend(fits.map(|name| format!("{folder}/{name}")));
                    if paths.len() == before {
                        return Err((format!("role `{role}` has no file `{file}`"), "correct the name".to_owned()));
                    }
                }
                paths
            }
        })
    }

    fn producers(&self, role: &str) -> &[(String, Vec<String>)] {
        self.inputs.get(role).map_or(&[], Vec::as_slice)
    }
}

/// Returns the files of `role` that the arguments name one by one; all of them (`*`) where its folder is named, or no
/// file of it.
pub fn files_read(arguments: &[Vec<Piece>], role: &str) -> Vec<String> {
    let all = || vec!["*".to_owned()];
    let mut files = Vec::new();
    for piece in arguments.iter().flatten() {
        match piece {
            Piece::In(r) if r == role => return all(),
            Piece::InFile(r, file) if r == role => files.push(file.clone()),
            _ => {}
        }
    }
    files.sort();
    files.dedup();
    if files.is_empty() { all() } else { files }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Piece {
        Piece::Text(s.to_owned())
    }

    #[test]
    fn arguments_are_cut_at_their_references() {
        let s = str::to_owned;
        assert_eq!(pieces("plain").unwrap(), [text("plain")]);
        assert_eq!(pieces("").unwrap(), [text("")]);
        assert_eq!(pieces("--lr={param.lr}").unwrap(), [text("--lr="), Piece::Param(s("lr"))]);
        assert_eq!(pieces("{in.runs}").unwrap(), [Piece::In(s("runs"))]);
        assert_eq!(pieces("{in.runs.manifest}").unwrap(), [Piece::Manifest(s("runs"))]);
        assert_eq!(pieces("{in.a/b/*.json}").unwrap(), [Piece::InFile(s("a"), s("b/*.json"))]);
        assert_eq!(pieces("{params}{{x}}").unwrap(), [Piece::Params, text("{x}")]);
        for bad in
            ["{", "}", "{}", "{in}", "{in.}", "{in.a/../b}", "{in.a//b}", "{out.a.b}", "{what.x}", "{in.a", "a}b"]
        {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reference_with_several_values_becomes_several_arguments() {
        let producer =
            |folder: &str, names: &[&str]| (folder.to_owned(), names.iter().map(|n| (*n).to_owned()).collect());
        let meanings = Meanings {
            inputs: BTreeMap::from([
                (
                    "runs".to_owned(),
                    vec![producer("in/runs/000", &["e.json"]), producer("in/runs/001", &["e.json", "x"])],
                ),
                ("one".to_owned(), vec![producer("in/one", &["a.txt", "b.txt"])]),
            ]),
            outputs: BTreeMap::from([("o".to_owned(), "out/o".to_owned())]),
            ..Meanings::default()
        };
        let run = |args: &[&str]| {
            let args: Vec<_> = args.iter().map(|a| pieces(a).unwrap()).collect();
            expand(&args, &meanings)
        };
        assert_eq!(
            run(&["cp", "{in.runs/e.json}", "{out.o}"]).unwrap(),
            ["cp", "in/runs/000/e.json", "in/runs/001/e.json", "out/o"]
        );
        assert_eq!(run(&["{in.one/*.txt}"]).unwrap(), ["in/one/a.txt", "in/one/b.txt"]);
        assert_eq!(run(&["-f={in.one}/a.txt"]).unwrap(), ["-f=in/one/a.txt"]);
        assert_eq!(run(&["x", "{in.absent}"]).unwrap(), ["x"], "a role that may be missing, and is");
        assert!(run(&["--in={in.runs}"]).unwrap_err().0.contains("has 2 values"));
        assert!(run(&["--in={in.absent}"]).unwrap_err().0.contains("has 0 values"));
        assert_eq!(run(&["{in.runs/x}"]).unwrap_err().0, "role `runs` has no file `x`");
    }

    #[test]
    fn role_named_file_by_file_gives_only_these() {
        let run = |args: &[&str]| args.iter().map(|a| pieces(a).unwrap()).collect::<Vec<_>>();
        assert_eq!(files_read(&run(&["{in.a/x}", "{in.a/y*}", "{in.b}"]), "a"), ["x", "y*"]);
        assert_eq!(files_read(&run(&["{in.a/x}", "{in.a}"]), "a"), ["*"]);
        assert_eq!(files_read(&run(&["{in.a/x}", "{in.a.manifest}"]), "a"), ["x"]);
        assert_eq!(files_read(&run(&["{in.a/x}", "{in.b.manifest}"]), "b"), ["*"]);
    }
}
