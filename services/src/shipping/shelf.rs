//! The documents that Shipping keeps: shipments on their order's slot, so that their events keep the
//! order's order; addresses and tracking numbers by their own key.

use onrush_proto::{CustomerId, DocKey, OrderId, PutDocument, Refusal, Text, Topic};

use super::address::Address;
use super::shipment::{COLLECTION, Shipment};
use crate::backend::Backend;
use crate::status::Rejection;

/// Shipments read at once at start.
const PAGE: usize = 4_096;

/// The documents.
#[derive(Clone)]
pub(super) struct Shelf {
    pub(super) backend: Backend,
}

/// A shipment with the version that a change must name.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The order.
    pub order: OrderId,
    /// The shipment.
    pub shipment: Shipment,
    /// Counts changes.
    pub version: u64,
}

/// A change that did not happen.
#[derive(Debug)]
pub(super) enum PutError {
    /// Somebody else was first.
    Conflict,
    /// The engine did not take it.
    Rejected(Rejection),
}

impl Shelf {
    /// An order's shipment.
    pub(super) async fn load(&self, order: OrderId) -> Result<Option<Kept>, Rejection> {
        let Some(row) = self.backend.document_at(Shipment::key(order), Some(order.slot())).await? else {
            return Ok(None);
        };
        let shipment = Shipment::parse(row.value.as_deref().unwrap_or_default())
            .map_err(|error| Rejection::Internal(format!("{}: {error}", row.key)))?;
        Ok(Some(Kept { order, shipment, version: row.version }))
    }

    /// Puts a changed shipment in place of the version it was read at, as an event if `emit`.
    pub(super) async fn put(&self, kept: &mut Kept, emit: bool) -> Result<(), PutError> {
        let put = PutDocument {
            key: Shipment::key(kept.order),
            placement: Some(kept.order.slot()),
            value: kept.shipment.bytes(),
            expected: Some(kept.version),
            emit: emit.then_some(Topic::ShippingUpdated),
        };
        match self.backend.put_document_at(put).await {
            Ok(version) => {
                kept.version = version;
                Ok(())
            }
            Err(Rejection::Refused(Refusal::VersionMismatch { .. })) => Err(PutError::Conflict),
            Err(rejection) => Err(PutError::Rejected(rejection)),
        }
    }

    /// Orders whose shipments are open, a page at a time. Reads the store.
    pub(super) async fn open_after(
        &self,
        after: &mut Option<DocKey>,
    ) -> Result<Option<Vec<OrderId>>, Rejection> {
        let rows = self.backend.documents(COLLECTION, *after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        *after = Some(last.key);
        let open = rows.iter().filter_map(|row| {
            let shipment = Shipment::parse(row.value.as_deref()?);
            let shipment = shipment.inspect_err(|error| tracing::error!(key = %row.key, %error)).ok()?;
            shipment.state.is_open().then_some(shipment.order.parse().ok()?)
        });
        Ok(Some(open.collect()))
    }

    /// A customer's address with its version.
    pub(super) async fn address(&self, customer: &CustomerId) -> Result<Option<(Address, u64)>, Rejection> {
        let Some(row) = self.backend.document_at(Address::key(customer), None).await? else {
            return Ok(None);
        };
        let address = serde_json::from_slice(row.value.as_deref().unwrap_or_default())
            .map_err(|error| Rejection::Internal(format!("{}: {error}", row.key)))?;
        Ok(Some((address, row.version)))
    }

    /// Remembers whose parcel a tracking number is.
    pub(super) async fn remember(&self, tracking_number: &str, order: OrderId) -> Result<(), Rejection> {
        let Some(key) = tracking_key(tracking_number) else {
            tracing::error!(tracking_number, "a tracking number too long to be found by");
            return Ok(());
        };
        let value = order.to_string().into_bytes();
        self.backend
            .put_document_at(PutDocument { key, placement: None, value, expected: None, emit: None })
            .await
            .map(|_| ())
    }

    /// Whose parcel a tracking number is.
    pub(super) async fn tracked(&self, tracking_number: &str) -> Result<Option<OrderId>, Rejection> {
        let Some(key) = tracking_key(tracking_number) else { return Ok(None) };
        let Some(row) = self.backend.document_at(key, None).await? else { return Ok(None) };
        let value = row.value.unwrap_or_default();
        Ok(std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()))
    }
}

fn tracking_key(tracking_number: &str) -> Option<DocKey> {
    Text::new(&format!("tracking/{tracking_number}")).ok()
}
