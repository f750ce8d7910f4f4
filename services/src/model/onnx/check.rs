//! A file is looked through before a runtime sees it. tract takes names that lead nowhere, cycles and sizes of gigabytes
//! as its word; what passes here has none of them, and shapes that fit (`shapes.rs`).

use std::collections::HashMap;
use std::ops::RangeInclusive;

use onrush_scoring::features::FEATURES;
use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Edge;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto};

use super::fault::RankerError;
use super::numbers;
use super::shapes::{self, Known, Made};

/// Most bytes of a file.
pub(super) const BYTES_MAX: u64 = 64 << 20;
/// Operator sets whose rules tract is tested for.
pub(super) const OPERATOR_SETS: RangeInclusive<i64> = 9..=18;
/// Most nodes of a graph.
const NODES_MAX: u64 = 4_096;
/// Most numbers that stand between input and output for a row.
const BETWEEN_MAX: u64 = 128 << 10;
/// Most multiplications of a row: a network of four million weights. The one that is trained here has four thousand.
const MULTIPLICATIONS_MAX: u64 = 4 << 20;

/// Decodes a file and looks through it.
pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, RankerError> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(RankerError::TooLong);
    }
    let model = ModelProto::decode(bytes).map_err(|error| RankerError::NotOnnx(error.to_string()))?;
    let Some(graph) = model.graph.as_ref().filter(|graph| !graph.node.is_empty()) else {
        return Err(RankerError::NotOnnx("none: there is no graph with nodes in it".into()));
    };
    let set = model.opset_import.iter().find(|set| is_plain(&set.domain)).map(|set| set.version);
    if !set.is_some_and(|version| OPERATOR_SETS.contains(&version)) {
        let found = set.map_or("none".to_owned(), |version| version.to_string());
        return Err(RankerError::OperatorSet { found });
    }
    if let Some(function) = model.functions.first() {
        let found = format!("a function {:?}", function.name.as_deref().unwrap_or_default());
        return Err(RankerError::Operator { found, node: String::new() });
    }
    check(graph)?;
    Ok(model)
}

fn is_plain(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn check(graph: &GraphProto) -> Result<(), RankerError> {
    at_most("nodes", NODES_MAX, graph.node.len() as u64)?;
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map(|values| values.name.clone()).unwrap_or_default();
        let found = "a sparse tensor".to_owned();
        return Err(RankerError::Tensor { name, expected: "all numbers", found });
    }
    let mut known = HashMap::with_capacity(graph.initializer.len() + graph.node.len());
    for tensor in &graph.initializer {
        name(&mut known, &tensor.name, shapes::weights(tensor, &tensor.name)?)?;
    }
    // Files of the first formats name their weights among the inputs.
    let inputs: Vec<_> =
        graph.input.iter().filter(|input| !known.contains_key(input.name.as_str())).collect();
    match inputs[..] {
        [input] if is_rows(input) => name(&mut known, &input.name, Known::Rows(FEATURES as u64))?,
        [input] => return Err(RankerError::Inputs(shape(input))),
        _ => return Err(RankerError::Inputs(format!("{} inputs", inputs.len()))),
    }
    let (mut between, mut multiplications) = (0, 0);
    for node in &graph.node {
        let (made, costs) = check_node(node, &known)?;
        between += if let Known::Rows(width) = made { width } else { 1 };
        multiplications += costs;
        at_most("numbers between input and output for a row", BETWEEN_MAX, between)?;
        at_most("multiplications of a row", MULTIPLICATIONS_MAX, multiplications)?;
        for output in &node.output {
            name(&mut known, output, made.clone())?;
        }
    }
    let [output] = &graph.output[..] else {
        return Err(RankerError::Outputs(format!("{} outputs", graph.output.len())));
    };
    let found = match known.get(output.name.as_str()) {
        Some(Known::Rows(1) | Known::Column) => return Ok(()),
        Some(Known::Rows(width)) => format!("[N, {width}]"),
        _ => format!("{:?}, which no node makes of the input", output.name),
    };
    Err(RankerError::Outputs(found))
}

fn at_most(what: &'static str, most: u64, found: u64) -> Result<(), RankerError> {
    if found > most { Err(RankerError::TooMuch { what, most, found }) } else { Ok(()) }
}

fn name<'a>(known: &mut HashMap<&'a str, Known>, name: &'a str, made: Known) -> Result<(), RankerError> {
    if name.is_empty() {
        return Err(RankerError::Graph("something without a name".into()));
    }
    match known.insert(name, made) {
        None => Ok(()),
        Some(_) => Err(RankerError::Graph(format!("{name:?} twice"))),
    }
}

/// Looks at a node; what its output is.
fn check_node(node: &NodeProto, known: &HashMap<&str, Known>) -> Result<Made, RankerError> {
    let (operator, place) = (node.op_type.as_str(), shapes::place(node));
    let refused = |found: String| Err(RankerError::Operator { found, node: place.clone() });
    if !is_plain(&node.domain) {
        return refused(format!("{operator} of {}", node.domain));
    }
    for attribute in &node.attribute {
        if let Some(found) = strange(attribute) {
            return refused(format!("{operator} with {found}"));
        }
        numbers::check_listed(&[attribute.f], &place)?;
    }
    if node.output.len() != 1 {
        return refused(format!("{operator} with {} outputs", node.output.len()));
    }
    let input = |name: &String| {
        let nothing =
            || RankerError::Graph(format!("{name:?} in node {place:?}, which nothing before makes"));
        known.get(name.as_str()).ok_or_else(nothing)
    };
    let inputs = node.input.iter().filter(|name| !name.is_empty()).map(input);
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    shapes::Node { node, inputs }.made()
}

/// What an attribute has that no operator here takes.
fn strange(attribute: &AttributeProto) -> Option<&'static str> {
    let AttributeProto { g, graphs, sparse_tensor, sparse_tensors, tensors, ref_attr_name, .. } = attribute;
    [
        (g.is_some() || !graphs.is_empty(), "a graph in it"),
        (sparse_tensor.is_some() || !sparse_tensors.is_empty(), "a sparse tensor"),
        (!tensors.is_empty(), "a list of tensors"),
        (!ref_attr_name.is_empty(), "an attribute of a function"),
    ]
    .into_iter()
    .find_map(|(is, what)| is.then_some(what))
}

fn tensor_type(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    let type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

/// True for 32-bit floats of [N, 32].
fn is_rows(value: &ValueInfoProto) -> bool {
    let Some(tensor) = tensor_type(value) else { return false };
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| dim.value.as_ref());
    let dims: Vec<_> = dims.collect();
    tensor.elem_type == i32::from(DataType::Float)
        && matches!(dims[..], [None | Some(Edge::DimParam(_)), Some(Edge::DimValue(width))] if *width == FEATURES as i64)
}

/// How a value is told in an error.
fn shape(value: &ValueInfoProto) -> String {
    let Some(tensor) = tensor_type(value) else { return "something without a type".into() };
    let kind = DataType::try_from(tensor.elem_type).unwrap_or_default().as_str_name();
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match &dim.value {
        None => "?".to_owned(),
        Some(Edge::DimParam(name)) => name.clone(),
        Some(Edge::DimValue(width)) => width.to_string(),
    });
    format!("{kind} [{}]", dims.collect::<Vec<_>>().join(", "))
}
