//! The templates that come with the house: per occasion, channel and language.

use super::occasion::{Channel, Occasion};
use super::template::Template;

/// Languages with templates built in.
pub(super) const LANGUAGES: [&str; 2] = ["en", "de"];

/// The built-in template; English where there is none of the language.
pub(super) fn template(occasion: Occasion, channel: Channel, language: &str) -> Template {
    let german = language == LANGUAGES[1];
    let (subject, body) = match channel {
        Channel::Email => (subject(occasion, german), mail(occasion, german)),
        Channel::Sms => ("", text(occasion, german)),
        Channel::Push => (subject(occasion, german), note(occasion, german)),
    };
    Template { subject: subject.trim().into(), body: body.trim_start().into() }
}

fn subject(occasion: Occasion, german: bool) -> &'static str {
    match (occasion, german) {
        (Occasion::OrderConfirmation, false) => "Your order {{ order_id }}",
        (Occasion::OrderConfirmation, true) => "Ihre Bestellung {{ order_id }}",
        (Occasion::PaymentReceipt, false) => "Receipt for order {{ order_id }}: {{ total }}",
        (Occasion::PaymentReceipt, true) => "Zahlungsbeleg zur Bestellung {{ order_id }}: {{ total }}",
        (Occasion::ShippingUpdate, false) => include_str!("templates/shipping_update.en.subject.txt"),
        (Occasion::ShippingUpdate, true) => include_str!("templates/shipping_update.de.subject.txt"),
    }
}

fn mail(occasion: Occasion, german: bool) -> &'static str {
    match (occasion, german) {
        (Occasion::OrderConfirmation, false) => include_str!("templates/order_confirmation.en.txt"),
        (Occasion::OrderConfirmation, true) => include_str!("templates/order_confirmation.de.txt"),
        (Occasion::PaymentReceipt, false) => include_str!("templates/payment_receipt.en.txt"),
        (Occasion::PaymentReceipt, true) => include_str!("templates/payment_receipt.de.txt"),
        (Occasion::ShippingUpdate, false) => include_str!("templates/shipping_update.en.txt"),
        (Occasion::ShippingUpdate, true) => include_str!("templates/shipping_update.de.txt"),
    }
}

/// A text message is short, and ends with how there will be no more.
fn text(occasion: Occasion, german: bool) -> &'static str {
    match (occasion, german) {
        (Occasion::OrderConfirmation, false) => {
            "We have your order {{ order_id }}: {{ total }}. Reply STOP to end these texts."
        }
        (Occasion::OrderConfirmation, true) => {
            "Wir haben Ihre Bestellung {{ order_id }}: {{ total }}. Antwort STOP beendet diese Nachrichten."
        }
        (Occasion::PaymentReceipt, false) => {
            "We have your {{ total }} for order {{ order_id }}. Reply STOP to end these texts."
        }
        (Occasion::PaymentReceipt, true) => {
            "Wir haben Ihre {{ total }} zur Bestellung {{ order_id }}. Antwort STOP beendet diese Nachrichten."
        }
        (Occasion::ShippingUpdate, false) => include_str!("templates/shipping_update.en.sms.txt"),
        (Occasion::ShippingUpdate, true) => include_str!("templates/shipping_update.de.sms.txt"),
    }
}

/// Under the subject, on a small screen.
fn note(occasion: Occasion, german: bool) -> &'static str {
    match (occasion, german) {
        (Occasion::OrderConfirmation, false) => "{{ total }}. We keep everything for you until it is paid.",
        (Occasion::OrderConfirmation, true) => {
            "{{ total }}. Bis zur Zahlung halten wir alles für Sie bereit."
        }
        (Occasion::PaymentReceipt, false) => "We have your {{ total }}. Your parcel is being packed.",
        (Occasion::PaymentReceipt, true) => "Wir haben Ihre {{ total }}. Ihr Paket wird gepackt.",
        (Occasion::ShippingUpdate, _) => "{{ carrier }} {{ tracking_number }}",
    }
}
