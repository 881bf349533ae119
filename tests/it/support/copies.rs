//! Two pipelines without libtorch: one copies two files of a local folder, the other is a chain of three stages.

use crate::sandbox::Sandbox;

/// One download for each file. More stages may be appended.
pub const COPIES: &str = r#"
schema = 1

[pipeline]
name = "copies"

[axes]
part = ["one", "two"]

[source.here]
url = "file:data"

[stage.fetch]
kind = "download"
axes = ["part"]
source = "here"
format = "files"
file = ["{part}.txt"]
"#;

/// One download of both files.
pub const ALL: &str = r#"
[stage.all]
kind = "download"
source = "here"
format = "files"
file = ["one.txt", "two.txt"]
"#;

/// `copies.toml` with these further stages, and its files.
pub fn copies(more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("copies.toml", &format!("{COPIES}{more}"));
    sandbox.write("data/one.txt", "1");
    sandbox.write("data/two.txt", "2");
    sandbox
}

/// `all` reads what `fetch` made: a chain of two.
const CHAIN: &str = r#"
schema = 1

[pipeline]
name = "chain"

[axes]
task = ["rte", "cb"]

[source.here]
url = "file:data"

[source.model]
url = "file:tiny"

[stage.data]
kind = "download"
axes = ["task"]
source = "here"
format = "superglue"
splits = { train = "train.jsonl", validation = "test.jsonl" }

[stage.model]
kind = "download"
source = "model"
format = "checkpoint"

[stage.tokenize]
axes = ["task"]
needs = { data = "data", tokenizer = "model" }
max_source_length = 64
"#;

/// [`CHAIN`] with the rows and the model of the examples.
pub fn chain() -> Sandbox {
    let sandbox = Sandbox::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    sandbox.write("chain.toml", CHAIN);
    crate::quickstart::copy(&root.join("examples/data"), &sandbox.path().join("data"));
    crate::quickstart::copy(&root.join("examples/tiny_t5"), &sandbox.path().join("tiny"));
    sandbox
}
