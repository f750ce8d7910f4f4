//! A network as an ONNX file.

use onrush_scoring::features::FEATURES;
use onrush_scoring::mlp::{FIRST, Layer, Mlp, SECOND};
use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// Numbers of each candidate, by rows.
const INPUT: &str = "features";
/// A number for each.
const OUTPUT: &str = "scores";
/// The oldest operators with the rules of today; every runtime of the last years has them.
const OPERATOR_SET: i64 = 13;
/// The format that came with them.
const FORMAT: i64 = 7;
const WIDTHS: [usize; 4] = [FEATURES, FIRST, SECOND, 1];

/// The bytes of an ONNX file: input `features` [N, 32], output `scores` [N, 1], both of 32-bit floats; three layers
/// with the scaling of features folded into the first. `name` is the graph's.
pub fn encode(mlp: &Mlp, name: &str) -> Vec<u8> {
    let mut graph = GraphProto {
        name: name.into(),
        input: vec![rows(INPUT, FEATURES)],
        output: vec![rows(OUTPUT, 1)],
        ..GraphProto::default()
    };
    let mut from = INPUT.to_owned();
    for (at, Layer { weights, bias }) in mlp.folded().into_iter().enumerate() {
        let [inputs, outputs] = [WIDTHS[at], WIDTHS[at + 1]];
        let names = [format!("weights{at}"), format!("bias{at}")];
        graph.initializer.push(tensor(&names[0], &[inputs, outputs], &weights));
        graph.initializer.push(tensor(&names[1], &[outputs], &bias));
        let is_last = at + 2 == WIDTHS.len();
        let to = if is_last { OUTPUT.to_owned() } else { format!("sums{at}") };
        let [weights, bias] = names;
        graph.node.push(node("Gemm", vec![from, weights, bias], &to));
        from = to;
        if !is_last {
            let to = format!("layer{at}");
            graph.node.push(node("Relu", vec![from], &to));
            from = to;
        }
    }
    let operators = OperatorSetIdProto { domain: String::new(), version: OPERATOR_SET };
    let model = ModelProto {
        ir_version: FORMAT,
        opset_import: vec![operators],
        producer_name: "onrush".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

fn node(operator: &str, input: Vec<String>, to: &str) -> NodeProto {
    let (name, output) = (format!("{operator}-{to}"), vec![to.to_owned()]);
    NodeProto { op_type: operator.into(), name, input, output, ..NodeProto::default() }
}

fn tensor(name: &str, dims: &[usize], numbers: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|dim| *dim as i64).collect(),
        data_type: DataType::Float.into(),
        raw_data: numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

/// Any number of rows of so many floats.
fn rows(name: &str, width: usize) -> ValueInfoProto {
    let dims = [dimension::Value::DimParam("N".into()), dimension::Value::DimValue(width as i64)];
    let dim = dims.map(|value| Dimension { value: Some(value), ..Dimension::default() }).to_vec();
    let of = type_proto::Tensor { elem_type: DataType::Float.into(), shape: Some(TensorShapeProto { dim }) };
    let value = Some(type_proto::Value::TensorType(of));
    let r#type = Some(TypeProto { value, ..TypeProto::default() });
    ValueInfoProto { name: name.into(), r#type, ..ValueInfoProto::default() }
}
