//! What each node makes of what stands before it, by the rules of ONNX, for networks that carry rows of features forward.
//!
//! tract panics, counts for ever or reads beside a tensor on some axes, ranks and operands that do not fit, so
//! what comes to it fits by what is worked out here. Who adds an operator adds its rule, and its row to the test of odd operands.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

use super::fault::RankerError;
use super::numbers;

/// Operators of one input whose output has the same shape.
const EACH: [&str; 17] = [
    "Abs",
    "Elu",
    "Exp",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "Log",
    "Neg",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
    "ThresholdedRelu",
];
/// Operators of two inputs of the same width, or of one that is the same for all rows or columns.
const PAIRS: [&str; 4] = ["Add", "Div", "Mul", "Sub"];
/// The others.
#[cfg(test)]
const OTHERS: [&str; 10] = [
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Dropout",
    "Flatten",
    "Gemm",
    "MatMul",
    "Reshape",
];

/// All operators that run, but `Squeeze`.
#[cfg(test)]
pub(super) fn operators() -> impl Iterator<Item = &'static str> {
    EACH.into_iter().chain(PAIRS).chain(OTHERS)
}

/// What a name stands for.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Known {
    /// Rows of so many floats.
    Rows(u64),
    /// A float of each row.
    Column,
    /// Floats that are the same for all rows, by their edges.
    Floats(Vec<u64>),
    /// A list of integers.
    Integers(Vec<i64>),
}

/// What a node makes, and how many multiplications that takes for a row.
pub(super) type Made = (Known, u64);

/// Looks at weights.
pub(super) fn weights(tensor: &TensorProto, name: &str) -> Result<Known, RankerError> {
    numbers::check(tensor, name)?;
    let edges = || tensor.dims.iter().map(|dim| *dim as u64).collect();
    match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => Ok(Known::Floats(edges())),
        Ok(DataType::Int64) if tensor.dims.len() == 1 => Ok(Known::Integers(numbers::integers(tensor))),
        _ => {
            let expected = "FLOAT of any shape or INT64 of one edge";
            let found = DataType::try_from(tensor.data_type).unwrap_or_default().as_str_name();
            let found = format!("{found} {:?}", tensor.dims);
            Err(RankerError::Tensor { name: name.to_owned(), expected, found })
        }
    }
}

/// A node with what its inputs are.
pub(super) struct Node<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) inputs: Vec<&'a Known>,
}

impl Node<'_> {
    /// What it makes.
    ///
    /// # Errors
    /// An operator that does not run here, with its attributes and operands.
    pub(super) fn made(&self) -> Result<Made, RankerError> {
        let operator = self.node.op_type.as_str();
        let (attributes, made) = match operator {
            _ if EACH.contains(&operator) => (&["alpha", "beta", "gamma"][..], self.each()),
            _ if PAIRS.contains(&operator) => (&[][..], self.pair()),
            "Gemm" => (&["alpha", "beta", "transA", "transB"][..], self.gemm()),
            "MatMul" => (&[][..], self.product()),
            "BatchNormalization" => (&["epsilon", "momentum", "training_mode"][..], self.normalized()),
            "Concat" => (&["axis"][..], self.joined()),
            "Constant" => return self.constant(),
            "Cast" => (&["to"][..], (self.int("to", 0) == 1).then(|| self.each()).flatten()),
            "Clip" => (&["min", "max"][..], self.clipped()),
            "Dropout" => (&["ratio"][..], self.each()),
            "Flatten" => (&["axis"][..], (self.int("axis", 1) == 1).then(|| self.each()).flatten()),
            "Reshape" => (&[][..], self.shaped()),
            "Squeeze" => (&["axes"][..], self.squeezed()),
            _ => return Err(self.refused(operator.to_owned())),
        };
        let known = |one: &&AttributeProto| !attributes.contains(&one.name.as_str());
        if let Some(attribute) = self.node.attribute.iter().find(known) {
            return Err(self.refused(format!("{operator} with {}", attribute.name)));
        }
        made.ok_or_else(|| self.refused(format!("{operator} of {:?}", self.inputs)))
    }

    fn refused(&self, found: String) -> RankerError {
        RankerError::Operator { found, node: place(self.node) }
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn int(&self, name: &str, otherwise: i64) -> i64 {
        self.attribute(name).map_or(otherwise, |attribute| attribute.i)
    }

    fn each(&self) -> Option<Made> {
        match self.inputs[..] {
            [Known::Integers(_)] => None,
            [one] => Some((one.clone(), 0)),
            _ => None,
        }
    }

    fn pair(&self) -> Option<Made> {
        let [a, b] = self.inputs[..] else { return None };
        let width = match (a, b) {
            (Known::Rows(a), Known::Rows(b)) => wider(*a, *b)?,
            (Known::Rows(rows), Known::Floats(edges)) | (Known::Floats(edges), Known::Rows(rows)) => {
                wider(*rows, across(edges)?)?
            }
            (Known::Column, Known::Column) => return Some((Known::Column, 1)),
            (Known::Column, Known::Floats(edges)) | (Known::Floats(edges), Known::Column) => {
                return (edges.is_empty() || edges[..] == [1]).then_some((Known::Column, 1));
            }
            _ => return None,
        };
        Some((Known::Rows(width), width))
    }

    fn product(&self) -> Option<Made> {
        let [Known::Rows(width), Known::Floats(edges)] = self.inputs[..] else { return None };
        times(*width, edges)
    }

    fn gemm(&self) -> Option<Made> {
        let [Known::Rows(width), Known::Floats(edges), ref bias @ ..] = self.inputs[..] else { return None };
        let mut edges = edges.clone();
        match self.int("transB", 0) {
            0 => {}
            1 => edges.reverse(),
            _ => return None,
        }
        let (made, multiplications) = times(*width, &edges)?;
        let fits = match bias {
            [] => true,
            [Known::Floats(bias)] => made == Known::Rows(wider(edges[1], across(bias)?)?),
            _ => false,
        };
        (fits && self.int("transA", 0) == 0).then_some((made, multiplications))
    }

    fn normalized(&self) -> Option<Made> {
        let [Known::Rows(width), ref of_column @ ..] = self.inputs[..] else { return None };
        let fits = |one: &&Known| matches!(one, Known::Floats(edges) if edges[..] == [*width]);
        let fits = of_column.len() == 4 && of_column.iter().all(fits) && self.int("training_mode", 0) == 0;
        fits.then_some((Known::Rows(*width), *width))
    }

    fn joined(&self) -> Option<Made> {
        let width = |one: &&Known| if let Known::Rows(width) = one { Some(*width) } else { None };
        let widths: Vec<u64> = self.inputs.iter().map(width).collect::<Option<_>>()?;
        let all = widths.iter().sum();
        ([1, -1].contains(&self.int("axis", 0)) && all > 0).then_some((Known::Rows(all), 0))
    }

    fn constant(&self) -> Result<Made, RankerError> {
        let place = place(self.node);
        match (&self.node.attribute[..], &self.inputs[..]) {
            ([one], []) if one.name == "value" && one.t.is_some() => {
                Ok((one.t.as_ref().map_or(Ok(Known::Column), |tensor| weights(tensor, &place))?, 0))
            }
            ([one], []) if one.name == "value_float" => Ok((Known::Floats(Vec::new()), 0)),
            ([one], []) if one.name == "value_ints" => Ok((Known::Integers(one.ints.clone()), 0)),
            _ => Err(self.refused("Constant without a value of floats or integers".into())),
        }
    }

    fn clipped(&self) -> Option<Made> {
        let [rows, ref bounds @ ..] = self.inputs[..] else { return None };
        let is_one = |one: &&Known| matches!(one, Known::Floats(edges) if edges.is_empty());
        let is_carried = matches!(rows, Known::Rows(_) | Known::Column);
        (is_carried && bounds.len() <= 2 && bounds.iter().all(is_one)).then(|| (rows.clone(), 0))
    }

    /// To rows as they are, or of one number each to a column.
    fn shaped(&self) -> Option<Made> {
        let [Known::Rows(width), Known::Integers(to)] = self.inputs[..] else { return None };
        match to[..] {
            [-1, same] if u64::try_from(same) == Ok(*width) => Some((Known::Rows(*width), 0)),
            [-1] if *width == 1 => Some((Known::Column, 0)),
            _ => None,
        }
    }

    fn squeezed(&self) -> Option<Made> {
        let axes = match (&self.inputs[..], self.attribute("axes")) {
            ([Known::Rows(1)], Some(axes)) => &axes.ints,
            ([Known::Rows(1), Known::Integers(axes)], None) => axes,
            _ => return None,
        };
        matches!(axes[..], [1 | -1]).then_some((Known::Column, 0))
    }
}

/// Where a node is, by its name or its output.
pub(super) fn place(node: &NodeProto) -> String {
    if node.name.is_empty() { node.output.concat() } else { node.name.clone() }
}

/// The width of two that are joined number by number.
fn wider(a: u64, b: u64) -> Option<u64> {
    (a == b || a == 1 || b == 1).then_some(a.max(b))
}

/// The width of what is the same for all rows.
fn across(edges: &[u64]) -> Option<u64> {
    match edges {
        [] => Some(1),
        [width] | [1, width] if *width > 0 => Some(*width),
        _ => None,
    }
}

fn times(width: u64, edges: &[u64]) -> Option<Made> {
    match *edges {
        [inputs, outputs] if inputs == width && outputs > 0 => Some((Known::Rows(outputs), inputs * outputs)),
        _ => None,
    }
}
