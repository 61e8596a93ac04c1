//! A table of vectors.

/// Vectors of equal length, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Shape `[rows, columns]`; `None` where `values` has another length.
    pub fn new(rows: usize, columns: usize, values: Vec<f32>) -> Option<Self> {
        (rows.checked_mul(columns) == Some(values.len())).then_some(Self {
            rows,
            columns,
            values,
        })
    }

    /// How many vectors.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of a vector.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One vector of `columns` values.
    ///
    /// # Panics
    /// Where `row` is not below [`Matrix::rows`].
    pub fn row(&self, row: usize) -> &[f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// All values, `[rows, columns]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, `[rows, columns]`, without a copy.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}
