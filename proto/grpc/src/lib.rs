//! The gRPC interface: messages, clients and servers generated from `proto/`.
//!
//! Packages follow buf's STANDARD lint. Ids are strings here; money is whole minor units and an
//! ISO 4217 code; `request_id` is the idempotency key of every call that changes something.

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::too_many_lines, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/onrush.rs"));
}

pub use generated::onrush::{
    admin, engine, log, money, notification, order, payment, product, recommendation, session, shipping, user,
};

/// The encoded `FileDescriptorSet` of all packages, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Full names of the services.
pub const SERVICES: [&str; 11] = [
    "onrush.engine.v1.EngineService",
    "onrush.product.v1.ProductService",
    "onrush.order.v1.OrderService",
    "onrush.payment.v1.PaymentService",
    "onrush.user.v1.UserService",
    "onrush.shipping.v1.ShippingService",
    "onrush.notification.v1.NotificationService",
    "onrush.recommendation.v1.RecommendationService",
    "onrush.admin.v1.AdminService",
    "onrush.session.v1.SessionService",
    "onrush.log.v1.LogService",
];

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::{DESCRIPTORS, SERVICES};

    #[test]
    fn descriptors_name_every_service_and_enums_start_unspecified() {
        let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let mut services = Vec::new();
        for file in &set.file {
            let package = file.package();
            services.extend(file.service.iter().map(|service| format!("{package}.{}", service.name())));
            for each in &file.enum_type {
                let zero = each.value.iter().find(|value| value.number() == 0).unwrap();
                assert!(zero.name().ends_with("_UNSPECIFIED"), "{package}.{}", each.name());
            }
        }
        services.sort();
        let mut expected = SERVICES.map(str::to_owned);
        expected.sort();
        assert_eq!(services, expected);
    }

    #[test]
    fn every_call_has_its_own_request_and_response() {
        let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        for method in set.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method) {
            let leaf = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
            assert_eq!(leaf(method.input_type()), format!("{}Request", method.name()));
            assert_eq!(leaf(method.output_type()), format!("{}Response", method.name()));
        }
    }
}
