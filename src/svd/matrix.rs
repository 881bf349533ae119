//! [`Matrix`]: a small dense matrix of f64, row by row.

/// `rows × cols` numbers, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// How many rows.
    pub rows: usize,
    /// How many columns.
    pub cols: usize,
    /// `rows * cols` numbers, row by row.
    pub data: Vec<f64>,
}

impl Matrix {
    /// All zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// From row-major numbers. Panics when their count is not `rows * cols`: callers have checked shapes.
    pub fn new(rows: usize, cols: usize, data: Vec<f64>) -> Self {
        assert_eq!(data.len(), rows * cols, "numbers of a {rows} x {cols} matrix");
        Self { rows, cols, data }
    }

    /// From row-major f32 numbers.
    pub fn from_f32(rows: usize, cols: usize, data: &[f32]) -> Self {
        Self::new(rows, cols, data.iter().map(|&x| f64::from(x)).collect())
    }

    /// Rounded to f32, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&x| x as f32).collect()
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`, to change.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// Rows `i` and `j` (`i < j`), to change together.
    pub fn two_rows_mut(&mut self, i: usize, j: usize) -> (&mut [f64], &mut [f64]) {
        let (head, tail) = self.data.split_at_mut(j * self.cols);
        (&mut head[i * self.cols..(i + 1) * self.cols], &mut tail[..self.cols])
    }

    /// The transpose.
    pub fn transposed(&self) -> Self {
        let mut t = Self::zeros(self.cols, self.rows);
        for i in 0..self.rows {
            for (j, &x) in self.row(i).iter().enumerate() {
                t.data[j * self.rows + i] = x;
            }
        }
        t
    }

    /// The product with `right`.
    pub fn times(&self, right: &Self) -> Self {
        assert_eq!(self.cols, right.rows, "inner sizes of a product");
        let mut out = Self::zeros(self.rows, right.cols);
        for i in 0..self.rows {
            for (k, &x) in self.row(i).iter().enumerate() {
                add_scaled(out.row_mut(i), x, right.row(k));
            }
        }
        out
    }

    /// `self - other`.
    pub fn minus(&self, other: &Self) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "shapes of a difference");
        Self::new(self.rows, self.cols, self.data.iter().zip(&other.data).map(|(a, b)| a - b).collect())
    }

    /// Every number times `factor`.
    pub fn scaled(&self, factor: f64) -> Self {
        Self::new(self.rows, self.cols, self.data.iter().map(|x| x * factor).collect())
    }

    /// These rows, in this order.
    pub fn pick(&self, rows: &[usize]) -> Self {
        Self::new(rows.len(), self.cols, rows.iter().flat_map(|&i| self.row(i).iter().copied()).collect())
    }

    /// The sum of all squares: the squared Frobenius norm.
    pub fn energy(&self) -> f64 {
        dot(&self.data, &self.data)
    }

    /// The root of the mean square; 0 for an empty matrix.
    pub fn rms(&self) -> f64 {
        (self.energy() / self.data.len().max(1) as f64).sqrt()
    }

    /// The mean row.
    pub fn mean_row(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.cols];
        for i in 0..self.rows {
            add_scaled(&mut mean, 1.0 / self.rows as f64, self.row(i));
        }
        mean
    }

    /// Each row less the mean row.
    pub fn centred(&self) -> Self {
        let mean = self.mean_row();
        let mut out = self.clone();
        for i in 0..out.rows {
            add_scaled(out.row_mut(i), -1.0, &mean);
        }
        out
    }

    /// Returns `true` if every number is finite.
    pub fn is_finite(&self) -> bool {
        self.data.iter().all(|x| x.is_finite())
    }
}

/// The inner product.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `to += factor * x`.
pub fn add_scaled(to: &mut [f64], factor: f64, x: &[f64]) {
    for (t, v) in to.iter_mut().zip(x) {
        *t += factor * v;
    }
}
