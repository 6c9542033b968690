//! How much does a checkpoint know of a task before it is trained on it? The arithmetic, the verdict and the report.
//!
//! | module | question it answers |
//! |---|---|
//! | [`sample`] | Which features and classes do the probed rows have? |
//! | [`matrix`] | Products of matrices, each sum in one fixed order. |
//! | [`eigen`] | Eigenvalues of a symmetric matrix, and vectors seen from its eigenvectors. |
//! | [`logme`] | How likely are the classes under a linear model of the features, at the scale that fits best? |
//! | `linear` | Which linear classifier of the features fits best? |
//! | [`ridge`] | How well does it do on rows that it was not fitted to? The score that ranks checkpoints. |
//! | [`language`] | How many bits does a byte of text cost a language model, and a unigram model? |
//! | [`verdict`] | Is that more than random weights know? In units of the zero line's own spread. |
//! | [`report`] | What `headstart probe` prints: JSON; [`table`] and [`plot`] show the same to people. |
//!
//! Whoever calls this orders the rows first. The numbers are then a function of features, classes and seed: f64, one
//! order of additions, IEEE `+ − × ÷ √` and crate `libm` only.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod eigen;
pub mod language;
mod linear;
pub mod logme;
pub mod matrix;
pub mod plot;
pub mod report;
pub mod ridge;
pub mod sample;
pub mod table;
pub mod verdict;

#[cfg(test)]
mod reference;

use ridge::Ridge;
use sample::Sample;

pub use report::{Name, Probed, Probing};
pub use verdict::Verdict;

/// Why rows cannot be judged.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ProbeError {
    /// As many features as rows × width.
    #[error("{values} features for {rows} rows of {width}")]
    Shape {
        /// Numbers given.
        values: usize,
        /// Labels given, one a row.
        rows: usize,
        /// Features of a row.
        width: usize,
    },
    /// Two halves need rows.
    #[error("{rows} rows with labels; a probe needs at least {}", sample::LEAST_ROWS)]
    TooFewRows {
        /// Rows given.
        rows: usize,
    },
    /// More than this program solves in reasonable time.
    #[error(
        "{rows} rows of {width} features; at most {} of the smaller number are supported",
        sample::MOST_DIMENSIONS
    )]
    TooLarge {
        /// Rows given.
        rows: usize,
        /// Features of a row.
        width: usize,
    },
    /// A network that overflows on a row.
    #[error("feature {column} of row {row} of the sample is not finite")]
    NotFinite {
        /// Row of the sample, from 0.
        row: usize,
        /// Feature, from 0.
        column: usize,
    },
    /// Nothing to tell apart.
    #[error("all {rows} rows of the sample have one label")]
    OneClass {
        /// Rows given.
        rows: usize,
    },
    /// The iteration for eigenvalues has a limit, which finite matrices do not reach.
    #[error("the eigenvalues of a matrix of {size} rows were not found")]
    NoSpectrum {
        /// Rows of the matrix.
        size: usize,
    },
    /// A language model that overflows on a token.
    #[error("the loss of trained token {token} of row {row} of the sample is not finite")]
    LossNotFinite {
        /// Row of the sample, from 0.
        row: usize,
        /// Trained token of the row, from 0.
        token: usize,
    },
    /// Nothing to divide by.
    #[error("the sample has no trained text: 0 bytes in {rows} rows")]
    NoText {
        /// Rows given.
        rows: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token} is outside the vocabulary of {vocabulary}")]
    UnknownToken {
        /// The token's id.
        token: u32,
        /// Number of tokens that there are.
        vocabulary: usize,
    },
    /// Rows are compared pair by pair.
    #[error("a checkpoint was probed on {own} rows, its zero line on {zero}")]
    Unequal {
        /// Rows of the checkpoint.
        own: usize,
        /// Rows of its zero line.
        zero: usize,
    },
}

/// What the features of one network say about the classes of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    /// LogME: mean log evidence of a row, in nats; larger is better.
    pub log_evidence: f64,
    /// The held-out half.
    pub ridge: Ridge,
    /// Squared error of each row, when the classifier is fitted to all others; smaller is better.
    pub left_out: Vec<f64>,
    /// Squared error of a row that knows how often each class occurs among the others, and nothing else: the mean over the rows.
    pub uninformed: f64,
}

impl Classified {
    /// The share of the classes' variance that features explain, in rows that the classifier was not fitted to. 1: all of it; 0 or
    /// less: nothing.
    pub fn score(&self) -> f64 {
        let error = self.left_out.iter().sum::<f64>() / self.left_out.len() as f64;
        1.0 - error / self.uninformed
    }
}

/// Judges the features of one network. The same `seed` holds out the same rows, whatever the features are.
pub fn classification(sample: &Sample<'_>, seed: u64) -> Result<Classified, ProbeError> {
    Ok(Classified {
        log_evidence: logme::logme(sample)?,
        ridge: ridge::ridge(sample, seed)?,
        left_out: ridge::left_out(sample)?,
        uninformed: ridge::uninformed(sample),
    })
}
