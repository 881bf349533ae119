//! [`Method`]: what a prompt method *is*, as data and without libtorch: its parameters, its trained tensors and how
//! they start, and the soft prompt that comes of them. How the encoder's input is computed while it is trained is in
//! the crate `dpt-torch`, in a file of the same name below `torch/src/prompt/`.

use std::collections::BTreeMap;

use crate::artifact::tensors::{self, Dtype, Tensors};
use crate::base::diag::{Class, Diag};
use crate::base::param::{Literal, Param, ParamDefault};
use crate::base::value::{Params, Value};
use crate::svd::matrix::Matrix;

/// A prompt method. One `pub const METHOD: Method` a file, one row in [`METHODS`](super::methods::METHODS).
#[derive(Debug)]
pub struct Method {
    /// As written in `method = "…"`: kebab-case.
    pub name: &'static str,
    /// One line for help texts.
    pub about: &'static str,
    /// Parameters that its tensors and its forward pass depend on. Stages that take a method have them when they are
    /// given this one, and `adapter.json` keeps their values.
    pub params: &'static [Param],
    /// Parameters that only training reads: the learning rates of groups of tensors.
    pub training: &'static [Param],
    /// Parameters of `train` that have another default for this method, with that default.
    pub defaults: &'static [(&'static str, Literal)],
    /// The trained tensors, in the order in which the reference code draws their initial values.
    pub tensors: fn(&Shape) -> Vec<TensorSpec>,
    /// The tensors that can be made of a matrix `[virtual_tokens, d_model]`.
    pub from_matrix: FromMatrix,
    /// The soft prompt `[virtual_tokens, d_model]` of trained tensors, in f64. `None`: what the method does cannot be
    /// said by one prompt.
    pub prompt: Option<fn(&Values) -> Matrix>,
    /// `true` if a prompt-tuning adapter of PEFT can hold the result.
    pub peft: Peft,
}

/// Says if PEFT can hold an adapter of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peft {
    /// Yes: the result is a prompt in front of the encoder's input, and nothing else.
    Holds,
    /// No, because of this: the end of a sentence that begins with the method.
    Refuses(&'static str),
}

/// The tensors of a method that are made of a given matrix: a trained prompt, rows of the vocabulary, a decomposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromMatrix {
    /// Two factors, whose product is as near to it as the parameter `rank` allows.
    Factors {
        /// `[virtual_tokens, rank]`.
        a: &'static str,
        /// `[rank, d_model]`.
        b: &'static str,
        /// The parameter that says how many directions are kept.
        rank: &'static str,
    },
    /// One tensor, which takes it as it is. Other tensors start as they always do.
    Whole {
        /// `[virtual_tokens, d_model]`.
        tensor: &'static str,
        /// `true` if the prompt is then that matrix.
        exact: bool,
    },
    /// Nothing.
    Nothing,
}

/// The sizes that a method's tensors depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Rows of the soft prompt.
    pub virtual_tokens: i64,
    /// Width of the backbone's residual stream.
    pub d_model: i64,
    /// The method's own parameters, all of them and no others.
    pub params: Params,
}

/// One trained tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name in `adapter.safetensors`.
    pub name: &'static str,
    /// Its shape, of any rank.
    pub shape: Vec<i64>,
    /// Its initial values in the method's reference code.
    pub start: Start,
    /// `true` if the parameter `init` of `train` may give it another start.
    pub chosen: bool,
    /// Which learning rate it has.
    pub rate: Rate,
    /// `true` if weight decay applies to it.
    pub decay: bool,
}

/// The initial values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Uniform between minus this and this.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Gaussian(f64),
    /// Rows of the backbone's token table: common tokens, none of them twice.
    Vocabulary,
    /// Every entry is 0.
    Zeros,
    /// Every entry is 1.
    Ones,
    /// Uniform within ±1/√n, as PyTorch's `Linear` of `n` inputs starts its weight and its bias.
    FanIn(i64),
}

/// The learning rate of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// `learning_rate` of `train`.
    Main,
    /// The method's parameter of this name, one of [`Method::training`].
    Own(&'static str),
}

impl TensorSpec {
    /// A tensor that starts so whatever `init` says, with the main rate and decay.
    pub fn new(name: &'static str, shape: impl Into<Vec<i64>>, start: Start) -> Self {
        Self { name, shape: shape.into(), start, chosen: false, rate: Rate::Main, decay: true }
    }

    /// The same, but `init` may give it another start.
    pub fn chosen(self) -> Self {
        Self { chosen: true, ..self }
    }

    /// The same, with the rate that the method's parameter `param` says.
    pub fn rate(self, param: &'static str) -> Self {
        Self { rate: Rate::Own(param), ..self }
    }

    /// The same, without weight decay.
    pub fn without_decay(self) -> Self {
        Self { decay: false, ..self }
    }

    /// How many numbers it has.
    pub fn numel(&self) -> i64 {
        self.shape.iter().product()
    }
}

impl Shape {
    /// The value of a whole number among the method's parameters.
    ///
    /// # Panics
    /// When the method declares no such parameter: [`Method::shape`] lets no other shape pass.
    pub fn int(&self, name: &str) -> i64 {
        match self.params.get(name) {
            Some(Value::Int(value)) => *value,
            other => panic!("the parameter `{name}` is {other:?}, not a whole number"),
        }
    }
}

impl Method {
    /// The shape with these sizes, its parameters taken out of `params`.
    ///
    /// # Errors
    /// A parameter that is missing, or whose value is not of its type.
    pub fn shape(&self, virtual_tokens: i64, d_model: i64, params: &Params) -> Result<Shape, Diag> {
        let mut own = Params::new();
        for param in self.params {
            let wrong = |found: String| {
                Diag::error(Class::Stage, format!("parameter `{}` of method `{}` is {found}", param.name, self.name))
            };
            match params.get(param.name) {
                Some(value) if param.ty.admits(value) => drop(own.insert(param.name.to_owned(), value.clone())),
                Some(value) => return Err(wrong(format!("`{value}`, which it cannot be"))),
                None if param.default == ParamDefault::Absent => {}
                None => return Err(wrong("missing".to_owned())),
            }
        }
        Ok(Shape { virtual_tokens, d_model, params: own })
    }

    /// How many numbers are trained.
    pub fn parameters(&self, shape: &Shape) -> i64 {
        (self.tensors)(shape).iter().map(TensorSpec::numel).sum()
    }

    /// Returns the reasons why tensors of these names, shapes and types are not those of this method; none if they are.
    pub fn misfits<'a>(&self, shape: &Shape, given: impl IntoIterator<Item = Given<'a>>) -> Vec<String> {
        let given: BTreeMap<&str, Given> = given.into_iter().map(|tensor| (tensor.name, tensor)).collect();
        let wanted = (self.tensors)(shape);
        let mut out = Vec::new();
        for TensorSpec { name, shape, .. } in &wanted {
            match given.get(name) {
                None => out.push(format!("`{name}`, wanted {shape:?}, is missing")),
                Some(tensor) if tensor.shape != *shape => {
                    out.push(format!("`{name}`: wanted {shape:?}, found {:?}", tensor.shape));
                }
                Some(Given { not_float: Some(found), .. }) => {
                    out.push(format!("`{name}`: wanted floating point, found {found}"));
                }
                Some(_) => {}
            }
        }
        out.extend(
            given
                .keys()
                .filter(|name| !wanted.iter().any(|spec| spec.name == **name))
                .map(|name| format!("`{name}` is not a tensor of this method")),
        );
        out
    }

    /// The error for such misfits. `found` begins the sentence: `the given tensors are`.
    pub fn unfit(&self, found: &str, misfits: Vec<String>) -> Diag {
        let mut diag = Diag::error(Class::Stage, format!("{found} not an adapter of method `{}`", self.name));
        diag.notes = misfits;
        let own: String = self.params.iter().map(|param| format!(", `{}`", param.name)).collect();
        diag.help(format!("compare `method`, `virtual_tokens`{own} and the model of both stages"))
    }

    /// The trained tensors in `file`, in f64. `found` names the file in messages.
    ///
    /// # Errors
    /// Tensors of other names, shapes or types.
    pub fn values(&self, shape: &Shape, file: &Tensors, found: &str) -> Result<Values, Diag> {
        let names = file.names();
        let loaded = names.iter().map(|name| file.require(name)).collect::<Result<Vec<_>, Diag>>()?;
        let tensors: Vec<_> = loaded.iter().map(|tensor| tensor.view()).collect();
        let given = tensors.iter().map(|tensor| Given {
            name: tensor.name,
            shape: tensor.shape.iter().map(|&n| n as i64).collect(),
            not_float: (tensor.dtype != Dtype::F32).then(|| format!("{:?}", tensor.dtype)),
        });
        let misfits = self.misfits(shape, given);
        if !misfits.is_empty() {
            return Err(self.unfit(&format!("{found} is"), misfits));
        }
        let value = |tensor: &tensors::Tensor| {
            let data = tensor.f32s()?.into_iter().map(f64::from).collect();
            Ok((tensor.name.to_owned(), Array { shape: tensor.shape.to_vec(), data }))
        };
        Ok(Values(tensors.iter().map(value).collect::<Result<_, Diag>>()?))
    }
}

/// A tensor that is compared with a [`TensorSpec`].
#[derive(Clone, Debug)]
pub struct Given<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its type, when that is not floating point.
    pub not_float: Option<String>,
}

/// The trained tensors of a method in f64, known to be of its names and shapes.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, Array>);

/// One of them.
#[derive(Clone, Debug)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub data: Vec<f64>,
}

impl Values {
    /// The tensor `name`.
    ///
    /// # Panics
    /// When the method declares no such tensor.
    pub fn get(&self, name: &str) -> &Array {
        self.0.get(name).unwrap_or_else(|| panic!("the method declares no tensor `{name}`"))
    }

    /// The tensor `name`, of two dimensions, as a matrix.
    ///
    /// # Panics
    /// When the method declares no such tensor, or one of another rank.
    pub fn matrix(&self, name: &str) -> Matrix {
        let Array { shape, data } = self.get(name);
        match shape[..] {
            [rows, cols] => Matrix::new(rows, cols, data.clone()),
            _ => panic!("the tensor `{name}` has the shape {shape:?}, which is no matrix"),
        }
    }

    /// The numbers of the tensor `name`.
    ///
    /// # Panics
    /// When the method declares no such tensor.
    pub fn vector(&self, name: &str) -> &[f64] {
        &self.get(name).data
    }
}
