//! Dense matrices of f64 and the few operations that the probe needs. Each sum has one fixed order.

/// Lanes of a scalar product. Fixed, because a sum's bits depend on its order.
const LANES: usize = 8;

/// Rows that [`Matrix::gram`] adds while a row of sums is in the cache. It does not change the order of additions.
const BLOCK: usize = 4;

/// A matrix, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// Values row after row; panics unless there are rows × columns.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Matrix {
        assert_eq!(values.len(), rows * columns, "values of a matrix");
        Matrix { rows, columns, values }
    }

    /// All zeros.
    pub fn zeros(rows: usize, columns: usize) -> Matrix {
        Matrix { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// Ones on the diagonal.
    pub fn identity(size: usize) -> Matrix {
        let mut identity = Matrix::zeros(size, size);
        identity.add_to_diagonal(1.0);
        identity
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// One row.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// Rows `row` and `row + 1`.
    pub(super) fn neighbours_mut(&mut self, row: usize) -> (&mut [f64], &mut [f64]) {
        let columns = self.columns;
        self.values[row * columns..(row + 2) * columns].split_at_mut(columns)
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Adds a number to each element of the diagonal.
    pub fn add_to_diagonal(&mut self, number: f64) {
        for value in self.values.iter_mut().step_by(self.columns + 1) {
            *value += number;
        }
    }

    /// `Mᵀ`.
    pub fn transposed(&self) -> Matrix {
        let mut transposed = Matrix::zeros(self.columns, self.rows);
        for row in 0..self.rows {
            for (column, value) in self.row(row).iter().enumerate() {
                transposed.values[column * self.rows + row] = *value;
            }
        }
        transposed
    }

    /// `MᵀM`, `[columns, columns]`. Element (i, j) is the sum over the rows, in their order.
    pub fn gram(&self) -> Matrix {
        let size = self.columns;
        let mut gram = Matrix::zeros(size, size);
        if size == 0 {
            return gram;
        }
        for block in self.values.chunks(BLOCK * size) {
            for first in 0..size {
                let sums = &mut gram.values[first * size + first..(first + 1) * size];
                match block.len() == BLOCK * size {
                    true => {
                        let of = |row: usize| &block[row * size + first..(row + 1) * size];
                        add_four(sums, [of(0), of(1), of(2), of(3)]);
                    }
                    false => block.chunks(size).for_each(|row| add(sums, row[first], &row[first..])),
                }
            }
        }
        for row in 1..size {
            for column in 0..row {
                gram.values[row * size + column] = gram.values[column * size + row];
            }
        }
        gram
    }

    /// `MᵀR`, `[columns, R's columns]`: the sum over the rows, in their order.
    pub fn transposed_times(&self, right: &Matrix) -> Matrix {
        let mut product = Matrix::zeros(self.columns, right.columns);
        for row in 0..self.rows {
            for (column, value) in self.row(row).iter().enumerate() {
                add(product.row_mut(column), *value, right.row(row));
            }
        }
        product
    }

    /// Cholesky's factor of a symmetric positive definite matrix. `None` where it is not positive definite.
    pub fn factor(mut self) -> Option<Factor> {
        let size = self.rows;
        for row in 0..size {
            let (above, rest) = self.values.split_at_mut(row * size);
            let current = &mut rest[..size];
            for column in 0..row {
                let other = &above[column * size..column * size + column + 1];
                let sum = dot(&current[..column], &other[..column]);
                current[column] = (current[column] - sum) / other[column];
            }
            let pivot = current[row] - dot(&current[..row], &current[..row]);
            if pivot.is_nan() || pivot <= 0.0 {
                return None;
            }
            current[row] = libm::sqrt(pivot);
        }
        Some(Factor(self))
    }

    /// The rows before `row`, and `row`.
    fn before_mut(&mut self, row: usize) -> (&mut [f64], &mut [f64]) {
        self.values[..(row + 1) * self.columns].split_at_mut(row * self.columns)
    }
}

/// A lower triangle L, where M = L·Lᵀ.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor(Matrix);

impl Factor {
    /// Solves `M·X = R`.
    pub fn solve(&self, mut right: Matrix) -> Matrix {
        self.solve_lower(&mut right);
        let columns = right.columns;
        for row in (0..self.0.rows).rev() {
            let factors = self.0.row(row);
            let (above, current) = right.before_mut(row);
            current.iter_mut().for_each(|value| *value /= factors[row]);
            for column in 0..row {
                add(&mut above[column * columns..(column + 1) * columns], -factors[column], current);
            }
        }
        right
    }

    /// Makes `R` the solution of `L·X = R`.
    pub fn solve_lower(&self, right: &mut Matrix) {
        let columns = right.columns;
        for row in 0..self.0.rows {
            let factors = self.0.row(row);
            let (above, current) = right.before_mut(row);
            for column in 0..row {
                add(current, -factors[column], &above[column * columns..(column + 1) * columns]);
            }
            current.iter_mut().for_each(|value| *value /= factors[row]);
        }
    }
}

/// `to += factor · values`, element by element.
pub fn add(to: &mut [f64], factor: f64, values: &[f64]) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += factor * value;
    }
}

/// Four times [`add`], each row times its own first element, with the same bits as one after the other.
fn add_four(sums: &mut [f64], [a, b, c, d]: [&[f64]; BLOCK]) {
    let factors = [a[0], b[0], c[0], d[0]];
    for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *sum = *sum + factors[0] * a + factors[1] * b + factors[2] * c + factors[3] * d;
    }
}

/// The scalar product, in 8 lanes; their sums are added in pairs, then what is left over.
pub fn dot(left: &[f64], right: &[f64]) -> f64 {
    let (left_lanes, left_rest) = left.as_chunks::<LANES>();
    let (right_lanes, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left_lanes.iter().zip(right_lanes) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += left * right;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let mut sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    for (left, right) in left_rest.iter().zip(right_rest) {
        sum += left * right;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reference::noise;

    fn drawn(rows: usize, columns: usize, first: u64) -> Matrix {
        let values = (0..rows * columns).map(|at| noise(1000 * first + at as u64)).collect();
        Matrix::new(rows, columns, values)
    }

    #[test]
    fn products_are_sums_over_rows_in_order() {
        for (rows, columns) in [(1, 1), (4, 3), (11, 5), (3, 7), (8, 20)] {
            let matrix = drawn(rows, columns, 1);
            let mut expected = Matrix::zeros(columns, columns);
            for row in 0..rows {
                for i in 0..columns {
                    for j in 0..columns {
                        expected.row_mut(i)[j] += matrix.row(row)[i] * matrix.row(row)[j];
                    }
                }
            }
            assert_eq!(matrix.gram(), expected, "bit for bit, {rows} rows of {columns}");
            assert_eq!(matrix.transposed_times(&matrix), expected);
            assert_eq!(matrix.transposed().transposed(), matrix);
        }
    }

    #[test]
    fn a_system_is_solved() {
        for size in [1, 2, 9, 30] {
            let mut matrix = drawn(size + 4, size, 2).gram();
            matrix.add_to_diagonal(0.1);
            let wanted = drawn(size, 3, 3);
            // The matrix is symmetric: its transpose times X is its product with X.
            let right = matrix.transposed_times(&wanted);
            let found = matrix.factor().expect("it is definite").solve(right);
            for (found, wanted) in found.values().iter().zip(wanted.values()) {
                assert!((found - wanted).abs() < 1e-10, "{found} is not {wanted}");
            }
        }
    }

    #[test]
    fn an_indefinite_system_is_not_solved() {
        let mut matrix = Matrix::identity(3);
        matrix.row_mut(2)[2] = -1.0;
        assert_eq!(matrix.factor(), None);
        assert_eq!(Matrix::zeros(2, 2).factor(), None);
    }

    #[test]
    fn a_scalar_product_has_every_element_once() {
        for length in [0, 1, 7, 8, 9, 40] {
            let ones = vec![1.0; length];
            let numbers: Vec<f64> = (0..length).map(|number| number as f64).collect();
            assert_eq!(dot(&ones, &numbers), (length * length.saturating_sub(1) / 2) as f64);
        }
    }
}
