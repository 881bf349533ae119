//! The report as LaTeX: a file for each table, to be taken into a paper by `\input`, and `report.tex`, which shows them
//! all and compiles as it is. Tables need the packages `booktabs` and, if they are lists, `longtable`.

use std::fmt::Write;

use super::kind::{RenderedFile, Renderer, RendererFile};
use crate::report::contents::Report;
use crate::report::format;
use crate::report::table::{
    Align, Cell, CellFlag, CellValue, Column, Medium, Prose, ProsePlace, Remarks, Span, Table, TableKind, TableStyle,
};

/// Its row in the registry.
pub const RENDERER: Renderer = Renderer {
    name: "latex",
    medium: Medium::Paper,
    files: &[
        RendererFile { name: "report.tex", about: "a LaTeX document with every table" },
        RendererFile { name: "tables/*.tex", about: "each table as LaTeX (booktabs), for `\\input`" },
    ],
    render: |report| {
        let file = |(kind, table): (&TableKind, &Table)| {
            RenderedFile::new(format!("tables/{}.tex", kind.id), render_table(kind, table))
        };
        let document = RenderedFile::new("report.tex", render_document(report));
        Ok(std::iter::once(document).chain(report.tables().map(file)).collect())
    },
};

/// Shrinks a table that is wider than the page.
const PREAMBLE: &str = r"\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{booktabs,longtable,graphicx}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt}
\newcommand{\fitted}[1]{\sbox0{#1}\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi}
\begin{document}
";

fn render_document(report: &Report) -> String {
    let summary = report.summary;
    let mut out = format!("{PREAMBLE}\\section*{{{}}}\n", escape(&summary.title));
    for name in summary.random_backbones() {
        let _ = writeln!(
            out,
            "\n\\textbf{{Random backbone.}} {} was never trained: its weights are random draws. Scores near the constant \
             answer are what is to be expected, and say nothing about a method.",
            escape(name)
        );
    }
    for (backbone, runs) in &summary.backbones {
        let (name, origin) = (escape(&backbone.name), escape(backbone.origin_in_words()));
        let _ = writeln!(out, "\nBackbone: \\textbf{{{name}}} ({origin}), runs: {runs}.");
    }
    for (scoring, runs) in &summary.scorings {
        let _ = writeln!(out, "\nScored: {}, runs: {runs}.", escape(&scoring.in_words()));
    }
    for (kind, table) in report.tables() {
        let _ = writeln!(out, "\n\\subsection*{{{}}}", escape(kind.title));
        write_prose(&mut out, table.prose_at(ProsePlace::Before, Medium::Paper));
        let _ = match table.style {
            TableStyle::Grid => writeln!(out, "\n\\fitted{{\\input{{tables/{}}}}}", kind.id),
            TableStyle::List => {
                writeln!(out, "\n{{\\scriptsize\\setlength{{\\tabcolsep}}{{3pt}}\\input{{tables/{}}}}}", kind.id)
            }
        };
        write_prose(&mut out, table.prose_at(ProsePlace::After, Medium::Paper));
        write_remarks(&mut out, &table.remarks);
    }
    out + "\n\\end{document}\n"
}

fn write_prose<'a>(out: &mut String, prose: impl Iterator<Item = &'a Prose>) {
    for prose in prose {
        let span = |span: &Span| match span {
            Span::Words(words) => escape(words),
            Span::Name(name) => escape(name),
            Span::Term(term) => format!("\\emph{{{}}}", escape(term)),
            Span::Strong(term) => format!("\\textbf{{{}}}", escape(term)),
            Span::Code(text) => code(text),
        };
        let _ = writeln!(out, "\n{}", prose.text.iter().map(span).collect::<String>());
    }
}

fn write_remarks(out: &mut String, remarks: &Remarks) {
    let mut items = Vec::new();
    if let Some(notes) = &remarks.notes {
        items.extend(notes.notes.iter().chain(&notes.cautions).map(|text| with_code(text)));
    }
    items.extend(remarks.gaps.iter().map(|gap| format!("Missing: {}", escape(gap))));
    let warnings = remarks.warnings.iter().flatten();
    items.extend(warnings.map(|warning| format!("{}: {}", code(&warning.node), escape(&warning.text))));
    if !items.is_empty() {
        let items: String = items.iter().map(|item| format!("\\item {item}\n")).collect();
        let _ = writeln!(out, "\n\\begin{{itemize}}\n{items}\\end{{itemize}}");
    }
}

/// Returns only the table: a `tabular`, or a `longtable` for a list.
fn render_table(kind: &TableKind, table: &Table) -> String {
    let shown = table.shown_on(Medium::Paper);
    let columns: Vec<&Column> = shown.iter().map(|i| &table.columns[*i]).collect();
    let sides: String = columns.iter().map(|c| if c.align == Align::Left { 'l' } else { 'r' }).collect();
    let heads = row(columns.iter().map(|column| head(column)));
    let group_heads = group_heads(table, &columns);
    let cells = |cells: &Vec<Cell>| row(shown.iter().map(|i| cell(&table.columns[*i], &cells[*i])));
    let rows: String = table.rows.iter().map(cells).collect();
    let totals: String = table.totals.iter().map(cells).collect();
    let rule = if totals.is_empty() { "" } else { "\\midrule\n" };
    let (environment, after_heads, end) = match table.style {
        TableStyle::Grid => ("tabular", "", "\\bottomrule\n"),
        TableStyle::List => ("longtable", "\\endhead\n\\bottomrule\n\\endfoot\n", ""),
    };
    format!(
        "% {}. Needs the package booktabs{}.\n\\begin{{{environment}}}{{{sides}}}\n\\toprule\n{group_heads}{heads}\
         \\midrule\n{after_heads}{rows}{rule}{totals}{end}\\end{{{environment}}}\n",
        kind.title,
        if table.style == TableStyle::List { " and longtable" } else { "" },
    )
}

fn row(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(" & ") + " \\\\\n"
}

/// The names of groups above their columns, each over a rule of its own.
fn group_heads(table: &Table, columns: &[&Column]) -> String {
    let leading = columns.iter().take_while(|column| column.group.is_none()).count();
    let mut heads = vec![String::new(); leading];
    let mut rules = String::new();
    let mut first = leading + 1;
    for (group, name) in table.groups.iter().enumerate() {
        let span = columns.iter().filter(|column| column.group == Some(group)).count();
        if span > 0 {
            heads.push(format!("\\multicolumn{{{span}}}{{c}}{{{}}}", escape(name)));
            let _ = write!(rules, "\\cmidrule(lr){{{first}-{}}}", first + span - 1);
            first += span;
        }
    }
    if rules.is_empty() { String::new() } else { format!("{}{rules}\n", row(heads.into_iter())) }
}

fn head(column: &Column) -> String {
    let head = with_code(&column.head);
    match column.unit.filter(|_| !column.unit_in_cells) {
        Some(unit) => format!("{head} ({})", escape(unit)),
        None => head,
    }
}

fn cell(column: &Column, cell: &Cell) -> String {
    let text = match &cell.value {
        CellValue::Code(text) => code(text),
        CellValue::Missing => format!("\\emph{{{}}}", format::MISSING),
        value => escape(&format::cell(column, value)),
    };
    cell.flags_on(Medium::Paper).fold(text, |text, flag| match flag {
        CellFlag::Best => format!("\\textbf{{{text}}}"),
        flag => format!("{text} ({})", flag.word()),
    })
}

fn code(text: &str) -> String {
    format!("\\texttt{{{}}}", escape(text))
}

/// Escapes text with code in back quotes.
fn with_code(text: &str) -> String {
    let parts: Vec<_> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    parts.iter().enumerate().map(|(i, part)| if i % 2 == 1 { code(part) } else { escape(part) }).collect()
}

/// Letters with accents that LaTeX knows in the font encoding T1.
const LETTERS: &str = "ĂăĄąĆćČčĎďĐđĘęĚěĞğĹĺĽľŁłŃńŇňŐőŒœŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽžİı";

/// Returns LaTeX that prints `text`. A character that pdflatex does not know is printed as `[U+4E2D]`.
fn escape(text: &str) -> String {
    let mut out = String::new();
    let mut before = None;
    for c in text.chars() {
        // Two of these would become a dash or a quotation mark.
        if matches!(c, '-' | '\'' | ',') && before == Some(c) {
            out.push_str("{}");
        }
        before = Some(c);
        match replacement(c) {
            Some(latex) => out.push_str(latex),
            None if matches!(c, ' '..='~' | 'À'..='ÿ') || LETTERS.contains(c) => out.push(c),
            None => {
                let _ = write!(out, "{{[}}U+{:04X}{{]}}", u32::from(c));
            }
        }
    }
    out
}

/// Returns the LaTeX for a character that means something to LaTeX, or that its fonts lack. Brackets and stars are in
/// braces, as they would be arguments where they follow the end of a row.
fn replacement(c: char) -> Option<&'static str> {
    Some(match c {
        '&' => "\\&",
        '%' => "\\%",
        '$' => "\\$",
        '#' => "\\#",
        '_' => "\\_",
        '{' => "\\{",
        '}' => "\\}",
        '~' => "\\textasciitilde{}",
        '^' => "\\textasciicircum{}",
        '\\' => "\\textbackslash{}",
        '<' => "\\textless{}",
        '>' => "\\textgreater{}",
        '|' => "\\textbar{}",
        '"' => "\\symbol{34}",
        '`' => "\\textasciigrave{}",
        '[' => "{[}",
        ']' => "{]}",
        '*' => "{*}",
        '\n' | '\r' | '\t' => " ",
        '\u{a0}' => "~",
        '\u{202f}' => "\\,",
        '±' => "$\\pm$",
        '−' => "$-$",
        '×' => "$\\times$",
        '÷' => "$\\div$",
        '·' => "$\\cdot$",
        '‖' => "$\\Vert$",
        '₀' => "$_0$",
        '–' => "--",
        '—' => "---",
        '…' => "\\ldots{}",
        '“' => "\\textquotedblleft{}",
        '”' => "\\textquotedblright{}",
        '‘' => "\\textquoteleft{}",
        '’' => "\\textquoteright{}",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        let cases = [
            ("a & b % c $ d # e _ f", "a \\& b \\% c \\$ d \\# e \\_ f"),
            ("{x}", "\\{x\\}"),
            ("~^\\", "\\textasciitilde{}\\textasciicircum{}\\textbackslash{}"),
            ("<a|b>", "\\textless{}a\\textbar{}b\\textgreater{}"),
            ("87.3 ± 0.4", "87.3 $\\pm$ 0.4"),
            ("−12 · 3\u{202f}000", "$-$12 $\\cdot$ 3\\,000"),
            ("[a]*", "{[}a{]}{*}"),
            ("--x, ,, ''", "-{}-x, ,{}, '{}'"),
            ("Łódź", "Łódź"),
            ("中\u{7}", "{[}U+4E2D{]}{[}U+0007{]}"),
            ("a\nb", "a b"),
        ];
        for (text, latex) in cases {
            assert_eq!(escape(text), latex);
        }
        assert_eq!(with_code("of `a_b`: 5 %"), "of \\texttt{a\\_b}: 5 \\%");
        assert_eq!(with_code("a ` quote"), "a \\textasciigrave{} quote");
    }

    /// Reads back what [`escape`] wrote, and fails over anything that it does not write.
    fn unescape(latex: &str) -> Option<String> {
        let known: Vec<(char, &str)> =
            (' '..='\u{2300}').filter_map(|c| replacement(c).map(|latex| (c, latex))).collect();
        let (mut rest, mut out) = (latex, String::new());
        while let Some(first) = rest.chars().next() {
            if let Some(code) = rest.strip_prefix("{[}U+") {
                let (digits, after) = code.split_once("{]}")?;
                out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                rest = after;
            } else if let Some((c, latex)) =
                known.iter().filter(|(_, latex)| rest.starts_with(latex)).max_by_key(|(_, latex)| latex.len())
            {
                out.push(*c);
                rest = &rest[latex.len()..];
            } else if let Some(after) = rest.strip_prefix("{}") {
                rest = after;
            } else if "\\{}$&#%_^~[]*|<>\"`".contains(first) {
                return None;
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        Some(out)
    }

    proptest! {
        #[test]
        fn escaped_text_has_no_active_character_and_reads_back(text in "[ -~±−·éŁ中“]{0,40}") {
            prop_assert_eq!(unescape(&escape(&text)), Some(text));
        }

        #[test]
        fn escaped_text_has_balanced_braces_and_only_known_letters(text in any::<String>()) {
            let latex = escape(&text).replace("\\{", "").replace("\\}", "");
            let mut depth = 0;
            for c in latex.chars() {
                depth += i32::from(c == '{') - i32::from(c == '}');
                prop_assert!(depth >= 0, "{latex}");
                prop_assert!(c.is_ascii() && !c.is_control() || matches!(c, 'À'..='ÿ') || LETTERS.contains(c), "{c:?}");
            }
            prop_assert_eq!(depth, 0);
        }
    }
}
