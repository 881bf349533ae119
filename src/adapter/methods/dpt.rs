//! Decomposed prompt tuning (Xiao et al., Findings of EMNLP 2023, arXiv 2310.10094): `P = A B`, no bias, no
//! non-linearity, no scaling. `rank · (virtual_tokens + d_model)` numbers are trained.
//!
//! Four small changes are options, of our own and off by default: a shift of all rows, a size for each row, a product
//! for each of several blocks of columns, and some entries that are free beside the product.

use crate::base::param::{Literal, Param, Type};
use crate::svd::matrix::{Matrix, dot};

use super::super::method::{FromMatrix, Limit, Method, Peft, Shape, Size, Start, TensorSpec, Values};

/// The least norm that a row is divided by where rows have sizes of their own.
pub const LEAST_NORM: f64 = 1e-12;

/// The declaration.
pub const METHOD: Method = Method {
    name: "dpt",
    about: "decomposed prompt tuning: the prompt is a product of two thin trained matrices, `rank` between them",
    params: &[
        Param::with_default(
            "rank",
            Type::Int(1, 4096),
            Literal::Int(10),
            "inner size of the product (the paper's bottleneck)",
        ),
        Param::with_default("shift", Type::Bool, Literal::Bool(false), "adds one trained row to every row of the product").since(2),
        Param::with_default("row_scale", Type::Bool, Literal::Bool(false), "trains the norm of every row apart from its direction")
            .since(2),
        Param::with_default("blocks", Type::Int(1, 65_536), Literal::Int(1), "cuts the columns into blocks, each with its own product")
            .since(2),
        Param::with_default(
            "sparse",
            Type::Int(0, 1 << 24),
            Literal::Int(0),
            "so many entries of the prompt get a trained number of their own: those of the largest gradient at the start",
        )
        .since(2),
    ],
    training: &[],
    defaults: &[],
    limits: &[Limit::Divides("blocks", Size::ModelWidth), Limit::AtMost("sparse", Size::Prompt)],
    positions: None,
    tensors,
    from_matrix: FromMatrix::Factors { a: "factor_a", b: "factor_b", rank: "rank" },
    prompt: Some(prompt),
    peft: Peft::Holds,
};

fn tensors(shape: &Shape) -> Vec<TensorSpec> {
    let (length, d, rank) = (shape.virtual_tokens, shape.d_model, shape.int("rank"));
    let (blocks, free) = (shape.int("blocks"), shape.int("sparse"));
    let factor = |name, size| TensorSpec::new(name, size, Start::Uniform(0.5)).chosen();
    // The columns of A of one block after the other; B has them side by side.
    let mut specs = vec![factor("factor_a", [length, blocks * rank]), factor("factor_b", [rank, d])];
    if shape.flag("row_scale") {
        let norms = |shape: &Shape, t: &Values| {
            let product = product(shape, t);
            (0..product.rows).map(|i| dot(product.row(i), product.row(i)).sqrt()).collect()
        };
        specs.push(TensorSpec::new("row_scale", [length], Start::Derived(norms)));
    }
    if shape.flag("shift") {
        specs.push(TensorSpec::new("shift", [d], Start::Zeros));
    }
    if free > 0 {
        specs.push(TensorSpec::new("sparse_values", [free], Start::Zeros));
        // Counted row by row; chosen before the first step.
        specs.push(TensorSpec::new("sparse_index", [free], Start::Zeros).frozen());
    }
    specs
}

/// The product, block by block.
fn product(shape: &Shape, t: &Values) -> Matrix {
    let (a, b) = (t.matrix("factor_a"), t.matrix("factor_b"));
    let (rank, width) = (b.rows, b.cols / shape.int("blocks") as usize);
    let mut out = Matrix::zeros(a.rows, b.cols);
    for i in 0..a.rows {
        for j in 0..b.cols {
            let block = j / width;
            out.row_mut(i)[j] = (0..rank).map(|k| a.row(i)[block * rank + k] * b.row(k)[j]).sum();
        }
    }
    out
}

fn prompt(shape: &Shape, t: &Values) -> Matrix {
    // One block: the order of sums of `times`, as ever.
    let mut out =
        if shape.int("blocks") == 1 { t.matrix("factor_a").times(&t.matrix("factor_b")) } else { product(shape, t) };
    if shape.flag("row_scale") {
        for (i, size) in t.vector("row_scale").iter().enumerate() {
            let norm = dot(out.row(i), out.row(i)).sqrt().max(LEAST_NORM);
            out.row_mut(i).iter_mut().for_each(|x| *x *= size / norm);
        }
    }
    if shape.flag("shift") {
        for i in 0..out.rows {
            out.row_mut(i).iter_mut().zip(t.vector("shift")).for_each(|(x, shift)| *x += shift);
        }
    }
    if shape.int("sparse") > 0 {
        for (at, value) in t.vector("sparse_index").iter().zip(t.vector("sparse_values")) {
            out.data[*at as usize] += value;
        }
    }
    out
}
