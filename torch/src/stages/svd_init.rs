//! The stage `svd-init`: builds the source matrix, decomposes it in f64 ([`crate::svd`]) and writes factors, spectrum
//! and figures. libtorch only reads checkpoints here and computes nothing, so that every machine gives the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use crate::adapter;
use crate::adapter::method::{FromMatrix, TensorSpec};
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
use crate::prompt::{self, Adapter, AdapterInfo, Forward, Init, Method, Shape, methods};
use crate::report::records::{Backbone, InitRecord};
use crate::stages::backbone;
use crate::svd::decompose::Svd;
use crate::svd::factor::{FactorError, Factors, Fill, Split, factor};
use crate::svd::figures::{Figures, SMALL_GAP, energies, gaussian_sigma};
use crate::svd::matrix::Matrix;
use dpt::stages::ctx::{Ctx, Input, Outcome, Unit, Update};
use dpt::stages::stage::StageResult;
use dpt::stages::svd_init::{LabelRows, RowsRule, ScaleTo, SourceKind};

/// The parameters, as declared in [`dpt::stages::svd_init::KIND`], without those of the method.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SvdInitParams {
    method: String,
    source: SourceKind,
    virtual_tokens: usize,
    seed: i64,
    vocab_range: Option<Vec<i64>>,
    source_rows: Option<usize>,
    text: Option<String>,
    label_rows: LabelRows,
    rows: Option<RowsRule>,
    split: Split,
    fill: Fill,
    fill_scale: f64,
    scale: ScaleTo,
    scale_by: f64,
    std: Option<f64>,
}

/// The version of the sign rule in [`Svd`], recorded with the factors.
const SIGN_RULE: u32 = 1;

/// Standard deviation of U(−0.5, 0.5), 1 / sqrt(12): what the paper's code gives every trained entry.
const REFERENCE_STD: f64 = 0.288_675_134_594_812_9;

/// A mean row with a larger share of the energy than this gives a warning.
const LARGE_MEAN: f64 = 0.5;

/// The first and last id that is sampled by default: without pad, `</s>`, `<unk>` and rare tokens.
const COMMON: (i64, i64) = (3, 4999);

/// A source matrix and the token ids of its rows.
struct Source {
    matrix: Matrix,
    ids: Option<Vec<Vec<i64>>>,
}

/// Initial values for training, made from a matrix.
enum Start {
    /// Two factors, with the names of their tensors.
    Factors([(&'static str, Matrix); 2]),
    /// The prompt, with the name of its tensor.
    Prompt(&'static str, Matrix),
}

/// The method that the initial values are for.
struct Target {
    forward: &'static dyn Forward,
    shape: Shape,
}

impl Target {
    fn method(&self) -> &'static Method {
        self.forward.method()
    }

    /// Fails if its factors are not two factors of one matrix.
    fn check_factors(&self) -> Result<(), Diag> {
        let FromMatrix::Factors { a, rank, .. } = self.method().from_matrix else { return Ok(()) };
        let wanted = vec![self.shape.virtual_tokens, self.shape.int(rank)];
        let specs = (self.method().tensors)(&self.shape);
        match specs.into_iter().find(|spec| spec.name == a) {
            Some(spec) if spec.shape != wanted => {
                let misfit = format!("`{a}`: wanted {:?}, and a decomposition gives {wanted:?}", spec.shape);
                Err(self.method().unfit("the factors of a matrix are", vec![misfit]))
            }
            _ => Ok(()),
        }
    }

    /// The number of directions that its factors keep; `None` if it has no factors.
    fn rank(&self) -> Option<usize> {
        match self.method().from_matrix {
            FromMatrix::Factors { rank, .. } => Some(self.shape.int(rank) as usize),
            FromMatrix::Whole { .. } | FromMatrix::Nothing => None,
        }
    }

    /// Its tensors by name, with the values of `init`.
    fn drawn(&self, init: &Init, seed: i64) -> Result<BTreeMap<&'static str, Tensor>, Diag> {
        let adapter = Adapter::init(self.forward, self.shape.clone(), init, seed as u64, Device::Cpu)?;
        Ok(adapter.stored().map(|(name, tensor)| (name, tensor.detach())).collect())
    }
}

/// Runs the stage.
///
/// # Errors
/// Inputs that the source needs and that are missing or do not fit the model; a rank that the matrix does not have.
pub fn run(ctx: &Ctx) -> StageResult {
    let (own, params) = methods::split(&ctx.job.params);
    let params: SvdInitParams = ctx.params_of(&params)?;
    let model = ctx.input("model")?;
    let config = T5Config::parse(&fs::read_to_string(model.file("config.json")?)?, "config.json")?;
    let forward = prompt::find(&params.method)?;
    let shape = forward.method().shape(params.virtual_tokens as i64, config.d_model, &own)?;
    let target = Target { forward, shape };
    target.check_factors()?;
    let made = match params.source {
        SourceKind::Uniform => drawn(&params, &target, &Init::Uniform { scale: 0.5 })?,
        SourceKind::Gaussian => drawn(&params, &target, &Init::Gaussian { std: params.std.unwrap_or(REFERENCE_STD) })?,
        SourceKind::Vocab | SourceKind::Text | SourceKind::Labels | SourceKind::Prompt => {
            decomposed(ctx, &params, &target, &config)?
        }
    };
    let Made { start, source_rows, ids, rows, matrix, svd, factors, mut warnings, split } = made;

    let unscaled = start.rms();
    let scale = params.scale_by
        * match params.scale {
            ScaleTo::MatchReference if unscaled > 0.0 => reference_rms(target.rank()) / unscaled,
            ScaleTo::MatchReference | ScaleTo::None => 1.0,
        };
    let start = start.scaled(scale);
    let centred = Svd::of(&matrix.centred()).sigma;
    let chance = gaussian_sigma(matrix.rows, matrix.cols);
    let figures = factors.map(|factors| {
        let mut figures = Figures::of(&matrix, &svd, &factors);
        if let Start::Factors([(_, a), (_, b)]) = &start {
            figures.rms_factor_a = a.rms();
            figures.rms_factor_b = b.rms();
        }
        figures.rms_product = start.rms();
        figures
    });
    if let Some(f) = &figures {
        warnings.extend(remarks(f));
    }

    write_start(ctx, &start, &target, &config, params.seed)?;
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
        source: params.source.name().to_owned(),
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

/// Everything that is written or described.
struct Made {
    start: Start,
    source_rows: usize,
    ids: Option<Vec<Vec<i64>>>,
    /// The rule that made the prompt's rows from the source's.
    rows: String,
    /// The matrix that spectrum and figures describe.
    matrix: Matrix,
    svd: Svd,
    /// `None` for a whole prompt.
    factors: Option<Factors>,
    warnings: Vec<String>,
    /// `None` if the tensors were drawn.
    split: Option<Split>,
}

impl Start {
    fn scaled(self, scale: f64) -> Self {
        if scale == 1.0 {
            return self;
        }
        match self {
            Start::Factors(both) => Start::Factors(both.map(|(name, m)| (name, m.scaled(scale.sqrt())))),
            Start::Prompt(name, p) => Start::Prompt(name, p.scaled(scale)),
        }
    }

    /// The root mean square of the prompt.
    fn rms(&self) -> f64 {
        match self {
            Start::Factors([(_, a), (_, b)]) => a.times(b).rms(),
            Start::Prompt(_, p) => p.rms(),
        }
    }
}

/// The root mean square of the paper's initial prompt: of a product of two draws, or of one draw.
fn reference_rms(rank: Option<usize>) -> f64 {
    rank.map_or(REFERENCE_STD, |rank| (rank as f64).sqrt() / 12.0)
}

/// Tensors drawn entry by entry, as `train` draws them from the same seed.
fn drawn(params: &SvdInitParams, target: &Target, init: &Init) -> Result<Made, Diag> {
    let tensors = target.drawn(init, params.seed)?;
    let matrix_at = |name: &str| matrix_of(&tensors[name]);
    let (start, factors, matrix) = match target.method().from_matrix {
        FromMatrix::Factors { a: a_name, b: b_name, .. } => {
            let (a, b) = (matrix_at(a_name)?, matrix_at(b_name)?);
            let factors = Factors { a: a.clone(), b: b.clone(), numerical_rank: 0, filled: 0 };
            let product = a.times(&b);
            (Start::Factors([(a_name, a), (b_name, b)]), Some(factors), product)
        }
        FromMatrix::Whole { tensor, .. } => {
            let prompt = matrix_at(tensor)?;
            (Start::Prompt(tensor, prompt.clone()), None, prompt)
        }
        FromMatrix::Nothing => return Err(no_matrix(target.method())),
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

fn no_matrix(method: &Method) -> Diag {
    Diag::error(Class::Usage, format!("method `{}` cannot start from a matrix", method.name))
}

fn decomposed(ctx: &Ctx, params: &SvdInitParams, target: &Target, config: &T5Config) -> Result<Made, Diag> {
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
    let default = if params.source == SourceKind::Text { RowsRule::Tile } else { RowsRule::Error };
    let wanted = params.virtual_tokens;
    // `None`: the source has as many rows as the prompt.
    let rule = (source_rows != wanted).then(|| params.rows.unwrap_or(default));
    let matrix = match rule {
        None | Some(RowsRule::Basis) => source,
        Some(RowsRule::Tile) => source.pick(&(0..wanted).map(|i| i % source_rows).collect::<Vec<_>>()),
        Some(RowsRule::Sample) if source_rows > wanted => {
            source.pick(&Draws::new("svd-init.rows", params.seed).sample(source_rows, wanted))
        }
        Some(RowsRule::Sample) => {
            return Err(Diag::error(
                Class::Stage,
                format!("`rows = \"sample\"` cannot draw {wanted} different rows from a source of {source_rows}"),
            )
            .help("set `rows = \"tile\"` to repeat rows"));
        }
        Some(RowsRule::Error) => {
            return Err(Diag::error(
                Class::Stage,
                format!("the source has {source_rows} rows, and `virtual_tokens` is {wanted}"),
            )
            .help("set `rows` to `tile`, `sample` or `basis`, or change `virtual_tokens`"));
        }
    };
    let svd = Svd::of(&matrix);
    let mut warnings = Vec::new();
    let rows = rule.map_or("as-is", RowsRule::name).to_owned();
    let (a_name, b_name, rank) = match target.method().from_matrix {
        FromMatrix::Factors { a, b, rank } => (a, b, target.shape.int(rank) as usize),
        FromMatrix::Whole { tensor, .. } => {
            let start = Start::Prompt(tensor, matrix.clone());
            return Ok(Made { start, source_rows, ids, rows, matrix, svd, factors: None, warnings, split: None });
        }
        FromMatrix::Nothing => return Err(no_matrix(target.method())),
    };

    let mut draws = Draws::new("svd-init.fill", params.seed);
    let factors = factor(&svd, rank, params.split, params.fill, params.fill_scale, &mut draws).map_err(refusal)?;
    if factors.filled > 0 {
        warnings.push(format!(
            "the source has {} directions, {} of the {} asked for were filled in",
            factors.numerical_rank, factors.filled, rank
        ));
    }
    let a =
        if rule == Some(RowsRule::Basis) { mixing(&factors, &matrix, wanted, params.seed) } else { factors.a.clone() };
    let start = Start::Factors([(a_name, a), (b_name, factors.b.clone())]);
    Ok(Made { start, source_rows, ids, rows, matrix, svd, factors: Some(factors), warnings, split: Some(params.split) })
}

/// `rows = "basis"`: keeps the directions B, and draws A `[rows, rank]` so that the entries of each column have the
/// root mean square of the source's.
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

/// Warnings for a reader of the figures.
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
            "the mean row holds {:.0} % of the energy: look at the centred figures",
            100.0 * f.mean_row_share
        ));
    }
    out
}

fn source(ctx: &Ctx, params: &SvdInitParams, config: &T5Config) -> Result<Source, Diag> {
    match params.source {
        SourceKind::Vocab => {
            let table = token_table(ctx, config)?;
            let ids = sample_ids(params, params.source_rows.unwrap_or(params.virtual_tokens), table.size()[0], &[])?;
            rows_of(&table, ids.into_iter().map(|id| vec![id]).collect())
        }
        SourceKind::Text => {
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
        SourceKind::Labels => labels(ctx, params, config),
        SourceKind::Prompt => trained(ctx),
        SourceKind::Uniform | SourceKind::Gaussian => {
            Err(Diag::error(Class::Bug, "drawn tensors have no source matrix"))
        }
    }
}

fn needs(ctx: &Ctx, role: &str, source: &str) -> Result<(), Diag> {
    match ctx.optional(role) {
        Some(_) => Ok(()),
        None => Err(Diag::error(Class::Stage, format!("`source = \"{source}\"` needs an input `{role}`"))
            .help(format!("add `{role} = \"…\"` to the stage's `needs`"))),
    }
}

/// One row a label (or a piece of a label), then sampled vocabulary.
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
    let mut rows: Vec<Vec<i64>> = match params.label_rows {
        LabelRows::Pieces => pieces.flatten().map(|id| vec![id]).collect(),
        LabelRows::Average => pieces.collect(),
    };
    let table = token_table(ctx, config)?;
    if rows.len() < params.virtual_tokens {
        let taken: Vec<i64> = rows.iter().filter(|row| row.len() == 1).map(|row| row[0]).collect();
        let fill = sample_ids(params, params.virtual_tokens - rows.len(), table.size()[0], &taken)?;
        rows.extend(fill.into_iter().map(|id| vec![id]));
    }
    rows_of(&table, rows)
}

/// A trained prompt of the same backbone.
fn trained(ctx: &Ctx) -> Result<Source, Diag> {
    needs(ctx, "prompt", "prompt")?;
    let (from, model) = (ctx.input("prompt")?, ctx.input("model")?);
    let info: AdapterInfo = json_file::read(from.file(adapter::INFO)?)?;
    if let Some(note) = backbone::check(&info, from, model)? {
        ctx.progress.note(&note);
    }
    let matrix = adapter::folded(&info, &Tensors::open(from.file(adapter::TENSORS)?)?)?.ok_or_else(|| {
        Diag::error(Class::Stage, format!("`{}` has no single prompt to decompose", from.node))
            .note(format!("it is of method `{}`", info.method))
    })?;
    Ok(Source { matrix, ids: None })
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

/// `count` different ids, none of them in `taken`.
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

/// A two-dimensional tensor in f64.
fn matrix_of(tensor: &Tensor) -> Result<Matrix, Diag> {
    let (rows, cols) = tensor
        .size2()
        .map_err(|_| Diag::error(Class::Stage, format!("a tensor of shape {:?} is no matrix", tensor.size())))?;
    let flat = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
    let data =
        Vec::<f64>::try_from(&flat).map_err(|e| Diag::error(Class::Bug, format!("cannot read a tensor: {e}")))?;
    Ok(Matrix::new(rows as usize, cols as usize, data))
}

/// Writes all tensors of the method: those made from the matrix, and the initial values of the others.
fn write_start(ctx: &Ctx, start: &Start, target: &Target, config: &T5Config, seed: i64) -> Result<(), Diag> {
    let made: Vec<(&str, &Matrix)> = match start {
        Start::Factors(both) => both.iter().map(|(name, m)| (*name, m)).collect(),
        Start::Prompt(name, p) => vec![(*name, p)],
    };
    let mut stored: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let specs = (target.method().tensors)(&target.shape);
    if specs.len() > made.len() {
        // The values of the others do not depend on how those start, but where they are made of them.
        let is_made = |spec: &&TensorSpec| made.iter().any(|(name, _)| *name == spec.name);
        let drawn_apart = |spec: &TensorSpec| spec.chosen || matches!(spec.start, adapter::method::Start::Vocabulary);
        let drawn = if specs.iter().filter(|spec| drawn_apart(spec)).all(|spec| is_made(&spec)) {
            target.drawn(&Init::Uniform { scale: 0.5 }, seed)?
        } else {
            let table = token_table(ctx, config)?;
            target.drawn(&Init::Reference { scale: None, table: Some(&table) }, seed)?
        };
        let mut all: BTreeMap<String, Tensor> = drawn.into_iter().map(|(name, t)| (name.to_owned(), t)).collect();
        for (name, m) in &made {
            let tensor = Tensor::from_slice(&m.to_f32()).view([m.rows as i64, m.cols as i64]);
            all.insert((*name).to_owned(), tensor);
        }
        prompt::derive(target.method(), &target.shape, &mut all);
        for spec in &specs {
            let values = Vec::<f32>::try_from(all[spec.name].contiguous().view(-1))
                .map_err(|e| Diag::error(Class::Bug, format!("cannot read a tensor: {e}")))?;
            let shape = spec.shape.iter().map(|&n| n as usize).collect();
            stored.insert(spec.name, (shape, tensors::f32_bytes(&values)));
        }
    }
    for (name, m) in made {
        stored.insert(name, (vec![m.rows, m.cols], tensors::f32_bytes(&m.to_f32())));
    }
    let tensors: Vec<_> =
        stored.iter().map(|(name, (shape, bytes))| tensors::Tensor { name, dtype: Dtype::F32, shape, bytes }).collect();
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
