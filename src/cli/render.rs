//! Formats messages with their source lines, tables, sizes and times. This is the only file that knows colours. It
//! writes ANSI codes; [`anstream`] removes them if there is no terminal or `NO_COLOR` is set.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::base::diag::{Diag, Severity, Span};
use crate::base::secret::masked;

/// Style of success.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Style of failure.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Style of warnings.
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// Style of secondary text.
pub const DIM: Style = Style::new().dimmed();
/// Style of headings.
pub const BOLD: Style = Style::new().bold();
const LINE: Style = AnsiColor::Blue.on_default().bold();

/// Makes a text safe to show. Escapes control characters (except line breaks and tabs) and bidirectional marks, so that
/// no name, message or log can control the terminal, and masks secrets in URLs.
pub fn plain(text: &str) -> String {
    let text = masked(text);
    if !text.contains(is_odd) {
        return text.into_owned();
    }
    text.chars().map(|c| if is_odd(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// The last filter before the terminal: escapes all control characters but colour codes. JSON stays valid, since the
/// escapes are those of JSON.
fn guarded(text: &str) -> Cow<'_, str> {
    if !text.contains(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_odd) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let colour = rest.strip_prefix("\u{1b}[").and_then(|code| {
            let end = code.find(|c: char| !c.is_ascii_digit() && c != ';')?;
            code[end..].starts_with('m').then_some(2 + end + 1)
        });
        match (colour, rest.chars().next()) {
            (Some(length), _) => {
                out.push_str(&rest[..length]);
                rest = &rest[length..];
            }
            (None, Some(c)) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
                rest = &rest[c.len_utf8()..];
            }
            (None, None) => break,
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn is_odd(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// Returns `text` in a style.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints a result to stdout. Ignores a closed pipe, as in `dpt … | head`.
pub fn out(text: &str) {
    let _ = anstream::stdout().lock().write_all(guarded(text).as_bytes());
}

/// Prints messages and progress to stderr.
pub fn err(text: &str) {
    let _ = anstream::stderr().lock().write_all(guarded(text).as_bytes());
}

/// Returns a message as text: severity and message, the place with its source line, notes, help. Ends in a line break.
pub fn diag(diag: &Diag) -> String {
    let (style, word) = match diag.severity {
        Severity::Error => (BAD, "error"),
        Severity::Warning => (WARN, "warning"),
    };
    let mut out = String::new();
    let _ = writeln!(out, "{}{} {}", paint(style, word), paint(BOLD, ":"), paint(BOLD, plain(&diag.message)));
    let mut gutter = 2;
    if let Some(span) = &diag.span {
        gutter = gutter.max(span.line_column().0.to_string().len());
        source(&mut out, span, diag.label.as_deref(), gutter, style);
    }
    for note in &diag.notes {
        remark(&mut out, gutter, "note", note);
    }
    if let Some(help) = &diag.help {
        remark(&mut out, gutter, "help", help);
    }
    out
}

/// Returns several messages with a blank line between them.
pub fn diags<'a>(list: impl IntoIterator<Item = &'a Diag>) -> String {
    list.into_iter().map(diag).collect::<Vec<_>>().join("\n")
}

/// Appends `--> file:line:column`, the source line, and carets below the span.
fn source(out: &mut String, span: &Span, label: Option<&str>, gutter: usize, style: Style) {
    let (line, column) = span.line_column();
    let pad = " ".repeat(gutter);
    let path = plain(&span.source.path.display().to_string());
    let _ = writeln!(out, "{pad}{} {path}:{line}:{column}", paint(LINE, "-->"));
    let Some(text) = span.source.text.lines().nth(line - 1) else { return };
    let text = &masked(text);
    let before: String = text.chars().take(column - 1).collect();
    // A span over several lines is marked up to the end of the first one.
    let marked: String = {
        let start = before.len();
        let length = span.range.end.saturating_sub(span.range.start).min(text.len().saturating_sub(start));
        let mut end = start + length;
        while !text.is_char_boundary(end) {
            end += 1;
        }
        text[start..end].trim_end().to_owned()
    };
    let bar = paint(LINE, "|");
    let carets = "^".repeat(width(&marked).max(1));
    let _ = writeln!(out, "{pad} {bar}");
    let _ = writeln!(out, "{} {bar} {}", paint(LINE, format!("{line:>gutter$}")), shown_line(text).trim_end());
    let label = label.map(|label| format!(" {}", plain(label))).unwrap_or_default();
    let _ = writeln!(out, "{pad} {bar} {}{}", " ".repeat(width(&before)), paint(style, format!("{carets}{label}")));
}

/// Appends `= note: …`, with further lines indented below the first.
fn remark(out: &mut String, gutter: usize, word: &str, text: &str) {
    let pad = " ".repeat(gutter + 1);
    let text = plain(text);
    let mut lines = text.lines();
    let _ = writeln!(out, "{pad}{} {}: {}", paint(LINE, "="), paint(BOLD, word), lines.next().unwrap_or(""));
    for line in lines {
        let _ = writeln!(out, "{}{line}", " ".repeat(gutter + 9));
    }
}

/// Returns a source line without control characters. Those have no width, so the carets stay in place.
fn shown_line(text: &str) -> String {
    text.chars().filter(|c| !is_odd(*c)).collect::<String>().replace('\t', "    ")
}

fn width(text: &str) -> usize {
    text.chars().map(|c| if c == '\t' { 4 } else { c.width().unwrap_or(0) }).sum()
}

/// Returns the visible width of a text that may have colour codes.
fn visible(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Formats rows as lines with aligned columns, two spaces apart, without trailing spaces.
pub fn table(rows: &[Vec<String>], align: &[Align]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        // An empty cell may have colour codes, which would keep `trim_end` from removing the spaces before them.
        let shown = row.iter().rposition(|cell| visible(cell) > 0).map_or(0, |last| last + 1);
        for (column, cell) in row[..shown].iter().enumerate() {
            let fill = " ".repeat(widths[column] - visible(cell));
            let gap = if column == 0 { "" } else { "  " };
            let _ = match align.get(column) {
                Some(Align::Right) => write!(line, "{gap}{fill}{cell}"),
                _ => write!(line, "{gap}{cell}{fill}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Quotes a word for a shell, if needed.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.,:=+@%/~-".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// `3 nodes`, `1 node`.
pub fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// `0.4 s`, `12 s`, `3m 05s`, `2h 31m`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_secs() {
        _ if seconds < 0.001 => "0 ms".to_owned(),
        _ if seconds < 0.1 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 9.95 => format!("{seconds:.1} s"),
        whole @ 0..60 => format!("{} s", if seconds - whole as f64 >= 0.5 { whole + 1 } else { whole }),
        whole @ 60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        whole => format!("{}h {:02}m", whole / 3600, whole / 60 % 60),
    }
}

/// A number of seconds as text, such as `12 s`. Returns `0 ms` for a number that is not a valid duration.
pub fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `512 B`, `1.4 MB`: powers of a thousand.
pub fn bytes(n: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", units[unit]) } else { format!("{value:.0} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::diag::{Class, SourceText};

    /// Without colours.
    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn at(text: &str, part: &str) -> Span {
        let start = text.find(part).unwrap();
        let source = SourceText { path: "pipelines/rte.toml".into(), text: text.to_owned() };
        Span { source: Arc::new(source), range: start..start + part.len() }
    }

    #[test]
    fn only_colour_codes_reach_the_terminal() {
        let painted = format!("{} {}", paint(BAD, "error"), paint(DIM, "x\ty\n"));
        assert_eq!(guarded(&painted), painted);
        assert_eq!(
            guarded("a\u{1b}[2Jb\u{1b}]0;t\u{7}\u{9b}\r\u{202e}\u{1b}["),
            "a\\u001b[2Jb\\u001b]0;t\\u0007\\u009b\\u000d\\u202e\\u001b["
        );
        let json = serde_json::json!({ "a": "\u{1b}\u{9b}\u{202e}" }).to_string();
        let back: serde_json::Value = serde_json::from_str(&guarded(&json)).unwrap();
        assert_eq!(back["a"], "\u{1b}\u{9b}\u{202e}");
    }

    #[test]
    fn control_characters_and_secrets_in_messages_are_escaped() {
        let d = Diag::error(Class::Stage, "a\u{1b}[2Jb at https://me:pw@h/x").note("c\rd\ne\u{202e}f").help("\u{7}");
        let expected = "\
error: a\\u{1b}[2Jb at https://*****@h/x
   = note: c\\u{d}d
           e\\u{202e}f
   = help: \\u{7}
";
        assert_eq!(plain(&diag(&d)), expected);
        let text = "url = \"ftp://me:pw@h\"\n";
        let drawn = plain(&diag(&Diag::error(Class::Usage, "m").at(at(text, "\"ftp://me:pw@h\""))));
        assert!(drawn.contains(" 1 | url = \"ftp://*****@h\"\n   |       ^^^^^^^^^^^^^^^\n"), "{drawn}");
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(word("pipelines/a-b.toml"), "pipelines/a-b.toml");
        assert_eq!(word("p q/it's.toml"), "'p q/it'\\''s.toml'");
        assert_eq!((word(""), word("a;b")), ("''".to_owned(), "'a;b'".to_owned()));
    }

    #[test]
    fn message_shows_its_source_line() {
        let text = "schema = 1\n\nvirtaul_tokens = 100\n";
        let d = Diag::error(Class::Usage, "unknown key `virtaul_tokens` in stage `train`")
            .at(at(text, "virtaul_tokens"))
            .label("did you mean `virtual_tokens`?");
        let expected = "\
error: unknown key `virtaul_tokens` in stage `train`
  --> pipelines/rte.toml:3:1
   |
 3 | virtaul_tokens = 100
   | ^^^^^^^^^^^^^^ did you mean `virtual_tokens`?
";
        assert_eq!(plain(&diag(&d)), expected);
    }

    #[test]
    fn message_without_place_shows_notes_and_help() {
        let d = Diag::error(Class::Store, "cache entry `b3:3f9c21ab04de` is damaged")
            .note("tensor   wanted\nshared   [1, 2]")
            .note("made by `train.rte.dpt`")
            .help("run again");
        let expected = "\
error: cache entry `b3:3f9c21ab04de` is damaged
   = note: tensor   wanted
           shared   [1, 2]
   = note: made by `train.rte.dpt`
   = help: run again
";
        assert_eq!(plain(&diag(&d)), expected);
    }

    #[test]
    fn carets_align_under_wide_characters_and_tabs() {
        let text = "\té = \"日本\" # x";
        let d = Diag::warning("w").at(at(text, "\"日本\""));
        let expected = "\
warning: w
  --> pipelines/rte.toml:1:6
   |
 1 |     é = \"日本\" # x
   |         ^^^^^^
";
        assert_eq!(plain(&diag(&d)), expected);
    }

    #[test]
    fn empty_and_multi_line_spans_get_carets() {
        let text = "rank = \nx = [\n1,\n2]\n";
        let mut span = at(text, "rank = ");
        span.range = 7..7;
        let drawn = plain(&diag(&Diag::error(Class::Usage, "m").at(span).label("nothing here")));
        assert!(drawn.contains(" 1 | rank =\n   |        ^ nothing here\n"), "{drawn}");
        let drawn = plain(&diag(&Diag::error(Class::Usage, "m").at(at(text, "[\n1,\n2]"))));
        assert!(drawn.contains(" 2 | x = [\n   |     ^\n"), "{drawn}");
        let mut span = at(text, "2]");
        span.range = 1000..1001;
        diag(&Diag::error(Class::Usage, "past the end").at(span));
    }

    #[test]
    fn colours_do_not_affect_column_widths() {
        let rows = [
            vec!["stage".to_owned(), "done".to_owned(), "why".to_owned()],
            vec![paint(BAD, "tokenize"), "7".to_owned(), String::new()],
        ];
        let drawn = plain(&table(&rows, &[Align::Left, Align::Right, Align::Left]));
        assert_eq!(drawn, "stage     done  why\ntokenize     7\n");
    }

    #[test]
    fn times_and_sizes_have_few_digits() {
        let seconds = |s| duration(Duration::from_secs_f64(s));
        assert_eq!(
            [0.0, 0.04, 0.44, 9.96, 59.4, 185.0, 9060.0].map(seconds),
            ["0 ms", "40 ms", "0.4 s", "10 s", "59 s", "3m 05s", "2h 31m"]
        );
        assert_eq!([0, 999, 1000, 1_449_000, 999_600_000].map(bytes), ["0 B", "999 B", "1.0 kB", "1.4 MB", "1.0 GB"]);
    }
}
