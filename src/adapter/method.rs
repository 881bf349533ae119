//! [`Method`]: what a prompt method *is*, as data and without libtorch: its parameters, its tensors and how they start,
//! and the soft prompt that comes of them. How the encoder's input is computed while it is trained is in the crate
//! `dpt-torch`, in a file of the same name below `torch/src/prompt/`.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};

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
    /// Parameters that only training reads: the learning rates and the weight decay of groups of tensors.
    pub training: &'static [Param],
    /// Parameters of `train` that have another default for this method, with that default.
    pub defaults: &'static [(&'static str, Literal)],
    /// What its parameters may be beside other sizes, beyond their types.
    pub limits: &'static [Limit],
    /// The parameter that says how many positions of a text have numbers of their own. No text may be longer.
    pub positions: Option<&'static str>,
    /// The tensors, in the order in which the reference code draws their initial values.
    pub tensors: fn(&Shape) -> Vec<TensorSpec>,
    /// The tensors that can be made of a matrix `[virtual_tokens, d_model]`.
    pub from_matrix: FromMatrix,
    /// The soft prompt `[virtual_tokens, d_model]` of trained tensors, in f64. `None`: what the method does cannot be
    /// said by one prompt.
    pub prompt: Option<fn(&Shape, &Values) -> Matrix>,
    /// `true` if a prompt-tuning adapter of PEFT can hold the result.
    pub peft: Peft,
}

/// A bound of a parameter that depends on another size. A parameter that is absent is within all bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The parameter is at most that size.
    AtMost(&'static str, Size),
    /// The parameter is below that size.
    Below(&'static str, Size),
    /// The parameter divides that size.
    Divides(&'static str, Size),
    /// The list of whole numbers has one to so many entries, all of them above 0.
    Entries(&'static str, usize),
}

/// What a parameter is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Another parameter of the method.
    Param(&'static str),
    /// The parameter `virtual_tokens` of the stage.
    VirtualTokens,
    /// The width of the backbone.
    ModelWidth,
    /// The number of blocks of the backbone's encoder.
    EncoderBlocks,
    /// The numbers of the whole prompt.
    Prompt,
}

/// The sizes that are known where parameters are checked: before a run nothing of the backbone is.
#[derive(Clone, Copy, Debug)]
pub struct Sizes<'a> {
    /// The values of parameters, those of the method among them.
    pub params: &'a Params,
    /// Rows of the soft prompt.
    pub virtual_tokens: Option<i64>,
    /// Width of the backbone.
    pub d_model: Option<i64>,
    /// Blocks of the backbone's encoder.
    pub encoder_blocks: Option<i64>,
}

impl<'a> Sizes<'a> {
    /// Those that the parameters of a stage say.
    pub fn of_params(params: &'a Params) -> Self {
        Self { params, virtual_tokens: int(params, "virtual_tokens"), d_model: None, encoder_blocks: None }
    }

    /// A size's value and what it is called.
    fn of(&self, size: Size) -> Option<(i64, String)> {
        let named = |value: Option<i64>, name: &str| value.map(|value| (value, name.to_owned()));
        match size {
            Size::Param(name) => named(int(self.params, name), &format!("`{name}`")),
            Size::VirtualTokens => named(self.virtual_tokens, "`virtual_tokens`"),
            Size::ModelWidth => named(self.d_model, "the model's width"),
            Size::EncoderBlocks => named(self.encoder_blocks, "the number of the encoder's blocks"),
            Size::Prompt => {
                let numbers = self.virtual_tokens.and_then(|tokens| Some(tokens * self.d_model?));
                named(numbers, "the size of the whole prompt")
            }
        }
    }
}

fn int(params: &Params, name: &str) -> Option<i64> {
    match params.get(name) {
        Some(Value::Int(value)) => Some(*value),
        _ => None,
    }
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

/// One tensor.
#[derive(Clone, Debug)]
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
    /// Which weight decay it has.
    pub decay: Decay,
    /// `true` if it is trained. One that is not keeps its initial values; it is stored with the others.
    pub trained: bool,
}

/// The initial values of a tensor.
#[derive(Clone, Copy, Debug)]
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
    /// Uniform within ±1/√n, as PyTorch's `Linear` of `n` inputs starts its weight and its bias, and as its
    /// Kaiming-uniform rule with a = √5 does.
    FanIn(i64),
    /// Uniform from this to that.
    Between(f64, f64),
    /// A matrix whose rows (whose columns, where it has more rows) are orthonormal, drawn uniformly among those.
    Orthonormal,
    /// These numbers, row by row, made of the other tensors' initial values.
    Derived(fn(&Shape, &Values) -> Vec<f64>),
}

/// The learning rate of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// `learning_rate` of `train`.
    Main,
    /// The method's parameter of this name, one of [`Method::training`].
    Own(&'static str),
}

/// The weight decay of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// `weight_decay` of `train`.
    Main,
    /// The method's parameter of this name, one of [`Method::training`]; `weight_decay` where that is absent.
    Own(&'static str),
    /// None.
    Never,
}

impl TensorSpec {
    /// A trained tensor that starts so whatever `init` says, with the main rate and decay.
    pub fn new(name: &'static str, shape: impl Into<Vec<i64>>, start: Start) -> Self {
        let shape = shape.into();
        Self { name, shape, start, chosen: false, rate: Rate::Main, decay: Decay::Main, trained: true }
    }

    /// The same, but `init` may give it another start.
    pub fn chosen(self) -> Self {
        Self { chosen: true, ..self }
    }

    /// The same, with the rate that the method's parameter `param` says.
    pub fn rate(self, param: &'static str) -> Self {
        Self { rate: Rate::Own(param), ..self }
    }

    /// The same, with the weight decay that the method's parameter `param` says.
    pub fn decay(self, param: &'static str) -> Self {
        Self { decay: Decay::Own(param), ..self }
    }

    /// The same, without weight decay.
    pub fn without_decay(self) -> Self {
        Self { decay: Decay::Never, ..self }
    }

    /// The same, but not trained.
    pub fn frozen(self) -> Self {
        Self { trained: false, ..self }
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
        self.optional_int(name).unwrap_or_else(|| panic!("the parameter `{name}` is absent, or not a whole number"))
    }

    /// The value of a whole number that may be absent.
    pub fn optional_int(&self, name: &str) -> Option<i64> {
        int(&self.params, name)
    }

    /// The value of a list of whole numbers.
    ///
    /// # Panics
    /// When the method declares no such parameter.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        let Some(Value::List(items)) = self.params.get(name) else {
            panic!("the parameter `{name}` is absent, or not a list")
        };
        items.iter().filter_map(|item| if let Value::Int(i) = item { Some(*i) } else { None }).collect()
    }

    /// The value of a number.
    ///
    /// # Panics
    /// When the method declares no such parameter.
    pub fn float(&self, name: &str) -> f64 {
        self.optional_float(name).unwrap_or_else(|| panic!("the parameter `{name}` is absent, or not a number"))
    }

    /// The value of a number that may be absent.
    pub fn optional_float(&self, name: &str) -> Option<f64> {
        match self.params.get(name) {
            Some(Value::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// The value of a switch.
    ///
    /// # Panics
    /// When the method declares no such parameter.
    pub fn flag(&self, name: &str) -> bool {
        match self.params.get(name) {
            Some(Value::Bool(value)) => *value,
            other => panic!("the parameter `{name}` is {other:?}, not a switch"),
        }
    }

    /// The value of a choice, as the enum that declares its words.
    ///
    /// # Panics
    /// When the method declares no such parameter, or another enum.
    pub fn choice<T: DeserializeOwned>(&self, name: &str) -> T {
        let word = self.params.get(name).and_then(Value::as_str);
        let value = word.and_then(|word| T::deserialize(StrDeserializer::<ValueError>::new(word)).ok());
        value.unwrap_or_else(|| panic!("the parameter `{name}` is no word of its choice"))
    }
}

impl Method {
    /// The shape with these sizes, its parameters taken out of `params`. Parameters that are younger than the method
    /// may be missing there: they take their default.
    ///
    /// # Errors
    /// A parameter that is missing, whose value is not of its type, or that does not fit the other sizes.
    pub fn shape(&self, virtual_tokens: i64, d_model: i64, params: &Params) -> Result<Shape, Diag> {
        let mut own = Params::new();
        for param in self.params {
            let wrong = |found: String| {
                Diag::error(Class::Stage, format!("parameter `{}` of method `{}` is {found}", param.name, self.name))
            };
            let default = if param.since > 1 { param.default.value() } else { None };
            match params.get(param.name).or(default.as_ref()) {
                Some(value) if param.ty.admits(value) => drop(own.insert(param.name.to_owned(), value.clone())),
                Some(value) => return Err(wrong(format!("`{value}`, which it cannot be"))),
                None if param.default == ParamDefault::Absent => {}
                None => return Err(wrong("missing".to_owned())),
            }
        }
        let (tokens, width) = (Some(virtual_tokens), Some(d_model));
        self.check(&Sizes { params: &own, virtual_tokens: tokens, d_model: width, encoder_blocks: None })?;
        Ok(Shape { virtual_tokens, d_model, params: own })
    }

    /// The parameters of a shape as files record them: without those that are younger than the method and at their
    /// default, so that equal adapters have equal files whichever version wrote them.
    pub fn recorded(&self, shape: &Shape) -> Params {
        let mut params = shape.params.clone();
        for param in self.params.iter().filter(|param| param.since > 1) {
            if params.get(param.name) == param.default.value().as_ref() {
                params.remove(param.name);
            }
        }
        params
    }

    /// Checks the parameters against the sizes that are known.
    ///
    /// # Errors
    /// One that is out of its [limits](Method::limits): names it and what it may be.
    pub fn check(&self, sizes: &Sizes) -> Result<(), Diag> {
        self.limits.iter().try_for_each(|limit| self.check_limit(*limit, sizes))
    }

    fn check_limit(&self, limit: Limit, sizes: &Sizes) -> Result<(), Diag> {
        let refuse = |message: String, help: String| {
            let diag = Diag::error(Class::Usage, message).note(format!("a parameter of method `{}`", self.name));
            Err(diag.help(help))
        };
        let (name, size) = match limit {
            Limit::AtMost(name, size) | Limit::Below(name, size) | Limit::Divides(name, size) => (name, size),
            Limit::Entries(name, most) => {
                let Some(Value::List(items)) = sizes.params.get(name) else { return Ok(()) };
                let positive = |item: &Value| matches!(item, Value::Int(1..=65_536));
                if (1..=most).contains(&items.len()) && items.iter().all(positive) {
                    return Ok(());
                }
                let help = format!("set `{name}` to a list of 1 to {most} whole numbers from 1 to 65536");
                return refuse(format!("`{name}` is {}", Value::List(items.clone())), help);
            }
        };
        let (Some(value), Some((size, called))) = (int(sizes.params, name), sizes.of(size)) else { return Ok(()) };
        match limit {
            Limit::AtMost(..) if value > size => refuse(
                format!("`{name}` is {value}, above {called}, which is {size}"),
                format!("set `{name}` to at most {size}"),
            ),
            Limit::Below(..) if value >= size => refuse(
                format!("`{name}` is {value}, not below {called}, which is {size}"),
                format!("set `{name}` to at most {}", size - 1),
            ),
            Limit::Divides(..) if value == 0 || size % value != 0 => {
                let nearest = (1..=value.min(size)).rev().find(|n| size % n == 0).unwrap_or(1);
                let message = format!("`{name}` is {value}, which does not divide {called}, {size}");
                refuse(message, format!("set `{name}` to a divisor of {size}, such as {nearest}"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that texts of up to `longest` tokens fit the positions that the method has numbers for.
    ///
    /// # Errors
    /// A longer text: names the parameter and what it would have to be.
    pub fn check_text(&self, shape: &Shape, longest: usize) -> Result<(), Diag> {
        let Some((name, positions)) = self.positions.and_then(|name| Some((name, shape.optional_int(name)?))) else {
            return Ok(());
        };
        if longest as i64 <= positions {
            return Ok(());
        }
        Err(Diag::error(
            Class::Stage,
            format!("a text has {longest} tokens, and `{name}` of method `{}` is {positions}", self.name),
        )
        .note("the method has numbers of its own for every position of a text, and none for the positions behind them")
        .help(format!(
            "train with `{name} = {longest}` or more, or set `max_source_length` of `tokenize` to at most {positions}"
        )))
    }

    /// How many numbers are trained.
    pub fn parameters(&self, shape: &Shape) -> i64 {
        (self.tensors)(shape).iter().filter(|spec| spec.trained).map(TensorSpec::numel).sum()
    }

    /// How many numbers are stored: the trained ones, and those that keep their initial values.
    pub fn stored(&self, shape: &Shape) -> i64 {
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
    /// These tensors.
    pub fn new(tensors: impl IntoIterator<Item = (String, Array)>) -> Self {
        Self(tensors.into_iter().collect())
    }

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
