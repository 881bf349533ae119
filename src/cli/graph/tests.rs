//! Drawings of a small sweep.

use std::collections::HashMap;

use super::states::{Standing, States};
use super::*;
use crate::cli::status_kind::StatusKind;
use crate::pipeline::{LoadOptions, load_text};
use crate::stages::ctx::{Ctx, Outcome};
use crate::stages::stage::{Arity, Param, Port, Runs, StageKind, StageResult, Type};

fn nothing(_: &Ctx) -> StageResult {
    Ok(Outcome::default())
}

const NOTE: &[Param] = &[Param::optional("note", Type::Str, "anything")];

const fn kind(name: &'static str, inputs: &'static [Port<'static>]) -> StageKind {
    StageKind { name, about: "a stub", params: NOTE, inputs, runs: Runs::Here(nothing), ..StageKind::BASE }
}

const fn port(role: &'static str, arity: Arity) -> Port<'static> {
    Port { role, accepts: &[], files: &["*"], arity, doc: "" }
}

static KINDS: &[&StageKind] = &[
    &kind("download", &[]),
    &kind("tokenize", &[port("data", Arity::One), port("tokenizer", Arity::One)]),
    &kind("svd-init", &[port("model", Arity::One)]),
    &kind("train", &[port("data", Arity::One), port("model", Arity::One), port("init", Arity::Optional)]),
    &kind("eval", &[port("adapter", Arity::One), port("data", Arity::One), port("model", Arity::One)]),
    &kind("report", &[port("runs", Arity::Many)]),
];

const SWEEP: &str = r#"
schema = 1
[pipeline]
name = "sweep"
[axes]
task = ["rte", "cb"]
method = ["dpt", "pt"]
[stage.download]
axes = ["task"]
[stage.backbone]
kind = "download"
[stage.tokenize]
axes = ["task"]
needs = { data = "download", tokenizer = "backbone" }
[stage.svd_init]
axes = ["method"]
when = { method = "dpt" }
needs = { model = "backbone" }
[stage.train]
axes = ["task", "method"]
needs = { data = "tokenize", model = "backbone", init = "svd_init?" }
[stage.eval]
axes = ["task", "method"]
needs = { adapter = "train", data = "tokenize", model = "backbone" }
[stage.report]
needs = { runs = "eval[*]" }
"#;

fn plan(text: &str) -> Plan {
    let options = LoadOptions { stages: KINDS, ..LoadOptions::default() };
    load_text("sweep.toml".as_ref(), text.to_owned(), &options).unwrap()
}

fn view<'a>(plan: &'a Plan, nodes: &'a [NodeId], expand: &[&str]) -> View<'a> {
    let folded = Folded::new(plan, nodes);
    let expand: Vec<_> = expand.iter().map(|e| (*e).to_owned()).collect();
    let open = view::open(&folded, &expand).unwrap();
    View { plan, nodes, folded, states: None, open }
}

fn drawn_as(view: &View, format: Format, terminal: Terminal) -> String {
    let drawing = render(view, format, terminal, None, &[]).unwrap();
    anstream::adapter::strip_str(&drawing).to_string()
}

fn drawn(format: Format, expand: &[&str], targets: &[&str]) -> String {
    let plan = plan(SWEEP);
    let targets: Vec<_> = targets.iter().map(|t| (*t).to_owned()).collect();
    let nodes = match targets.is_empty() {
        true => plan.graph.ids().collect(),
        false => needed(&plan.graph, plan.select(&targets).unwrap()),
    };
    drawn_as(&view(&plan, &nodes, expand), format, Terminal::default())
}

/// All of [`SWEEP`], in a drawing where one training is stale, one is missing and one is damaged.
fn with_states(format: Format, expand: &[&str], terminal: Terminal) -> String {
    let plan = plan(SWEEP);
    let nodes: Vec<_> = plan.graph.ids().collect();
    let standing = |id: NodeId| {
        let (state, why) = match plan.graph.node(id).short().as_str() {
            "train[rte,pt]" => (StatusKind::Stale, "learning_rate 0.3 -> 0.5"),
            "train[cb,dpt]" => (StatusKind::Missing, "never made before"),
            "train[cb,pt]" => (StatusKind::Damaged, "damaged: `x` is not what was stored"),
            name if name.starts_with("eval") || name == "report" => (StatusKind::Blocked, "for train"),
            _ => (StatusKind::Fresh, "took 1 s"),
        };
        (id, Standing { state, why: why.to_owned(), key: None, stored: None })
    };
    let standings: HashMap<_, _> = nodes.iter().map(|id| standing(*id)).collect();
    let view = View { states: Some(States { standings }), ..view(&plan, &nodes, expand) };
    drawn_as(&view, format, terminal)
}

const PICTURES: [Format; 2] = [Format::Svg, Format::Html];
const ALL: [Format; 6] = [Format::Text, Format::Svg, Format::Html, Format::Dot, Format::Mermaid, Format::Json];

#[test]
fn terminal_drawing_shows_axes_and_rails() {
    let expected = "\
●        download  ×2  task
│  ●     backbone  ×1                 download
●──┤     tokenize  ×2  task                     data = download, tokenizer = backbone
│  ├──●  svd_init  ×1  method=dpt               model = backbone
├──┼──●  train     ×4  task · method            data = tokenize, model = backbone, init = svd_init?
●──┴──╯  eval      ×4  task · method            adapter = train, data = tokenize, model = backbone
●        report    ×1                           runs = eval[*]
";
    assert_eq!(drawn(Format::Text, &[], &[]), expected);
}

#[test]
fn targets_leave_only_what_they_need() {
    let expected = "\
download
  download[cb]

backbone
  backbone

tokenize
  tokenize[cb]  data = download[cb]  tokenizer = backbone

train
  train[cb,pt]  data = tokenize[cb]  model = backbone
";
    assert_eq!(drawn(Format::Text, &["*"], &["train[cb,pt]"]), expected);
    let report = drawn(Format::Text, &["*"], &[]);
    assert!(report.ends_with("report\n  report  runs = eval[rte,dpt], … eval[cb,pt] (4)\n"), "{report}");
}

#[test]
fn unneeded_stages_are_named() {
    let plan = plan(&SWEEP.replace("name = \"sweep\"", "targets = [\"train[rte,pt]\"]"));
    assert_eq!(unneeded(&plan.graph, &needed(&plan.graph, plan.targets.clone())), ["svd_init", "eval", "report"]);
}

#[test]
fn narrow_terminal_shows_inputs_below_and_ascii_locale_plain_letters() {
    let expected = "\
o        download  x2  task
|  o     backbone  x1                 download
o--+     tokenize  x2  task
|  |       data = download, tokenizer = backbone
|  +--o  svd_init  x1  method=dpt
|  |  |    model = backbone
+--+--o  train     x4  task / method
|  |  |    data = tokenize, model = backbone,
|  |  |    init = svd_init?
o--+--'  eval      x4  task / method
|          adapter = train, data = tokenize,
|          model = backbone
o        report    x1
           runs = eval[*]
";
    let plan = plan(SWEEP);
    let nodes: Vec<_> = plan.graph.ids().collect();
    let terminal = Terminal { columns: Some(52), ascii: true };
    let text = drawn_as(&view(&plan, &nodes, &[]), Format::Text, terminal);
    assert_eq!(text, expected);
    assert!(text.is_ascii());
}

#[test]
fn states_in_the_terminal() {
    let text = with_states(Format::Text, &["train"], Terminal::default());
    let line = |stage: &str| text.lines().find(|line| line.contains(&format!("  {stage} "))).unwrap().to_owned();
    assert!(line("train").contains("1 fresh · 1 stale · 1 missing · 1 damaged"), "{text}");
    assert!(line("eval").contains("4 blocked"), "{text}");
    let list = "\
train
  train[rte,dpt]  fresh    took 1 s
  train[rte,pt]   stale    learning_rate 0.3 -> 0.5
  train[cb,dpt]   missing  never made before
  train[cb,pt]    damaged  damaged: `x` is not what was stored
";
    assert!(text.ends_with(list), "{text}");
}

#[test]
fn dot_and_mermaid() {
    let dot = r#"digraph "sweep" {
  rankdir = LR;
  node [shape = box, style = "rounded,filled", fillcolor = white, fontname = "sans-serif"];
  edge [fontname = "sans-serif", fontsize = 10];
  n0 [label = "download\ntask=rte"];
  n1 [label = "backbone"];
  n2 [label = "tokenize\ntask=rte"];
  n0 -> n2 [label = "data"];
  n1 -> n2 [label = "tokenizer"];
}
"#;
    assert_eq!(drawn(Format::Dot, &[], &["tokenize[rte]"]), dot);
    let mermaid = drawn(Format::Mermaid, &[], &[]);
    assert!(mermaid.starts_with("flowchart LR\n  n0[\"download ×2<br/>task\"]\n"), "{mermaid}");
    assert!(mermaid.contains("  n3 -.->|init| n4\n"), "{mermaid}");
    assert!(mermaid.ends_with("\n  n5 ==>|runs| n6\n"), "{mermaid}");
    let all = drawn(Format::Dot, &["*"], &[]);
    assert_eq!(all.matches(" -> ").count(), 2 * 2 + 1 + 4 * 2 + 2 + 4 * 3 + 4);
}

#[test]
fn stages_can_be_opened_one_by_one() {
    let dot = drawn(Format::Dot, &["tokenize"], &["tokenize"]);
    let expected = r#"  n0 [label = "download ×2\ntask"];
  n1 [label = "backbone"];
  subgraph cluster_2 {
    label = "tokenize ×2";
    n2 [label = "tokenize[rte]"];
    n3 [label = "tokenize[cb]"];
  }
  n0 -> n2 [label = "data"];
  n1 -> n2 [label = "tokenizer"];
"#;
    assert!(dot.contains(expected), "{dot}");
    let mermaid = drawn(Format::Mermaid, &["tokenize"], &["tokenize"]);
    assert!(mermaid.contains("  subgraph s2[\"tokenize ×2\"]\n    n2[\"tokenize[rte]\"]\n"), "{mermaid}");
    let plan = plan(SWEEP);
    let nodes: Vec<_> = plan.graph.ids().collect();
    let error = draw(&plan, &nodes, Format::Text, &["tran".to_owned()]).unwrap_err();
    assert_eq!(error[0].message, "there is no stage `tran` to expand in this drawing");
    assert_eq!(error[0].help.as_deref(), Some("did you mean `train`?"));
}

#[test]
fn states_colour_dot_and_mermaid() {
    let dot = with_states(Format::Dot, &["train"], Terminal::default());
    let stale = "[label = \"train[rte,pt]\\nstale\", fillcolor = \"#f0b429\", color = \"#a8700a\", fontcolor = black, \
                 tooltip = \"train[task=rte,method=pt]\\ntrain: a stub\\nstale: learning_rate 0.3 -> 0.5\"]";
    assert!(dot.contains(stale), "{dot}");
    let mermaid = with_states(Format::Mermaid, &[], Terminal::default());
    let box_of = "[\"train ×4<br/>task · method<br/>1 fresh · 1 stale · 1 missing · 1 damaged\"]:::damaged\n";
    assert!(mermaid.contains(box_of), "{mermaid}");
    assert!(mermaid.contains("  classDef damaged fill:#d6455d,stroke:#96203a,color:#fff\n"), "{mermaid}");
}

#[test]
fn json_has_stages_edges_and_every_node() {
    let all: serde_json::Value = serde_json::from_str(&drawn(Format::Json, &[], &[])).unwrap();
    assert_eq!(all["schema"], 1);
    assert_eq!(all["stages"][4]["nodes"], 4);
    assert_eq!(all["stages"][4]["axes"][0]["values"], serde_json::json!(["rte", "cb"]));
    assert_eq!(all["edges"].as_array().unwrap().len(), 10);
    assert_eq!(all["nodes"].as_array().unwrap().len(), 15);
    assert_eq!(all["nodes"][14]["inputs"][0]["node"], "eval[task=rte,method=dpt]");
    assert!(all["nodes"][0].get("state").is_none());
    let states: serde_json::Value = serde_json::from_str(&with_states(Format::Json, &[], Terminal::default())).unwrap();
    assert_eq!(states["stages"][4]["states"]["damaged"], 1);
    let train = states["nodes"].as_array().unwrap().iter().find(|n| n["short"] == "train[rte,pt]").unwrap();
    assert_eq!((&train["state"], &train["why"]), (&"stale".into(), &"learning_rate 0.3 -> 0.5".into()));
}

/// A rectangle: left, top, right, bottom.
type Area = [f64; 4];

fn number(node: roxmltree::Node, name: &str) -> f64 {
    node.attribute(name).map_or(0.0, |text| text.parse().unwrap())
}

/// The boxes of a picture, and how large it is.
fn areas(svg: &str) -> (Vec<Area>, Area) {
    let document = roxmltree::Document::parse(svg).unwrap();
    let moved = |node: roxmltree::Node| {
        let mut at = [0.0, 0.0];
        for text in node.ancestors().filter_map(|node| node.attribute("transform")) {
            let inside = text.strip_prefix("translate(").unwrap().strip_suffix(')').unwrap();
            for (sum, part) in at.iter_mut().zip(inside.split(' ')) {
                *sum += part.parse::<f64>().unwrap();
            }
        }
        at
    };
    let boxes = document.descendants().filter(|node| node.attribute("class") == Some("box"));
    let area = |node| {
        let [x, y] = moved(node);
        [x, y, x + number(node, "width"), y + number(node, "height")]
    };
    let root = document.root_element();
    (boxes.map(area).collect(), [0.0, 0.0, number(root, "width"), number(root, "height")])
}

#[test]
fn picture_is_valid_xml_without_overlapping_boxes() {
    for (svg, boxes) in [
        (drawn(Format::Svg, &[], &[]), 7),
        (drawn(Format::Svg, &["*"], &[]), 15),
        (drawn(Format::Svg, &["train"], &[]), 10),
        (with_states(Format::Svg, &[], Terminal::default()), 7),
        (with_states(Format::Svg, &["*"], Terminal::default()), 15),
    ] {
        let (areas, page) = areas(&svg);
        assert_eq!(areas.len(), boxes);
        for (i, a) in areas.iter().enumerate() {
            assert!(a[0] > 0.0 && a[1] > 0.0 && a[2] < page[2] && a[3] < page[3], "{a:?} leaves {page:?}");
            for b in &areas[..i] {
                let apart = a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1];
                assert!(apart, "{a:?} touches {b:?}");
            }
        }
        let document = roxmltree::Document::parse(&svg).unwrap();
        let told = |tag| document.root_element().children().any(|node| node.tag_name().name() == tag);
        assert!(told("title") && told("desc"), "it says what it is");
    }
}

#[test]
fn picture_has_a_cell_with_reason_for_each_node() {
    let svg = with_states(Format::Svg, &[], Terminal::default());
    let document = roxmltree::Document::parse(&svg).unwrap();
    let cells = |class: &str| {
        let is = |node: &roxmltree::Node| {
            node.tag_name().name() == "rect" && node.attribute("class") == Some(class) && node.has_children()
        };
        document.descendants().filter(is).count()
    };
    // Stages of one node have no cells.
    assert_eq!(["fresh", "blocked", "missing", "stale", "damaged"].map(cells), [2 + 2 + 1, 4, 1, 1, 1]);
    assert!(svg.contains("<title>train[task=rte,method=pt]\nstale: learning_rate 0.3 -&gt; 0.5</title>"), "{svg}");
    assert!(svg.contains(">1 damaged: its stored files were changed or lost</text>"), "{svg}");
}

#[test]
fn page_is_self_contained() {
    let page = with_states(Format::Html, &[], Terminal::default());
    let rest = page.replace("http://www.w3.org/2000/svg", "");
    for word in ["http:", "https:", "//cdn", "@import", "url(", " src=", " href=", "<link", "<img", "fetch(", "eval("] {
        assert!(!rest.contains(word), "`{word}` in the page");
    }
    assert!(page.contains("default-src 'none'"));
    let data: serde_json::Value = serde_json::from_str(data(&page)).unwrap();
    assert_eq!(data["stages"].as_array().unwrap().len(), 7);
    assert_eq!(data["nodes"].as_array().unwrap().len(), 15);
    assert_eq!(data["stages"][4]["cells"].as_array().unwrap().len(), 4);
    assert_eq!(data["stages"][4]["heads"], serde_json::json!([[["dpt", 0, 1], ["pt", 1, 1]]]));
    assert_eq!(data["nodes"][14]["i"], serde_json::json!([["runs", [10, 11, 12, 13]]]));
}

fn data(page: &str) -> &str {
    page.split("<script type=\"application/json\" id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap()
}

#[test]
fn same_pipeline_gives_same_bytes() {
    for format in ALL {
        for expand in [&[][..], &["*"], &["train"]] {
            assert_eq!(drawn(format, expand, &[]), drawn(format, expand, &[]), "{format:?} {expand:?}");
        }
    }
}

#[test]
fn names_and_values_cannot_break_out_of_any_format() {
    let evil = "</script><script>alert(1)</script>&#60;--><b>\\N%n;#quot;";
    // As TOML writes it; braces are doubled for the pipeline's own substitution.
    let note = r#"\\\"';</script><!--{{{{ data }}}}{{% x %}}]]>&amp;\u2028\u0007\u001b[2J`$(id)`"#;
    let text = SWEEP
        .replace("task = [\"rte\", \"cb\"]", &format!("task = ['{evil}', 'cb']"))
        .replace("[stage.report]", &format!("[stage.report]\nnote = \"{note}\""));
    let plan = plan(&text);
    let nodes: Vec<_> = plan.graph.ids().collect();
    for format in ALL {
        for expand in [&[][..], &["*"]] {
            let drawing = drawn_as(&view(&plan, &nodes, expand), format, Terminal::default());
            let control = drawing.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(control, None, "{format:?}");
            match format {
                Format::Svg => assert!(!drawing.contains("<script") && roxmltree::Document::parse(&drawing).is_ok()),
                Format::Html => {
                    assert_eq!(drawing.matches("<script").count(), 2);
                    assert_eq!(drawing.matches("</script").count(), 2);
                    assert!(!drawing.contains("<b>") && !data(&drawing).contains(['<', '>', '&', '\u{2028}']));
                    let data: serde_json::Value = serde_json::from_str(data(&drawing)).unwrap();
                    assert_eq!(data["nodes"][0]["v"][0], evil);
                    let texts = data["texts"].as_array().unwrap();
                    assert!(texts.iter().any(|t| t.as_str().unwrap().contains("]]>&amp;")), "{texts:?}");
                }
                Format::Dot => {
                    let without = drawing.replace("\\\\", "").replace("\\\"", "");
                    assert!(without.lines().all(|line| line.matches('"').count() % 2 == 0), "{without}");
                    assert!(!drawing.contains("&#60;") && !drawing.contains(" \\N"), "{drawing}");
                }
                Format::Mermaid => {
                    assert!(!drawing.replace("<br/>", "").contains(['<', '&', '\\']), "{drawing}");
                    assert_eq!(drawing.contains("#60;/script#62;"), !expand.is_empty(), "{drawing}");
                }
                Format::Json => drop(serde_json::from_str::<serde_json::Value>(&drawing).unwrap()),
                Format::Text => {}
            }
        }
    }
}

#[test]
fn ten_thousand_nodes_are_drawn_in_every_format() {
    let plan = plan(
        &SWEEP
            .replace("method = [\"dpt\", \"pt\"]", "method = [\"dpt\", \"pt\"]\nseed = { from = 0, count = 1250 }")
            .replace("axes = [\"task\", \"method\"]", "axes = [\"task\", \"method\", \"seed\"]"),
    );
    let nodes: Vec<_> = plan.graph.ids().collect();
    assert!(nodes.len() > 10_000);
    for format in ALL {
        let drawing = drawn_as(&view(&plan, &nodes, &[]), format, Terminal::default());
        assert!(drawing.contains("5000"), "{format:?}");
        let all = view(&plan, &nodes, &["*"]);
        assert!(drawn_as(&all, format, Terminal::default()).contains("1249"), "{format:?}");
    }
    // What is folded stays small.
    for format in [Format::Text, Format::Svg, Format::Dot, Format::Mermaid] {
        assert!(drawn_as(&view(&plan, &nodes, &[]), format, Terminal::default()).len() < 20_000, "{format:?}");
    }
    let page = drawn_as(&view(&plan, &nodes, &[]), Format::Html, Terminal::default());
    let data: serde_json::Value = serde_json::from_str(data(&page)).unwrap();
    let train = &data["stages"][4];
    assert_eq!((&train["open"], train["cells"].as_array().unwrap().len()), (&false.into(), 5000));
    let page = drawn_as(&view(&plan, &nodes, &["train"]), Format::Html, Terminal::default());
    let data: serde_json::Value = serde_json::from_str(self::data(&page)).unwrap();
    assert_eq!(data["stages"][4]["open"], true);
}

#[test]
fn picture_with_too_many_boxes_or_arrows_has_cells() {
    let many = |count: usize| {
        plan(&format!(
            "schema = 1\n[axes]\nseed = {{ from = 0, count = {count} }}\n[stage.a]\nkind = \"download\"\naxes = [\"seed\"]\n\
             [stage.b]\nkind = \"report\"\naxes = [\"seed\"]\nneeds = {{ runs = \"a[seed=*]\" }}\n"
        ))
    };
    for (count, why) in [
        (3, None),
        (60, Some("3600 arrows are too many for a picture, which has at most 2000")),
        (600, Some("1200 boxes are too many for a picture, which has at most 1000")),
    ] {
        let plan = many(count);
        let nodes: Vec<_> = plan.graph.ids().collect();
        let all = view(&plan, &nodes, &["*"]);
        assert_eq!(svg::folds(&all).as_deref(), why);
        let drawing = drawn_as(&all, Format::Svg, Terminal::default());
        assert_eq!(drawing.matches("class=\"cell\"").count(), if why.is_some() { 2 * count } else { 0 });
        assert_eq!(drawing.matches("class=\"box\"").count(), if why.is_some() { 2 } else { 2 * count });
    }
}

#[test]
fn pictures_of_odd_graphs() {
    let head = "schema = 1\n[axes]\nseed = [1, 2]\n";
    // One stage; none reads another.
    let alone = "[stage.backbone]\nkind = \"download\"\n";
    let apart = "[stage.a]\nkind = \"download\"\n[stage.b]\nkind = \"download\"\naxes = [\"seed\"]\n";
    for text in [alone, apart] {
        let plan = plan(&format!("{head}{text}"));
        let nodes: Vec<_> = plan.graph.ids().collect();
        for format in PICTURES {
            drawn_as(&view(&plan, &nodes, &[]), format, Terminal::default());
        }
        let (areas, _) = areas(&drawn_as(&view(&plan, &nodes, &[]), Format::Svg, Terminal::default()));
        assert_eq!(areas.len(), text.matches("[stage.").count());
    }
}
