//! Compiles the .proto files without protoc and keeps their descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 10] = [
    "onrush/engine/v1/engine_service.proto",
    "onrush/money/v1/money.proto",
    "onrush/product/v1/product_service.proto",
    "onrush/order/v1/order_service.proto",
    "onrush/payment/v1/payment_service.proto",
    "onrush/user/v1/user_service.proto",
    "onrush/shipping/v1/shipping_service.proto",
    "onrush/notification/v1/notification_service.proto",
    "onrush/recommendation/v1/recommendation_service.proto",
    "onrush/admin/v1/admin_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().include_file("onrush.rs").compile_fds(descriptors)?;
    Ok(())
}
