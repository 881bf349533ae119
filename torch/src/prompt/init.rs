//! [`Init`]: where an adapter starts.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::adapter::method::{Array, FromMatrix, Given, Method, Shape, Start, TensorSpec, Values};
use crate::base::diag::{Class, Diag};
use crate::base::draw::Draws;
use crate::base::torch_rng::TorchRng;

/// Token ids that vocabulary rows are sampled from: the first 5 000 without pad, `</s>` and `<unk>`.
const COMMON: std::ops::Range<i64> = 3..5000;

/// Where an adapter starts. All but [`Init::Given`] concern the tensors that [`TensorSpec::chosen`] marks; others start
/// as their method declares.
pub enum Init<'a> {
    /// As the method's reference code starts them.
    Reference {
        /// Half of the width of a uniform start, standard deviation of a normal one, factor on vocabulary rows. `None`:
        /// the method's own.
        scale: Option<f64>,
        /// The token table `[vocab, d_model]`, for methods that start from its rows.
        table: Option<&'a Tensor>,
    },
    /// Every entry uniform in ±`scale`, drawn as the reference does after `torch.manual_seed(seed)`: its `scale` is
    /// 0.5.
    Uniform {
        /// Half of the width.
        scale: f64,
    },
    /// Every entry normal with mean 0 and this standard deviation. For a product of two factors 0.2887 makes it as
    /// large as the reference's.
    Gaussian {
        /// The standard deviation.
        std: f64,
    },
    /// The prompt's rows are sampled rows of the token table, times `scale`; no row twice. For methods with a tensor of
    /// the prompt's rows.
    Vocabulary {
        /// `[vocab, d_model]`.
        table: &'a Tensor,
        /// What the rows are multiplied with; 1 keeps them.
        scale: f64,
    },
    /// These tensors, by name: from `svd-init`, or trained before.
    Given(&'a BTreeMap<String, Tensor>),
}

impl Init<'_> {
    /// The initial values of `method`'s tensors, float32 on the CPU.
    pub(super) fn values(&self, method: &Method, shape: &Shape, seed: u64) -> Result<Vec<Tensor>, Diag> {
        let specs = (method.tensors)(shape);
        if let Init::Given(given) = self {
            return take(given, method, shape);
        }
        if let (Init::Vocabulary { .. }, FromMatrix::Factors { .. } | FromMatrix::Nothing) = (self, method.from_matrix)
        {
            return Err(Diag::error(
                Class::Usage,
                format!("method `{}` cannot start from vocabulary rows: its prompt is a product", method.name),
            )
            .help("set `init = \"svd\"` and give it an `svd-init` stage with `source = \"vocab\"`"));
        }
        let mut draw = Draw { seed, uniform: TorchRng::new(seed), method };
        let drawn: Vec<_> = specs
            .iter()
            .map(|spec| match self {
                _ if !spec.chosen => draw.start(spec, spec.start, 1.0, self.table()),
                Init::Reference { scale, table } => {
                    let (start, factor) = scaled(spec.start, *scale);
                    draw.start(spec, start, factor, *table)
                }
                Init::Uniform { scale } => draw.start(spec, Start::Uniform(*scale), 1.0, None),
                Init::Gaussian { std } => draw.start(spec, Start::Gaussian(*std), 1.0, None),
                Init::Vocabulary { table, scale } => draw.start(spec, Start::Vocabulary, *scale, Some(table)),
                Init::Given(_) => unreachable!("returned above"),
            })
            .collect::<Result<_, _>>()?;
        let mut named: BTreeMap<_, _> = specs.iter().map(|spec| spec.name.to_owned()).zip(drawn).collect();
        derive(method, shape, &mut named);
        Ok(specs.iter().map(|spec| named[spec.name].shallow_clone()).collect())
    }

    fn table(&self) -> Option<&Tensor> {
        match self {
            Init::Reference { table, .. } => *table,
            Init::Vocabulary { table, .. } => Some(table),
            Init::Uniform { .. } | Init::Gaussian { .. } | Init::Given(_) => None,
        }
    }
}

/// A start with `init_scale` in place of its own, and the factor on its values.
fn scaled(start: Start, scale: Option<f64>) -> (Start, f64) {
    match (start, scale) {
        (Start::Uniform(own), scale) => (Start::Uniform(scale.unwrap_or(own)), 1.0),
        (Start::Gaussian(own), scale) => (Start::Gaussian(scale.unwrap_or(own)), 1.0),
        (start, scale) => (start, scale.unwrap_or(1.0)),
    }
}

/// Draws initial values. Uniform ones come one tensor after the other of one generator, as in the reference; of the
/// others each tensor has a generator of its own.
struct Draw<'a> {
    seed: u64,
    uniform: TorchRng,
    method: &'a Method,
}

impl Draw<'_> {
    fn start(&mut self, spec: &TensorSpec, start: Start, factor: f64, table: Option<&Tensor>) -> Result<Tensor, Diag> {
        let n = spec.numel() as usize;
        let (name, seed) = (spec.name, self.seed as i64);
        let of = |values: Vec<f32>| Tensor::from_slice(&values).view(spec.shape.as_slice());
        Ok(match start {
            Start::Uniform(scale) => {
                let bound = scale as f32;
                of(self.uniform.uniform(n, -bound, bound))
            }
            Start::Gaussian(std) => {
                let mut draws = Draws::new(&format!("prompt.gaussian.{name}"), seed);
                of((0..n).map(|_| (draws.gaussian() * std) as f32).collect())
            }
            Start::FanIn(inputs) => {
                let bound = 1.0 / (inputs as f64).sqrt();
                let mut draws = Draws::new(&format!("prompt.fan-in.{name}"), seed);
                of((0..n).map(|_| ((2.0 * draws.unit() - 1.0) * bound) as f32).collect())
            }
            Start::Between(least, most) => {
                let mut draws = Draws::new(&format!("prompt.between.{name}"), seed);
                of((0..n).map(|_| (least + draws.unit() * (most - least)) as f32).collect())
            }
            Start::Orthonormal => {
                let (rows, columns) = (spec.shape[0] as usize, n / spec.shape[0].max(1) as usize);
                let mut draws = Draws::new(&format!("prompt.orthonormal.{name}"), seed);
                of(orthonormal(rows, columns, &mut draws))
            }
            // Made of the others when those are there.
            Start::Derived(_) | Start::Zeros => of(vec![0.0; n]),
            Start::Ones => of(vec![1.0; n]),
            Start::Vocabulary => {
                let table = table.ok_or_else(|| {
                    let name = self.method.name;
                    Diag::error(
                        Class::Usage,
                        format!("method `{name}` starts from vocabulary rows, and there is no table"),
                    )
                })?;
                sample_rows(table, spec.shape[0], self.seed)? * factor
            }
        })
    }
}

/// Fills in the tensors of `method` that are made of the others, in place of what is there under their names.
pub fn derive(method: &Method, shape: &Shape, tensors: &mut BTreeMap<String, Tensor>) {
    let specs = (method.tensors)(shape);
    let derived = specs.iter().filter_map(|s| if let Start::Derived(make) = s.start { Some((s, make)) } else { None });
    let derived: Vec<_> = derived.collect();
    if derived.is_empty() {
        return;
    }
    let array = |tensor: &Tensor| Array {
        shape: tensor.size().into_iter().map(|n| n as usize).collect(),
        data: Vec::try_from(tensor.to_kind(Kind::Double).contiguous().view(-1)).expect("numbers"),
    };
    let values = Values::new(tensors.iter().map(|(name, tensor)| (name.clone(), array(tensor))));
    for (spec, make) in derived {
        let made = Tensor::from_slice(&make(shape, &values)).to_kind(Kind::Float).view(spec.shape.as_slice());
        tensors.insert(spec.name.to_owned(), made);
    }
}

/// A matrix with orthonormal rows, or columns where it has more rows, by Gram and Schmidt of normal draws; twice, so
/// that rounding leaves nothing.
fn orthonormal(rows: usize, columns: usize, draws: &mut Draws) -> Vec<f32> {
    let (count, length) = (rows.min(columns), rows.max(columns));
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut vector: Vec<f64> = (0..length).map(|_| draws.gaussian()).collect();
        for _ in 0..2 {
            for other in &vectors {
                let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
            let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            vector.iter_mut().for_each(|x| *x /= norm);
        }
        vectors.push(vector);
    }
    let at = |i: usize, j: usize| if rows <= columns { vectors[i][j] } else { vectors[j][i] };
    (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| at(i, j) as f32).collect()
}

/// `count` different rows of `table` `[vocab, d_model]`, from the common tokens; float32 on the CPU.
fn sample_rows(table: &Tensor, count: i64, seed: u64) -> Result<Tensor, Diag> {
    let end = COMMON.end.min(table.size()[0]);
    let there = (end - COMMON.start).max(0);
    if count > there {
        return Err(Diag::error(
            Class::Stage,
            format!("the vocabulary has {there} common tokens, too few for {count} different rows"),
        ));
    }
    let ids: Vec<i64> = Draws::new("prompt.vocabulary", seed as i64)
        .sample(there as usize, count as usize)
        .into_iter()
        .map(|i| i as i64 + COMMON.start)
        .collect();
    let ids = Tensor::from_slice(&ids).to_device(table.device());
    Ok(table.detach().index_select(0, &ids).to_device(tch::Device::Cpu).to_kind(Kind::Float))
}

/// The tensors of `method`, out of those given, in the method's order. Names and shapes are compared, and all
/// differences reported at once.
pub(super) fn take(given: &BTreeMap<String, Tensor>, method: &Method, shape: &Shape) -> Result<Vec<Tensor>, Diag> {
    let described = given.iter().map(|(name, tensor)| Given {
        name,
        shape: tensor.size(),
        not_float: (!tensor.is_floating_point()).then(|| format!("{:?}", tensor.kind())),
    });
    let misfits = method.misfits(shape, described);
    if !misfits.is_empty() {
        return Err(method.unfit("the given tensors are", misfits));
    }
    let own = |spec: &TensorSpec| given[spec.name].detach().to_device(tch::Device::Cpu).to_kind(Kind::Float).copy();
    Ok((method.tensors)(shape).iter().map(own).collect())
}
