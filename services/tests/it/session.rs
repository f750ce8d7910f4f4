//! Calls in batches over one stream of gRPC.

use std::collections::BTreeMap;

use onrush_grpc::order::v1::{CancelOrderRequest, OrderStatus};
use onrush_grpc::product::v1::{GetProductDetailsRequest, ProductLine, ValidateProductsRequest};
use onrush_grpc::session::v1::answer::Answer as Told;
use onrush_grpc::session::v1::call::Call as Asked;
use onrush_grpc::session::v1::session_service_client::SessionServiceClient;
use onrush_grpc::session::v1::{Answer, Call, Failure, SessionRequest, SessionResponse};
use onrush_net::client::session::Session as ClientSession;
use onrush_net::client::{CallError, Retry};
use onrush_proto::{Command, Outcome, PutProduct, Receipt};
use onrush_services::access::Role;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use crate::access::Street;
use crate::clients::{order as one_order, product as row_of};
use crate::shop::{Shop, order, payment, product};

/// The client's end of a session.
struct Session {
    asks: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
}

impl Session {
    async fn open(address: &str, token: Option<&str>) -> Result<Self, Status> {
        let (asks, outgoing) = mpsc::channel(64);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let mut client = SessionServiceClient::connect(address.to_owned()).await.unwrap();
        Ok(Self { asks, answers: client.session(request).await?.into_inner() })
    }

    async fn put(&self, calls: Vec<Call>) {
        self.asks.send(SessionRequest { calls }).await.unwrap();
    }

    /// As many answers as there were calls, by tag.
    async fn hear(&mut self, count: usize) -> BTreeMap<u64, Told> {
        let mut heard = BTreeMap::new();
        while heard.len() < count {
            for Answer { tag, answer } in self.answers.message().await.unwrap().unwrap().answers {
                assert!(heard.insert(tag, answer.unwrap()).is_none(), "{tag} was answered twice");
            }
        }
        heard
    }

    /// One call and its answer.
    async fn ask(&mut self, asked: Asked) -> Told {
        self.put(vec![call(9, asked)]).await;
        self.hear(1).await.remove(&9).unwrap()
    }
}

fn call(tag: u64, asked: Asked) -> Call {
    Call { tag, patience_us: 0, call: Some(asked) }
}

fn create(key: &str, customer: &str, lines: &[(&str, i64)]) -> Asked {
    Asked::CreateOrder(Box::new(order(key, customer, lines)))
}

fn failure(told: Told) -> Failure {
    match told {
        Told::Failure(failure) => *failure,
        other => panic!("expected a failure, found {other:?}"),
    }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_purchase_in_batches_is_what_it_is_call_by_call() {
    let shop = Shop::open();
    shop.stock("tea", 450, 1_000).await;
    let mut session = Session::open(&shop.addresses.order, None).await.unwrap();
    let calls = (0..300).map(|tag| call(tag, create(&format!("key-{tag}"), "ada", &[("tea", 1)])));
    session.put(calls.collect()).await;
    let orders: Vec<String> = session
        .hear(300)
        .await
        .into_values()
        .map(|told| match told {
            Told::CreateOrder(made) => made.order_id,
            other => panic!("expected an order, found {other:?}"),
        })
        .collect();
    // The same key means the same over a unary call.
    let again = shop.client.create_order(order("key-7", "ada", &[("tea", 1)])).await.unwrap();
    assert_eq!((again.order_id, again.replayed), (orders[7].clone(), true));

    let pay =
        |tag: u64| call(tag, Asked::ProcessPayment(Box::new(payment("", &orders[tag as usize], "pm_card"))));
    let lines = ["tea", "nothing"].map(|sku| ProductLine { sku: sku.into(), quantity: 2 }).to_vec();
    let cancel = CancelOrderRequest { request_id: String::new(), order_id: orders[200].clone() };
    let mut calls: Vec<Call> = (0..20).map(pay).collect();
    calls.push(call(20, Asked::ValidateProducts(Box::new(ValidateProductsRequest { lines }))));
    calls.push(call(21, Asked::CancelOrder(Box::new(cancel))));
    calls.push(call(22, Asked::GetProductDetails(Box::new(GetProductDetailsRequest { sku: "tea".into() }))));
    session.put(calls).await;
    for (tag, told) in session.hear(23).await {
        match told {
            Told::ProcessPayment(paid) if tag < 20 => {
                assert_eq!((paid.order_status(), &paid.order_id), (OrderStatus::Paid, &orders[tag as usize]));
            }
            Told::ValidateProducts(validated) if tag == 20 => {
                let valid: Vec<bool> = validated.lines.iter().map(|line| line.valid).collect();
                assert_eq!(valid, [true, false]);
            }
            Told::CancelOrder(cancelled) if tag == 21 => {
                assert_eq!(cancelled.status(), OrderStatus::Cancelled);
            }
            Told::GetProductDetails(found) if tag == 22 => assert_eq!(found.product.unwrap().name, "The tea"),
            other => panic!("expected the answer to {tag}, found {other:?}"),
        }
    }
    drop(session.asks);
    assert!(session.answers.message().await.unwrap().is_none(), "who asks nothing more hears the end");
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert_eq!((audit.orders, audit.violations.len()), (300, 0));
}

#[tokio::test]
async fn what_cannot_be_done_says_why_and_the_rest_is_done() {
    let shop = Shop::open();
    shop.stock("tea", 450, 3).await;
    let mut session = Session::open(&shop.addresses.order, None).await.unwrap();
    session
        .put(vec![
            call(1, create("", "ada", &[("tea", 4)])),
            call(2, create("", "ada", &[("tea", 1), ("", 1)])),
            Call { tag: 3, patience_us: 0, call: None },
            call(4, create("", "ada", &[])),
            call(5, Asked::GetOrderStatus(Box::default())),
            call(6, create("", "ada", &[("tea", 1)])),
        ])
        .await;
    let mut heard = session.hear(6).await;
    assert!(matches!(heard.remove(&6), Some(Told::CreateOrder(_))));
    let found: Vec<_> = heard
        .into_values()
        .map(|told| {
            let failure = failure(told);
            (Code::from_i32(failure.code), failure.reason, failure.field)
        })
        .collect();
    let expected = [
        (Code::FailedPrecondition, "OUT_OF_STOCK", "lines[0].quantity"),
        (Code::InvalidArgument, "MISSING_FIELD", "lines[1].sku"),
        (Code::InvalidArgument, "MISSING_FIELD", "calls.call"),
        (Code::InvalidArgument, "NO_LINES", "lines"),
        (Code::InvalidArgument, "INVALID_ID", "order_id"),
    ];
    let expected = expected.map(|(code, reason, field)| (code, reason.to_owned(), field.to_owned()));
    assert_eq!(found, expected);
    let failure = failure(session.ask(create("", "ada", &[("tea", 4)])).await);
    assert_eq!((failure.facts["asked"].as_str(), failure.facts["available"].as_str()), ("4", "2"));
}

#[tokio::test]
async fn a_message_that_is_none_or_too_long_ends_the_session_and_changes_nothing() {
    let shop = Shop::open();
    shop.stock("tea", 450, 3).await;
    let mut session = Session::open(&shop.addresses.order, None).await.unwrap();
    let long = product("tea", 1);
    let long = onrush_grpc::product::v1::PutProductRequest { description: "x".repeat(2 << 20), ..long };
    session.put(vec![call(1, Asked::PutProduct(Box::new(long)))]).await;
    let status = session.answers.message().await.unwrap_err();
    assert_eq!(reason(&status), "MESSAGE_TOO_LARGE", "{status}");
    let mut session = Session::open(&shop.addresses.order, None).await.unwrap();
    session.put((0..20_000).map(|tag| Call { tag, ..Call::default() }).collect()).await;
    let status = session.answers.message().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_FIELD"),
        "{status}"
    );
    assert_eq!(shop.client.audit(Default::default()).await.unwrap().orders, 0);
}

#[tokio::test]
async fn each_call_needs_what_its_row_says_of_the_token_that_opened_the_session() {
    let street = Street::open().await;
    street.stock("tea").await;
    let address = street.shop.addresses.order.clone();
    for token in [None, Some("x"), Some("a.b.c")] {
        let refused = Session::open(&address, token).await.err().unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated, "{token:?}");
    }
    let (ada, eve) = (street.token("ada", &[Role::Customer]), street.token("eve", &[Role::Customer]));
    let mut ada = Session::open(&address, Some(&ada)).await.unwrap();
    let mut eve = Session::open(&address, Some(&eve)).await.unwrap();
    let Told::CreateOrder(made) = ada.ask(create("", "", &[("tea", 1)])).await else { panic!("an order") };
    let read = || {
        Asked::GetOrderStatus(Box::new(onrush_grpc::order::v1::GetOrderStatusRequest {
            order_id: made.order_id.clone(),
        }))
    };
    assert_eq!(failure(eve.ask(read()).await).reason, "UNKNOWN_ORDER");
    assert!(matches!(ada.ask(read()).await, Told::GetOrderStatus(_)));
    assert_eq!(failure(eve.ask(create("", "ada", &[("tea", 1)])).await).reason, "FORBIDDEN");
    let put = Asked::PutProduct(Box::new(product("tea", 1)));
    assert_eq!(failure(eve.ask(put).await).reason, "FORBIDDEN");
}

#[tokio::test]
async fn calls_are_counted_under_their_own_names() {
    let shop = Shop::open();
    shop.stock("tea", 450, 1).await;
    let mut session = Session::open(&shop.addresses.order, None).await.unwrap();
    session
        .put(vec![call(1, create("", "ada", &[("tea", 1)])), call(2, create("", "ada", &[("tea", 1)]))])
        .await;
    session.put(vec![call(3, Asked::ValidateProducts(Box::default()))]).await;
    session.hear(3).await;
    let text = reqwest::get(format!("{}/metrics", shop.addresses.order)).await.unwrap().text().await.unwrap();
    for (service, method, code) in [
        ("order.v1.OrderService", "CreateOrder", "OK"),
        ("order.v1.OrderService", "CreateOrder", "FailedPrecondition"),
        ("product.v1.ProductService", "ValidateProducts", "InvalidArgument"),
        ("session.v1.SessionService", "Session", "OK"),
    ] {
        let line = format!(
            "onrush_grpc_calls_total{{service=\"order\",rpc_service=\"onrush.{service}\",method=\"{method}\",code=\"{code}\"}} 1"
        );
        assert!(text.contains(&line), "expected {line} in\n{text}");
    }
}

/// What it has taken is answered; a session that is open does not hold the server up.
#[tokio::test]
async fn a_server_that_stops_ends_its_sessions_first() {
    let shop = Shop::open_with(|config| config.drain = std::time::Duration::from_secs(600));
    shop.stock("tea", 450, 1_000).await;
    let mut idle = Session::open(&shop.addresses.order, None).await.unwrap();
    let mut busy = Session::open(&shop.addresses.order, None).await.unwrap();
    busy.put((0..100).map(|tag| call(tag, create("", "ada", &[("tea", 1)]))).collect()).await;
    assert!(matches!(idle.ask(create("", "ada", &[("tea", 1)])).await, Told::CreateOrder(_)));
    // The first answers say that all of the message was taken.
    let heard = busy.hear(1).await.len();
    let stopped = tokio::spawn(shop.stop());
    let mut rest = 0;
    let end = loop {
        match busy.answers.message().await {
            Ok(Some(message)) => rest += message.answers.len(),
            ended => break ended,
        }
    };
    assert_eq!((heard + rest, reason(&end.unwrap_err()).as_str()), (100, "SERVER_STOPPING"));
    assert_eq!(reason(&idle.answers.message().await.unwrap_err()), "SERVER_STOPPING");
    stopped.await.unwrap();
}

/// The Rust client's own batches, over a line that is cut in the middle.
#[tokio::test]
async fn a_client_that_batches_loses_nothing_when_its_line_is_cut() {
    let shop = Shop::open();
    shop.stock("tea", 450, 100_000).await;
    let far = shop.addresses.order.strip_prefix("http://").unwrap().to_owned();
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = relay.local_addr().unwrap();
    let (cut, mut cuts) = mpsc::channel::<()>(1);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = relay.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(&far).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = cuts.recv() => {}
            }
        }
    });
    let retry = Retry { retries: 20, pause: std::time::Duration::from_millis(1), ..Retry::default() };
    let client = ClientSession::new(&format!("http://{near}"), "", retry, 10_000).unwrap();
    for round in 0..3 {
        let mut calls = JoinSet::new();
        for number in 0..1_000_u32 {
            let (client, key) = (client.clone(), u128::from(round * 1_000 + number + 1));
            calls.spawn(async move {
                client.ask(key, Command::CreateOrder(one_order("tea".parse().unwrap(), 1))).await
            });
        }
        let mut heard = 0;
        while let Some(reply) = calls.join_next().await {
            assert!(matches!(reply.unwrap().unwrap().outcome, Outcome::Accepted(Receipt::Order { .. })));
            heard += 1;
            if heard == 100 {
                cut.send(()).await.unwrap();
            }
        }
        assert_eq!(heard, 1_000);
    }
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert_eq!((audit.orders, audit.violations.len()), (3_000, 0), "each key is one order");
}

#[tokio::test]
async fn a_call_that_no_server_reads_is_refused_alone() {
    let shop = Shop::open();
    shop.stock("tea", 450, 10).await;
    let client = ClientSession::new(&shop.addresses.order, "", Retry::NEVER, 10).unwrap();
    let put = |bytes| {
        let description = "x".repeat(bytes);
        let row = PutProduct { description, ..row_of("tea".parse().unwrap()) };
        client.ask(0, Command::PutProduct(Box::new(row)))
    };
    let (order, put) =
        tokio::join!(client.ask(0, Command::CreateOrder(one_order("tea".parse().unwrap(), 1))), put(2 << 20));
    assert!(matches!(order.unwrap().outcome, Outcome::Accepted(_)));
    assert_eq!(put.unwrap_err().reason(), Some("MESSAGE_TOO_LARGE"));
    let strange = client.ask(0, Command::GetStock("tea".parse().unwrap())).await.unwrap_err();
    assert_eq!(strange.reason(), Some("UNKNOWN_METHOD"));
    let nowhere = ClientSession::new("http://127.0.0.1:1", "", Retry::NEVER, 10).unwrap();
    let error = nowhere.ask(0, Command::CreateOrder(one_order("tea".parse().unwrap(), 1))).await.unwrap_err();
    assert!(matches!(error, CallError::Unknown { .. }), "{error}");
    let stranger = ClientSession::new(&shop.addresses.order, "x", Retry::NEVER, 10).unwrap();
    let refused =
        stranger.ask(0, Command::CreateOrder(one_order("tea".parse().unwrap(), 1))).await.unwrap_err();
    assert_eq!(refused.reason(), Some("INVALID_TOKEN"));
}

/// Orders go on when a turn of the session is over, which takes far longer than a microsecond: those that wait no longer
/// come first in it.
#[tokio::test]
async fn what_is_not_decided_in_time_is_refused_and_nothing_changes_by_it() {
    let shop = Shop::open();
    shop.stock("tea", 450, 1_000).await;
    let mut session = Session::open(&shop.addresses.order, None).await.unwrap();
    let patient = |patience_us: u64, tag: u64| Call {
        patience_us,
        ..call(tag, create(&format!("key-{tag}"), "ada", &[("tea", 1)]))
    };
    let late = (0..3).map(|tag| patient(1, tag));
    let others = (3..256).map(|tag| patient(if tag % 2 == 0 { 0 } else { u64::MAX }, tag));
    session.put(late.chain(others).collect()).await;
    for (tag, told) in session.hear(256).await {
        match told {
            Told::Failure(failure) if tag < 3 => {
                let expected = (Code::DeadlineExceeded as i32, "DEADLINE_EXCEEDED");
                assert_eq!((failure.code, failure.reason.as_str()), expected);
            }
            Told::CreateOrder(_) if tag >= 3 => {}
            other => panic!("{tag}: {other:?}"),
        }
    }
    // Under their keys nothing was done.
    for tag in 0..3 {
        let Told::CreateOrder(made) = session.ask(create(&format!("key-{tag}"), "ada", &[("tea", 1)])).await
        else {
            panic!("expected an order");
        };
        assert!(!made.replayed);
    }
    assert_eq!(shop.client.audit(Default::default()).await.unwrap().orders, 256);
}
