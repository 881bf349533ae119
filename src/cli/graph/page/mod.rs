//! The drawing as one interactive page that needs nothing else: style, script and data inside, no network. The picture
//! is laid out here; the script draws it, opens stages on demand and moves their neighbours aside.

use std::collections::HashMap;
use std::fmt::Write;

use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use crate::base::diag::{Class, Diag};
use crate::cache::Store;
use crate::engine::graph::NodeId;

use super::card::{Body, Card, PAD};
use super::grid::{GAP, HEAD, ROW};
use super::layout::{Layout, MOST_CELLS, role_text};
use super::states::{LOOKS, Standing, recipe};
use super::svg;
use super::view::View;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the script draws. Names are short: there is one row a node.
#[derive(Serialize)]
struct Data<'a> {
    schema: u32,
    pipeline: &'a str,
    /// The words of a command that runs the pipeline as it was drawn.
    run: &'a [String],
    /// `true` if states are known.
    status: bool,
    /// Word, meaning, and how much it weighs against others.
    states: Vec<(&'static str, &'static str, u8)>,
    /// Sizes that the layout took: padding, row, heading row, gap, least part of a bar.
    sizes: [f64; 5],
    /// Middle and width of each.
    columns: Vec<(f64, f64)>,
    stages: Vec<Stage<'a>>,
    edges: Vec<Edge>,
    nodes: Vec<Node<'a>>,
    /// Texts that rows refer to by number.
    texts: Vec<String>,
}

#[derive(Serialize)]
struct Stage<'a> {
    name: &'a str,
    kind: &'a str,
    about: &'a str,
    axes: Vec<&'a str>,
    count: String,
    sub: String,
    /// `true` if cells are shown at first.
    open: bool,
    column: usize,
    y: f64,
    /// Where the body begins.
    top: f64,
    /// Sizes with one bar for all instances, and with a cell for each.
    shut: (f64, f64),
    full: (f64, f64),
    rows: Vec<String>,
    /// Text, first column and number of columns, a line for each axis.
    heads: Vec<Vec<(String, usize, usize)>>,
    pitch: f64,
    left: f64,
    /// Row, column and node.
    cells: Vec<(usize, usize, usize)>,
}

#[derive(Serialize)]
struct Edge {
    from: usize,
    to: usize,
    role: String,
    roles: Vec<String>,
    gathers: bool,
    optional: bool,
    leaves: f64,
    enters: f64,
    run: f64,
    passes: Vec<(usize, f64)>,
}

#[derive(Serialize)]
struct Node<'a> {
    /// Its stage.
    s: usize,
    /// Its values on the stage's axes.
    v: Vec<&'a str>,
    /// Role and nodes.
    i: Vec<(&'a str, Vec<usize>)>,
    /// Its recipe: numbers of texts.
    r: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<Status<'a>>,
}

/// State, why (a text), key, seconds, and files: name (a text), bytes, digest.
type Status<'a> = (usize, usize, Option<&'a str>, Option<f64>, Vec<(usize, u64, String)>);

/// Texts, each once.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), self.texts.len() - 1);
        self.texts.len() - 1
    }
}

/// The whole page. The store is where recipes of fresh results are read; `run` are the words of the command that runs
/// this pipeline.
///
/// # Errors
/// When there are more stages than a picture holds, or a manifest cannot be read.
pub(super) fn html(view: &View, store: Option<&Store>, run: &[String]) -> Result<String, Vec<Diag>> {
    let shut = vec![false; view.open.len()];
    let open: Vec<bool> = view
        .folded
        .groups
        .iter()
        .zip(&view.open)
        .map(|(group, wanted)| *wanted || group.ids.len() <= MOST_CELLS)
        .collect();
    let layout = Layout::new(view, &shut, |group| open[group])?;
    let mut texts = Texts::default();
    let numbers: HashMap<NodeId, usize> = view.nodes.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let nodes = view.nodes.iter().map(|id| node(view, store, *id, &numbers, &mut texts));
    let nodes = nodes.collect::<Result<Vec<_>, Diag>>().map_err(|diag| vec![diag])?;
    let stages = (0..layout.units.len()).map(|i| stage(view, &layout, i, open[i], &numbers)).collect();
    let edge = |number: usize| {
        let (link, route) = (&layout.links[number], &layout.placed.routes[number]);
        Edge {
            from: link.from,
            to: link.to,
            role: role_text(view, &layout.units[link.from], &layout.units[link.to], link),
            roles: link.roles.clone(),
            gathers: link.gathers,
            optional: link.optional,
            leaves: route.leaves,
            enters: route.enters,
            run: route.run,
            passes: route.passes.clone(),
        }
    };
    let data = Data {
        schema: 1,
        pipeline: &view.plan.name,
        run,
        status: view.states.is_some(),
        states: LOOKS.iter().map(|look| (look.word, look.means, look.weight)).collect(),
        sizes: [PAD, ROW, HEAD, GAP, svg::LEAST],
        columns: layout.placed.columns.iter().map(|c| (c.x, c.width)).collect(),
        stages,
        edges: (0..layout.links.len()).map(edge).collect(),
        nodes,
        texts: texts.texts,
    };
    // Without scripts the page shows the figure.
    let folded = View { open: shut, states: None, folded: super::fold::Folded::new(view.plan, view.nodes), ..*view };
    let picture = svg::svg(&folded)?;
    let data = in_script(&serde_json::to_string(&data).expect("a page's data is JSON"));
    page(view, &data, &picture).map_err(|diag| vec![diag])
}

fn stage<'a>(
    view: &'a View,
    layout: &Layout,
    number: usize,
    open: bool,
    numbers: &HashMap<NodeId, usize>,
) -> Stage<'a> {
    let (unit, spot) = (&layout.units[number], layout.placed.spots[number]);
    let group = &view.folded.groups[unit.group];
    let (mut full, mut shut) = (Card::new(view, unit, true), Card::new(view, unit, false));
    let shown = layout.cards[number].size;
    // Arrows need their room in both.
    (if open { &mut full } else { &mut shut }).size = shown;
    let ends = |end: fn(&super::view::Link) -> usize| layout.links.iter().filter(|link| end(link) == number).count();
    let arrows = ends(|link| link.from).max(ends(|link| link.to));
    full.hold(arrows);
    shut.hold(arrows);
    let mut stage = Stage {
        name: &group.stage,
        kind: group.kind.name,
        about: group.kind.about,
        axes: group.axes.iter().map(|(axis, _)| axis.as_str()).collect(),
        count: full.count.clone(),
        sub: full.sub.clone(),
        open,
        column: spot.column,
        y: spot.y,
        top: full.top(),
        shut: shut.size,
        full: full.size,
        rows: Vec::new(),
        heads: Vec::new(),
        pitch: ROW,
        left: 0.0,
        cells: vec![(0, 0, numbers[&group.ids[0]])],
    };
    if let Body::Grid(grid) = full.body {
        let heads = grid.heads.into_iter().map(|line| line.into_iter().map(|h| (h.text, h.from, h.span)).collect());
        stage.heads = heads.collect();
        stage.cells = grid.cells.iter().zip(&group.ids).map(|((r, c), id)| (*r, *c, numbers[id])).collect();
        (stage.rows, stage.pitch, stage.left) = (grid.rows, grid.pitch, grid.left);
    }
    stage
}

fn node<'a>(
    view: &'a View,
    store: Option<&Store>,
    id: NodeId,
    numbers: &HashMap<NodeId, usize>,
    texts: &mut Texts,
) -> Result<Node<'a>, Diag> {
    let node = view.plan.graph.node(id);
    let mut inputs: Vec<(&str, Vec<usize>)> = Vec::new();
    for (producer, port) in view.plan.graph.producers(id) {
        match inputs.iter_mut().find(|(role, _)| *role == port.role) {
            Some((_, list)) => list.push(numbers[&producer]),
            None => inputs.push((&port.role, vec![numbers[&producer]])),
        }
    }
    let standing = view.states.as_ref().map(|states| states.of(id));
    let stored = standing.and_then(|standing| standing.stored.as_deref()).zip(store);
    let made_from = stored.map(|(stored, store)| recipe(store, stored)).transpose()?.flatten();
    // As stored; else as planned, with the digests of inputs still unknown.
    let lines = made_from.map(|recipe| recipe.to_string()).unwrap_or_else(|| {
        let mut lines = format!("stage = {}\nversion = {}\n", node.kind.name, node.kind.version);
        node.params.iter().for_each(|(name, value)| {
            let _ = writeln!(lines, "param.{name} = {value}");
        });
        lines
    });
    Ok(Node {
        s: view.folded.group_of[&id],
        v: node.axes.iter().map(|(_, value)| value.as_str()).collect(),
        i: inputs,
        r: lines.lines().map(|line| texts.number(line)).collect(),
        q: standing.map(|standing| status(standing, texts)),
    })
}

fn status<'a>(standing: &'a Standing, texts: &mut Texts) -> Status<'a> {
    let stored = standing.stored.as_deref();
    let files = stored.map(|stored| {
        let files = stored.files.iter();
        files.map(|(name, file)| (texts.number(name), file.size, file.bytes.to_string())).collect()
    });
    let why = texts.number(&standing.why);
    let seconds = stored.map(|stored| stored.seconds);
    (standing.state as usize, why, standing.key.as_deref(), seconds, files.unwrap_or_default())
}

/// JSON that ends no script and begins no comment.
fn in_script(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

fn page(view: &View, data: &str, picture: &str) -> Result<String, Diag> {
    let bug = |e: minijinja::Error| Diag::error(Class::Bug, format!("the page's template does not fit: {e:#}"));
    let mut env = Environment::new();
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    env.add_template("page", TEMPLATE).map_err(bug)?;
    let page = context! {
        name => &view.plan.name,
        heading => svg::heading(view),
        style => format!("{}{STYLE}", colours()),
        script => SCRIPT,
        data => data,
        picture => picture,
    };
    env.get_template("page").and_then(|template| template.render(page)).map(|page| page + "\n").map_err(bug)
}

/// The colours of states, for light and for dark ground.
fn colours() -> String {
    let variables = |dark: usize| {
        let one = |look: &super::states::Look| {
            format!("--{0}:{1};--{0}-line:{2};", look.word, look.fill[dark], look.line[dark])
        };
        LOOKS.iter().map(one).collect::<String>()
    };
    let mut text = format!(":root{{{}}}\n", variables(0));
    let _ = writeln!(text, "@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{}}}}}", variables(1));
    let _ = writeln!(text, ":root[data-theme=dark]{{{}}}", variables(1));
    for look in &LOOKS {
        let word = look.word;
        let _ = writeln!(text, ".{word}{{fill:var(--{word});stroke:var(--{word}-line);--state:var(--{word}-line)}}");
    }
    text
}
