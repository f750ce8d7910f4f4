//! The network that `ML_MODEL_PATH` names: a good file, a wrong one, a damaged one, none.

use std::path::Path;

use onrush_grpc::recommendation::v1::{
    GetModelRequest, GetModelResponse, GetRecommendationsRequest, ReasonKind,
};
use onrush_scoring::features::Features;
use onrush_scoring::mlp::{Example, Mlp, MlpOptions};
use onrush_services::config::{Config, Service, Sources};
use onrush_services::model::onnx::{Ranker, encode};
use onrush_services::recommendation::ModelFile;
use serde_json::{Value, json};

use crate::shop::Shop;
use crate::wait::until;

/// A network that learned of drawn lists that the first feature makes a product bought.
fn network() -> Mlp {
    learned(|features| features[0])
}

/// A network that learned of drawn lists what is bought of each: the highest by this.
fn learned(by: fn(&Features) -> f32) -> Mlp {
    let mut drawn = 1u32;
    let mut draw = || {
        drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (drawn >> 16) as f32 / 8192.0
    };
    let mut list = |_| {
        let candidates: Vec<Features> = (0..10).map(|_| std::array::from_fn(|_| draw())).collect();
        let most = (0..10).max_by(|a, b| by(&candidates[*a]).total_cmp(&by(&candidates[*b]))).unwrap();
        let targets = (0..10).map(|at| f32::from(u8::from(at == most))).collect();
        Example { candidates, targets }
    };
    let examples: Vec<Example> = (0..200).map(&mut list).collect();
    Mlp::learn(&examples, MlpOptions::default(), &|_| true).unwrap()
}

/// What GetModel and `/ready` say of a shop whose setting names a file.
async fn said(path: &Path) -> (GetModelResponse, Value) {
    let model = ModelFile::named(path.to_str().unwrap());
    assert!(model.is_some(), "{}", path.display());
    let shop = Shop::open_with(|config: &mut Config| {
        config.services.push((Service::Recommendation, 0));
        config.ml_model = model;
    });
    shop.stock("tea", 499, 3).await;
    let model = shop.client.get_model(GetModelRequest {}).await.unwrap();
    let ready = format!("{}/ready", shop.address(Service::Recommendation));
    let ready = reqwest::get(ready).await.unwrap();
    assert_eq!(ready.status(), 200, "recommendations come from history and trends");
    (model, ready.json::<Value>().await.unwrap()["ml"].clone())
}

#[tokio::test]
async fn a_network_that_was_exported_is_loaded_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mlp = network();
    std::fs::write(dir.path().join("model.onnx"), encode(&mlp, "next_basket")).unwrap();
    let expected = "the model that ML_MODEL_PATH names is loaded";
    // The Keras file stands for the one beside it, and need not be there.
    for name in ["model.onnx", "model.h5"] {
        let (model, ready) = said(&dir.path().join(name)).await;
        assert_eq!((model.ml_ready, model.ml_detail.as_str()), (true, expected), "{name}");
        assert_eq!(ready, json!({"ready": true, "detail": expected}), "{name}");
    }
    let ranker = Ranker::read(&dir.path().join("model.onnx")).unwrap();
    let rows: Vec<Features> = (0..70).map(|row| std::array::from_fn(|at| ((row * at) % 9) as f32)).collect();
    let (mut found, mut own) = (Vec::new(), Vec::new());
    ranker.score(&rows, &mut found).unwrap();
    mlp.score(&rows, &mut own);
    for (found, own) in found.iter().zip(&own) {
        assert!((found - own).abs() <= 1e-4 * own.abs().max(1.0), "{found} and {own}");
    }
}

#[tokio::test]
async fn a_file_of_no_use_leaves_history_and_trends_and_names_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let good = encode(&network(), "next_basket");
    // The width of the first weights says 33.
    let dims = good.windows(4).position(|bytes| bytes == [0x0a, 0x02, 32, 64]).unwrap();
    let mut wrong = good.clone();
    wrong[dims + 2] = 33;
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    put("wrong.onnx", &wrong);
    put("cut.onnx", &good[..good.len() / 2]);
    put("text.onnx", b"no network at all");
    std::fs::create_dir(dir.path().join("directory.onnx")).unwrap();
    for (name, expected) in [
        ("wrong.onnx", "parts of its file are damaged or do not fit together"),
        ("cut.onnx", "its file is damaged or no ONNX file"),
        ("text.h5", "its file is damaged or no ONNX file"),
        ("directory.onnx", "its file cannot be read"),
        ("nowhere.onnx", "there is no ONNX file of it"),
        ("nowhere.h5", "there is no ONNX file of it"),
    ] {
        let (model, ready) = said(&dir.path().join(name)).await;
        let detail = format!("a model was named, and {expected}");
        assert_eq!((model.ml_ready, &model.ml_detail), (false, &detail), "{name}");
        assert_eq!(ready, json!({"ready": false, "detail": detail}), "{name}");
    }
}

/// A Keras model that tf2onnx converted; `services/tests/onnx/keras_model.py` made it.
const KERAS: &[u8] = include_bytes!("../onnx/keras.onnx");

/// The file that `ML_MODEL_PATH` names.
fn named(path: &Path) -> Option<ModelFile> {
    let path = path.to_str().unwrap();
    let env = |name: &str| (name == "ML_MODEL_PATH").then(|| path.to_owned());
    Sources { flag: &|_| None, env: &env, file: &|_| None }.resolve().unwrap().config.ml_model
}

/// Plain history puts first what was bought before; these networks, by the first feature, put it last.
#[tokio::test]
async fn a_named_network_puts_next_baskets_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    std::fs::write(file("model.onnx"), encode(&learned(|features| -features[0]), "next_basket")).unwrap();
    // The .h5 stands for what lies beside it.
    std::fs::write(file("keras.onnx"), KERAS).unwrap();
    let files = [(None, "tea"), (named(&file("model.onnx")), "pot"), (named(&file("keras.h5")), "pot")];
    for (named, expected) in files {
        let is_named = named.is_some();
        let shop = Shop::open_with(|config: &mut Config| {
            config.services.push((Service::Recommendation, 0));
            config.ml_model = named;
        });
        for sku in ["tea", "pot"] {
            shop.stock(sku, 499, 100).await;
        }
        shop.bought("bob", &["pot"]).await;
        for _ in 0..3 {
            shop.bought("ada", &["tea"]).await;
        }
        shop.until_counted("tea", 3).await;
        let request = GetRecommendationsRequest { customer_id: "ada".into(), ..Default::default() };
        let found = until("the order of the page", async || {
            let found = shop.client.get_recommendations(request.clone()).await.unwrap().products;
            if found.len() == 2 && found[0].sku == expected { Ok(found) } else { Err(found) }
        })
        .await;
        let kinds: Vec<ReasonKind> = found[0].reasons.iter().map(|reason| reason.kind()).collect();
        assert_eq!(kinds.contains(&ReasonKind::Foretold), is_named, "{found:#?}");
    }
}
