//! Messages to browsers: sealed and signed, until the browser is gone; and never to where whoever subscribes wants
//! us to look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use onrush_grpc::notification::v1::{
    Channel, DeletePushSubscriptionRequest, GetPushKeyRequest, ListDeadLettersRequest,
    ListPushSubscriptionsRequest, Notification, NotificationStatus, PushSubscription,
    PutPushSubscriptionRequest,
};
use onrush_services::config::{Config, Service};
use onrush_services::notification::push::Reach;

use crate::shop::{Shop, assert_refused};
use crate::wire::{self, Answer, Call, Place};

/// A browser's keys (RFC 8291, Appendix A).
const POINT: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
const SECRET: &str = "BTBZMqHH6r4Tts7J_aSIgg";

/// A push service that keeps what it takes.
struct PushService {
    base: String,
    books: Arc<Mutex<Books>>,
}

#[derive(Default)]
struct Books {
    calls: Vec<Call>,
    /// Statuses of the next answers; then all are taken.
    statuses: VecDeque<u16>,
}

impl PushService {
    fn start(statuses: &[u16]) -> Self {
        let books = Books { statuses: statuses.iter().copied().collect(), ..Default::default() };
        let books = Arc::new(Mutex::new(books));
        let shelf = books.clone();
        let answer = move |call: &Call| {
            let mut books = shelf.lock().unwrap();
            books.calls.push(call.clone());
            Answer::Say(books.statuses.pop_front().unwrap_or(201), String::new())
        };
        let address = wire::serve(Place::free(), answer);
        Self { base: format!("http://{address}"), books }
    }

    fn calls(&self) -> Vec<Call> {
        self.books.lock().unwrap().calls.clone()
    }
}

fn telling(config: &mut Config) {
    config.services.push((Service::Notification, 0));
}

fn locally(config: &mut Config) {
    telling(config);
    config.push = Reach::Loopback;
}

fn browser(endpoint: &str) -> PutPushSubscriptionRequest {
    PutPushSubscriptionRequest {
        customer_id: "ada".into(),
        endpoint: endpoint.into(),
        p256dh: POINT.into(),
        auth: SECRET.into(),
    }
}

async fn browsers(shop: &Shop) -> Vec<PushSubscription> {
    let request = ListPushSubscriptionsRequest { customer_id: "ada".into() };
    shop.client.list_push_subscriptions(request).await.unwrap().subscriptions
}

/// The order's message once it is as wanted.
async fn message_of(shop: &Shop, order_id: &str, wanted: NotificationStatus) -> Notification {
    shop.told(order_id, Channel::Push, wanted).await
}

#[tokio::test]
async fn a_browser_gets_news_until_it_is_gone() {
    let service = PushService::start(&[429, 500, 201, 410]);
    let shop = Shop::open_with(locally);
    shop.stock("tea", 499, 10).await;
    let key = shop.client.get_push_key(GetPushKeyRequest {}).await.unwrap().public_key;
    shop.client.put_push_subscription(browser(&format!("{}/send/1", service.base))).await.unwrap();
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let notice = message_of(&shop, &order_id, NotificationStatus::Sent).await;
    assert_eq!((notice.tries, service.calls().len()), (3, 3));
    for call in service.calls() {
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/send/1"));
        for (name, value) in [("content-encoding", "aes128gcm"), ("ttl", "86400"), ("urgency", "normal")] {
            assert_eq!(call.header(name), value, "{call:?}");
        }
        assert_eq!(call.header("topic"), service.calls()[0].header("topic"));
        assert_eq!(call.header("topic").len(), 32);
        let signed = call.header("authorization");
        assert!(signed.starts_with("vapid t=") && signed.ends_with(&format!(",k={key}")), "{signed}");
        assert!(call.body.len() <= 4_096 && !String::from_utf8_lossy(&call.body).contains(&order_id));
    }

    // It is gone: so is the subscription, and nothing is left to be sent again.
    let shop = shop.restart_with(locally).await;
    assert_eq!(shop.client.get_push_key(GetPushKeyRequest {}).await.unwrap().public_key, key);
    assert_eq!(browsers(&shop).await.len(), 1);
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    message_of(&shop, &order_id, NotificationStatus::Unreachable).await;
    assert_eq!(browsers(&shop).await, []);
    let dead = shop.client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap();
    assert!(dead.notifications.is_empty(), "{dead:?}");
    assert_eq!(service.calls().len(), 4);
}

/// 302 to somewhere else on this machine, and a name that leads here: neither is followed.
#[tokio::test]
async fn a_push_service_leads_us_nowhere() {
    let service = PushService::start(&[302]);
    let shop = Shop::open_with(locally);
    shop.stock("tea", 499, 10).await;
    shop.client.put_push_subscription(browser(&format!("{}/send/1", service.base))).await.unwrap();
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let notice = message_of(&shop, &order_id, NotificationStatus::Dead).await;
    assert!(notice.problem.ends_with("refused with 302"), "{notice:?}");
    assert_eq!(service.calls().len(), 1);

    let shop = Shop::open_with(telling);
    shop.stock("tea", 499, 10).await;
    shop.client.put_push_subscription(browser("https://localhost/send/1")).await.unwrap();
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let notice = message_of(&shop, &order_id, NotificationStatus::Dead).await;
    assert!(notice.problem.contains("expected a public address"), "{notice:?}");
    assert!(!notice.problem.contains("/send/1"), "the path is the browser's secret: {notice:?}");
}

#[tokio::test]
async fn what_a_browser_gives_is_checked_bounded_and_taken_back() {
    let shop = Shop::open_with(telling);
    let client = &shop.client;
    for endpoint in [
        "",
        "http://push.example.com/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/",
        "https://10.1.2.3/x",
        "https://push.example.com:6443/x",
        "https://me:hush@push.example.com/x",
        &format!("https://push.example.com/{}", "x".repeat(1_024)),
    ] {
        let answer = client.put_push_subscription(browser(endpoint)).await;
        assert_refused(answer, "INVALID_FIELD", Some("endpoint"));
    }
    let good = "https://push.example.com/send/1";
    for (p256dh, auth, field) in [
        ("", SECRET, "p256dh"),
        (&POINT[1..], SECRET, "p256dh"),
        (&POINT.replace("iw4", "iw8"), SECRET, "p256dh"),
        (POINT, "", "auth"),
        (POINT, &SECRET[2..], "auth"),
        (POINT, POINT, "auth"),
    ] {
        let put = PutPushSubscriptionRequest { p256dh: p256dh.into(), auth: auth.into(), ..browser(good) };
        assert_refused(client.put_push_subscription(put).await, "INVALID_FIELD", Some(field));
    }
    let first = client.put_push_subscription(browser(good)).await.unwrap().subscription_id;
    assert_eq!(client.put_push_subscription(browser(good)).await.unwrap().subscription_id, first);
    for number in 2..=8 {
        let other = format!("https://push.example.com/send/{number}");
        client.put_push_subscription(browser(&other)).await.unwrap();
    }
    let ninth = browser("https://push.example.com/send/9");
    assert_refused(client.put_push_subscription(ninth.clone()).await, "LIMIT_EXCEEDED", Some("endpoint"));
    let found = browsers(&shop).await;
    assert_eq!((found.len(), found[0].subscription_id.as_str()), (8, first.as_str()));
    assert!(found.iter().all(|one| one.push_service == "https://push.example.com" && one.created_us > 0));
    for _ in 0..2 {
        let delete =
            DeletePushSubscriptionRequest { customer_id: "ada".into(), subscription_id: first.clone() };
        client.delete_push_subscription(delete).await.unwrap();
    }
    client.put_push_subscription(ninth).await.unwrap();
    assert_eq!(browsers(&shop).await.len(), 8);
}
