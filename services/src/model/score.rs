//! `onrush model score`: the scores of rows of features by a network, for who compares it with other runtimes.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use onrush_scoring::features::{FEATURES, Features};
use onrush_scoring::model::Model;
use serde::Serialize;

use super::ModelCommandError;
use super::onnx::Ranker;

/// What is scored, and by what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Score {
    /// The network.
    pub onnx: PathBuf,
    /// The model whose own network for next baskets scores, too.
    pub model: PathBuf,
    /// Rows of 32 floats, little-endian, one behind the other.
    pub rows: PathBuf,
    /// How often all rows are scored by each, in turns; at least once.
    pub rounds: usize,
}

/// What the rows got.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Scored {
    /// By the network of the file.
    pub onnx: Vec<f32>,
    /// By the model's own.
    pub own: Vec<f32>,
    /// What all rows took by the network of the file, the median of the rounds, in microseconds.
    pub onnx_us: f64,
    /// The same by the model's own.
    pub own_us: f64,
}

/// Scores rows.
///
/// # Errors
/// A network or model that cannot be used, or rows of another length.
pub fn score(command: &Score) -> Result<Scored, ModelCommandError> {
    let Score { onnx, model, rows, rounds } = command;
    let ranker = Ranker::read(onnx);
    let ranker = ranker.map_err(|source| ModelCommandError::Ranker { file: onnx.clone(), source })?;
    let failed = |source| ModelCommandError::Model { directory: model.clone(), source };
    let own = Model::read(model).map_err(failed)?.rankers.next_basket;
    let rows = read(rows).map_err(|source| ModelCommandError::Rows { file: rows.clone(), source })?;
    let mut scored = Scored { onnx: Vec::new(), own: Vec::new(), onnx_us: 0.0, own_us: 0.0 };
    let (mut of_onnx, mut of_own) = (Vec::new(), Vec::new());
    for _ in 0..(*rounds).max(1) {
        let began = Instant::now();
        own.score(&rows, &mut scored.own);
        of_own.push(began.elapsed());
        let began = Instant::now();
        let found = ranker.score(&rows, &mut scored.onnx);
        of_onnx.push(began.elapsed());
        found.map_err(|source| ModelCommandError::Scores { file: onnx.clone(), source })?;
    }
    (scored.onnx_us, scored.own_us) = (median_us(of_onnx), median_us(of_own));
    Ok(scored)
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn read(file: &PathBuf) -> io::Result<Vec<Features>> {
    let bytes = fs::read(file)?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    match numbers.as_chunks::<FEATURES>() {
        (rows, []) if rest.is_empty() && !rows.is_empty() => Ok(rows.to_vec()),
        _ => {
            let found = bytes.len();
            let expected = format!("expected rows of {FEATURES} 32-bit floats, found {found} bytes");
            Err(io::Error::new(io::ErrorKind::InvalidData, expected))
        }
    }
}
