//! Eigenvalues of a symmetric matrix, and given vectors seen from its eigenvectors.
//!
//! Householder's reflections make the matrix tridiagonal; implicit steps of QR with Wilkinson's shift then make it
//! diagonal (Golub and Van Loan, "Matrix Computations", 4th edition, sections 8.3.1 to 8.3.5). Both are applied to
//! `right` as they are made. So `Vᵀ·right` costs time by n² for each column of `right`, and the eigenvectors V, n of
//! n numbers, are not made unless `right` is the identity.

use super::ProbeError;
use super::matrix::{Matrix, add, dot};

/// Steps of QR for one eigenvalue; two are usual.
const MOST_STEPS: usize = 60;

/// `M = V·diag(values)·Vᵀ`, with orthonormal columns of V.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// Eigenvalues, largest first.
    pub values: Vec<f64>,
    /// `Vᵀ·right`: row i belongs to eigenvalue i. The sign of a row is arbitrary.
    pub projected: Matrix,
}

/// Number of eigenvalues, largest first, that are not rounding errors: of the Gram matrix of vectors, where `count` is the
/// larger one of their number and their length.
pub fn rank(values: &[f64], count: usize) -> usize {
    let least = values.first().copied().unwrap_or(0.0) * f64::EPSILON * count as f64;
    values.iter().take_while(|&&value| value > least && value > 0.0).count()
}

/// Decomposes `matrix` `[n, n]`, of which the upper triangle is read; `right` has n rows.
///
/// Its elements are 0 or between 1e-100 and 1e100 in size, as products of f32 numbers are. Fails where one is not finite.
pub fn spectrum(matrix: Matrix, mut right: Matrix) -> Result<Spectrum, ProbeError> {
    let size = matrix.rows();
    assert_eq!((matrix.columns(), right.rows()), (size, size), "a square matrix, and as many rows beside it");
    if matrix.values().iter().any(|value| !value.is_finite()) {
        return Err(ProbeError::NoSpectrum { size });
    }
    let mut tridiagonal = Tridiagonal::of(matrix, &mut right);
    tridiagonal.diagonalise(&mut right)?;
    let values = tridiagonal.diagonal;
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let mut projected = Matrix::zeros(size, right.columns());
    for (to, &from) in order.iter().enumerate() {
        projected.row_mut(to).copy_from_slice(right.row(from));
    }
    Ok(Spectrum { values: order.into_iter().map(|from| values[from]).collect(), projected })
}

/// A symmetric tridiagonal matrix.
struct Tridiagonal {
    /// `[n]`
    diagonal: Vec<f64>,
    /// `[n - 1]`: element i couples i and i + 1.
    beside: Vec<f64>,
}

impl Tridiagonal {
    /// Reflects the matrix, column after column, and `right` with it.
    fn of(mut matrix: Matrix, right: &mut Matrix) -> Tridiagonal {
        let size = matrix.rows();
        let (mut diagonal, mut beside) = (Vec::with_capacity(size), Vec::with_capacity(size));
        for column in 0..size {
            diagonal.push(matrix.row(column)[column]);
            // The matrix is symmetric: its row is the column to reflect.
            let below = matrix.row(column)[column + 1..].to_vec();
            let Some((first, rest)) = below.split_first() else { break };
            let tail = dot(rest, rest);
            if tail == 0.0 {
                beside.push(*first);
                continue;
            }
            let norm = libm::sqrt(first * first + tail);
            let image = if *first > 0.0 { -norm } else { norm };
            beside.push(image);
            let mut normal = below;
            normal[0] -= image;
            let factor = 2.0 / (normal[0] * normal[0] + tail);
            reflect(&mut matrix, column + 1, &normal, factor);
            let mut seen = vec![0.0; right.columns()];
            for (place, &part) in normal.iter().enumerate() {
                add(&mut seen, factor * part, right.row(column + 1 + place));
            }
            for (place, &part) in normal.iter().enumerate() {
                add(right.row_mut(column + 1 + place), -part, &seen);
            }
        }
        Tridiagonal { diagonal, beside }
    }

    /// Turns the matrix until nothing is left beside its diagonal, and the rows of `right` with it.
    fn diagonalise(&mut self, right: &mut Matrix) -> Result<(), ProbeError> {
        let size = self.diagonal.len();
        let largest =
            self.diagonal.iter().chain(&self.beside).fold(0.0, |largest: f64, x| largest.max(x.abs()));
        // Between eigenvalues that are only rounding errors, a coupling need not vanish beside them.
        let floor = f64::EPSILON * f64::EPSILON * largest;
        let mut last = size.saturating_sub(1);
        let mut steps = 0;
        while last > 0 {
            if self.is_split(last - 1, floor) {
                (last, steps) = (last - 1, 0);
                continue;
            }
            let coupled = (0..last).rev().take_while(|&place| !self.is_split(place, floor)).count();
            steps += 1;
            if steps > MOST_STEPS {
                return Err(ProbeError::NoSpectrum { size });
            }
            self.step(last - coupled, last, right);
        }
        Ok(())
    }

    fn is_split(&self, place: usize, floor: f64) -> bool {
        let around = self.diagonal[place].abs() + self.diagonal[place + 1].abs();
        self.beside[place].abs() <= f64::EPSILON * around + floor
    }

    /// One implicit step of QR over `first..=last`: a rotation with the shift makes a bulge, further ones chase it out.
    fn step(&mut self, first: usize, last: usize, right: &mut Matrix) {
        let mut x = self.diagonal[first] - self.shift(last);
        let mut bulge = self.beside[first];
        for place in first..last {
            let length = libm::sqrt(x * x + bulge * bulge);
            let (cos, sin) = if length == 0.0 { (1.0, 0.0) } else { (x / length, bulge / length) };
            if place > first {
                self.beside[place - 1] = length;
            }
            let (upper, lower, between) =
                (self.diagonal[place], self.diagonal[place + 1], self.beside[place]);
            let turned = 2.0 * cos * sin * between;
            self.diagonal[place] = cos * cos * upper + turned + sin * sin * lower;
            self.diagonal[place + 1] = sin * sin * upper - turned + cos * cos * lower;
            self.beside[place] = cos * sin * (lower - upper) + (cos * cos - sin * sin) * between;
            if place + 1 < last {
                x = self.beside[place];
                bulge = sin * self.beside[place + 1];
                self.beside[place + 1] *= cos;
            }
            let (upper, lower) = right.neighbours_mut(place);
            for (upper, lower) in upper.iter_mut().zip(lower) {
                (*upper, *lower) = (cos * *upper + sin * *lower, cos * *lower - sin * *upper);
            }
        }
    }

    /// The eigenvalue of the last two rows that is closer to the last element.
    fn shift(&self, last: usize) -> f64 {
        let (end, between) = (self.diagonal[last], self.beside[last - 1]);
        let half = (self.diagonal[last - 1] - end) / 2.0;
        let root = libm::sqrt(half * half + between * between);
        end - between * between / if half < 0.0 { half - root } else { half + root }
    }
}

/// `H·M·H` of the rows and columns from `first`, with `H = I - factor·normal·normalᵀ`; upper triangle only.
fn reflect(matrix: &mut Matrix, first: usize, normal: &[f64], factor: f64) {
    let mut product = vec![0.0; normal.len()];
    for (place, &part) in normal.iter().enumerate() {
        let row = &matrix.row(first + place)[first + place..];
        product[place] += row[0] * part + dot(&row[1..], &normal[place + 1..]);
        add(&mut product[place + 1..], part, &row[1..]);
    }
    product.iter_mut().for_each(|value| *value *= factor);
    let half = factor / 2.0 * dot(&product, normal);
    add(&mut product, -half, normal);
    for (place, (&part, &other)) in normal.iter().zip(&product).enumerate() {
        let row = &mut matrix.row_mut(first + place)[first + place..];
        for ((value, normal), product) in row.iter_mut().zip(&normal[place..]).zip(&product[place..]) {
            *value -= part * product + other * normal;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::reference::{self, Case, noise};

    /// Decomposes with all eigenvectors and asserts that they are orthonormal and give the matrix again.
    fn checked(matrix: &Matrix) -> Vec<f64> {
        let size = matrix.rows();
        let found = spectrum(matrix.clone(), Matrix::identity(size)).expect("it converges");
        let vectors = &found.projected;
        let largest = found.values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        assert!(found.values.is_sorted_by(|a, b| a >= b), "{:?}", found.values);
        let mut again = Matrix::zeros(size, size);
        for (place, value) in found.values.iter().enumerate() {
            for row in 0..size {
                add(again.row_mut(row), value * vectors.row(place)[row], vectors.row(place));
            }
            for other in 0..size {
                let product = dot(vectors.row(place), vectors.row(other));
                let expected = if place == other { 1.0 } else { 0.0 };
                assert!(
                    (product - expected).abs() < 1e-13 * size as f64,
                    "vectors {place} and {other}: {product}"
                );
            }
        }
        for (again, value) in again.values().iter().zip(matrix.values()) {
            assert!((again - value).abs() <= 1e-14 * size as f64 * largest, "{again} is not {value}");
        }
        found.values
    }

    fn symmetric(size: usize, of: impl Fn(usize, usize) -> f64) -> Matrix {
        let values = (0..size * size).map(|at| of((at / size).min(at % size), (at / size).max(at % size)));
        Matrix::new(size, size, values.collect())
    }

    fn assert_near(found: &[f64], expected: impl IntoIterator<Item = f64>, tolerance: f64) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{found} is not {expected}");
        }
    }

    #[test]
    fn eigenvectors_are_orthonormal_and_give_the_matrix_again() {
        for size in [1, 2, 3, 8, 17, 60] {
            checked(&symmetric(size, |row, column| noise((1000 * size + 64 * row + column) as u64)));
        }
    }

    #[test]
    fn known_spectra_are_found() {
        // The second difference has eigenvalues 2 - 2 cos(πk/(n + 1)).
        let size = 24;
        let second = symmetric(size, |row, column| match column - row {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        });
        let turn = std::f64::consts::PI / (size + 1) as f64;
        let known = (1..=size).rev().map(|k| 2.0 - 2.0 * libm::cos(turn * k as f64));
        assert_near(&checked(&second), known, 1e-13);
        // Ones everywhere: one eigenvalue n, the others 0.
        let ones = checked(&symmetric(9, |_, _| 1.0));
        assert_near(&ones, std::iter::once(9.0).chain([0.0; 8]), 1e-14);
        assert_eq!(checked(&symmetric(5, |_, _| 0.0)), [0.0; 5]);
        let diagonal =
            symmetric(4, |row, column| if row == column { [3.0, -7.0, 0.0, 3.0][row] } else { 0.0 });
        assert_eq!(checked(&diagonal), [3.0, 3.0, 0.0, -7.0]);
    }

    #[test]
    fn sizes_far_apart_and_equal_eigenvalues_converge() {
        for scale in [1e-40, 1e40] {
            checked(&symmetric(12, |row, column| scale * noise((row * 12 + column) as u64)));
        }
        let graded = |row: usize, column: usize| {
            libm::pow(10.0, -((row + column) as f64)) * (1.0 + f64::from(row == column))
        };
        checked(&symmetric(14, graded));
        // Two blocks of ones, and noise of rounding errors.
        checked(&symmetric(30, |row, column| {
            f64::from(row / 15 == column / 15) + 1e-17 * noise((row * 30 + column) as u64)
        }));
    }

    #[test]
    fn eigenvalues_are_numpys() {
        for (name, Case { features, width, labels, eigenvalues, .. }) in reference::samples() {
            let features = Matrix::new(labels.len(), width, features.into_iter().map(f64::from).collect());
            let found = spectrum(features.gram(), Matrix::zeros(width, 0)).expect("it converges");
            assert_near(&found.values, eigenvalues, 1e-12 * found.values[0]);
            let expected = if name == "constant_and_equal" { width - 1 } else { width.min(labels.len()) };
            assert_eq!(rank(&found.values, labels.len().max(width)), expected, "{name}");
        }
    }

    #[test]
    fn the_lower_triangle_is_not_read_and_what_is_not_finite_is_refused() {
        let mut matrix = symmetric(7, |row, column| noise((row * 7 + column) as u64));
        let whole = spectrum(matrix.clone(), Matrix::identity(7));
        for row in 1..7 {
            matrix.row_mut(row)[..row].fill(99.0);
        }
        assert_eq!(spectrum(matrix.clone(), Matrix::identity(7)), whole);
        matrix.row_mut(2)[5] = f64::NAN;
        assert_eq!(spectrum(matrix, Matrix::identity(7)), Err(ProbeError::NoSpectrum { size: 7 }));
    }
}
