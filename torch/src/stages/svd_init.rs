//! What `svd-init` does: builds the source matrix, decomposes it in f64 ([`crate::svd`]) and writes factors, spectrum and
//! figures. Nothing is computed by libtorch, which only reads checkpoints here: the same bytes on every machine.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use crate::artifact::tensors::{self, Dtype, Tensors};
use crate::artifact::{json as json_file, table};
use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::base::fs;
use crate::data::encoded::Tokens;
use crate::data::tokenizer::Tokenizer;
use crate::model::cache;
use crate::model::config::T5Config;
use crate::model::load::Checkpoint;
use crate::prompt::{self, Adapter, AdapterInfo, Dims, Init};
use crate::report::records::{Backbone, InitRecord};
use crate::stages::backbone;
use crate::stages::ctx::{Ctx, Input, Outcome, Unit, Update};
use crate::stages::stage::StageResult;
use crate::svd::decompose::Svd;
use crate::svd::factor::{FactorError, Factors, Fill, Split, factor};
use crate::svd::figures::{Figures, SMALL_GAP, energies, gaussian_sigma};
use crate::svd::matrix::Matrix;

/// The parameters, as declared in [`dpt::stages::svd_init::KIND`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SvdInitParams {
    method: String,
    source: String,
    virtual_tokens: usize,
    rank: usize,
    seed: i64,
    vocab_range: Option<Vec<i64>>,
    source_rows: Option<usize>,
    text: Option<String>,
    label_rows: String,
    rows: Option<String>,
    split: Split,
    fill: Fill,
    fill_scale: f64,
    scale: String,
    scale_by: f64,
    std: Option<f64>,
}

/// The rule of signs in [`Svd`]; told with the factors.
const SIGN_RULE: u32 = 1;

/// Standard deviation of U(−0.5, 0.5), 1 / sqrt(12): what the paper's code gives every trained entry.
const REFERENCE_STD: f64 = 0.288_675_134_594_812_9;

/// A shared mean row that holds more of the energy than this is told.
const LARGE_MEAN: f64 = 0.5;

/// Ids that are never sampled by default: pad, `</s>`, `<unk>`, and what is rare.
const COMMON: (i64, i64) = (3, 4999);

/// A source matrix and where its rows came from.
struct Source {
    matrix: Matrix,
    ids: Option<Vec<Vec<i64>>>,
}

/// What training starts from.
enum Start {
    Factors(Matrix, Matrix),
    Prompt(Matrix),
}

/// Runs the stage.
///
/// # Errors
/// Inputs that the source needs and that are not there or do not fit the model; a rank that the matrix cannot give.
pub fn run(ctx: &Ctx) -> StageResult {
    let params: SvdInitParams = ctx.params()?;
    let model = ctx.input("model")?;
    let config = T5Config::parse(&fs::read_to_string(model.file("config.json")?)?, "config.json")?;
    let made = match params.source.as_str() {
        "uniform" | "gaussian" => drawn(&params, config.d_model)?,
        _ => decomposed(ctx, &params, &config)?,
    };
    let Made { start, source_rows, ids, rows, matrix, svd, factors, mut warnings, split } = made;

    let unscaled = start.rms();
    let scale = params.scale_by
        * match params.scale.as_str() {
            "match-reference" if unscaled > 0.0 => reference_rms(&params) / unscaled,
            _ => 1.0,
        };
    let start = start.scaled(scale);
    let centred = Svd::of(&matrix.centred()).sigma;
    let chance = gaussian_sigma(matrix.rows, matrix.cols);
    let figures = factors.map(|factors| {
        let mut figures = Figures::of(&matrix, &svd, &factors);
        if let Start::Factors(a, b) = &start {
            figures.rms_factor_a = a.rms();
            figures.rms_factor_b = b.rms();
        }
        figures.rms_product = start.rms();
        figures
    });
    if let Some(f) = &figures {
        warnings.extend(remarks(f));
    }

    write_start(ctx, &start)?;
    table::write(&ctx.out("spectrum.parquet"), &spectrum(&svd.sigma, &centred, &chance))?;
    let backbone = match model.files.get("backbone.json") {
        Some(path) => Some(json_file::read::<Backbone>(path)?),
        None => None,
    };
    let mut outcome = Outcome { notes: warnings.clone(), ..Outcome::default() };
    if let Some(f) = &figures {
        outcome.metrics.insert("energy".into(), f.spectrum.energy);
        outcome.metrics.insert("gaussian_energy".into(), f.gaussian.energy);
        outcome.metrics.insert("relative_error".into(), f.relative_error);
    }
    outcome.metrics.insert("rms".into(), start.rms());
    let record = InitRecord {
        method: params.method,
        source: params.source,
        ids,
        source_rows: source_rows as u64,
        rows,
        split,
        fill: split.map(|_| params.fill),
        scale,
        seed: params.seed,
        sign_rule: SIGN_RULE,
        backbone,
        backbone_digest: cache::digest(&model.digests).hex(),
        figures,
        warnings,
    };
    json_file::write(&ctx.out("svd_init.json"), &record)?;
    Ok(outcome)
}

/// Everything there is to write and to describe.
struct Made {
    start: Start,
    source_rows: usize,
    ids: Option<Vec<Vec<i64>>>,
    /// How the source's rows became the prompt's.
    rows: String,
    /// What is described.
    matrix: Matrix,
    svd: Svd,
    /// Absent for a full prompt.
    factors: Option<Factors>,
    warnings: Vec<String>,
    /// Absent where the tensors were drawn.
    split: Option<Split>,
}

impl Start {
    fn scaled(self, scale: f64) -> Self {
        if scale == 1.0 {
            return self;
        }
        match self {
            Start::Factors(a, b) => Start::Factors(a.scaled(scale.sqrt()), b.scaled(scale.sqrt())),
            Start::Prompt(p) => Start::Prompt(p.scaled(scale)),
        }
    }

    /// Of the prompt.
    fn rms(&self) -> f64 {
        match self {
            Start::Factors(a, b) => a.times(b).rms(),
            Start::Prompt(p) => p.rms(),
        }
    }
}

/// The size of the prompt that the paper's code starts from: a product of two draws, or one draw.
fn reference_rms(params: &SvdInitParams) -> f64 {
    if params.method == "dpt" { (params.rank as f64).sqrt() / 12.0 } else { REFERENCE_STD }
}

/// Tensors drawn entry by entry, just as `train` draws them from the same seed.
fn drawn(params: &SvdInitParams, d_model: i64) -> Result<Made, Diag> {
    let method = prompt::find(&params.method)?;
    let dims = Dims {
        virtual_tokens: params.virtual_tokens as i64,
        rank: if method.has_rank() { params.rank as i64 } else { 0 },
        d_model,
    };
    let init = match params.source.as_str() {
        "uniform" => Init::Uniform { scale: 0.5 },
        _ => Init::Gaussian { std: params.std.unwrap_or(REFERENCE_STD) },
    };
    let adapter = Adapter::init(method, dims, &init, params.seed as u64, Device::Cpu)?;
    let matrices = adapter.tensors().iter().map(matrix_of).collect::<Result<Vec<_>, _>>()?;
    let (start, factors, matrix) = match matrices.as_slice() {
        [a, b] => {
            let factors = Factors { a: a.clone(), b: b.clone(), numerical_rank: 0, filled: 0 };
            (Start::Factors(a.clone(), b.clone()), Some(factors), a.times(b))
        }
        [prompt] => (Start::Prompt(prompt.clone()), None, prompt.clone()),
        _ => return Err(Diag::error(Class::Bug, format!("method `{}` has tensors of another form", method.name()))),
    };
    let svd = Svd::of(&matrix);
    let factors = factors.map(|f| Factors { numerical_rank: svd.numerical_rank(), ..f });
    Ok(Made {
        start,
        source_rows: params.virtual_tokens,
        ids: None,
        rows: "as-is".into(),
        matrix,
        svd,
        factors,
        warnings: Vec::new(),
        split: None,
    })
}

fn decomposed(ctx: &Ctx, params: &SvdInitParams, config: &T5Config) -> Result<Made, Diag> {
    let Source { matrix: source, ids } = source(ctx, params, config)?;
    if !source.is_finite() {
        return Err(Diag::error(Class::Stage, "the source matrix holds numbers that are not finite")
            .note(format!("source `{}`, {} x {}", params.source, source.rows, source.cols)));
    }
    ctx.check_cancel()?;
    ctx.progress.update(Update {
        what: format!("decomposing {} x {}", source.rows, source.cols),
        done: 0,
        total: None,
        unit: Unit::Steps,
        detail: String::new(),
    });
    let source_rows = source.rows;
    let default = if params.source == "text" { "tile" } else { "error" };
    let policy = params.rows.as_deref().unwrap_or(default);
    let wanted = params.virtual_tokens;
    let fits = source_rows == wanted;
    let rows = if fits { "as-is" } else { policy };
    let matrix = match rows {
        "as-is" | "basis" => source,
        "tile" => source.pick(&(0..wanted).map(|i| i % source_rows).collect::<Vec<_>>()),
        "sample" if source_rows > wanted => {
            source.pick(&Draws::new("svd-init.rows", params.seed).sample(source_rows, wanted))
        }
        "sample" => {
            return Err(Diag::error(
                Class::Stage,
                format!("`rows = \"sample\"` cannot draw {wanted} different rows from a source of {source_rows}"),
            )
            .help("set `rows = \"tile\"` to repeat rows"));
        }
        _ => {
            return Err(Diag::error(
                Class::Stage,
                format!("the source has {source_rows} rows, and `virtual_tokens` is {wanted}"),
            )
            .help("set `rows` to `tile`, `sample` or `basis`, or change `virtual_tokens`"));
        }
    };
    let svd = Svd::of(&matrix);
    let mut warnings = Vec::new();
    let rows = rows.to_owned();
    if params.method != "dpt" {
        let start = Start::Prompt(matrix.clone());
        return Ok(Made { start, source_rows, ids, rows, matrix, svd, factors: None, warnings, split: None });
    }

    let mut draws = Draws::new("svd-init.fill", params.seed);
    let factors =
        factor(&svd, params.rank, params.split, params.fill, params.fill_scale, &mut draws).map_err(refusal)?;
    if factors.filled > 0 {
        warnings.push(format!(
            "the source has {} directions, {} of the {} asked for were filled in",
            factors.numerical_rank, factors.filled, params.rank
        ));
    }
    let a = if rows == "basis" { mixing(&factors, &matrix, wanted, params.seed) } else { factors.a.clone() };
    let start = Start::Factors(a, factors.b.clone());
    Ok(Made { start, source_rows, ids, rows, matrix, svd, factors: Some(factors), warnings, split: Some(params.split) })
}

/// `rows = "basis"`: the directions B are kept, A `[rows, rank]` is drawn so that each of its columns is as large, entry by
/// entry, as that of the source.
fn mixing(factors: &Factors, source: &Matrix, rows: usize, seed: i64) -> Matrix {
    let rank = factors.a.cols;
    let columns = factors.a.transposed();
    let size: Vec<f64> =
        (0..rank).map(|k| (columns.row(k).iter().map(|x| x * x).sum::<f64>() / source.rows as f64).sqrt()).collect();
    let mut draws = Draws::new("svd-init.basis", seed);
    Matrix::new(rows, rank, (0..rows * rank).map(|i| draws.gaussian() * size[i % rank]).collect())
}

fn refusal(error: FactorError) -> Diag {
    let diag = Diag::error(Class::Stage, error.to_string());
    match error {
        FactorError::TooLarge { .. } => diag.help("lower `rank`"),
        FactorError::Deficient { found, .. } => {
            diag.help(format!("lower `rank` to {found}, or set `fill = \"random\"` or `fill = \"half\"`"))
        }
        FactorError::Zero => diag,
    }
}

/// What a reader of the figures should know.
fn remarks(f: &Figures) -> Vec<String> {
    let mut out = Vec::new();
    if f.gap < SMALL_GAP && f.filled == 0 {
        out.push(format!(
            "singular values {} and {} are nearly equal (relative gap {:.1e}): which directions are kept is not unique",
            f.rank,
            f.rank + 1,
            f.gap
        ));
    }
    if f.mean_row_share > LARGE_MEAN {
        out.push(format!(
            "the mean row alone holds {:.0} % of the energy: look at the centred figures",
            100.0 * f.mean_row_share
        ));
    }
    out
}

fn source(ctx: &Ctx, params: &SvdInitParams, config: &T5Config) -> Result<Source, Diag> {
    match params.source.as_str() {
        "vocab" => {
            let table = token_table(ctx, config)?;
            let ids = sample_ids(params, params.source_rows.unwrap_or(params.virtual_tokens), table.size()[0], &[])?;
            rows_of(&table, ids.into_iter().map(|id| vec![id]).collect())
        }
        "text" => {
            let model = ctx.input("model")?;
            let from = ctx.optional("tokenizer").unwrap_or(model);
            let tokenizer = Tokenizer::load(&from.files).map_err(|e| e.note(format!("wanted of `{}`", from.node)))?;
            tokenizer.notes().iter().for_each(|note| ctx.progress.note(note));
            let mut ids = tokenizer.encode(params.text.as_deref().unwrap_or_default());
            ids.retain(|id| *id != tokenizer.eos());
            if ids.is_empty() {
                return Err(Diag::error(Class::Stage, "`text` gives no tokens"));
            }
            rows_of(&token_table(ctx, config)?, ids.into_iter().map(|id| vec![i64::from(id)]).collect())
        }
        "labels" => labels(ctx, params, config),
        _ => trained(ctx),
    }
}

fn needs(ctx: &Ctx, role: &str, source: &str) -> Result<(), Diag> {
    match ctx.optional(role) {
        Some(_) => Ok(()),
        None => Err(Diag::error(Class::Stage, format!("`source = \"{source}\"` needs an input `{role}`"))
            .help(format!("add `{role} = \"…\"` to the stage's `needs`"))),
    }
}

/// One row a label (or a piece of one), then sampled vocabulary.
fn labels(ctx: &Ctx, params: &SvdInitParams, config: &T5Config) -> Result<Source, Diag> {
    needs(ctx, "data", "labels")?;
    let data = ctx.input("data")?;
    let tokens: Tokens = json_file::read(data.file("tokens.json")?)?;
    if tokens.verbalizer.is_empty() {
        return Err(Diag::error(
            Class::Stage,
            format!("`source = \"labels\"`, and task `{}` of `{}` has no labels", tokens.task, data.node),
        )
        .note("its targets are free text")
        .help("set `source = \"vocab\"`"));
    }
    let pieces = tokens.verbalizer.iter().map(|class| {
        let ids = class.ids.iter().filter(|id| **id != tokens.eos_id);
        ids.map(|id| i64::from(*id)).collect::<Vec<_>>()
    });
    let mut rows: Vec<Vec<i64>> = match params.label_rows.as_str() {
        "pieces" => pieces.flatten().map(|id| vec![id]).collect(),
        _ => pieces.collect(),
    };
    let table = token_table(ctx, config)?;
    if rows.len() < params.virtual_tokens {
        let taken: Vec<i64> = rows.iter().filter(|row| row.len() == 1).map(|row| row[0]).collect();
        let fill = sample_ids(params, params.virtual_tokens - rows.len(), table.size()[0], &taken)?;
        rows.extend(fill.into_iter().map(|id| vec![id]));
    }
    rows_of(&table, rows)
}

/// A trained prompt, of the same backbone.
fn trained(ctx: &Ctx) -> Result<Source, Diag> {
    needs(ctx, "prompt", "prompt")?;
    let (from, model) = (ctx.input("prompt")?, ctx.input("model")?);
    let info: AdapterInfo = json_file::read(from.file("adapter.json")?)?;
    if let Some(note) = backbone::check(&info, from, model)? {
        ctx.progress.note(&note);
    }
    let adapter = Adapter::load(&info, &Tensors::open(from.file("adapter.safetensors")?)?, Device::Cpu)?;
    Ok(Source { matrix: matrix_of(&adapter.prompt().detach())?, ids: None })
}

/// The backbone's token table `[vocab_size, d_model]`, float32 on the CPU.
fn token_table(ctx: &Ctx, config: &T5Config) -> Result<Tensor, Diag> {
    let model: &Input = ctx.input("model")?;
    let table = Checkpoint::open(&model.files)?.tensor("shared.weight")?.ok_or_else(|| {
        Diag::error(Class::Stage, format!("the checkpoint of `{}` has no token table `shared.weight`", model.node))
    })?;
    let wanted = [config.vocab_size, config.d_model];
    if table.size() != wanted {
        return Err(Diag::error(
            Class::Stage,
            format!(
                "the token table of `{}` has shape {:?}, its `config.json` says {wanted:?}",
                model.node,
                table.size()
            ),
        ));
    }
    Ok(table)
}

/// Different ids, none of `taken`.
fn sample_ids(params: &SvdInitParams, count: usize, table_rows: i64, taken: &[i64]) -> Result<Vec<i64>, Diag> {
    let (first, last) = match params.vocab_range.as_deref() {
        Some([first, last]) => {
            if *last >= table_rows {
                return Err(Diag::error(
                    Class::Stage,
                    format!("`vocab_range` ends at {last}, and the token table has {table_rows} rows"),
                ));
            }
            (*first, *last)
        }
        _ => (COMMON.0, COMMON.1.min(table_rows - 1)),
    };
    let free: Vec<i64> = (first..=last).filter(|id| !taken.contains(id)).collect();
    if count > free.len() {
        return Err(Diag::error(
            Class::Stage,
            format!("{count} different tokens are wanted, and there are {} from {first} to {last}", free.len()),
        )
        .help("lower `virtual_tokens`, or widen `vocab_range`"));
    }
    let picked = Draws::new("svd-init.vocab", params.seed).sample(free.len(), count);
    Ok(picked.into_iter().map(|i| free[i]).collect())
}

/// The mean of each list of rows.
fn rows_of(table: &Tensor, ids: Vec<Vec<i64>>) -> Result<Source, Diag> {
    let (rows, width) = (table.size()[0], table.size()[1] as usize);
    if let Some(id) = ids.iter().flatten().find(|id| !(0..rows).contains(*id)) {
        return Err(Diag::error(Class::Stage, format!("token {id} has no row in a table of {rows}"))
            .help("use the tokenizer of the same model"));
    }
    let mut matrix = Matrix::zeros(ids.len(), width);
    for (i, list) in ids.iter().enumerate() {
        let picked = matrix_of(&table.index_select(0, &Tensor::from_slice(list)))?;
        matrix.row_mut(i).copy_from_slice(&picked.mean_row());
    }
    Ok(Source { matrix, ids: Some(ids) })
}

/// A tensor of two sizes in f64.
fn matrix_of(tensor: &Tensor) -> Result<Matrix, Diag> {
    let (rows, cols) = tensor
        .size2()
        .map_err(|_| Diag::error(Class::Stage, format!("a tensor of shape {:?} is no matrix", tensor.size())))?;
    let flat = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
    let data =
        Vec::<f64>::try_from(&flat).map_err(|e| Diag::error(Class::Bug, format!("cannot read a tensor: {e}")))?;
    Ok(Matrix::new(rows as usize, cols as usize, data))
}

fn write_start(ctx: &Ctx, start: &Start) -> Result<(), Diag> {
    let parts: Vec<(&str, &Matrix)> = match start {
        Start::Factors(a, b) => vec![("factor_a", a), ("factor_b", b)],
        Start::Prompt(p) => vec![("prompt", p)],
    };
    let stored: Vec<([usize; 2], Vec<u8>)> =
        parts.iter().map(|(_, m)| ([m.rows, m.cols], tensors::f32_bytes(&m.to_f32()))).collect();
    let tensors: Vec<_> = parts
        .iter()
        .zip(&stored)
        .map(|((name, _), (shape, bytes))| tensors::Tensor { name, dtype: Dtype::F32, shape, bytes })
        .collect();
    tensors::write(&ctx.out("factors.safetensors"), &tensors)
}

fn spectrum(sigma: &[f64], centred: &[f64], chance: &[f64]) -> RecordBatch {
    let float = |name: &str| Field::new(name, DataType::Float64, false);
    let schema = Schema::new(vec![
        Field::new("k", DataType::Int32, false),
        float("sigma"),
        float("energy"),
        float("centred_energy"),
        float("gaussian_energy"),
    ]);
    let k: Int32Array = (1..=sigma.len() as i32).map(Some).collect();
    let floats = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let columns = vec![
        Arc::new(k) as ArrayRef,
        floats(sigma.to_vec()),
        floats(energies(sigma)),
        floats(energies(centred)),
        floats(energies(chance)),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("five columns of one length")
}
