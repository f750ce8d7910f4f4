//! Networks as ONNX files: those of a trained model are written, and any that scores rows of features is run.
//!
//! A file is looked through before tract sees it (`check.rs`): what is left is a graph of known operators without
//! cycles, whose numbers are there and finite. [`Ranker`] runs it.

mod check;
mod fault;
mod numbers;
mod ranker;
mod shapes;
#[cfg(test)]
mod tests;
mod write;

pub use fault::{RankerError, ScoreError};
pub use ranker::{ROWS_MAX, Ranker};
pub use write::encode;
