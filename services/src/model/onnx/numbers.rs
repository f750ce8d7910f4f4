//! Weights and constants of a file.

use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};

use super::fault::RankerError;

/// Longest edge of a tensor, and most numbers of one: beyond, products of edges are no sizes any more.
const NUMBERS_MAX: u64 = 1 << 24;
const EDGES_MAX: usize = 8;

/// Looks at a tensor; how many numbers it has.
///
/// # Errors
/// One whose numbers are elsewhere, are not as many as its shape says, of another type, or not finite.
pub(super) fn check(tensor: &TensorProto, name: &str) -> Result<u64, RankerError> {
    let wrong = |expected, found: String| Err(RankerError::Tensor { name: name.to_owned(), expected, found });
    if tensor.data_location == Some(DataLocation::External.into()) || !tensor.external_data.is_empty() {
        return wrong("its numbers", "the name of another file".into());
    }
    if tensor.segment.is_some() {
        return wrong("all its numbers", "a segment".into());
    }
    let Some(numbers) = count(&tensor.dims) else {
        return wrong("a shape of at most 8 edges and 16,777,216 numbers", format!("{:?}", tensor.dims));
    };
    let data_type = DataType::try_from(tensor.data_type).unwrap_or_default();
    let (size, listed) = match data_type {
        DataType::Float => (4, tensor.float_data.len()),
        DataType::Double => (8, tensor.double_data.len()),
        DataType::Int32 => (4, tensor.int32_data.len()),
        DataType::Int64 => (8, tensor.int64_data.len()),
        DataType::Bool => (1, tensor.int32_data.len()),
        other => return wrong("FLOAT, DOUBLE, INT32, INT64 or BOOL", other.as_str_name().to_owned()),
    };
    let (found, per) = match tensor.raw_data.len() {
        0 => (listed, 1),
        raw => (raw, size),
    };
    if found as u64 != numbers * per {
        return wrong("as many numbers as its shape says", format!("{found} for {:?}", tensor.dims));
    }
    let not_finite = match (data_type, tensor.raw_data.is_empty()) {
        (DataType::Float, true) => first(tensor.float_data.iter().map(|number| f64::from(*number))),
        (DataType::Double, true) => first(tensor.double_data.iter().copied()),
        (DataType::Float, false) => {
            let numbers = tensor.raw_data.as_chunks::<4>().0;
            first(numbers.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))))
        }
        (DataType::Double, false) => {
            first(tensor.raw_data.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)))
        }
        _ => None,
    };
    match not_finite {
        Some((at, found)) => Err(RankerError::NotFinite { name: name.to_owned(), found, at }),
        None => Ok(numbers),
    }
}

/// The integers of a tensor that was looked at.
pub(super) fn integers(tensor: &TensorProto) -> Vec<i64> {
    match tensor.raw_data.is_empty() {
        true => tensor.int64_data.clone(),
        false => tensor.raw_data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
    }
}

/// The same for numbers that stand in a node.
pub(super) fn check_listed(numbers: &[f32], name: &str) -> Result<(), RankerError> {
    match first(numbers.iter().map(|number| f64::from(*number))) {
        Some((at, found)) => Err(RankerError::NotFinite { name: name.to_owned(), found, at }),
        None => Ok(()),
    }
}

fn first(numbers: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    numbers.enumerate().find(|(_, number)| !number.is_finite())
}

/// Numbers of a shape; `None` if no tensor here has it.
fn count(dims: &[i64]) -> Option<u64> {
    let edge = |dim: &i64| u64::try_from(*dim).ok().filter(|edge| *edge <= NUMBERS_MAX);
    let edges: Vec<u64> = dims.iter().map(edge).collect::<Option<_>>()?;
    let product = |edges: &[u64]| {
        edges
            .iter()
            .try_fold(1u64, |product, edge| product.checked_mul(*edge).filter(|all| *all <= NUMBERS_MAX))
    };
    // An edge of 0 hides no others that are too long.
    let longest: Vec<u64> = edges.iter().map(|edge| (*edge).max(1)).collect();
    (edges.len() <= EDGES_MAX && product(&longest).is_some()).then(|| product(&edges)).flatten()
}
