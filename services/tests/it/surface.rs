//! What stands beside the services: reflection, health, /health.

use std::io::{Read, Write};
use std::net::TcpStream;

use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use tonic::transport::{Channel, Endpoint};

use crate::shop::Shop;
use crate::wait::until;

async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn reflection_v1_lists_the_services() {
    use v1::server_reflection_client::ServerReflectionClient;
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let shop = Shop::open();
    let mut client = ServerReflectionClient::new(channel(&shop.addresses.order).await);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = v1::ServerReflectionRequest { host: String::new(), message_request };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("a list") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["onrush.order.v1.OrderService", "onrush.admin.v1.AdminService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
}

#[tokio::test]
async fn reflection_v1alpha_describes_the_services() {
    use v1alpha::server_reflection_client::ServerReflectionClient;
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let shop = Shop::open();
    let mut client = ServerReflectionClient::new(channel(&shop.addresses.payment).await);
    let symbol = "onrush.payment.v1.PaymentService".to_owned();
    let message_request = Some(MessageRequest::FileContainingSymbol(symbol));
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    assert!(matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))));
}

#[tokio::test]
async fn health_is_answered_by_grpc_and_by_http() {
    let shop = Shop::open();
    for (address, service) in [
        (&shop.addresses.product, "onrush.product.v1.ProductService"),
        (&shop.addresses.order, "onrush.order.v1.OrderService"),
        (&shop.addresses.payment, "onrush.payment.v1.PaymentService"),
    ] {
        let mut client = HealthClient::new(channel(address).await);
        for service in ["", service] {
            let request = HealthCheckRequest { service: service.into() };
            let answer = client.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving);
        }
        let address = address.trim_start_matches("http://").to_owned();
        for path in ["/health", "/ready"] {
            let address = address.clone();
            let text = tokio::task::spawn_blocking(move || http_1(&address, path)).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200") && text.contains("{\"status\":\"serving\""), "{text}");
        }
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_the_others_live_on() {
    let shop = Shop::open_with(|config| {
        config.connections_max = 1;
        config.fronts = 1;
    });
    let address = shop.addresses.order.trim_start_matches("http://").to_owned();
    tokio::task::spawn_blocking(move || {
        let mut first = TcpStream::connect(&address).unwrap();
        let ask = |stream: &mut TcpStream| {
            write!(stream, "GET /health HTTP/1.1\r\nHost: shop\r\n\r\n").unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).map(|()| String::from_utf8_lossy(&start).into_owned())
        };
        assert_eq!(ask(&mut first).unwrap(), "HTTP/1.1 200");
        let mut second = TcpStream::connect(&address).unwrap();
        assert!(second.read(&mut [0; 1]).is_ok_and(|read| read == 0), "closed at once");
        assert!(ask(&mut first).is_ok(), "the first lives on");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_inline_host_serves_and_lets_orders_expire() {
    let shop = Shop::open_with(|config| {
        config.host = onrush_engine::HostKind::Inline;
        config.hold = std::time::Duration::from_secs(5);
    });
    shop.stock("tea", 499, 2).await;
    shop.paid("tea").await;
    shop.order("", "tea", 1).await.unwrap();
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert_eq!((audit.units_sold, audit.units_held), (1, 1));
    let free = async || {
        let audit = shop.client.audit(Default::default()).await.unwrap();
        if audit.units_held == 0 { Ok(audit) } else { Err(audit) }
    };
    let audit = until("an order that expires", free).await;
    assert_eq!((audit.ok, audit.units_available, audit.units_held), (true, 1, 0), "{audit:?}");
}

fn http_1(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
