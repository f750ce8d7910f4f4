//! What is refused, by name, and harms nothing.

use onrush_grpc::log::v1::{
    CommitOffsetRequest, Edge, ListTopicsRequest, Place, Position, RejectEventRequest, SeekGroupRequest,
    Start, place, subscribe_request,
};
use onrush_services::access::{Access, Role};

use super::{CREATED, Consumer, all_of, edge, log, member, orders, reason, standing, two_shards};
use crate::access::{Street, everything};
use crate::binary::Process;

#[tokio::test]
async fn a_subscription_that_makes_no_sense_is_refused_by_name() {
    let (shop, _) = two_shards().await;
    let positions = |shard, lsn| Start { positions: vec![Position { shard, lsn }], ..all_of(CREATED) };
    let both = |one, other| {
        let positions = [one, other].map(|shard| Position { shard, lsn: 1 });
        Start { positions: positions.to_vec(), ..all_of(CREATED) }
    };
    let at = |lsn| Some(Place { place: Some(place::Place::Lsn(lsn)) });
    let cases = [
        (Start { topic: "order.eaten".into(), ..all_of("") }, "UNKNOWN_TOPIC start.topic"),
        (all_of(""), "UNKNOWN_TOPIC start.topic"),
        (Start { group: "x".repeat(48), ..all_of(CREATED) }, "INVALID_FIELD start.group"),
        (Start { member: "x".repeat(64), ..member("") }, "INVALID_FIELD start.member"),
        (Start { member: "a".into(), ..all_of(CREATED) }, "INVALID_FIELD start.member"),
        (Start { shards: vec![2], ..all_of(CREATED) }, "INVALID_FIELD start.shards"),
        (Start { shards: vec![0], ..member("a") }, "INVALID_FIELD start.shards"),
        (Start { from: at(1), ..all_of(CREATED) }, "INVALID_FIELD start.from"),
        (Start { from: edge(Edge::Unspecified), ..all_of(CREATED) }, "UNKNOWN_ENUM_VALUE start.from"),
        (Start { from: Some(Place { place: None }), ..all_of(CREATED) }, "MISSING_FIELD start.from"),
        (
            Start { from: Some(Place { place: Some(place::Place::TimeUs(-1)) }), ..all_of(CREATED) },
            "INVALID_FIELD start.from",
        ),
        (positions(0, 1_000_000), "INVALID_FIELD start.positions"),
        (positions(0, 0), "INVALID_FIELD start.positions"),
        (positions(7, 1), "INVALID_FIELD start.positions"),
        (Start { shards: vec![1], ..positions(0, 1) }, "INVALID_FIELD start.positions"),
        (both(1, 1), "INVALID_FIELD start.positions"),
        (Start { shards: vec![1], ..both(1, 1) }, "INVALID_FIELD start.positions"),
        (Start { group: "notification".into(), ..all_of(CREATED) }, "FORBIDDEN "),
        (Start { group: "books".into(), ..all_of("payment.processed") }, "FORBIDDEN "),
    ];
    for (start, expected) in cases {
        let shown = format!("{start:?}");
        let mut consumer = Consumer::begin(&shop, start).await;
        assert_eq!(consumer.ended().await, expected, "{shown}");
    }
    let said = [
        (
            vec![subscribe_request::Ask::Grant(onrush_grpc::log::v1::Grant { credit_bytes: 1 })],
            "MISSING_FIELD start",
        ),
        (
            vec![
                subscribe_request::Ask::Start(all_of(CREATED)),
                subscribe_request::Ask::Start(all_of(CREATED)),
            ],
            "INVALID_FIELD start",
        ),
    ];
    for (said, expected) in said {
        let mut consumer = Consumer::begin_with(&shop, said, None).await.unwrap();
        assert_eq!(consumer.ended().await, expected);
    }
    assert_eq!(standing(&shop, CREATED).await.generation, 0, "nothing came of it");
}

impl Consumer {
    /// By which reason it ended, and because of which field.
    async fn ended(&mut self) -> String {
        use tonic_types::StatusExt as _;
        loop {
            if let Err(status) = self.next().await {
                let details = status.get_error_details();
                let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
                return format!("{} {}", reason(&status), field.unwrap_or_default());
            }
        }
    }
}

#[tokio::test]
async fn a_position_that_cannot_be_is_refused_and_nothing_moves() {
    let (shop, [first, _]) = two_shards().await;
    orders(&shop, &first, 1).await;
    let a = Consumer::open(&shop, member("a")).await;
    let mut client = log(&shop).await;
    let before = standing(&shop, CREATED).await;
    let good = a.commit(0, 1);
    let commits = [
        (CommitOffsetRequest { lsn: 1_000_000, ..good.clone() }, "INVALID_FIELD"),
        (CommitOffsetRequest { shard: 2, ..good.clone() }, "INVALID_FIELD"),
        (CommitOffsetRequest { shard: 70_000, ..good.clone() }, "INVALID_FIELD"),
        (CommitOffsetRequest { topic: "order.eaten".into(), ..good.clone() }, "UNKNOWN_TOPIC"),
        (CommitOffsetRequest { group: String::new(), ..good.clone() }, "MISSING_FIELD"),
        (CommitOffsetRequest { group: "shipping".into(), ..good.clone() }, "FORBIDDEN"),
        (CommitOffsetRequest { topic: "payment.started".into(), ..good.clone() }, "FORBIDDEN"),
    ];
    for (commit, expected) in commits {
        let shown = format!("{commit:?}");
        assert_eq!(reason(&client.commit_offset(commit).await.unwrap_err()), expected, "{shown}");
    }
    let event = RejectEventRequest {
        group: good.group.clone(),
        topic: good.topic.clone(),
        shard: 0,
        lsn: 3,
        generation: good.generation,
        reason: String::new(),
    };
    let rejects = [
        // The record that put the product is no order.
        (RejectEventRequest { lsn: 1, ..event.clone() }, "INVALID_FIELD"),
        (RejectEventRequest { lsn: 0, ..event.clone() }, "INVALID_FIELD"),
        (RejectEventRequest { lsn: 1_000_000, ..event.clone() }, "INVALID_FIELD"),
        (RejectEventRequest { reason: "x".repeat(1_025), ..event.clone() }, "INVALID_FIELD"),
    ];
    for (reject, expected) in rejects {
        let shown = format!("{reject:?}");
        assert_eq!(reason(&client.reject_event(reject).await.unwrap_err()), expected, "{shown}");
    }
    let seek = SeekGroupRequest { group: good.group, topic: good.topic, shard: None, to: edge(Edge::End) };
    let at = |lsn| Some(Place { place: Some(place::Place::Lsn(lsn)) });
    let seeks = [
        (SeekGroupRequest { to: None, ..seek.clone() }, "MISSING_FIELD"),
        (SeekGroupRequest { to: at(1), ..seek.clone() }, "INVALID_FIELD"),
        (SeekGroupRequest { to: at(1_000_000), shard: Some(0), ..seek.clone() }, "INVALID_FIELD"),
        (SeekGroupRequest { shard: Some(9), ..seek.clone() }, "INVALID_FIELD"),
        (SeekGroupRequest { group: "notification".into(), ..seek.clone() }, "FORBIDDEN"),
    ];
    for (seek, expected) in seeks {
        let shown = format!("{seek:?}");
        assert_eq!(reason(&client.seek_group(seek).await.unwrap_err()), expected, "{shown}");
    }
    let unknown = client.list_topics(ListTopicsRequest { topic: "order.eaten".into() }).await.unwrap_err();
    assert_eq!(reason(&unknown), "UNKNOWN_TOPIC");
    assert_eq!(standing(&shop, CREATED).await.generation, before.generation);
    assert_eq!(standing(&shop, CREATED).await.positions[0].lsn, before.positions[0].lsn);
}

#[tokio::test]
async fn who_may_not_read_a_topic_hears_nothing_of_it() {
    let street = Street::open_with(|config| {
        everything(config);
        config.access = Access::Required;
    })
    .await;
    let begin = async |token: Option<&str>, start: Start| {
        let said = vec![subscribe_request::Ask::Start(start)];
        match Consumer::begin_with(&street.shop, said, token).await {
            Ok(mut consumer) => match consumer.next().await {
                Ok(_) => "begun".to_owned(),
                Err(status) => reason(&status),
            },
            Err(status) => reason(&status),
        }
    };
    assert_eq!(begin(None, all_of(CREATED)).await, "UNAUTHENTICATED");
    assert_eq!(begin(Some("none"), all_of(CREATED)).await, "INVALID_TOKEN");
    let cases = [
        (Role::Customer, CREATED, "", "FORBIDDEN"),
        (Role::Support, CREATED, "", "begun"),
        (Role::Support, CREATED, "books", "FORBIDDEN"),
        (Role::Support, "dead.letters", "", "begun"),
        (Role::Merchant, "stock.updated", "", "begun"),
        (Role::Merchant, "user.updated", "", "FORBIDDEN"),
        (Role::Merchant, "dead.letters", "", "FORBIDDEN"),
        (Role::Admin, CREATED, "books", "begun"),
        (Role::Admin, "payment.processed", "", "begun"),
        (Role::Admin, "payment.processed", "books", "FORBIDDEN"),
    ];
    for (role, topic, group, expected) in cases {
        let token = street.token("somebody", &[role]);
        let start = Start { group: group.into(), ..all_of(topic) };
        assert_eq!(begin(Some(&token), start).await, expected, "{topic} by {role} for {group:?}");
    }
}

#[tokio::test]
async fn a_process_without_the_engine_names_the_one_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let secret = ("ENGINE_TOKEN", "a secret that both processes of this shop share");
    let product = Process::start_with(
        &dir.path().join("product"),
        &["--services", "product"],
        &[secret, ("PORT", "0")],
    );
    let engine = product.address("product");
    let env = [secret, ("PORT", "0"), ("PRODUCT_SERVICE_ADDR", &*engine)];
    let order = Process::start_with(&dir.path().join("order"), &["--services", "order"], &env);
    let address = format!("http://{}", order.address("order"));
    let mut client =
        onrush_grpc::log::v1::log_service_client::LogServiceClient::connect(address).await.unwrap();
    let refused = client.list_topics(ListTopicsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "ELSEWHERE");
    let refused = client.subscribe(tokio_stream::iter([])).await.unwrap_err();
    assert_eq!(reason(&refused), "ELSEWHERE");
}
