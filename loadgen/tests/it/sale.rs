//! Whole runs against an engine in the same process.

use std::fs;
use std::time::Duration;

use onrush_engine::{EngineHandle, StoreKind};
use onrush_proto::{
    Command, Currency, Money, Outcome, PutProduct, Request, Sku, StockChange, Text, UpdateStock,
};
use onrush_services::config::{Config, Service, Sources};
use onrush_services::serve::Serving;
use tempfile::TempDir;

use crate::{loadgen, stderr, stdout, text};

#[test]
fn a_tiny_sale_sells_out_and_passes_its_audit() {
    let dir = tempfile::tempdir().unwrap();
    let (json, report, hgrm) =
        (dir.path().join("sale.json"), dir.path().join("sale.html"), dir.path().join("hgrm"));
    let outputs = ["--json", text(&json), "--report", text(&report), "--hgrm", text(&hgrm)];
    let sale = ["flash-sale", "--duration", "1", "--rate", "20000", "--stock", "100", "--seed", "3"];
    let output = loadgen(&[&sale[..], &outputs].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stderr(&output).lines().next().unwrap().contains("No real money moves"));
    let table = stdout(&output);
    for expected in ["audit passed", "everything was sold", "create_order accepted", "create_order sold_out"]
    {
        assert!(table.contains(expected), "{expected}\n{table}");
    }
    let figures: serde_json::Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(figures["audit"]["ok"], true);
    assert!(figures["orders"]["accepted"].as_u64().unwrap() >= 50);
    assert!(figures["latency_us"]["create_order"]["accepted"]["p99"].as_f64().unwrap() > 0.0);
    assert!(fs::read_to_string(report).unwrap().starts_with("<!doctype html>"));
    assert!(fs::read_dir(hgrm).unwrap().count() >= 2);
}

#[test]
fn every_scenario_passes_on_several_shards() {
    let short = ["--duration", "1", "--shards", "3", "--store", "memory", "--quiet"];
    for scenario in [
        &["flash-sale", "--rate", "5000"][..],
        &["catalogue", "--rate", "300", "--skus", "500"],
        &["retries", "--rate", "2000"],
        &["retries", "--rate", "2000", "--no-jitter"],
        &["expiry", "--rate", "1000", "--hold-s", "0.3"],
        &["browse", "--rate", "1000"],
        &["flash-sale", "--group", "64", "--pay-within", "5", "--hot-share", "0.5", "--skus", "50"],
    ] {
        let output = loadgen(&[scenario, &short].concat());
        assert_eq!(output.status.code(), Some(0), "{scenario:?}: {}{}", stdout(&output), stderr(&output));
    }
}

#[test]
fn a_sale_over_grpc_passes_the_audit_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("sale.json");
    let sale = ["flash-sale", "--target", "grpc", "--duration", "1", "--rate", "1000", "--skus", "20"];
    let options = ["--stock", "50", "--store", "memory", "--json", text(&json)];
    let output = loadgen(&[&sale[..], &options].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let table = stdout(&output);
    for expected in ["audit passed", "create_order sold_out", "process_payment accepted"] {
        assert!(table.contains(expected), "{expected}\n{table}");
    }
    let figures: serde_json::Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert!(figures["paid"].as_u64().unwrap() > 20, "{figures}");
}

#[test]
fn sales_over_tcp_pass_the_audit_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("sale.json");
    for (sale, expected) in [
        (&["flash-sale", "--rate", "5000", "--skus", "20", "--stock", "50"][..], "create_order sold_out"),
        (&["retries", "--rate", "2000", "--shards", "3", "--connections", "3"], "create_order_again"),
        (&["flash-sale", "--group", "64", "--pay-within", "5"], "create_order accepted"),
        (&["browse", "--rate", "500"], "get_product accepted"),
    ] {
        let options = ["--target", "tcp", "--duration", "1", "--store", "memory", "--json", text(&json)];
        let output = loadgen(&[sale, &options].concat());
        assert_eq!(output.status.code(), Some(0), "{sale:?}: {}{}", stdout(&output), stderr(&output));
        let table = stdout(&output);
        assert!(table.contains("audit passed") && table.contains(expected), "{expected}\n{table}");
    }
    let figures: serde_json::Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert!(figures["orders"]["accepted"].as_u64().unwrap() > 0, "{figures}");
}

#[test]
fn sales_over_quic_pass_the_audit_of_the_server() {
    for (sale, expected) in [
        (&["flash-sale", "--rate", "5000", "--skus", "20", "--stock", "50"][..], "create_order sold_out"),
        (&["retries", "--rate", "2000", "--shards", "3", "--connections", "3"], "create_order_again"),
        (&["flash-sale", "--group", "64", "--pay-within", "5"], "create_order accepted"),
    ] {
        let options = ["--target", "quic", "--duration", "1", "--store", "memory"];
        let output = loadgen(&[sale, &options].concat());
        assert_eq!(output.status.code(), Some(0), "{sale:?}: {}{}", stdout(&output), stderr(&output));
        let table = stdout(&output);
        assert!(table.contains("audit passed") && table.contains(expected), "{expected}\n{table}");
    }
}

#[test]
fn a_running_server_is_loaded_over_quic_by_whoever_has_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let serving = serve(&dir);
    let order = address(&serving, Service::Order);
    let quic = format!("quic://{}", serving.native_quic_address().unwrap());
    let certificate = serving.certificate().unwrap().path.clone();
    let sale = ["flash-sale", "--duration", "1", "--rate", "500", "--skus", "5", "--stock", "20"];
    let to = ["--target", &quic, "--order-target", &order];
    let stranger = loadgen(&[&sale[..], &to].concat());
    assert_eq!(stranger.status.code(), Some(2), "{}", stdout(&stranger));
    assert!(stderr(&stranger).contains("that speaks the native protocol, found"), "{}", stderr(&stranger));
    let output = loadgen(&[&sale[..], &to, &["--certificate", text(&certificate)]].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains(&quic), "{}", stdout(&output));
    serving.stop().unwrap();
}

#[test]
fn a_running_server_is_loaded_over_its_native_port() {
    let dir = tempfile::tempdir().unwrap();
    let serving = serve(&dir);
    let order = address(&serving, Service::Order);
    let native = format!("tcp://{}", serving.native_address().unwrap());
    let sale = ["flash-sale", "--duration", "1", "--rate", "500", "--skus", "5", "--stock", "20"];
    let output = loadgen(&[&sale[..], &["--target", &native, "--order-target", &order]].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains(&native), "{}", stdout(&output));
    let again = loadgen(&[&sale[..], &["--target", &native, "--order-target", &order]].concat());
    assert_eq!(again.status.code(), Some(2), "the shop is in use");
    serving.stop().unwrap();
}

#[test]
fn recorded_baskets_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let (products, transactions, json) =
        (dir.path().join("p.csv"), dir.path().join("t.csv"), dir.path().join("replay.json"));
    fs::write(&products, "id,name,price_cents\n1,Milk,50\n2,Bread,120\n").unwrap();
    let lines = "basket,user,product,qty,ts\n1,5,1,2,1483271606\n1,5,2,1,1483271606\n2,6,2,1,1483275206\n";
    fs::write(&transactions, lines).unwrap();
    let files = ["replay", "--products", text(&products), "--transactions", text(&transactions)];
    let options = ["--duration", "1", "--store", "memory", "--json", text(&json)];
    let output = loadgen(&[&files[..], &options].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let figures: serde_json::Value = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((&figures["orders"]["accepted"], &figures["paid"]), (&2.into(), &2.into()));
}

#[test]
fn a_directory_in_use_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("precious"), "data").unwrap();
    let output = loadgen(&["flash-sale", "--data-dir", text(dir.path())]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("expected an empty data directory"), "{}", stderr(&output));
    assert!(dir.path().join("precious").exists());
}

/// A shop that somebody else changes during the sale: its books are no longer the client's.
#[test]
fn a_failed_audit_exits_with_1_and_says_what_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let serving = serve(&dir);
    let [product, order, payment] =
        [Service::Product, Service::Order, Service::Payment].map(|service| address(&serving, service));
    let output = std::thread::scope(|scope| {
        let (product, payment) = (&product, &payment);
        let targets = ["--target", &order, "--product-target", product, "--payment-target", payment];
        let sale = ["flash-sale", "--duration", "1", "--rate", "200", "--skus", "5"];
        let run = scope.spawn(move || loadgen(&[&sale[..], &targets].concat()));
        let engine = serving.engine().unwrap();
        // The load generator wants an empty shop: the stranger comes when the first item is there.
        while engine.stats().skus == 0 && !run.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
        put_on_sale(&engine, "a-stranger", 7);
        run.join().unwrap()
    });
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    let table = stdout(&output);
    assert!(table.contains("audit FAILED") && table.contains("BROKEN: units received"), "{table}");
    serving.stop().unwrap();
}

/// A server on free ports.
fn serve(dir: &TempDir) -> Serving {
    let flag = |name: &str| name.ends_with("-port").then(|| "0".to_owned());
    let resolved = Sources { flag: &flag, env: &|_| None, file: &|_| None }.resolve().expect("the defaults");
    let config = Config { data_dir: dir.path().join("data"), store: StoreKind::Memory, ..resolved.config };
    Serving::start(&config).expect("free ports")
}

fn address(serving: &Serving, wanted: Service) -> String {
    let found = serving.addresses().iter().find(|(service, _)| *service == wanted);
    found.map(|(_, address)| format!("http://{address}")).expect("every service is served")
}

fn put_on_sale(engine: &EngineHandle, sku: &str, units: i64) {
    let sku: Sku = sku.parse().expect("a short name is a SKU");
    let product = PutProduct {
        sku,
        name: "Not of this sale".into(),
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(100, Currency::EUR),
        limit_per_customer: 0,
        limit_returns: false,
        backorder: 0,
        hold_us: 0,
        active: true,
    };
    let stock = UpdateStock { sku, change: StockChange::Set(units), reason: Text::EMPTY };
    for command in [Command::PutProduct(Box::new(product)), Command::UpdateStock(stock)] {
        let reply = engine.call_blocking(Request::unkeyed(command));
        assert!(matches!(reply.outcome, Outcome::Accepted(_)), "{reply:?}");
    }
}
