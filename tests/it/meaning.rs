//! How files count: inputs of commands by bytes, inputs of other stages by content. Also the executable bit, and files
//! that are not what their ending says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::quickstart::copy;
use crate::sandbox::{Ran, Sandbox};

/// Returns the text after `prefix` for the nodes that were made, sorted.
fn made(ran: &Ran) -> Vec<String> {
    let lines = ran.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let done = lines.filter(|line| line["event"] == "node-done");
    let mut nodes: Vec<_> = done.map(|line| line["node"].as_str().unwrap().to_owned()).collect();
    nodes.sort();
    nodes
}

/// Runs `p.toml` and returns the nodes that were made.
fn run(sandbox: &Sandbox) -> Vec<String> {
    made(&sandbox.dpt(&["run", "p.toml", "--json"]).code(0))
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).unwrap().permissions().mode() & 0o111 != 0
}

/// A command that outputs `in.bin` under a name, and one that reads it.
fn given_and_read(name: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        &format!(
            r#"
schema = 1
[stage.s]
kind = "command"
run = ["cp", "{{files.f}}", "{{out.m}}"]
files = {{ f = "in.bin" }}
outputs = {{ m = "{name}" }}
[stage.t]
kind = "command"
needs = {{ s = "s" }}
run = ["cp", "{{in.s/{name}}}", "{{out.x}}"]
outputs = {{ x = "x.bin" }}
"#
        ),
    );
    sandbox
}

#[test]
fn command_runs_again_if_only_the_bytes_of_an_input_change() {
    let json = [
        r#"{"id": 123456789012345678901, "b": 1}"#,
        r#"{"id": 123456789012345678902, "b": 1}"#,
        r#"{"b": 1, "id": 123456789012345678902}"#,
        r#"{"b": 2, "b": 1, "id": 123456789012345678902}"#,
        r#"{"b": 1.0, "x": 0.1}"#,
        r#"{"b": 1.0, "x": 0.10000000000000000001}"#,
    ];
    let tensors = |metadata: &str| {
        let header = format!(r#"{{{metadata}"a":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[7]].concat()
    };
    let with = |step: u32| tensors(&format!(r#""__metadata__":{{"step":"{step}"}},"#));
    let kinds: [(&str, Vec<Vec<u8>>); 2] = [
        ("m.json", json.map(|text| text.as_bytes().to_vec()).into()),
        ("m.safetensors", vec![tensors(""), with(1), with(2)]),
    ];
    for (name, forms) in kinds {
        let sandbox = given_and_read(name);
        for form in forms {
            fs::write(sandbox.path().join("in.bin"), &form).unwrap();
            assert_eq!(run(&sandbox), ["s", "t"], "{name}: {form:?}");
            assert_eq!(fs::read(sandbox.path().join("cache/results/p/t/x.bin")).unwrap(), form);
        }
        assert_eq!(run(&sandbox), [""; 0]);
    }
}

/// Two rows of RTE as `idx` and the texts are given.
fn rte(idx: ArrayRef, texts: &dyn Fn([&str; 2]) -> ArrayRef) -> RecordBatch {
    let label: ArrayRef = Arc::new(Int64Array::from(vec![0, 1]));
    let columns = [
        ("premise", texts(["A cat sat.", "A cat sat."])),
        ("hypothesis", texts(["An animal sat.", "A dog sat."])),
        ("idx", idx),
        ("label", label),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write_table(path: &Path, batch: &RecordBatch, compression: Compression) {
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn builtin_stage_runs_again_only_if_the_rows_change() {
    let sandbox = Sandbox::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tiny_t5"), &sandbox.path().join("tiny_t5"));
    sandbox.write(
        "p.toml",
        r#"
schema = 1
[source.t5]
url = "file:tiny_t5"
[stage.tokenizer]
kind = "download"
source = "t5"
format = "tokenizer"
[stage.take]
kind = "command"
run = ["cp", "{files.f}", "{out.t}"]
files = { f = "t.parquet" }
outputs = { t = "train.parquet" }
[stage.tokenize]
needs = { data = "take", tokenizer = "tokenizer" }
task = "rte"
"#,
    );
    let path = sandbox.path().join("t.parquet");
    let texts = |texts: [&str; 2]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let large = |texts: [&str; 2]| Arc::new(LargeStringArray::from(texts.to_vec())) as ArrayRef;
    let long = || Arc::new(Int64Array::from(vec![0, 1])) as ArrayRef;
    let by = |batch: &RecordBatch, compression| {
        write_table(&path, batch, compression);
        run(&sandbox)
    };
    let batch = rte(long(), &texts);
    assert_eq!(by(&batch, Compression::UNCOMPRESSED), ["take", "tokenize", "tokenizer"]);
    for compression in [
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        assert_eq!(by(&batch, compression), ["take"], "{compression:?}");
    }
    assert_eq!(by(&rte(long(), &large), Compression::SNAPPY), ["take"], "another form of text");
    let short = Arc::new(Int32Array::from(vec![0, 1]));
    assert_eq!(by(&rte(short, &texts), Compression::SNAPPY), ["take", "tokenize"], "numbers of another width");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let failed = sandbox.dpt(&["run", "p.toml"]).code(1);
    let said = "train.parquet` counts by its bytes, since it is not a parquet table: it is a Git LFS pointer";
    assert!(failed.stderr.contains(said), "{}", failed.stderr);
    assert!(failed.stderr.contains("is not a parquet table: it is a Git LFS pointer"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("cut short"), "{}", failed.stderr);
}

const TOOL: &str = r#"
schema = 1
[stage.build]
kind = "command"
shell = true
run = "printf '#!/bin/sh\necho built > \"$1\"\n' > $DPT_OUT_TOOL && chmod 755 $DPT_OUT_TOOL"
outputs = { tool = "tool.sh" }
[stage.text]
kind = "command"
shell = true
run = "printf '#!/bin/sh\necho built > \"$1\"\n' > $DPT_OUT_TOOL"
outputs = { tool = "tool.sh" }
[stage.use]
kind = "command"
needs = { build = "build" }
run = ["{in.build/tool.sh}", "{out.t}"]
outputs = { t = "t.txt" }
[stage.look]
kind = "command"
shell = true
needs = { build = "build", text = "text" }
run = "stat -c %a $DPT_IN_BUILD/tool.sh $DPT_IN_TEXT/tool.sh > $DPT_OUT_T; cp -p $DPT_IN_BUILD/tool.sh $DPT_OUT_COPY"
outputs = { t = "t.txt", copy = "copy.sh" }
"#;

#[test]
fn executable_output_stays_executable_everywhere() {
    let sandbox = Sandbox::new();
    sandbox.write("p.toml", TOOL);
    assert_eq!(run(&sandbox), ["build", "look", "text", "use"]);
    let results = sandbox.path().join("cache/results/p");
    assert_eq!(fs::read_to_string(results.join("use/t.txt")).unwrap(), "built\n");
    assert_eq!(fs::read_to_string(results.join("look/t.txt")).unwrap(), "555\n444\n", "each has its own");
    assert!(executable(&results.join("look/copy.sh")) && !executable(&results.join("look/t.txt")));
    // Both share objects, which are never executable.
    let (_, build) = sandbox.entry("build");
    let hex = build["made"][0]["files"]["tool.sh"]["bytes"].as_str().unwrap().to_owned();
    let object = sandbox.path().join("cache/v1/objects").join(&hex[..2]).join(&hex[2..]);
    assert_eq!(fs::metadata(object).unwrap().permissions().mode() & 0o777, 0o444);
    assert!(sandbox.dpt(&["cache", "show", "build"]).code(0).stdout.contains("executable"));
    // The same from an archive and without the index.
    sandbox.dpt(&["cache", "export", "a.tar.gz", "--all"]).code(0);
    fs::remove_dir_all(sandbox.path().join("cache")).unwrap();
    fs::create_dir(sandbox.path().join("cache")).unwrap();
    sandbox.dpt(&["cache", "import", "a.tar.gz"]).code(0);
    assert_eq!(run(&sandbox), [""; 0]);
    assert!(executable(&results.join("look/copy.sh")));
    let again = sandbox.dpt(&["run", "p.toml", "--json", "--set", "stage.use.params={n=1}"]).code(0);
    assert_eq!(made(&again), ["use"]);
    fs::remove_file(sandbox.path().join("cache/v1/index")).unwrap();
    let again = sandbox.dpt(&["run", "p.toml", "--json", "--set", "stage.use.params={n=2}"]).code(0);
    assert_eq!(made(&again), ["use"]);
}

#[test]
fn changed_executable_bit_makes_a_command_run_again() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        r#"
schema = 1
[stage.give]
kind = "command"
run = ["cp", "-p", "code/tool.sh", "{out.tool}"]
code = ["code"]
outputs = { tool = "tool.sh" }
[stage.read]
kind = "command"
needs = { give = "give" }
run = ["cp", "-p", "{in.give/tool.sh}", "{out.o}"]
outputs = { o = "o.sh" }
[stage.bytes]
kind = "command"
run = ["cp", "{files.f}", "{out.o}"]
files = { f = "code/tool.sh" }
outputs = { o = "o.txt" }
"#,
    );
    let tool = sandbox.write("code/tool.sh", "#!/bin/sh\n");
    let mode = |mode| fs::set_permissions(&tool, fs::Permissions::from_mode(mode)).unwrap();
    let all = ["bytes", "give", "read"];
    mode(0o644);
    assert_eq!(run(&sandbox), all);
    let result = sandbox.path().join("cache/results/p/read/o.sh");
    assert!(!executable(&result));
    mode(0o755);
    assert_eq!(run(&sandbox), all);
    assert!(executable(&result), "the bytes are the same, and it is copied again");
    mode(0o775);
    assert_eq!(run(&sandbox), [""; 0], "only whether it is executable counts");
    mode(0o644);
    assert_eq!(run(&sandbox), [""; 0], "both results are there");
    assert!(!executable(&result));
}

#[test]
fn misnamed_output_counts_by_its_bytes() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.toml",
        r#"
schema = 1
[stage.take]
kind = "command"
run = ["cp", "{files.x}", "{out.t}"]
files = { x = "x" }
outputs = { t = "table.json" }
[stage.score]
kind = "command"
run = ["cp", "{files.x}", "{out.metrics}"]
files = { x = "x" }
outputs = { metrics = "metrics.json" }
[stage.other]
kind = "command"
shell = true
run = "cp $DPT_FILES_X $DPT_OUT_P; cp $DPT_FILES_X $DPT_OUT_S"
files = { x = "x" }
outputs = { p = "t.parquet", s = "t.safetensors" }
"#,
    );
    let cases = [
        ("{\"loss\": NaN, \"n\": 3}", "line 1 has `NaN`, which JSON does not have", "n 3"),
        ("{\n\"loss\": -Infinity, \"n\": 3}", "line 2 has `-Infinity`, which JSON does not have", "n 3"),
        ("{\"x\": 1e999, \"n\": 3}", "line 1 has `1e999`, a number that is too large for 64 bits", "n 3"),
        ("\u{feff}{\"n\": 3}", "it begins with a byte order mark", "n 3"),
        ("{\"a\": 1}\n{\"a\": 2}\n", "it holds one JSON value a line: call it `.jsonl`", ""),
        ("{\"text\": \"x \\ud83d\"}", "half of a pair of surrogates", ""),
        ("", "it is empty", ""),
        ("{\"a\": [1,", "EOF while parsing", ""),
        ("<!DOCTYPE html><html>", "it is a web page", ""),
    ];
    for (text, why, figures) in cases {
        sandbox.write("x", text);
        let ran = sandbox.dpt(&["run", "p.toml"]).code(0);
        let note = format!("`table.json` counts by its bytes, since it is not JSON: {why}");
        let part = note.split(": ").next().unwrap();
        assert!(ran.stderr.contains(part) && ran.stderr.contains(why), "{text:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("`t.parquet` counts by its bytes"), "{}", ran.stderr);
        assert!(ran.stderr.contains("`t.safetensors` counts by its bytes"), "{}", ran.stderr);
        let done = ran.stderr.lines().find(|line| line.starts_with("done score")).unwrap();
        assert!(done.trim_end().ends_with(figures), "{done}");
        assert!(!ran.stderr.contains("download it again"), "{}", ran.stderr);
        assert_eq!(fs::read_to_string(sandbox.path().join("cache/results/p/take/table.json")).unwrap(), text);
        let (_, entry) = sandbox.entry("take");
        assert!(entry["made"][0]["notes"][0].as_str().unwrap().contains("counts by its bytes"));
    }
    let nan = "metric `loss` is NaN";
    sandbox.write("x", "{\"loss\": NaN}");
    assert!(sandbox.dpt(&["run", "p.toml"]).code(0).stderr.contains(nan));
    // Archives may have such results.
    sandbox.dpt(&["cache", "export", "a.tar", "--all"]).code(0);
    sandbox.dpt(&["cache", "import", "a.tar", "--cache", "elsewhere"]).code(0);
}
