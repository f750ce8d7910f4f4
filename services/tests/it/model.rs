//! `onrush model`: learns of files, says how well it foretells, and names what is wrong with what it is given.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::binary::onrush;

const DAY_S: u32 = 86_400;
/// The last four weeks of sixteen.
const SPLIT_S: u32 = 84 * DAY_S;

/// Buyers of the files: so many that a model of them is better by far more than chance, whatever the time of day.
const BUYERS: u32 = 480;

/// Buyers, each with eight products that they buy again when their time has come, and others now and then.
pub(crate) fn files(dir: &Path) {
    let mut products = "id,name,category,brand,price_cents\n".to_owned();
    (0..120).for_each(|id| {
        writeln!(products, "{},Product {id},kind {},brand,{}", 500 + id, id % 4, 99 + id).unwrap()
    });
    fs::write(dir.join("products.csv"), products).unwrap();
    let mut sales = "ts,basket,user,product,qty,paid_cents\n".to_owned();
    let (mut basket, mut drawn) = (0, 1u32);
    let mut due = vec![[0; 8]; BUYERS as usize];
    for day in 0..112 {
        for user in 0..BUYERS {
            drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if drawn >> 24 > 100 {
                continue;
            }
            basket += 1;
            let time_s = day * DAY_S + user;
            let mut add = |at: u32| {
                let product = user % 4 + 4 * (at % 30);
                writeln!(sales, "{time_s},{basket},{user},{},2,{}", 500 + product, 2 * (99 + product))
                    .unwrap();
            };
            for (habit, due) in (0..).zip(&mut due[user as usize]) {
                if day >= *due {
                    add(user / 4 * 5 + habit);
                    *due = day + 4 + 3 * habit;
                }
            }
            add(drawn >> 16);
        }
    }
    fs::write(dir.join("sales.csv"), sales).unwrap();
}

/// Runs it in a directory; what it said, and whether it ended well.
fn run(dir: &Path, line: &str) -> (bool, String, String) {
    let mut command = onrush(&line.split(' ').collect::<Vec<_>>());
    let output = command.current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// The network that stands beside the model ranks as the model's own does, and another one otherwise.
fn the_network_beside_it_ranks_alike(dir: &Path, evaluate: &str, own: &Value) {
    let by = |file: &str| {
        let (ok, _, error) = run(dir, &format!("{evaluate} --onnx {file}"));
        assert!(ok, "{error}");
        serde_json::from_slice::<Value>(&fs::read(dir.join("found.json")).unwrap()).unwrap()
    };
    let same = by("trained/next_basket.onnx");
    for name in ["recall10", "recall20", "ndcg10", "coverage10", "users"] {
        let number = |of: &Value| of["next_basket"][name].as_f64().unwrap();
        assert!((number(&same) - number(own)).abs() < 1e-3, "{name}: {same}");
    }
    assert_eq!(same["discovery"], own["discovery"]);
    assert_ne!(by("trained/discovery.onnx")["next_basket"], same["next_basket"]);
    for (file, expected) in [
        ("trained/model.onrush", "onrush: trained/model.onrush: expected an ONNX file, found "),
        ("nowhere.onnx", "onrush: nowhere.onnx: expected a readable file, found: "),
    ] {
        let (ok, _, error) = run(dir, &format!("{evaluate} --onnx {file}"));
        assert!(!ok && error.starts_with(expected), "{file}: {error}");
    }
}

#[test]
fn a_model_of_files_foretells_and_says_how_well() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let train = "model train --products products.csv --transactions sales.csv --out trained";
    let (ok, said, error) = run(dir.path(), &format!("{train} --until {SPLIT_S} --seed 3 --threads 2"));
    assert!(
        ok && said.starts_with("learned of ") && said.contains("the model is in trained"),
        "{said}{error}"
    );
    let evaluate = "model evaluate --model trained --history sales.csv --test sales.csv --json found.json";
    let (ok, said, error) = run(dir.path(), &format!("{evaluate} --split {SPLIT_S}"));
    assert!(ok && said.contains("next basket") && said.contains("users"), "{said}{error}");
    let found: Value = serde_json::from_slice(&fs::read(dir.path().join("found.json")).unwrap()).unwrap();
    let number = |path: &str| found.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    for task in
        ["next_basket", "discovery", "baselines/popularity28/discovery", "baselines/history90/next_basket"]
    {
        for name in ["recall10", "recall20", "ndcg10", "coverage10", "users"] {
            assert!(number(&format!("/{task}/{name}")) > 0.0, "{task} {name}: {found}");
        }
    }
    assert_eq!(number("/next_basket/users"), f64::from(BUYERS));
    assert!(number("/train_cpu_s") > 0.0 && found.pointer("/baselines/history90/discovery").is_none());
    assert!(number("/next_basket/ndcg10") > number("/baselines/history90/next_basket/ndcg10"), "{found}");
    assert!(number("/discovery/ndcg10") > number("/baselines/popularity28/discovery/ndcg10"), "{found}");

    the_network_beside_it_ranks_alike(dir.path(), &format!("{evaluate} --split {SPLIT_S}"), &found);

    // Who knows the answers foretells nothing.
    let all = "model evaluate --model trained --history sales.csv --test sales.csv";
    for (line, expected) in [
        (all.to_owned(), "onrush: sales.csv: expected nothing of "),
        (format!("{all} --split {}", SPLIT_S - DAY_S), "onrush: trained: expected nothing of "),
        (
            format!("{all} --split 0"),
            "onrush: sales.csv: expected baskets on its side of the split, found none",
        ),
    ] {
        let (ok, _, error) = run(dir.path(), &line);
        assert!(!ok && error.starts_with(expected), "{line}: {error}");
    }

    // What is bought and is in no catalogue counts as not foretold; what is known must be in it.
    let strange = "ts,basket,user,product,qty\n9999999,1,1,7,1\n";
    fs::write(dir.path().join("strange.csv"), strange).unwrap();
    let (ok, _, error) = run(
        dir.path(),
        "model evaluate --model trained --history sales.csv --test strange.csv --json found.json",
    );
    assert!(ok, "{error}");
    let found: Value = serde_json::from_slice(&fs::read(dir.path().join("found.json")).unwrap()).unwrap();
    assert_eq!(found.pointer("/next_basket/recall20").and_then(Value::as_f64), Some(0.0), "{found}");
    let (ok, _, error) =
        run(dir.path(), "model evaluate --model trained --history strange.csv --test sales.csv");
    assert!(
        !ok && error.contains("strange.csv: line 2, column product: expected a product of the catalogue"),
        "{error}"
    );

    let model = dir.path().join("trained/model.onrush");
    let mut bytes = fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&model, bytes).unwrap();
    let (ok, _, error) =
        run(dir.path(), "model evaluate --model trained --history sales.csv --test sales.csv");
    assert!(
        !ok && error.starts_with("onrush: expected a model in trained: expected ")
            && error.contains("that differ"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_the_files_is_named_and_no_model_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put("products.csv", "id,price_cents\n5,50\n6,60\n");
    put("twice.csv", "id,price_cents\n5,50\n5,60\n");
    put("few.csv", "ts,basket,user,product,qty\n5,1,1,5,1\n900000,2,1,6,1\n");
    put("unpaid.csv", "ts,basket,user,product,qty,paid_cents\n5,1,1,5,1,-3\n");
    put("none.csv", "ts,basket,user,product,qty\n");
    for (products, sales, expected) in [
        ("nowhere.csv", "few.csv", "nowhere.csv: expected a readable file"),
        ("products.csv", "nowhere.csv", "nowhere.csv: expected a readable file"),
        ("twice.csv", "few.csv", "twice.csv: expected each product id once, found 5 twice"),
        ("few.csv", "few.csv", "few.csv: line 1: expected a column id"),
        ("products.csv", "products.csv", "products.csv: line 1: expected a column basket"),
        ("products.csv", "none.csv", "none.csv: expected at least one row below the header, found none"),
        (
            "products.csv",
            "unpaid.csv",
            "line 2, column paid_cents: expected whole cents, not negative, found \"-3\"",
        ),
        ("products.csv", "few.csv", "with something to foretell, found 0 of next baskets"),
    ] {
        let (ok, _, error) = run(
            dir.path(),
            &format!("model train --products {products} --transactions {sales} --out trained"),
        );
        assert!(!ok && error.contains(expected), "{products}, {sales}: {error}");
        assert!(!dir.path().join("trained").exists(), "{products}, {sales}");
    }
    for line in ["model", "model train", "model evaluate --model trained", "model train --seed x"] {
        let (ok, _, error) = run(dir.path(), line);
        assert!(!ok && error.contains("--help"), "{line}: {error}");
    }
    let (ok, _, error) = run(dir.path(), "model evaluate --model trained --history few.csv --test few.csv");
    assert!(!ok && error.starts_with("onrush: expected a model in trained: "), "{error}");
}
