//! Why a network does not rank.

use std::io;

use onrush_scoring::features::FEATURES;

use super::check::{BYTES_MAX, OPERATOR_SETS};
use super::ranker::ROWS_MAX;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum RankerError {
    /// It cannot be read.
    #[error("expected a readable file, found: {0}")]
    Io(#[from] io::Error),
    /// It is no file.
    #[error("expected a file, found a directory or something else that is none")]
    NoFile,
    /// It is longer than any that is read.
    #[error("expected at most {BYTES_MAX} bytes, found more")]
    TooLong,
    /// It is cut, damaged or something else.
    #[error("expected an ONNX file, found {0}")]
    NotOnnx(String),
    /// Its operators are of a time whose rules are not known here.
    #[error("expected operator set {} to {}, found {found}", OPERATOR_SETS.start(), OPERATOR_SETS.end())]
    OperatorSet {
        /// Which it names.
        found: String,
    },
    /// It takes something else than rows of features.
    #[error("expected one input of 32-bit floats and of shape [N, {FEATURES}], N for any number; found {0}")]
    Inputs(String),
    /// It gives something else than scores.
    #[error("expected one output of 32-bit floats and of shape [N, 1] or [N], found {0}")]
    Outputs(String),
    /// It asks for what does not run here.
    #[error("expected operators that run here, found {found} in node {node:?}")]
    Operator {
        /// What it asks for.
        found: String,
        /// Where, by name or by output.
        node: String,
    },
    /// Numbers of it are missing, are too many or are of a type that does not run here.
    #[error("expected {expected} in {name:?}, found {found}")]
    Tensor {
        /// Which weights or constant.
        name: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// Numbers of it are none.
    #[error("expected finite numbers in {name:?}, found {found} at {at}")]
    NotFinite {
        /// Which weights or constant.
        name: String,
        /// What is no number.
        found: f64,
        /// Where in it, from 0.
        at: usize,
    },
    /// Its nodes do not follow one another.
    #[error("expected nodes that take what stands before them, each with a name of its own; found {0}")]
    Graph(String),
    /// It asks for more than an answer may cost.
    #[error("expected at most {most} {what}, found {found}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// Most that there may be.
        most: u64,
        /// What there is.
        found: u64,
    },
    /// The parts do not fit together.
    #[error("expected a network that can be run, found: {0}")]
    Refused(String),
    /// It runs, and does not give scores.
    #[error("tried on a few rows: {0}")]
    Probe(#[from] ScoreError),
    /// What a row gets is not its own.
    #[error("expected a score of each row by itself, found {found} where it was {alone} among other rows")]
    Mixed {
        /// Among the first rows.
        alone: f32,
        /// Among others.
        found: f32,
    },
}

/// Why rows get no scores.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum ScoreError {
    /// There are too many at once.
    #[error("expected at most {ROWS_MAX} rows, found {found}")]
    TooMany {
        /// How many.
        found: usize,
    },
    /// A score is none.
    #[error("expected a finite score, found {found} for row {row}")]
    NotFinite {
        /// Which row, from 0.
        row: usize,
        /// What it got.
        found: f32,
    },
    /// The network failed at work.
    #[error("expected scores, found: {0}")]
    Failed(String),
}

impl RankerError {
    /// The same for anybody: without names of files or of parts.
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                "a model was named, and there is no ONNX file of it"
            }
            Self::Io(_) | Self::NoFile => "a model was named, and its file cannot be read",
            Self::TooLong | Self::TooMuch { .. } => "a model was named, and it is too large",
            Self::NotOnnx(_) => "a model was named, and its file is damaged or no ONNX file",
            Self::OperatorSet { .. } | Self::Operator { .. } => {
                "a model was named, and it asks for operators that do not run here"
            }
            Self::Inputs(_) => "a model was named, and it takes something else than features of products",
            Self::Outputs(_) | Self::Mixed { .. } => {
                "a model was named, and it gives something else than a score of each product"
            }
            Self::Tensor { .. } | Self::NotFinite { .. } | Self::Graph(_) | Self::Refused(_) => {
                "a model was named, and parts of its file are damaged or do not fit together"
            }
            Self::Probe(_) => "a model was named, and what it gives are no scores",
        }
    }
}
