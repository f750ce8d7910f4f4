//! What buyers are told: each mail once, also over restarts; what cannot be sent waits, dies and is
//! replayed.

use std::path::PathBuf;
use std::time::Duration;

use onrush_grpc::notification::v1::{
    Channel, GetContactRequest, ListDeadLettersRequest, ListNotificationsRequest, NotificationStatus,
    Occasion, PreviewTemplateRequest, PutContactRequest, PutTemplateRequest, ReplayDeadLetterRequest,
    SetPreferenceRequest, UnsubscribeRequest,
};
use onrush_services::config::{Config, Service};
use serde_json::json;

use crate::shop::{Shop, assert_refused, order};

fn telling(config: &mut Config) {
    config.services.push((Service::Notification, 0));
}

/// The same, with parcels that arrive at once.
fn shipping_too(config: &mut Config) {
    telling(config);
    config.services.push((Service::Shipping, 0));
    config.shipping.behaviour =
        "p50_ms=1,p99_ms=2,pickup_ms=10,transit_ms=10,delivery_ms=10".parse().unwrap();
}

fn mail_dir(shop: &Shop) -> PathBuf {
    shop.dir.path().join("data/mail")
}

/// The mails in their order, once there are so many.
async fn mails(shop: &Shop, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..6_000 {
        let files = std::fs::read_dir(mail_dir(shop)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == "eml"))
            .collect();
        paths.sort();
        found = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("expected {count} mails, found {found:#?}");
}

fn subject(mail: &str) -> String {
    let line = mail.lines().find(|line| line.starts_with("Subject: ")).unwrap();
    line.trim_start_matches("Subject: ").to_owned()
}

#[tokio::test]
async fn a_newcomer_sees_every_mail_of_a_purchase_once() {
    let shop = Shop::open_with(shipping_too);
    shop.stock("tea", 499, 10).await;
    let contact = PutContactRequest {
        customer_id: "ada".into(),
        email: "ada@example.com".into(),
        ..Default::default()
    };
    assert_eq!(shop.client.put_contact(contact.clone()).await.unwrap().version, 1);
    assert_eq!(shop.client.put_contact(contact).await.unwrap().version, 1, "again is the same");
    let order_id = shop.paid("tea").await;
    let found = mails(&shop, 5).await;
    let subjects: Vec<String> = found.iter().map(|mail| subject(mail)).collect();
    assert_eq!(
        subjects,
        [
            format!("Your order {order_id}"),
            format!("Receipt for order {order_id}: 4.99 EUR"),
            format!("Your order {order_id} is on its way"),
            format!("Your order {order_id} arrives today"),
            format!("Your order {order_id} has arrived"),
        ]
    );
    for mail in &found {
        assert!(mail.contains("To: ada@example.com\r\n") && mail.contains("Message-ID: <"), "{mail}");
        assert!(mail.contains("https://shop.example.com/unsubscribe?token="), "{mail}");
    }
    assert!(found[0].contains("1 x The tea at 4.99 EUR"), "{}", found[0]);

    // Once more from the files, with the group's position lost or not: nothing is sent again.
    let shop = shop.restart_with(shipping_too).await;
    let second = shop.paid("tea").await;
    let found = mails(&shop, 10).await;
    assert_eq!(found.len(), 10);
    for order in [&order_id, &second] {
        // A mail is recorded after it was written.
        let mut told = Vec::new();
        for _ in 0..1_000 {
            let request = ListNotificationsRequest { order_id: order.clone() };
            told = shop.client.list_notifications(request).await.unwrap().notifications;
            if told.len() == 5 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(told.len(), 5, "{told:#?}");
        assert!(told.iter().all(|notice| notice.status() == NotificationStatus::Sent && notice.tries == 1));
    }
}

/// Who registers and orders, and says nothing else, hears of it at the address of the account.
#[tokio::test]
async fn an_account_is_told_at_its_own_address() {
    let shop = Shop::open_with(telling);
    shop.stock("tea", 499, 10).await;
    let register = format!("{}/register", shop.address(Service::User));
    let account = json!({"email": "Ada@Example.com", "password": "correct horse battery", "name": "Ada"});
    let answer = reqwest::Client::new().post(register).json(&account).send().await.unwrap();
    let user: serde_json::Value = answer.json().await.unwrap();
    let request = order("", user["id"].as_str().unwrap(), &[("tea", 1)]);
    let order_id = shop.client.create_order(request).await.unwrap().order_id;
    let found = mails(&shop, 1).await;
    assert!(found[0].contains("To: ada@example.com\r\n"), "{}", found[0]);
    assert_eq!(subject(&found[0]), format!("Your order {order_id}"));
}

#[tokio::test]
async fn customers_choose_their_language_and_what_they_hear() {
    let shop = Shop::open_with(telling);
    shop.stock("tea", 499, 10).await;
    let client = &shop.client;
    let german = PutContactRequest {
        customer_id: "ada".into(),
        email: "ada@example.com".into(),
        language: "de".into(),
        ..Default::default()
    };
    client.put_contact(german).await.unwrap();
    let mute = SetPreferenceRequest {
        customer_id: "ada".into(),
        occasion: Occasion::PaymentReceipt.into(),
        channel: Channel::Email.into(),
        wanted: false,
    };
    assert_eq!(client.set_preference(mute.clone()).await.unwrap().muted.len(), 1);
    let order_id = shop.paid("tea").await;
    let found = mails(&shop, 1).await;
    assert_eq!(subject(&found[0]), format!("Ihre Bestellung {order_id}"));

    // The link at the end calls off this kind of mail, for whoever holds it.
    let token = found[0].split("List-Unsubscribe: <").nth(1).unwrap();
    let token: String = token.chars().take_while(|c| *c != '>').filter(|c| !c.is_whitespace()).collect();
    let token = token.split("token=").nth(1).unwrap().to_owned();
    let link = format!("{}/unsubscribe?token={token}", shop.address(Service::Notification));
    let page = reqwest::get(&link).await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let before = client.get_contact(GetContactRequest { customer_id: "ada".into() }).await.unwrap();
    assert_eq!(before.muted.len(), 1, "looking at the link calls nothing off");
    let click = reqwest::Client::new().post(&link).body("List-Unsubscribe=One-Click").send().await.unwrap();
    assert_eq!(click.text().await.unwrap(), r#"{"occasion":"order_confirmation","channel":"email"}"#);
    let done = client.unsubscribe(UnsubscribeRequest { token: token.clone() }).await.unwrap();
    assert_eq!(done.occasion(), Occasion::OrderConfirmation);
    for wrong in [format!("{link}x"), link.replace("token=", "t=")] {
        assert_eq!(reqwest::get(wrong).await.unwrap().status(), 400);
    }
    let found = client.get_contact(GetContactRequest { customer_id: "ada".into() }).await.unwrap();
    assert_eq!((found.muted.len(), found.language.as_str()), (2, "de"));
    let wanted = SetPreferenceRequest { wanted: true, ..mute };
    client.set_preference(wanted).await.unwrap();
    shop.paid("tea").await;
    let found = mails(&shop, 2).await;
    assert!(subject(&found[1]).starts_with("Zahlungsbeleg"), "{}", found[1]);
    assert_eq!(found.len(), 2, "no second confirmation");
}

/// Mails cannot be written: a file lies where their directory should be.
#[tokio::test]
async fn what_cannot_be_sent_dies_after_its_tries_and_is_replayed() {
    let shop = Shop::open_with(telling);
    shop.stock("tea", 499, 10).await;
    std::fs::write(mail_dir(&shop), "in the way").unwrap();
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let mut dead = Vec::new();
    for _ in 0..1_000 {
        dead = shop.client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().notifications;
        if !dead.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        (dead.len(), dead[0].tries, dead[0].order_id.as_str()),
        (1, 3, order_id.as_str()),
        "{dead:#?}"
    );
    assert!(dead[0].problem.contains("mail"), "{dead:#?}");
    let replay = || ReplayDeadLetterRequest { notification_id: dead[0].notification_id.clone() };
    let still = shop.client.replay_dead_letter(replay()).await.unwrap().notification.unwrap();
    assert_eq!(still.status(), NotificationStatus::Dead);

    let shop = shop.restart_with(telling).await;
    std::fs::remove_file(mail_dir(&shop)).unwrap();
    let sent = shop.client.replay_dead_letter(replay()).await.unwrap().notification.unwrap();
    assert_eq!((sent.status(), sent.problem.as_str()), (NotificationStatus::Sent, ""));
    assert_eq!(mails(&shop, 1).await.len(), 1);
    assert_refused(
        shop.client.replay_dead_letter(replay()).await,
        "UNKNOWN_NOTIFICATION",
        Some("notification_id"),
    );
    let none = shop.client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap();
    assert!(none.notifications.is_empty() && none.next_page_token.is_empty());
}

#[tokio::test]
async fn a_template_of_the_shops_own_is_tried_before_it_is_taken() {
    let shop = Shop::open_with(telling);
    shop.stock("tea", 499, 10).await;
    let own = |subject: &str, body: &str| PutTemplateRequest {
        occasion: Occasion::OrderConfirmation.into(),
        channel: Channel::Email.into(),
        language: "en".into(),
        subject: subject.into(),
        body: body.into(),
    };
    let client = &shop.client;
    let long = "x".repeat(16_385);
    for (subject, body, reason, field) in [
        ("", "x", "MISSING_FIELD", "subject"),
        ("x", "", "MISSING_FIELD", "body"),
        ("x", long.as_str(), "INVALID_FIELD", "body"),
        ("x\nBcc: eve@example.com", "x", "INVALID_FIELD", "subject"),
        ("{{ nobody }}", "x", "INVALID_TEMPLATE", "subject"),
        ("x", "{% for a in lines %}", "INVALID_TEMPLATE", "body"),
        ("x", "{% include 'x' %}", "INVALID_TEMPLATE", "body"),
    ] {
        assert_refused(client.put_template(own(subject, body)).await, reason, Some(field));
    }
    client
        .put_template(own("Danke, {{ customer_id|upper }}", "{{ total }} for {{ lines[0].name }}"))
        .await
        .unwrap();
    let ask = PreviewTemplateRequest {
        occasion: Occasion::OrderConfirmation.into(),
        channel: Channel::Email.into(),
        ..Default::default()
    };
    let shown = client.preview_template(ask.clone()).await.unwrap();
    assert_eq!((shown.subject.as_str(), shown.body.as_str()), ("Danke, ADA", "9.98 EUR for Green tea"));
    let tried = PreviewTemplateRequest { subject: "s".into(), body: "{{ order_id }}".into(), ..ask };
    assert_eq!(client.preview_template(tried).await.unwrap().body.len(), 32);
    shop.order("", "tea", 2).await.unwrap();
    let found = mails(&shop, 1).await;
    assert_eq!(subject(&found[0]), "Danke, ADA");
    assert!(
        found[0].contains("9.98 EUR for The tea") && found[0].contains("To: ada@customers.invalid"),
        "{}",
        found[0]
    );
}

#[tokio::test]
async fn bad_input_is_refused_by_path() {
    let shop = Shop::open_with(telling);
    let client = &shop.client;
    for (email, language, field) in [
        ("ada", "en", "email"),
        ("ada@example.com\r\nBcc: eve@example.com", "en", "email"),
        ("a@b.c, d@e.f", "en", "email"),
        ("ada@example.com", "EN", "language"),
        ("ada@example.com", "english", "language"),
    ] {
        let contact = PutContactRequest {
            customer_id: "ada".into(),
            email: email.into(),
            language: language.into(),
            ..Default::default()
        };
        assert_refused(client.put_contact(contact).await, "INVALID_FIELD", Some(field));
    }
    assert_refused(
        client.put_contact(PutContactRequest::default()).await,
        "MISSING_FIELD",
        Some("customer_id"),
    );
    let unknown = GetContactRequest { customer_id: "ada".into() };
    assert_refused(client.get_contact(unknown).await, "UNKNOWN_CONTACT", Some("customer_id"));
    let set = |occasion, channel| SetPreferenceRequest {
        customer_id: "ada".into(),
        occasion,
        channel,
        wanted: true,
    };
    assert_refused(client.set_preference(set(0, 1)).await, "MISSING_FIELD", Some("occasion"));
    assert_refused(client.set_preference(set(1, 0)).await, "MISSING_FIELD", Some("channel"));
    assert_refused(client.set_preference(set(9, 1)).await, "UNKNOWN_ENUM_VALUE", Some("occasion"));
    assert_refused(client.set_preference(set(1, 9)).await, "UNKNOWN_ENUM_VALUE", Some("channel"));
    for token in ["", "x", "x.y", "WyJhIl0.AAAA"] {
        let request = UnsubscribeRequest { token: token.into() };
        assert_refused(client.unsubscribe(request).await, "INVALID_FIELD", Some("token"));
    }
    let preview =
        PreviewTemplateRequest { occasion: 1, channel: 1, language: "e".into(), ..Default::default() };
    assert_refused(client.preview_template(preview).await, "INVALID_FIELD", Some("language"));
    let list = ListNotificationsRequest { order_id: "12".into() };
    assert_refused(client.list_notifications(list).await, "INVALID_ID", Some("order_id"));
    let pages = ListDeadLettersRequest { page_size: -1, ..Default::default() };
    assert_refused(client.list_dead_letters(pages).await, "INVALID_FIELD", Some("page_size"));
    let pages = ListDeadLettersRequest { page_token: "x".into(), ..Default::default() };
    assert_refused(client.list_dead_letters(pages).await, "INVALID_PAGE_TOKEN", Some("page_token"));
    for id in ["", "../../etc/passwd", "12"] {
        let replay = ReplayDeadLetterRequest { notification_id: id.into() };
        assert_refused(client.replay_dead_letter(replay).await, "INVALID_ID", Some("notification_id"));
    }
}
