//! Compiles the .proto files without protoc and keeps their descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 12] = [
    "onrush/engine/v1/engine_service.proto",
    "onrush/log/v1/log_service.proto",
    "onrush/money/v1/money.proto",
    "onrush/product/v1/product_service.proto",
    "onrush/order/v1/order_service.proto",
    "onrush/payment/v1/payment_service.proto",
    "onrush/user/v1/user_service.proto",
    "onrush/shipping/v1/shipping_service.proto",
    "onrush/notification/v1/notification_service.proto",
    "onrush/recommendation/v1/recommendation_service.proto",
    "onrush/admin/v1/admin_service.proto",
    "onrush/session/v1/session_service.proto",
];

/// Calls of a session, each in a box of its own: most are a tenth of the largest.
const BATCHED: [&str; 12] = [
    "validate_products",
    "get_product_details",
    "update_stock",
    "put_product",
    "create_order",
    "process_payment",
    "get_order_status",
    "cancel_order",
    "create_payment",
    "capture_payment",
    "get_payment_status",
    "process_refund",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let calls = BATCHED.map(|call| {
        [format!("onrush.session.v1.Call.call.{call}"), format!("onrush.session.v1.Answer.answer.{call}")]
    });
    let builder = tonic_prost_build::configure().include_file("onrush.rs");
    let builder = calls.as_flattened().iter().fold(builder, |builder, path| builder.boxed(path));
    builder.boxed("onrush.session.v1.Answer.answer.failure").compile_fds(descriptors)?;
    Ok(())
}
