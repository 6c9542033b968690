//! The probed rows: features and classes, checked once.

use super::ProbeError;
use super::matrix::Matrix;

/// Fewest rows that are judged.
pub const LEAST_ROWS: usize = 4;

/// Most of the smaller of rows and width. Time grows with its third power: half a second at 384, half a minute at this size.
pub const MOST_DIMENSIONS: usize = 2048;

/// Features and classes of rows, in the order of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    features: &'a [f32],
    width: usize,
    /// Class of each row, numbered from 0 among the classes that the sample has.
    classes: Vec<usize>,
    /// Rows of each class; none is 0.
    counts: Vec<usize>,
}

impl<'a> Sample<'a> {
    /// `features` `[rows, width]`, row after row, and one class id a row. Ids that no row has do not count.
    ///
    /// Fails where the shapes disagree, a feature is not finite, or there is only one class.
    pub fn new(features: &'a [f32], width: usize, labels: &[u32]) -> Result<Sample<'a>, ProbeError> {
        let rows = labels.len();
        if width == 0 || rows.checked_mul(width) != Some(features.len()) {
            return Err(ProbeError::Shape { values: features.len(), rows, width });
        }
        if rows < LEAST_ROWS {
            return Err(ProbeError::TooFewRows { rows });
        }
        if rows.min(width) > MOST_DIMENSIONS {
            return Err(ProbeError::TooLarge { rows, width });
        }
        if let Some(place) = features.iter().position(|feature| !feature.is_finite()) {
            return Err(ProbeError::NotFinite { row: place / width, column: place % width });
        }
        let mut ids = labels.to_vec();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < 2 {
            return Err(ProbeError::OneClass { rows });
        }
        let of = |label: &u32| ids.binary_search(label).expect("ids are those of the labels");
        let classes: Vec<usize> = labels.iter().map(of).collect();
        let mut counts = vec![0; ids.len()];
        for &class in &classes {
            counts[class] += 1;
        }
        Ok(Sample { features, width, classes, counts })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.classes.len()
    }

    /// Features of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Class of each row, from 0 to below the length of [`Sample::counts`].
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Rows of each class.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Features `[rows, width]` of the rows that are asked for, as f64.
    pub fn features(&self, rows: impl ExactSizeIterator<Item = usize>) -> Matrix {
        let mut features = Matrix::zeros(rows.len(), self.width);
        for (place, row) in rows.enumerate() {
            let from = &self.features[row * self.width..(row + 1) * self.width];
            for (to, from) in features.row_mut(place).iter_mut().zip(from) {
                *to = f64::from(*from);
            }
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_cannot_be_judged_says_why() {
        let four = [0u32, 1, 0, 1];
        let refused = |features: &[f32], width, labels: &[u32]| {
            Sample::new(features, width, labels).expect_err("no sample").to_string()
        };
        assert_eq!(refused(&[0.0; 7], 2, &four), "7 features for 4 rows of 2");
        assert_eq!(refused(&[], 0, &four), "0 features for 4 rows of 0");
        assert_eq!(refused(&[0.0; 3], 1, &four[..3]), "3 rows with labels; a probe needs at least 4");
        assert_eq!(refused(&[0.0; 4], 1, &[5; 4]), "all 4 rows of the sample have one label");
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let features = [0.0, 0.0, 0.0, odd, 0.0, 0.0, 0.0, 0.0];
            assert_eq!(refused(&features, 2, &four), "feature 1 of row 1 of the sample is not finite");
        }
        let (rows, width) = (MOST_DIMENSIONS + 1, MOST_DIMENSIONS + 1);
        let error = Sample::new(&vec![0.0; rows * width], width, &vec![0; rows]).expect_err("too large");
        assert_eq!(error, ProbeError::TooLarge { rows, width });
    }

    #[test]
    fn classes_that_no_row_has_do_not_count() {
        let sample = Sample::new(&[0.0; 5], 1, &[900, 7, 7, 31, 900]).expect("a sample");
        assert_eq!((sample.classes(), sample.counts()), (&[2, 0, 0, 1, 2][..], &[2, 1, 2][..]));
    }
}
