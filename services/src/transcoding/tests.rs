use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, Value};

use super::*;
use crate::status::Rejection;

fn described(name: &str) -> MessageDescriptor {
    POOL.as_ref().unwrap().get_message_by_name(name).unwrap()
}

/// Reads, and writes again what was read.
fn there_and_back(message: &MessageDescriptor, text: &str) -> Result<String, Rejection> {
    let read = read::read(text.as_bytes(), message)?;
    let decoded = DynamicMessage::decode(message.clone(), read.encode_to_vec().as_slice()).unwrap();
    Ok(serde_json::to_string(&write::Written(&decoded)).unwrap())
}

#[test]
fn what_is_wrong_in_a_body_is_named_by_reason_and_path() {
    let (order, stock) = ("onrush.order.v1.CreateOrderRequest", "onrush.product.v1.UpdateStockRequest");
    let pay = "onrush.order.v1.ProcessPaymentRequest";
    let deep = format!("{{\"lines\":{}", "[".repeat(100_000));
    let table: [(&str, &str, &str, Option<&str>); 36] = [
        (order, "", "INVALID_MESSAGE", None),
        (order, "{", "INVALID_MESSAGE", None),
        (order, "{} {}", "INVALID_MESSAGE", None),
        (order, "null", "INVALID_FIELD", Some(".")),
        (order, "[]", "INVALID_FIELD", Some(".")),
        (order, "7", "INVALID_FIELD", Some(".")),
        (order, &deep, "MESSAGE_TOO_DEEP", None),
        (order, r#"{"customerId":"ada","price":1}"#, "UNKNOWN_FIELD", Some("price")),
        (order, r#"{"lines":[{"sku":"tea"},{"Sku":"tea"}]}"#, "UNKNOWN_FIELD", Some("lines[1].Sku")),
        (order, r#"{"customerId":7}"#, "INVALID_FIELD", Some("customerId")),
        (order, r#"{"customerId":["ada"]}"#, "INVALID_FIELD", Some("customerId")),
        (order, r#"{"customerId":{"id":"ada"}}"#, "INVALID_FIELD", Some("customerId")),
        (order, r#"{"customerId":"ada","customerId":"eve"}"#, "INVALID_FIELD", Some("customerId")),
        (order, r#"{"customerId":"ada","customer_id":"eve"}"#, "INVALID_FIELD", Some("customerId")),
        (order, r#"{"customerId":"","customerId":""}"#, "INVALID_FIELD", Some("customerId")),
        (order, r#"{"customerId":"a\ud800b"}"#, "INVALID_MESSAGE", Some("customerId")),
        (order, r#"{"lines":{}}"#, "INVALID_FIELD", Some("lines")),
        (order, r#"{"lines":"tea"}"#, "INVALID_FIELD", Some("lines")),
        (order, r#"{"lines":[{}, null]}"#, "INVALID_FIELD", Some("lines[1]")),
        (order, r#"{"lines":[{}, 7]}"#, "INVALID_FIELD", Some("lines[1]")),
        (order, r#"{"lines":[{}, {"sku":"#, "INVALID_MESSAGE", Some("lines[1].sku")),
        (order, r#"{"lines":[{"quantity":1.5}]}"#, "INVALID_FIELD", Some("lines[0].quantity")),
        (order, r#"{"lines":[{"quantity":1e40}]}"#, "INVALID_FIELD", Some("lines[0].quantity")),
        (order, r#"{"lines":[{"quantity":"one"}]}"#, "INVALID_FIELD", Some("lines[0].quantity")),
        (order, r#"{"lines":[{"quantity":""}]}"#, "INVALID_FIELD", Some("lines[0].quantity")),
        (order, r#"{"lines":[{"quantity":" 1"}]}"#, "INVALID_FIELD", Some("lines[0].quantity")),
        (
            order,
            r#"{"lines":[{"quantity":"9223372036854775808"}]}"#,
            "INVALID_FIELD",
            Some("lines[0].quantity"),
        ),
        (
            order,
            r#"{"lines":[{"quantity":9223372036854775808}]}"#,
            "INVALID_FIELD",
            Some("lines[0].quantity"),
        ),
        (order, r#"{"lines":[{"quantity":true}]}"#, "INVALID_FIELD", Some("lines[0].quantity")),
        (order, r#"{"holdUs":-1}"#, "INVALID_FIELD", Some("holdUs")),
        (order, r#"{"holdUs":"-1"}"#, "INVALID_FIELD", Some("holdUs")),
        (stock, r#"{"set":"1","add":"1"}"#, "INVALID_FIELD", Some("add")),
        (stock, r#"{"addIfVersion":7}"#, "INVALID_FIELD", Some("addIfVersion")),
        (pay, r#"{"captureMethod":"LATER"}"#, "UNKNOWN_ENUM_VALUE", Some("captureMethod")),
        (pay, r#"{"captureMethod":true}"#, "INVALID_FIELD", Some("captureMethod")),
        (pay, r#"{"captureMethod":3000000000}"#, "INVALID_FIELD", Some("captureMethod")),
    ];
    for (message, text, reason, field) in table {
        let rejection = read::read(text.as_bytes(), &described(message)).unwrap_err();
        let found = (rejection.reason().name, rejection.field());
        assert_eq!(found, (reason, field.map(str::to_owned)), "{text:.60}: {rejection}");
    }
    let torn = b"{\"lines\":[{\"sku\":\"\xff\"}]}";
    let rejection = read::read(torn, &described(order)).unwrap_err();
    assert_eq!(
        (rejection.reason().name, rejection.field()),
        ("INVALID_MESSAGE", Some("lines[0].sku".into()))
    );
}

#[test]
fn what_is_read_is_written_in_the_canonical_form() {
    let (order, stock) = ("onrush.order.v1.CreateOrderRequest", "onrush.product.v1.UpdateStockRequest");
    let pay = "onrush.order.v1.ProcessPaymentRequest";
    let table = [
        (order, "{}", "{}"),
        (order, r#"{"customerId":null,"lines":null,"holdUs":null}"#, "{}"),
        (order, r#"{"customerId":"","lines":[],"holdUs":0}"#, "{}"),
        (order, r#"{"customer_id":"ada","hold_us":"18446744073709551615"}"#, ""),
        (order, r#"{"customerId":"ada","holdUs":18446744073709551615}"#, ""),
        (
            order,
            r#"{"lines":[{"sku":"tea","quantity":2,"max_unit_price":-0},{"quantity":2e0}]}"#,
            r#"{"lines":[{"sku":"tea","quantity":"2","maxUnitPrice":"0"},{"quantity":"2"}]}"#,
        ),
        (stock, r#"{"set":0}"#, r#"{"set":"0"}"#),
        (stock, r#"{"set":null,"add":"-3"}"#, r#"{"add":"-3"}"#),
        (stock, r#"{"addIfVersion":{}}"#, r#"{"addIfVersion":{}}"#),
        (stock, r#"{"set":-9223372036854775808}"#, r#"{"set":"-9223372036854775808"}"#),
        (pay, r#"{"captureMethod":2}"#, r#"{"captureMethod":"CAPTURE_METHOD_MANUAL"}"#),
        (pay, r#"{"captureMethod":77}"#, r#"{"captureMethod":77}"#),
    ];
    let largest = r#"{"customerId":"ada","holdUs":"18446744073709551615"}"#;
    for (message, text, expected) in table {
        let expected = if expected.is_empty() { largest } else { expected };
        assert_eq!(there_and_back(&described(message), text).unwrap(), expected, "{text}");
    }
}

#[test]
fn kinds_that_no_call_has_yet_are_carried_too() {
    let pool = DescriptorPool::global();
    let option = pool.get_message_by_name("google.protobuf.UninterpretedOption").unwrap();
    for (text, expected) in [
        (r#"{"doubleValue":-1.5,"stringValue":"AP8="}"#, r#"{"doubleValue":-1.5,"stringValue":"AP8="}"#),
        (r#"{"doubleValue":"-Infinity","stringValue":"-_8="}"#, ""),
        (r#"{"doubleValue":3}"#, r#"{"doubleValue":3.0}"#),
    ] {
        let url_safe = r#"{"doubleValue":"-Infinity","stringValue":"+/8="}"#;
        let expected = if expected.is_empty() { url_safe } else { expected };
        assert_eq!(there_and_back(&option, text).unwrap(), expected);
    }
    for (text, field) in [
        (r#"{"doubleValue":"much"}"#, "doubleValue"),
        (r#"{"stringValue":"?"}"#, "stringValue"),
        (r#"{"name":[{"isExtension":"true"}]}"#, "name[0].isExtension"),
    ] {
        assert_eq!(there_and_back(&option, text).unwrap_err().field().as_deref(), Some(field));
    }
    let map = pool.get_message_by_name("google.protobuf.Struct").unwrap();
    let two = r#"{"fields":{"b":{"stringValue":"x"},"a":{"boolValue":true}}}"#;
    let sorted = r#"{"fields":{"a":{"boolValue":true},"b":{"stringValue":"x"}}}"#;
    assert_eq!(there_and_back(&map, two).unwrap(), sorted);
    let read = read::read(two.as_bytes(), &map).unwrap();
    let Some(entries) = read.get_field_by_name("fields").and_then(|value| value.as_map().cloned()) else {
        panic!("a map")
    };
    assert!(
        entries.contains_key(&MapKey::String("a".into()))
            && matches!(entries.values().next(), Some(Value::Message(_)))
    );
    let twice = r#"{"fields":{"a":{},"a":{}}}"#;
    assert_eq!(there_and_back(&map, twice).unwrap_err().field().as_deref(), Some("fields.a"));
}

/// Keys of maps other than texts, and messages with a JSON of their own such as timestamps, would be
/// carried wrongly: whoever brings one meets this first.
#[test]
fn every_call_is_of_kinds_that_are_carried() {
    let pool = POOL.as_ref().unwrap();
    for service in onrush_grpc::SERVICES {
        assert!(pool.get_service_by_name(service).is_some(), "{service}");
    }
    for field in pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                assert!(matches!(entry.map_entry_key_field().kind(), Kind::String), "{}", field.full_name());
            }
            Kind::Message(message) => {
                assert!(!message.full_name().starts_with("google.protobuf."), "{}", field.full_name());
            }
            _ => {}
        }
    }
}
