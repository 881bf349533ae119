//! What the user sees: messages with their source lines, tables, sizes and times. The one file that knows colour. It
//! writes ANSI colours into texts; [`anstream`] takes them out where there is no terminal or `NO_COLOR` is set.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::base::diag::{Diag, Severity, Span};

/// For what went well.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// For what failed.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// For what needs a look.
pub const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// For what stands beside the matter.
pub const DIM: Style = Style::new().dimmed();
/// For headings.
pub const BOLD: Style = Style::new().bold();
const LINE: Style = AnsiColor::Blue.on_default().bold();

/// `text` in `style`.
pub fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints a result to stdout. A reader that has gone (`dpt … | head`) is no error.
pub fn out(text: &str) {
    let _ = anstream::stdout().lock().write_all(text.as_bytes());
}

/// Prints anything that is no result to stderr.
pub fn err(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// One message as text that ends in a line break: severity and message, the place with its source line, notes, help.
pub fn diag(diag: &Diag) -> String {
    let (style, word) = match diag.severity {
        Severity::Error => (BAD, "error"),
        Severity::Warning => (WARN, "warning"),
    };
    let mut out = String::new();
    let _ = writeln!(out, "{}{} {}", paint(style, word), paint(BOLD, ":"), paint(BOLD, &diag.message));
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

/// Several messages, a blank line between them.
pub fn diags<'a>(list: impl IntoIterator<Item = &'a Diag>) -> String {
    list.into_iter().map(diag).collect::<Vec<_>>().join("\n")
}

/// `--> file:line:column`, the line, and carets under what is meant.
fn source(out: &mut String, span: &Span, label: Option<&str>, gutter: usize, style: Style) {
    let (line, column) = span.line_column();
    let pad = " ".repeat(gutter);
    let path = span.source.path.display();
    let _ = writeln!(out, "{pad}{} {path}:{line}:{column}", paint(LINE, "-->"));
    let Some(text) = span.source.text.lines().nth(line - 1) else { return };
    let before: String = text.chars().take(column - 1).collect();
    // A span over several lines is marked to the end of its first.
    let marked: String = {
        let start = before.len();
        let length = span.range.end.saturating_sub(span.range.start).min(text.len() - start);
        let mut end = start + length;
        while !text.is_char_boundary(end) {
            end += 1;
        }
        text[start..end].trim_end().to_owned()
    };
    let bar = paint(LINE, "|");
    let carets = "^".repeat(width(&marked).max(1));
    let _ = writeln!(out, "{pad} {bar}");
    let _ = writeln!(out, "{} {bar} {}", paint(LINE, format!("{line:>gutter$}")), untab(text).trim_end());
    let label = label.map(|label| format!(" {label}")).unwrap_or_default();
    let _ = writeln!(out, "{pad} {bar} {}{}", " ".repeat(width(&before)), paint(style, format!("{carets}{label}")));
}

/// `= note: …`, its further lines below its first.
fn remark(out: &mut String, gutter: usize, word: &str, text: &str) {
    let pad = " ".repeat(gutter + 1);
    let mut lines = text.lines();
    let _ = writeln!(out, "{pad}{} {}: {}", paint(LINE, "="), paint(BOLD, word), lines.next().unwrap_or(""));
    for line in lines {
        let _ = writeln!(out, "{}{line}", " ".repeat(gutter + 9));
    }
}

fn untab(text: &str) -> String {
    text.replace('\t', "    ")
}

fn width(text: &str) -> usize {
    text.chars().map(|c| if c == '\t' { 4 } else { c.width().unwrap_or(0) }).sum()
}

/// The visible width of a text that may hold colours.
fn visible(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// Where a column's texts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// Rows as lines with aligned columns, two spaces between them, no space at the end of a line.
pub fn table(rows: &[Vec<String>], align: &[Align]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| visible(cell)).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        // An empty cell may hold invisible colour codes, behind which blanks would survive the trimming.
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

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn at(text: &str, part: &str) -> Span {
        let start = text.find(part).unwrap();
        let source = SourceText { path: "pipelines/rte.toml".into(), text: text.to_owned() };
        Span { source: Arc::new(source), range: start..start + part.len() }
    }

    #[test]
    fn a_message_with_its_place() {
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
    fn notes_and_help_without_a_place() {
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
    fn carets_stand_under_wide_letters_and_tabs() {
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
    fn a_place_at_the_end_and_one_over_lines_get_carets() {
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
    fn columns_are_aligned_and_colours_do_not_count() {
        let rows = [
            vec!["stage".to_owned(), "done".to_owned(), "why".to_owned()],
            vec![paint(BAD, "tokenize"), "7".to_owned(), String::new()],
        ];
        let drawn = plain(&table(&rows, &[Align::Left, Align::Right, Align::Left]));
        assert_eq!(drawn, "stage     done  why\ntokenize     7\n");
    }

    #[test]
    fn times_and_sizes() {
        let seconds = |s| duration(Duration::from_secs_f64(s));
        assert_eq!(
            [0.0, 0.04, 0.44, 9.96, 59.4, 185.0, 9060.0].map(seconds),
            ["0 ms", "40 ms", "0.4 s", "10 s", "59 s", "3m 05s", "2h 31m"]
        );
        assert_eq!([0, 999, 1000, 1_449_000, 999_600_000].map(bytes), ["0 B", "999 B", "1.0 kB", "1.4 MB", "1.0 GB"]);
    }
}
