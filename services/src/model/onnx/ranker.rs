//! A network of an ONNX file at work.

use std::any::Any;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use onrush_scoring::features::{FEATURES, Features};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Datum as _, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _, IntoTValue as _,
    IntoTensor as _, Symbol, TDim, Tensor, ToDim as _, TractError, TractResult, TypedFact, TypedSimplePlan,
    tvec,
};

use super::check::{self, BYTES_MAX};
use super::fault::{RankerError, ScoreError};

/// Most rows at once.
pub const ROWS_MAX: usize = 16_384;
/// A plan for each: rows are filled up to the next one.
const BATCHES: [usize; 4] = [64, 128, 256, 512];
/// Rows that are tried before a network is used.
const PROBES: usize = 4;
/// How near a score is to the same one among other rows: batches may sum in another sequence.
const NEAR: f32 = 1e-3;

/// A network that scores rows of features, from an ONNX file. Any number of threads score at once.
pub struct Ranker {
    /// By rows, as `BATCHES`.
    plans: [Arc<TypedSimplePlan>; BATCHES.len()],
}

impl Ranker {
    /// Reads a file and tries it.
    ///
    /// # Errors
    /// What is wrong with the file or its network, and what was expected.
    pub fn read(file: &Path) -> Result<Self, RankerError> {
        // To open a pipe would wait for who writes.
        if !std::fs::metadata(file)?.is_file() {
            return Err(RankerError::NoFile);
        }
        let mut bytes = Vec::new();
        File::open(file)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Self::decode(&bytes)
    }

    /// The same of bytes.
    ///
    /// # Errors
    /// As [`Ranker::read`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RankerError> {
        Self::of(&check::decode(bytes)?)
    }

    /// The same of a network that was looked through.
    pub(super) fn of(model: &ModelProto) -> Result<Self, RankerError> {
        // tract panics on operands that do not fit. What is looked through fits; if a rule there has a gap, the
        // service starts without the model and says so.
        let made = catch_unwind(|| {
            let onnx = tract_onnx::onnx().with_ignore_value_info(true);
            let graph = onnx.model_for_proto_model(model).map_err(refused)?;
            let ranker = Self { plans: plans(graph)? };
            ranker.probe()?;
            Ok(ranker)
        });
        made.unwrap_or_else(|panic| Err(RankerError::Refused(format!("a panic, {}", told(&*panic)))))
    }

    /// The score of each row; `scores` is emptied first, and stays empty if anything fails.
    ///
    /// # Errors
    /// More than [`ROWS_MAX`] rows, or a score that is not finite.
    pub fn score(&self, rows: &[Features], scores: &mut Vec<f32>) -> Result<(), ScoreError> {
        scores.clear();
        if rows.len() > ROWS_MAX {
            return Err(ScoreError::TooMany { found: rows.len() });
        }
        let scored = self.score_all(rows, scores);
        if scored.is_err() {
            scores.clear();
        }
        scored
    }

    fn score_all(&self, rows: &[Features], scores: &mut Vec<f32>) -> Result<(), ScoreError> {
        let most = BATCHES[BATCHES.len() - 1];
        for some in rows.chunks(most) {
            let found = self.run(some).map_err(|error| ScoreError::Failed(whole(&error)))?;
            let found = found.try_as_plain_ram().and_then(|plain| plain.as_slice::<f32>());
            let found = found.map_err(|error| ScoreError::Failed(whole(&error)))?;
            if let Some(row) = found[..some.len()].iter().position(|score| !score.is_finite()) {
                return Err(ScoreError::NotFinite { row: scores.len() + row, found: found[row] });
            }
            scores.extend_from_slice(&found[..some.len()]);
        }
        Ok(())
    }
}

impl Ranker {
    /// Scores of some rows, filled up with rows of zeros to the smallest batch that holds them.
    fn run(&self, rows: &[Features]) -> TractResult<Tensor> {
        let at = BATCHES.iter().position(|batch| *batch >= rows.len()).unwrap_or(BATCHES.len() - 1);
        let mut input = Tensor::zero::<f32>(&[BATCHES[at], FEATURES])?;
        input.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?[..rows.len() * FEATURES]
            .copy_from_slice(rows.as_flattened());
        let mut found = self.plans[at].run(tvec!(input.into_tvalue()))?;
        Ok(found.swap_remove(0).into_tensor())
    }

    /// Tries it: a few rows get finite scores, and the same ones among others, in each batch.
    fn probe(&self) -> Result<(), RankerError> {
        let mut random = Draws(1);
        let most = BATCHES[BATCHES.len() - 1];
        let mut rows: Vec<Features> = (0..most).map(|_| std::array::from_fn(|_| random.next())).collect();
        rows[0] = [0.0; FEATURES];
        let (mut alone, mut among) = (Vec::new(), Vec::new());
        self.score(&rows[..PROBES], &mut alone)?;
        for batch in BATCHES {
            let (from, to) = (batch - PROBES, batch);
            rows.copy_within(..PROBES, from);
            self.score(&rows[..batch], &mut among)?;
            for (alone, found) in alone.iter().zip(&among[from..to]) {
                if (alone - found).abs() > NEAR * alone.abs().max(1.0) {
                    return Err(RankerError::Mixed { alone: *alone, found: *found });
                }
            }
        }
        Ok(())
    }
}

/// Numbers of the size that features have, the same ones each time.
struct Draws(u32);

impl Draws {
    /// From -2 to 6.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 21) as f32 - 2.0
    }
}

/// A plan for each batch. Symbols are set before operators are chosen: what is chosen for any number of rows fails at
/// work.
fn plans(graph: InferenceModel) -> Result<[Arc<TypedSimplePlan>; 4], RankerError> {
    let rows = graph.symbols.new_with_prefix("rows");
    let fact = InferenceFact::dt_shape(f32::datum_type(), [rows.to_dim(), FEATURES.to_dim()]);
    let typed = graph.with_input_fact(0, fact).and_then(|graph| graph.into_typed()).map_err(refused)?;
    let fact = typed.output_fact(0).map_err(refused)?;
    if !is_scores(fact, &rows) {
        return Err(RankerError::Outputs(format!("{:?} {}", fact.datum_type, shape(fact, &rows))));
    }
    let graph = typed.into_decluttered().map_err(refused)?;
    let of = |batch: usize| {
        let batch_of = HashMap::from([(rows.clone(), batch.to_dim())]);
        graph.set_symbols(&batch_of).map_err(refused)
    };
    let plan = |batch| {
        let optimized = of(batch)?.into_optimized().map_err(refused)?;
        TypedSimplePlan::new(optimized).map_err(refused)
    };
    let [a, b, c, d] = BATCHES;
    Ok([plan(a)?, plan(b)?, plan(c)?, plan(d)?])
}

/// True for 32-bit floats of [rows, 1] or [rows].
fn is_scores(fact: &TypedFact, rows: &Symbol) -> bool {
    let expected = [rows.to_dim(), 1.to_dim()];
    let dims = fact.shape.dims();
    fact.datum_type == f32::datum_type() && (*dims == expected || *dims == expected[..1])
}

/// How a shape is told in an error.
fn shape(fact: &TypedFact, rows: &Symbol) -> String {
    let told = |dim: &TDim| if *dim == rows.to_dim() { "N".to_owned() } else { dim.to_string() };
    format!("[{}]", fact.shape.dims().iter().map(told).collect::<Vec<_>>().join(", "))
}

fn refused(error: TractError) -> RankerError {
    RankerError::Refused(whole(&error))
}

/// An error with its causes, in one line.
fn whole(error: &TractError) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// What a panic said.
fn told(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("parts that do not fit").to_owned()
}
