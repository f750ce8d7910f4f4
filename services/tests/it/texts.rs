//! Text messages by Twilio: each once whatever becomes of the calls, only to numbers whose owners agreed, and
//! what the carrier says of them.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onrush_grpc::notification::v1::{
    Channel, GetContactRequest, GetContactResponse, ListDeadLettersRequest, ListNotificationsRequest,
    Notification, NotificationStatus, Occasion, PreviewTemplateRequest, PutContactRequest,
    PutTemplateRequest, ReplayDeadLetterRequest, SetPreferenceRequest,
};
use onrush_services::config::{Config, Secret, Service};
use onrush_services::notification::twilio::TwilioOptions;

use crate::shop::{Shop, assert_refused};
use crate::twilio::{ACCOUNT, Exchange, Fault, TOKEN};
use crate::wait::seen;

const PHONE: &str = "+491701234567";
/// Where Twilio was told to call.
const PUBLIC_URL: &str = "https://www.shop.example.com";

fn texting(exchange: &Exchange, timeout: Duration) -> impl Fn(&mut Config) + use<> {
    let options = TwilioOptions {
        base: exchange.base.clone(),
        sid: ACCOUNT.into(),
        token: Secret::new(TOKEN),
        from: "+15005550006".into(),
        timeout,
    };
    move |config| {
        config.services.push((Service::Notification, 0));
        config.notification.tries_max = 6;
        config.notification.public_url = PUBLIC_URL.into();
        config.twilio = Some(options.clone());
    }
}

fn contact() -> PutContactRequest {
    PutContactRequest {
        customer_id: "ada".into(),
        phone: PHONE.into(),
        sms_consent: true,
        ..Default::default()
    }
}

async fn shop(exchange: &Exchange) -> Shop {
    let shop = Shop::open_with(texting(exchange, Duration::from_millis(300)));
    shop.stock("tea", 499, 100).await;
    shop.client.put_contact(contact()).await.unwrap();
    shop
}

async fn contact_of(shop: &Shop) -> GetContactResponse {
    shop.client.get_contact(GetContactRequest { customer_id: "ada".into() }).await.unwrap()
}

/// The order's text once it is as wanted.
async fn text_of(shop: &Shop, order_id: &str, wanted: NotificationStatus) -> Notification {
    shop.told(order_id, Channel::Sms, wanted).await
}

#[tokio::test]
async fn every_bad_day_ends_with_one_text() {
    use Fault::{Barred, Busy, Dropped, FailedAfter, FailedBefore, Garbled, Slow};
    let table: [(&[Fault], u32); 8] = [
        (&[], 1),
        (&[Busy], 2),
        (&[FailedBefore, Barred], 3),
        (&[FailedAfter], 2),
        (&[Dropped], 2),
        (&[Slow], 2),
        (&[Garbled], 2),
        (&[Busy, FailedBefore, Dropped], 4),
    ];
    for (faults, tries) in table {
        let exchange = Exchange::start(faults);
        let shop = shop(&exchange).await;
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let notice = text_of(&shop, &order_id, NotificationStatus::Sent).await;
        assert_eq!(notice.tries, tries, "{faults:?}");
        let texts = exchange.texts();
        assert_eq!(texts.len(), 1, "{faults:?}: {texts:#?}");
        let form = &texts[0].form;
        assert_eq!((form["To"].as_str(), form["From"].as_str(), form.len()), (PHONE, "+15005550006", 4));
        let body = format!("We have your order {order_id}: 4.99 EUR. Reply STOP to end these texts.");
        assert_eq!(form["Body"], body);
        let callback = format!("{PUBLIC_URL}/sms/status?notification={}", notice.notification_id);
        assert_eq!(form["StatusCallback"], callback);
    }
}

/// The process ends between the call and its answer; the next one finds what was sent.
#[tokio::test]
async fn a_restart_sends_no_text_again() {
    let exchange = Exchange::start(&[Fault::Slow]);
    let patient = texting(&exchange, Duration::from_secs(20));
    let shop = Shop::open_with(&patient);
    shop.stock("tea", 499, 100).await;
    shop.client.put_contact(contact()).await.unwrap();
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    seen("a text", || !exchange.texts().is_empty()).await;
    let shop = shop.restart_with(&patient).await;
    text_of(&shop, &order_id, NotificationStatus::Sent).await;
    assert_eq!(exchange.texts().len(), 1);
    // The same words about another order are another text.
    let second = shop.order("", "tea", 1).await.unwrap().order_id;
    text_of(&shop, &second, NotificationStatus::Sent).await;
    assert_eq!(exchange.texts().len(), 2);
}

#[tokio::test]
async fn a_number_that_called_texts_off_gets_none_until_its_owner_agrees_again() {
    let exchange = Exchange::start(&[Fault::Refused(21_610)]);
    let shop = shop(&exchange).await;
    let agreed = contact_of(&shop).await;
    assert!(agreed.sms_consent_us > 0 && !agreed.sms_stopped && agreed.phone == PHONE);
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let notice = text_of(&shop, &order_id, NotificationStatus::Unreachable).await;
    assert!(notice.problem.contains("21610") && !notice.problem.contains(PHONE), "{notice:?}");
    assert!(contact_of(&shop).await.sms_stopped);
    let dead = shop.client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap();
    assert!(dead.notifications.is_empty(), "there is nobody to send it to again: {dead:?}");

    // No text of this order, and the next one goes out.
    let silent = shop.order("", "tea", 1).await.unwrap().order_id;
    let mailed = async || {
        let request = ListNotificationsRequest { order_id: silent.clone() };
        shop.client.list_notifications(request).await.unwrap().notifications
    };
    shop.heard(&silent).await;
    assert_eq!(mailed().await.len(), 1, "a mail and no text");
    shop.client.put_contact(contact()).await.unwrap();
    let again = contact_of(&shop).await;
    assert!(!again.sms_stopped && again.sms_consent_us >= agreed.sms_consent_us);
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    text_of(&shop, &order_id, NotificationStatus::Sent).await;
    assert!(mailed().await.iter().all(|notice| notice.channel() == Channel::Email));
    assert_eq!(exchange.texts().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_a_dead_letter_with_its_code_and_can_be_replayed() {
    let exchange = Exchange::start(&[Fault::Refused(21_211)]);
    let shop = shop(&exchange).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let dead = text_of(&shop, &order_id, NotificationStatus::Dead).await;
    let expected = "twilio: refused with 400, code 21211 (https://www.twilio.com/docs/api/errors/21211)";
    assert_eq!((dead.tries, dead.problem.as_str()), (1, expected));
    let replay = ReplayDeadLetterRequest { notification_id: dead.notification_id };
    let sent = shop.client.replay_dead_letter(replay).await.unwrap().notification.unwrap();
    assert_eq!(sent.status(), NotificationStatus::Sent);
    assert_eq!(exchange.texts().len(), 1);
}

/// Signs as Twilio does: a test beside the check has a signature of Twilio's own library.
fn signature(token: &str, url: &str, form: &[(&str, &str)]) -> String {
    let mut sorted = form.to_vec();
    sorted.sort_unstable();
    let mut signed = url.to_owned();
    signed.extend(sorted.iter().flat_map(|(name, value)| [*name, *value]));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.as_bytes());
    STANDARD.encode(hmac::sign(&key, signed.as_bytes()))
}

#[tokio::test]
async fn what_became_of_a_text_is_heard_from_twilio_and_from_nobody_else() {
    let exchange = Exchange::start(&[]);
    let shop = shop(&exchange).await;
    let call = async |token: &str, callback: &str, form: &[(&str, &str)]| {
        let url =
            callback.replace(".evil.", ".shop.").replace(PUBLIC_URL, &shop.address(Service::Notification));
        let request = reqwest::Client::new().post(url).form(form);
        let request = request.header("X-Twilio-Signature", signature(token, callback, form));
        request.send().await.unwrap().status().as_u16()
    };
    let mut callbacks = Vec::new();
    for _ in 0..3 {
        let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
        let notice = text_of(&shop, &order_id, NotificationStatus::Sent).await;
        let url = format!("{PUBLIC_URL}/sms/status?notification={}", notice.notification_id);
        callbacks.push((order_id, url));
    }
    let (order_id, url) = &callbacks[0];
    let delivered = [("MessageStatus", "delivered"), ("To", PHONE)];
    assert_eq!(call("other", url, &delivered).await, 401);
    assert_eq!(call(TOKEN, &format!("{url}&x=1"), &[("MessageStatus", "sent")]).await, 204);
    for (foreign, status) in [(url.replace(".shop.", ".evil."), 401), (url.replace(".sms.", ".x."), 204)] {
        assert_eq!(call(TOKEN, &foreign, &delivered).await, status, "{foreign}");
    }
    let huge = "x".repeat(70_000);
    assert_eq!(call(TOKEN, url, &[("MessageStatus", &huge)]).await, 413);
    text_of(&shop, order_id, NotificationStatus::Sent).await;
    // Out of order, twice, and then something else: the first end counts.
    for form in [
        [("MessageStatus", "sent"), ("To", PHONE)],
        delivered,
        delivered,
        [("MessageStatus", "failed"), ("To", PHONE)],
    ] {
        assert_eq!(call(TOKEN, url, &form).await, 204);
    }
    text_of(&shop, order_id, NotificationStatus::Delivered).await;

    for ((order_id, url), (code, stopped)) in callbacks[1..].iter().zip([("30003", false), ("21610", true)]) {
        let failed = [("MessageStatus", "undelivered"), ("ErrorCode", code), ("To", PHONE)];
        assert_eq!(call(TOKEN, url, &failed).await, 204);
        let notice = text_of(&shop, order_id, NotificationStatus::Unreachable).await;
        assert!(notice.problem.contains(code), "{notice:?}");
        assert_eq!(contact_of(&shop).await.sms_stopped, stopped, "{code}");
    }
}

/// One call again and again, and as many that nobody signed: each gets an answer, and the first end counts.
#[tokio::test]
async fn a_flood_of_replayed_calls_is_answered_and_changes_nothing() {
    let exchange = Exchange::start(&[]);
    let shop = Shop::open_with(|config| {
        texting(&exchange, Duration::from_millis(300))(config);
        config.connections_max = 1_000;
    });
    shop.stock("tea", 499, 100).await;
    shop.client.put_contact(contact()).await.unwrap();
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let notice = text_of(&shop, &order_id, NotificationStatus::Sent).await;
    let callback = format!("{PUBLIC_URL}/sms/status?notification={}", notice.notification_id);
    let url = callback.replace(PUBLIC_URL, &shop.address(Service::Notification));
    let delivered = [("MessageStatus", "delivered"), ("To", PHONE)];
    let failed = [("MessageStatus", "failed"), ("To", PHONE)];
    let (http, mut calls) = (reqwest::Client::new(), tokio::task::JoinSet::new());
    for at in 0..200 {
        let (form, token) = if at % 2 == 0 { (&delivered, TOKEN) } else { (&failed, "other") };
        let request = http.post(&url).header("X-Twilio-Signature", signature(token, &callback, form));
        let request = request.form(form);
        calls.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let mut statuses = calls.join_all().await;
    statuses.sort_unstable();
    assert_eq!((&statuses[..100], &statuses[100..]), (&[204; 100][..], &[401; 100][..]));
    text_of(&shop, &order_id, NotificationStatus::Delivered).await;
    let next = shop.order("", "tea", 1).await.unwrap().order_id;
    text_of(&shop, &next, NotificationStatus::Sent).await;
    assert_eq!(exchange.texts().len(), 2);
}

#[tokio::test]
async fn customers_choose_by_channel_and_templates_are_of_one() {
    let exchange = Exchange::start(&[]);
    let shop = shop(&exchange).await;
    let client = &shop.client;
    let own = |subject: &str, body: &str| PutTemplateRequest {
        occasion: Occasion::PaymentReceipt.into(),
        channel: Channel::Sms.into(),
        language: "en".into(),
        subject: subject.into(),
        body: body.into(),
    };
    for (subject, body, reason, field) in [
        ("Hello", "{{ total }}", "INVALID_FIELD", "subject"),
        ("", "", "MISSING_FIELD", "body"),
        ("", "{% if false %}x{% endif %}", "INVALID_TEMPLATE", "body"),
        ("", &"a".repeat(613), "INVALID_TEMPLATE", "body"),
        ("", "{{ nobody }}", "INVALID_TEMPLATE", "body"),
    ] {
        assert_refused(client.put_template(own(subject, body)).await, reason, Some(field));
    }
    // It fits for the example, and not for a basket of many lines: then the built-in one speaks.
    client.put_template(own("", "{% for l in lines %}<b>{{ l.name }}</b>{% endfor %}")).await.unwrap();
    let preview = PreviewTemplateRequest {
        occasion: Occasion::PaymentReceipt.into(),
        channel: Channel::Sms.into(),
        ..Default::default()
    };
    let shown = client.preview_template(preview).await.unwrap();
    assert_eq!((shown.subject.as_str(), shown.body.as_str()), ("", "<b>Green tea</b>"));
    let mute = SetPreferenceRequest {
        customer_id: "ada".into(),
        occasion: Occasion::OrderConfirmation.into(),
        channel: Channel::Sms.into(),
        wanted: false,
    };
    client.set_preference(mute).await.unwrap();
    let order_id = shop.paid("tea").await;
    text_of(&shop, &order_id, NotificationStatus::Sent).await;
    let bodies: Vec<String> = exchange.texts().iter().map(|text| text.form["Body"].clone()).collect();
    assert_eq!(bodies, ["<b>The tea</b>"], "plain text, of what was wanted");
}

#[tokio::test]
async fn no_number_without_consent_and_none_that_is_not_one() {
    let exchange = Exchange::start(&[]);
    let shop = shop(&exchange).await;
    for (phone, sms_consent, field) in [
        (PHONE, false, "sms_consent"),
        ("0170 1234567", true, "phone"),
        ("+49170123456789012", true, "phone"),
        ("+49170\r\n1234567", true, "phone"),
        ("whatsapp:+491701234567", true, "phone"),
    ] {
        let put = PutContactRequest { phone: phone.into(), sms_consent, ..contact() };
        assert_refused(shop.client.put_contact(put).await, "INVALID_FIELD", Some(field));
    }
    let before = contact_of(&shop).await;
    assert_eq!(
        shop.client.put_contact(contact()).await.unwrap().version,
        before.version,
        "again is the same"
    );
    shop.client.put_contact(PutContactRequest { phone: String::new(), ..contact() }).await.unwrap();
    let after = contact_of(&shop).await;
    assert_eq!((after.phone.as_str(), after.sms_consent_us), ("", 0));
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    shop.heard(&order_id).await;
    assert!(exchange.texts().is_empty());
}
