//! The style sheet of the figure: sizes of letters, lines, and colours on light and on dark ground.

use std::fmt::Write;

use super::card::{NAME, SMALL};
use super::grid::LABEL;
use super::layout::ROLE;
use super::states::LOOKS;

/// The size of the pipeline's name.
pub(super) const TITLE: f64 = 16.0;

/// Colours for light ground, and for dark. No variables: not every program that shows SVG knows them.
pub(super) fn style() -> String {
    let mut text = String::from(
        "<style>\ntext{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif}\n",
    );
    let _ =
        writeln!(text, ".title{{font-size:{TITLE}px;font-weight:600}}.title .soft{{font-size:11.5px;font-weight:400}}");
    let _ = writeln!(
        text,
        ".name{{font-size:{NAME}px;font-weight:600}}.soft,.name .soft{{font-size:{SMALL}px;font-weight:400}}"
    );
    let _ = writeln!(
        text,
        ".label{{font-size:{LABEL}px}}.role{{font-size:{ROLE}px;paint-order:stroke;stroke-width:3px;stroke-linejoin:round}}"
    );
    text.push_str(".edge{fill:none;stroke-width:1.4}.gather{stroke-width:2.6}.maybe{stroke-dasharray:5 3.5}\n");
    text.push_str(".mark{fill:none;stroke-width:1.7;stroke-linecap:round}.missing{stroke-dasharray:2.5 2}\n");
    text.push_str(&colours(0));
    let _ = writeln!(text, "@media (prefers-color-scheme:dark){{\n{}}}\n</style>", colours(1));
    text
}

fn colours(dark: usize) -> String {
    let pick = |both: [&'static str; 2]| both[dark];
    let ink = pick(["#1d2129", "#e4e7ec"]);
    let soft = pick(["#5c6470", "#a3acb9"]);
    let ground = pick(["#ffffff", "#15181d"]);
    let mut text = String::new();
    let _ = writeln!(text, ".page{{fill:{ground};stroke:{}}}", pick(["#d9dde3", "#353b45"]));
    let _ = writeln!(text, ".title,.name{{fill:{ink}}}.soft,.title .soft,.name .soft,.label{{fill:{soft}}}");
    let _ = writeln!(text, ".role{{fill:{soft};stroke:{ground}}}");
    let _ = writeln!(text, ".box{{fill:{};stroke:{}}}", pick(["#f7f8fa", "#1e2229"]), pick(["#b9c0ca", "#495160"]));
    let _ = writeln!(text, ".edge{{stroke:{0}}}.head{{fill:{0}}}", pick(["#8892a0", "#78828f"]));
    let _ = writeln!(text, ".cell{{fill:{};stroke:{}}}", pick(["#a9c7ea", "#3c6391"]), pick(["#6f9dd0", "#6a9bd4"]));
    let _ = writeln!(text, ".mark{{stroke:{}}}", pick(["#4d2f00", "#fff6e0"]));
    for look in &LOOKS {
        let _ = writeln!(text, ".{}{{fill:{};stroke:{}}}", look.word, pick(look.fill), pick(look.line));
    }
    text
}
