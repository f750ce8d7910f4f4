//! Records as messages.

use onrush_grpc::log::v1::{DeadLetter, Document, Event, Product, Row, Stock, row};
use onrush_proto::{FactError, RecordKind, Row as Stored, RowTag, Topic};

use crate::field;
use crate::order::order_message;

/// A committed record as its subscribers hear of it.
pub(super) fn event(event: &onrush_engine::Event<'_>) -> Result<Event, FactError> {
    let kind = event.fact.kind;
    let (mut rows, mut key) = (Vec::new(), None);
    for row in event.fact.rows() {
        let (tag, bytes) = row?;
        if names(tag, kind) {
            let row = Stored::decode(tag, bytes)?;
            key = key.or_else(|| key_of(&row));
            rows.extend(message(row, kind).map(|row| Row { row: Some(row) }));
        }
    }
    Ok(Event {
        lsn: event.lsn.0,
        time_us: field::time_us(event.time_us),
        kind: words(kind),
        key: key.unwrap_or_default(),
        rows,
    })
}

/// Rows that say what a record is of.
fn names(tag: RowTag, kind: RecordKind) -> bool {
    match tag {
        RowTag::Order | RowTag::Product | RowTag::Document | RowTag::DeadLetter => true,
        RowTag::Hold => kind == RecordKind::HoldReleased,
        // What is in stock is for those who read its changes: records of orders tell nothing of it.
        RowTag::Stock => kind.is_in(Topic::StockUpdated),
        _ => false,
    }
}

fn key_of(row: &Stored) -> Option<String> {
    Some(match row {
        Stored::Order(row) => row.id.to_string(),
        Stored::Hold(row) => row.order.to_string(),
        Stored::Stock(row) => row.sku.to_string(),
        Stored::Product(row) => row.sku.to_string(),
        Stored::Document(row) => row.key.to_string(),
        Stored::DeadLetter(row) => row.group.to_string(),
        _ => return None,
    })
}

fn message(row: Stored, kind: RecordKind) -> Option<row::Row> {
    Some(match row {
        Stored::Order(row) => row::Row::Order(order_message(&row, None)),
        Stored::Stock(row) if kind.is_in(Topic::StockUpdated) => row::Row::Stock(Stock {
            sku: row.sku.to_string(),
            on_hand: row.on_hand,
            held: row.held,
            sold: row.sold,
            version: row.version,
        }),
        Stored::Product(row) => row::Row::Product(Product {
            sku: row.sku.to_string(),
            name: row.name,
            description: row.description,
            category: row.category.to_string(),
            brand: row.brand.to_string(),
            version: row.version,
        }),
        Stored::Document(row) => row::Row::Document(Document {
            key: row.key.to_string(),
            version: row.version,
            json: String::from_utf8(row.value?).ok()?,
        }),
        Stored::DeadLetter(row) => row::Row::DeadLetter(DeadLetter {
            group: row.group.to_string(),
            topic: Topic::from_number(row.topic).map_or_else(String::new, |topic| topic.name().into()),
            shard: row.shard.into(),
            lsn: row.lsn,
            tries: row.tries.into(),
            reason: row.reason,
        }),
        _ => return None,
    })
}

/// `OrderCreated` as "order created".
pub(super) fn words(kind: RecordKind) -> String {
    let mut text = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_in_words() {
        assert_eq!(words(RecordKind::OrderCreated), "order created");
        assert_eq!(words(RecordKind::PasswordResetAsked), "password reset asked");
    }

    #[test]
    fn stock_is_told_of_where_it_changes_and_not_of_orders() {
        assert!(names(RowTag::Stock, RecordKind::StockUpdated));
        assert!(!names(RowTag::Stock, RecordKind::OrderCreated));
        assert!(names(RowTag::Hold, RecordKind::HoldReleased));
        assert!(!names(RowTag::Hold, RecordKind::OrderCancelled));
        assert!(!names(RowTag::Key, RecordKind::OrderCreated));
    }
}
