use std::sync::LazyLock;

use onrush_scoring::features::{FEATURES, Features};
use onrush_scoring::mlp::{Example, Mlp, MlpOptions};
use prost::Message as _;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Edge;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto};

use super::*;

fn rows(seed: u64, count: usize) -> Vec<Features> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| std::array::from_fn(|at| random.f32() * (at + 1) as f32 - 3.0)).collect()
}

/// A network that learned something, with means and scales that are none of 0 and 1.
fn network() -> Mlp {
    let list = |seed| {
        let candidates = rows(seed, 20);
        let targets = (0..20).map(|at| f32::from(u8::from(at == seed as usize % 20))).collect();
        Example { candidates, targets }
    };
    let examples: Vec<_> = (0..60).map(list).collect();
    Mlp::learn(&examples, MlpOptions::default(), &|_| true).unwrap()
}

fn file() -> ModelProto {
    static FILE: LazyLock<ModelProto> =
        LazyLock::new(|| ModelProto::decode(&encode(&network(), "next_basket")[..]).unwrap());
    FILE.clone()
}

/// Loads the file that a change makes of a good one.
fn changed(change: impl FnOnce(&mut ModelProto)) -> Result<Ranker, RankerError> {
    let mut model = file();
    change(&mut model);
    Ranker::decode(&model.encode_to_vec())
}

fn said(found: Result<Ranker, RankerError>) -> String {
    found.err().map_or("nothing wrong".into(), |error| error.to_string())
}

fn dims(value: &mut ValueInfoProto) -> &mut Vec<tract_onnx::pb::tensor_shape_proto::Dimension> {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().unwrap().value.as_mut() else {
        unreachable!()
    };
    &mut tensor.shape.as_mut().unwrap().dim
}

fn tensor_of(value: &mut ValueInfoProto) -> &mut type_proto::Tensor {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().unwrap().value.as_mut() else {
        unreachable!()
    };
    tensor
}

fn tensor(name: &str, dims: &[i64], numbers: Vec<f32>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: DataType::Float.into(),
        float_data: numbers,
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    let input = inputs.iter().map(|name| (*name).to_owned()).collect();
    NodeProto { op_type: operator.into(), input, output: vec![output.into()], ..NodeProto::default() }
}

fn setting(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: 2, i, ..AttributeProto::default() }
}

/// Puts nodes in place of all.
fn only(model: &mut ModelProto, initializer: Vec<TensorProto>, nodes: Vec<NodeProto>) {
    let graph = model.graph.as_mut().unwrap();
    graph.initializer = initializer;
    graph.node = nodes;
}

#[test]
fn what_is_written_gives_the_same_scores_for_any_number_of_rows_and_threads() {
    let mlp = network();
    let ranker = Ranker::decode(&encode(&mlp, "next_basket")).unwrap();
    let (mut expected, mut found) = (Vec::new(), vec![7.0]);
    ranker.score(&[], &mut found).unwrap();
    assert!(found.is_empty());
    for count in [1, 63, 64, 65, 200, 256, 257, 512, 513, 1_500] {
        let rows = rows(count as u64, count);
        mlp.score(&rows, &mut expected);
        ranker.score(&rows, &mut found).unwrap();
        assert_eq!(found.len(), count);
        for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-4 * expected.abs().max(1.0),
                "{row} of {count}: {found}, {expected}"
            );
        }
    }
    let rows = rows(5, 200);
    ranker.score(&rows, &mut expected).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut found = Vec::new();
                for _ in 0..20 {
                    ranker.score(&rows, &mut found).unwrap();
                    assert_eq!(found, expected);
                }
            });
        }
    });
}

#[test]
fn too_many_rows_and_scores_that_are_none_are_errors() {
    let ranker = changed(|_| ()).unwrap();
    let mut scores = vec![1.0];
    let many = vec![[0.0; FEATURES]; ROWS_MAX + 1];
    assert_eq!(ranker.score(&many, &mut scores), Err(ScoreError::TooMany { found: ROWS_MAX + 1 }));
    assert!(scores.is_empty());
    ranker.score(&many[1..], &mut scores).unwrap();
    assert_eq!(scores.len(), ROWS_MAX);
    let mut rows = rows(1, 600);
    rows[530] = [f32::MAX; FEATURES];
    let found = ranker.score(&rows, &mut scores).unwrap_err();
    assert!(matches!(found, ScoreError::NotFinite { row: 530, .. }), "{found}");
    assert!(scores.is_empty());
}

#[test]
fn other_networks_with_one_output_run() {
    // As Keras writes them: a product, a sum, and no more.
    let found = changed(|model| {
        let weights = vec![tensor("w", &[32, 1], vec![0.5; 32]), tensor("b", &[1], vec![1.0])];
        let nodes = vec![node("MatMul", &["features", "w"], "x"), node("Add", &["x", "b"], "scores")];
        only(model, weights, nodes);
    });
    let mut scores = Vec::new();
    found.unwrap().score(&[[2.0; FEATURES], [0.0; FEATURES]], &mut scores).unwrap();
    assert_eq!(scores, [33.0, 1.0]);
    // [N], and N without a name.
    let found = changed(|model| {
        let mut axes = tensor("axes", &[1], vec![]);
        (axes.data_type, axes.int64_data) = (DataType::Int64.into(), vec![1]);
        let weights = vec![tensor("w", &[32, 1], vec![1.0; 32]), axes];
        let nodes = vec![node("MatMul", &["features", "w"], "x"), node("Squeeze", &["x", "axes"], "scores")];
        only(model, weights, nodes);
        let graph = model.graph.as_mut().unwrap();
        dims(&mut graph.input[0])[0].value = None;
        dims(&mut graph.output[0]).truncate(1);
    });
    found.unwrap().score(&[[2.0; FEATURES], [0.0; FEATURES]], &mut scores).unwrap();
    assert_eq!(scores, [64.0, 0.0]);
}

/// Asserts that each is refused by these words.
fn assert_refused(cases: impl IntoIterator<Item = (Result<Ranker, RankerError>, &'static str)>) {
    for (at, (found, expected)) in cases.into_iter().enumerate() {
        let said = said(found);
        assert!(said.contains(expected), "case {at}: expected {expected}, found {said}");
    }
}

#[test]
fn a_file_of_another_shape_is_named() {
    let product = |width: i64, inputs: i64| {
        changed(move |model| {
            let weights = tensor("w", &[inputs, width], vec![0.5; (inputs * width) as usize]);
            only(model, vec![weights], vec![node("MatMul", &["features", "w"], "scores")]);
        })
    };
    let input = |change: fn(&mut ValueInfoProto)| {
        changed(move |model| change(&mut model.graph.as_mut().unwrap().input[0]))
    };
    let output = |change: fn(&mut Vec<ValueInfoProto>)| {
        changed(move |model| change(&mut model.graph.as_mut().unwrap().output))
    };
    assert_refused([
        (input(|value| dims(value)[0].value = Some(Edge::DimValue(1))), "found FLOAT [1, 32]"),
        (
            input(|value| dims(value)[1].value = Some(Edge::DimValue(31))),
            "[N, 32], N for any number; found FLOAT [N, 31]",
        ),
        (input(|value| tensor_of(value).elem_type = DataType::Double.into()), "found DOUBLE [N, 32]"),
        (input(|value| value.r#type = None), "found something without a type"),
        (changed(|model| model.graph.as_mut().unwrap().input.clear()), "expected one input"),
        (product(2, 32), "expected one output of 32-bit floats and of shape [N, 1] or [N], found [N, 2]"),
        (product(1, 31), "found MatMul of [Rows(32), Floats([31, 1])]"),
        (output(Vec::clear), "found 0 outputs"),
        (output(|outputs| outputs[0].name = "x".into()), "found \"x\", which no node makes"),
        (Ranker::decode(b""), "expected an ONNX file, found none"),
        (Ranker::decode(b"{\"not\": \"onnx\"}"), "expected an ONNX file"),
        (Ranker::decode(&vec![0; (64 << 20) + 1]), "expected at most 67108864 bytes"),
        (Ranker::read(&std::env::temp_dir()), "expected a file, found a directory"),
    ]);
}

#[test]
fn operators_and_weights_that_do_not_run_are_named() {
    let one = |operator: &'static str| {
        changed(move |model| only(model, vec![], vec![node(operator, &["features"], "scores")]))
    };
    let first = |change: fn(&mut TensorProto)| {
        changed(move |model| change(&mut model.graph.as_mut().unwrap().initializer[0]))
    };
    let of_node = |at: usize, change: fn(&mut NodeProto)| {
        changed(move |model| change(&mut model.graph.as_mut().unwrap().node[at]))
    };
    let set = |version| changed(move |model| model.opset_import[0].version = version);
    assert_refused([
        (one("NonZero"), "expected operators that run here, found NonZero in node \"scores\""),
        (one("Loop"), "found Loop"),
        (of_node(0, |node| node.domain = "com.x".into()), "found Gemm of com.x"),
        (of_node(0, |node| node.attribute.push(setting("transC", 1))), "found Gemm with transC"),
        (set(8), "expected operator set 9 to 18, found 8"),
        (set(19), "expected operator set 9 to 18, found 19"),
        (changed(|model| model.opset_import.clear()), "found none"),
        (
            first(|one| one.raw_data[..4].copy_from_slice(&f32::NAN.to_le_bytes())),
            "expected finite numbers in \"weights0\", found NaN at 0",
        ),
        (first(|one| one.raw_data[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes())), "found inf at 2"),
        (first(|one| one.raw_data.truncate(8)), "expected as many numbers as its shape says in \"weights0\""),
        (first(|one| one.dims = vec![i64::MAX, 2]), "expected a shape of at most"),
        (first(|one| one.dims = vec![-1, 2]), "expected a shape of at most"),
        (first(|one| one.data_type = DataType::Float16.into()), "found FLOAT16"),
        (first(|one| one.data_location = Some(1)), "found the name of another file"),
        (of_node(0, |node| node.input[0] = "layer1".into()), "which nothing before makes"),
        (of_node(1, |node| node.output[0] = "sums0".into()), "found \"sums0\" twice"),
    ]);
}

#[test]
fn what_gives_no_scores_is_refused() {
    let none = changed(|model| {
        let nodes = vec![node("MatMul", &["features", "w"], "x"), node("Log", &["x"], "scores")];
        only(model, vec![tensor("w", &[32, 1], vec![0.5; 32])], nodes);
    });
    assert!(said(none).contains("tried on a few rows: expected a finite score"));
}

/// No operator that runs here looks at other rows. Should one come to, what it makes is no score of a product.
#[test]
fn a_network_that_mixes_rows_is_refused() {
    let mut model = file();
    let graph = model.graph.as_ref().unwrap();
    let (input, output) = (graph.input[0].name.clone(), graph.output[0].name.clone());
    let all: Vec<f32> = vec![1.0; FEATURES];
    let axes = AttributeProto { name: "axes".into(), r#type: 7, ints: vec![0], ..AttributeProto::default() };
    let mut mean = node("ReduceMean", &["each"], "mean");
    mean.attribute = vec![axes, setting("keepdims", 1)];
    let nodes = vec![node("MatMul", &[&input, "all"], "each"), mean, node("Sub", &["each", "mean"], &output)];
    only(&mut model, vec![tensor("all", &[FEATURES as i64, 1], all)], nodes);
    let error = Ranker::of(&model).err().unwrap();
    assert!(matches!(error, RankerError::Mixed { .. }), "{error}");
    assert!(error.to_string().starts_with("expected a score of each row by itself, found "), "{error}");
    assert!(error.in_short().ends_with("gives something else than a score of each product"));
    // From a file it does not come so far.
    let error = said(Ranker::decode(&model.encode_to_vec()));
    assert!(error.contains("ReduceMean"), "{error}");
}

#[test]
fn what_would_take_too_much_is_refused() {
    // Each node doubles what the one before made.
    let doubled = changed(|model| {
        let name = |at: usize| if at == 0 { "features".to_owned() } else { format!("x{at}") };
        let nodes = (0..40).map(|at| {
            let (from, to) = (name(at), name(at + 1));
            let mut node = node("Concat", &[&from, &from], &to);
            node.attribute.push(setting("axis", 1));
            node
        });
        only(model, vec![], nodes.collect());
    });
    assert!(said(doubled).contains("numbers between input and output"));
    let many = changed(|model| {
        let again = (0..5_000).map(|at| node("Identity", &["weights0"], &format!("again{at}")));
        model.graph.as_mut().unwrap().node.extend(again);
    });
    assert!(said(many).contains("expected at most 4096 nodes"));
    let wide = changed(|model| {
        let weights = vec![tensor("a", &[32, 1 << 18], vec![0.0; 32 << 18])];
        only(model, weights, vec![node("MatMul", &["features", "a"], "scores")]);
    });
    assert!(matches!(wide, Err(RankerError::TooMuch { .. })), "{}", said(wide));
}

/// Damage is told or leaves a network that gives finite scores, as a flipped bit of a weight does.
#[test]
fn a_damaged_file_is_an_error_or_a_network_never_a_panic() {
    let bytes = encode(&network(), "next_basket");
    let rows = rows(9, 3);
    let (mut scores, mut refused) = (Vec::new(), 0);
    let mut tried = |damaged: &[u8]| match Ranker::decode(damaged) {
        Ok(ranker) => {
            let scored = ranker.score(&rows, &mut scores);
            assert!(scored.is_err() || scores.iter().all(|score| score.is_finite()));
            0
        }
        Err(error) => usize::from(!error.to_string().is_empty() && !error.in_short().is_empty()),
    };
    let cuts = (0..bytes.len()).step_by(331).chain(bytes.len() - 40..bytes.len());
    for cut in cuts {
        assert_eq!(tried(&bytes[..cut]), 1, "cut at {cut}");
    }
    // Weights are most of it, and every bit of the rest says what they are.
    let weights: Vec<_> = file().graph.unwrap().initializer.into_iter().map(|one| one.raw_data).collect();
    let is_weight = |at: usize| {
        weights.iter().any(|raw| {
            let found = bytes.windows(raw.len()).position(|bytes| bytes == raw).unwrap();
            (found..found + raw.len()).contains(&at)
        })
    };
    let rest: Vec<usize> = (0..bytes.len()).filter(|at| !is_weight(*at) || at % 509 == 0).collect();
    for at in rest {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            refused += tried(&damaged);
        }
    }
    assert!(refused > 1_000, "{refused}");
}

/// Every operator with operands and settings of all kinds is an error or a network, and no panic of tract's is caught.
#[test]
fn operators_with_odd_operands_are_an_error_or_a_network() {
    let int = |name: &str, numbers: &[i64]| TensorProto {
        data_type: DataType::Int64.into(),
        int64_data: numbers.to_vec(),
        ..tensor(name, &[numbers.len() as i64], vec![])
    };
    let constants = [
        tensor("column", &[32, 1], vec![0.5; 32]),
        tensor("square", &[32, 32], vec![0.5; 1_024]),
        tensor("row", &[32], vec![0.5; 32]),
        tensor("cube", &[2, 3, 4], vec![0.5; 24]),
        tensor("scalar", &[], vec![2.0]),
        tensor("empty", &[0], vec![]),
        tensor("none", &[32, 0], vec![]),
        int("one", &[1]),
        int("same", &[-1, 32]),
        int("far", &[9, i64::MIN, i64::MAX]),
    ];
    let operands: [&[&str]; 14] = [
        &[],
        &["column"],
        &["square"],
        &["square", "row"],
        &["row"],
        &["row", "row", "row", "row"],
        &["features"],
        &["cube"],
        &["scalar"],
        &["scalar", "scalar"],
        &["empty"],
        &["none"],
        &["same"],
        &["far", "one"],
    ];
    let settings = [None, Some(0), Some(1), Some(-1), Some(2), Some(-9), Some(i64::MAX), Some(i64::MIN)];
    let names = [None, Some("axis"), Some("transA"), Some("transB"), Some("to"), Some("training_mode")];
    let (mut tried, mut good) = (0, 0);
    let mut attempt = |odd: &NodeProto, end: &[NodeProto]| {
        let found = changed(|model| {
            only(model, constants.to_vec(), [&[odd.clone()][..], end].concat());
        });
        tried += 1;
        good += usize::from(found.is_ok());
        let said = said(found);
        assert!(!said.contains("a panic"), "{odd:?}: {said}");
    };
    let ends =
        [vec![node("Identity", &["odd"], "scores")], vec![node("MatMul", &["odd", "column"], "scores")]];
    for operator in shapes::operators().chain(["Squeeze"]) {
        for (name, i) in names.iter().flat_map(|name| settings.map(|i| (name, i))) {
            for (operands, end) in
                operands.iter().flat_map(|operands| ends.iter().map(move |end| (operands, end)))
            {
                let inputs: Vec<&str> = ["features"].iter().chain(*operands).copied().collect();
                let mut odd = node(operator, &inputs, "odd");
                odd.attribute.extend(name.zip(i).map(|(name, i)| setting(name, i)));
                attempt(&odd, end);
                odd.input.reverse();
                attempt(&odd, end);
            }
        }
    }
    assert!(tried > 50_000 && good > 100, "{good} of {tried}");
}
