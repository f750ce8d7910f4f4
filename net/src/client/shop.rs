//! One interface over every protocol: what a shop is asked, in the types of `onrush_proto`.

use std::fmt;
use std::time::Duration;

use onrush_grpc::payment::v1::{ProcessRefundRequest, ProcessRefundResponse, RefundStatus};
use onrush_grpc::product::v1::{
    GetProductDetailsRequest, LineValidation, ProductLine, ValidateProductsRequest,
};
use onrush_proto::frame::{Subscribe, Verdict};
use onrush_proto::{
    CancelOrder, Command, CommitOffset, CreateOrder, Lsn, Money, OrderId, OrderRow, OrderState, Outcome,
    PaymentState, PutProduct, Receipt, RefundPayment, RefundState, Reply, ShardId, Sku, Slot, StartPayment,
    Text, Topic, UpdateStock,
};
use tonic::Code;
use uuid::Uuid;

use super::grpc::{Addresses, Client};
use super::native::{Native, NativeOptions, Subscription, Transport};
use super::session::Session;
use super::whereabouts::port;
use super::{CallError, Described, Retry, answers, calls, described};
use crate::tls::Trust;

/// The schemes of the native protocol: by TCP, by TCP with TLS, by QUIC.
const NATIVE: &str = "onrush://";
const NATIVE_TLS: &str = "onrush+tls://";
const NATIVE_QUIC: &str = "onrush+quic://";
/// That of gRPC, call by call.
const GRPC: &str = "http://";
/// That of calls in batches over one stream of gRPC.
const SESSION: &str = "onrush+grpc://";

/// Names one change for good: however often it is asked for under its key, it is made once. 0 names none: in frames it stands for
/// a call without a key, which is made each time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key(pub u128);

impl Key {
    /// A key that nobody else has. Keep it to ask again after a restart.
    pub fn fresh() -> Self {
        Self(Uuid::new_v4().as_u128())
    }
}

/// As it travels over gRPC.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&calls::request_id(self.0))
    }
}

/// How a shop is reached.
#[derive(Clone, Debug)]
pub struct ShopOptions {
    /// The access token; empty = none.
    pub token: String,
    /// How a call without an answer is tried again, and how long an answer is waited for.
    pub retry: Retry,
    /// But over gRPC call by call: most calls that wait to be asked; more are refused as overloaded.
    pub queue_max: usize,
    /// Over the native protocol: a connection to each shard.
    pub per_shard: bool,
    /// Over gRPC: connections per service.
    pub connections: usize,
    /// Over TLS and QUIC: which servers are believed.
    pub trust: Trust,
    /// How stale lines and products may be that a node answers where another one leads, in whole ms; `None` = as it comes.
    pub staleness_max: Option<Duration>,
}

impl Default for ShopOptions {
    fn default() -> Self {
        let NativeOptions { token, retry, queue_max, per_shard, .. } = NativeOptions::default();
        Self { token, retry, queue_max, per_shard, connections: 1, trust: Trust::System, staleness_max: None }
    }
}

/// An order was accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Its name.
    pub order: OrderId,
    /// Sum of the lines.
    pub total: Money,
    /// Until when the stock is held, in us since 1970.
    pub held_until_us: u64,
    /// True if the key had been used before: this is the order of then.
    pub replayed: bool,
}

/// Where an order and its money stand after an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paid {
    /// The attempt's number.
    pub attempt: u16,
    /// Where the order stands.
    pub order_state: OrderState,
    /// Where the money stands.
    pub payment_state: PaymentState,
}

/// An order is called off, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancelled {
    /// It is.
    Done(OrderState),
    /// Its money goes back first.
    Refunding,
}

/// Money on its way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refunded {
    /// The refund's number.
    pub refund: u16,
    /// Minor units.
    pub minor: i64,
    /// How it stands: over the native protocol as it was recorded, over gRPC as the gateway settled it.
    pub state: RefundState,
}

/// Stock after a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stocked {
    /// Units in the warehouse.
    pub on_hand: i64,
    /// Units held.
    pub held: i64,
    /// For the next change that names it.
    pub version: u64,
}

/// What an order of a line would meet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validated {
    /// The stable name of the refusal that it would meet, e.g. `OUT_OF_STOCK`.
    pub refused: Option<String>,
    /// Units available.
    pub available: i64,
    /// The price of one unit; `None` if the SKU is unknown.
    pub price: Option<Money>,
}

#[derive(Clone)]
enum Way {
    Native(Native),
    Grpc(Client),
    Session(Session),
}

/// A shop, over whichever protocol. Cheap to clone; clones share their connections. A change that got no
/// answer is asked for again under its key; dropping a future gives up the answer alone.
#[derive(Clone)]
pub struct Shop {
    way: Way,
}

impl Shop {
    /// A shop at `onrush://host:port` (the native protocol; `onrush+tls://` with TLS, `onrush+quic://` over QUIC),
    /// `onrush+grpc://host:port` (batches over a stream of gRPC: the order service, which takes all calls there) or
    /// `http://host:port` (gRPC call by call: the order service;
    /// product and payment service stand at ports 50051 and 50053 of the same host). A shop on several nodes may have several
    /// places, `onrush://a:50060,b:50060`; over the native protocol one is enough to find the others. Must be called
    /// within a tokio runtime.
    pub async fn connect(address: &str) -> Result<Self, CallError> {
        Self::connect_with(address, &ShopOptions::default()).await
    }

    /// The same with options.
    pub async fn connect_with(address: &str, options: &ShopOptions) -> Result<Self, CallError> {
        let ShopOptions { token, retry, queue_max, per_shard, connections, trust, staleness_max } =
            options.clone();
        let place = |scheme| places(scheme, address);
        let native = [
            (NATIVE, Transport::Tcp),
            (NATIVE_TLS, Transport::Tls(trust.clone())),
            (NATIVE_QUIC, Transport::Quic(trust)),
        ];
        let mut native = native.into_iter();
        if let Some((place, transport)) = native.find_map(|(scheme, way)| Some((place(scheme)?, way))) {
            let options = NativeOptions { token, retry, queue_max, per_shard, transport, staleness_max };
            return Ok(Self::over_native(Native::connect(&place.join(","), &options).await?));
        }
        if let Some(place) = place(SESSION) {
            let order = format!("{GRPC}{}", place.join(","));
            return Ok(Self::over_session(
                Session::new(&order, &token, retry, queue_max)?.accepting(staleness_max),
            ));
        }
        let places = place(GRPC).ok_or_else(|| CallError::Address(address.to_owned()))?;
        let beside = |port: u16| {
            let host = |place: &&str| place.rsplit_once(':').map_or(*place, |(host, _)| host).to_owned();
            let at = |host: String| format!("{GRPC}{host}:{port}");
            places.iter().map(host).map(at).collect::<Vec<_>>().join(",")
        };
        let addresses = Addresses {
            product: beside(50051),
            order: format!("{GRPC}{}", places.join(",")),
            payment: beside(50053),
            ..Addresses::default()
        };
        let client = Client::new(&addresses, connections, retry)?.with_token(&token);
        Ok(Self::over_grpc(client.accepting(staleness_max)))
    }

    /// A shop over a client that is there.
    pub fn over_native(client: Native) -> Self {
        Self { way: Way::Native(client) }
    }

    /// A shop over a session that is there.
    pub fn over_session(session: Session) -> Self {
        Self { way: Way::Session(session) }
    }

    /// A shop over a client that is there.
    pub fn over_grpc(client: Client) -> Self {
        Self { way: Way::Grpc(client) }
    }

    async fn ask(&self, key: u128, command: Command) -> Result<Reply, CallError> {
        match &self.way {
            Way::Native(client) => client.call(command, key, true).await,
            Way::Grpc(client) => client.ask(key, command).await,
            Way::Session(session) => session.ask(key, command).await,
        }
    }

    /// Asks for a change; gives what is read from its receipt.
    async fn change<T>(
        &self,
        key: Key,
        command: Command,
        read: impl FnOnce(&Receipt, bool) -> Option<T>,
    ) -> Result<T, CallError> {
        let reply = self.ask(key.0, command).await?;
        let found = match &reply.outcome {
            Outcome::Accepted(receipt) => read(receipt, reply.replayed),
            _ => None,
        };
        found.ok_or_else(|| strange(&reply))
    }

    /// Holds stock and creates an order.
    pub async fn create_order(&self, key: Key, create: CreateOrder) -> Result<Placed, CallError> {
        self.change(key, Command::CreateOrder(create), |receipt, replayed| match *receipt {
            Receipt::Order { order, total, held_until_us } => {
                Some(Placed { order, total, held_until_us, replayed })
            }
            _ => None,
        })
        .await
    }

    /// Pays an order; answered once the gateway has settled it, or waits for its buyer.
    pub async fn pay(&self, key: Key, start: StartPayment) -> Result<Paid, CallError> {
        self.change(key, Command::StartPayment(Box::new(start)), |receipt, _| match *receipt {
            Receipt::AttemptSettled { attempt, order_state, payment_state, .. } => {
                Some(Paid { attempt, order_state, payment_state })
            }
            _ => None,
        })
        .await
    }

    /// An order. Over gRPC attempts, refunds and postings are left out.
    pub async fn order(&self, order: OrderId) -> Result<OrderRow, CallError> {
        let reply = self.ask(0, Command::GetOrder(order)).await?;
        match reply.outcome {
            Outcome::Order(row) => Ok(*row),
            _ => Err(strange(&reply)),
        }
    }

    /// Calls an order off.
    pub async fn cancel_order(&self, key: Key, order: OrderId) -> Result<Cancelled, CallError> {
        self.change(key, Command::CancelOrder(CancelOrder { order }), |receipt, _| match *receipt {
            Receipt::OrderMoved { state: OrderState::Cancelled, .. } => {
                Some(Cancelled::Done(OrderState::Cancelled))
            }
            Receipt::Refund { .. } | Receipt::OrderMoved { .. } => Some(Cancelled::Refunding),
            _ => None,
        })
        .await
    }

    /// Gives (a part of) what was taken back. The native protocol does not ask for the currency.
    pub async fn refund(&self, key: Key, order: OrderId, amount: Money) -> Result<Refunded, CallError> {
        let key = if key.0 == 0 { Key::fresh() } else { key };
        let message = || ProcessRefundRequest {
            request_id: calls::request_id(key.0),
            payment_id: order.to_string(),
            amount: Some(calls::amount(amount)),
        };
        match &self.way {
            Way::Grpc(client) => client.process_refund(message()).await.and_then(refunded),
            Way::Session(session) => session.process_refund(message()).await.and_then(refunded),
            Way::Native(_) => {
                let command = Command::RefundPayment(RefundPayment { order, minor: amount.minor });
                let read = |receipt: &Receipt, _| match *receipt {
                    Receipt::Refund { refund, amount, state, .. } => {
                        Some(Refunded { refund, minor: amount.minor, state })
                    }
                    _ => None,
                };
                self.change(key, command, read).await
            }
        }
    }

    /// Creates or changes a product; gives its version.
    pub async fn put_product(&self, key: Key, put: PutProduct) -> Result<u64, CallError> {
        self.change(key, Command::PutProduct(Box::new(put)), |receipt, _| match *receipt {
            Receipt::Product { version } => Some(version),
            _ => None,
        })
        .await
    }

    /// Changes a SKU's stock.
    pub async fn update_stock(&self, key: Key, update: UpdateStock) -> Result<Stocked, CallError> {
        self.change(key, Command::UpdateStock(update), |receipt, _| match *receipt {
            Receipt::Stock { on_hand, held, version } => Some(Stocked { on_hand, held, version }),
            _ => None,
        })
        .await
    }

    /// What an order of these lines would meet, line by line, by what was last published.
    pub async fn validate(&self, lines: &[(Sku, i64)]) -> Result<Vec<Validated>, CallError> {
        let line = |(sku, quantity): &(Sku, i64)| ProductLine { sku: sku.to_string(), quantity: *quantity };
        let message = || ValidateProductsRequest { lines: lines.iter().map(line).collect() };
        let validated = match &self.way {
            Way::Native(client) => {
                let verdicts = client.validate(lines).await?;
                return Ok(verdicts.iter().map(Validated::from).collect());
            }
            Way::Grpc(client) => client.validate_products(message()).await?,
            Way::Session(session) => session.validate(message()).await?,
        };
        Ok(validated.lines.into_iter().map(Validated::from).collect())
    }

    /// Products as they were last published, SKU by SKU; `None` of one that nobody knows. Over gRPC each is a call.
    pub async fn products(&self, skus: &[Sku]) -> Result<Vec<Option<Described>>, CallError> {
        if let Way::Native(client) = &self.way {
            return client.products(skus).await;
        }
        let mut found = Vec::with_capacity(skus.len());
        for sku in skus {
            found.push(self.product(sku).await?);
        }
        Ok(found)
    }

    /// Follows the log of a shard from a position on, behind what a group has committed, or from now on: an async stream
    /// that goes on across connections. Over gRPC nobody does.
    pub async fn subscribe(&self, wanted: Subscribe) -> Result<Subscription, CallError> {
        match &self.way {
            Way::Native(client) => client.subscribe(wanted).await,
            Way::Grpc(_) | Way::Session(_) => Err(calls::unknown_method().into()),
        }
    }

    /// How many shards there are to follow; `None` over gRPC, which does not tell.
    pub fn shards(&self) -> Option<u16> {
        match &self.way {
            Way::Native(client) => Some(client.shards()),
            Way::Grpc(_) | Way::Session(_) => None,
        }
    }

    /// Records that a group is done with a shard's records of a topic up to a position. Over the native protocol alone.
    pub async fn commit_offset(
        &self,
        shard: ShardId,
        group: Text<47>,
        topic: Topic,
        position: Lsn,
    ) -> Result<(), CallError> {
        // Slots are dealt round-robin, so a shard's number is one of its slots; there are no more shards than slots.
        let slot = Slot(u8::try_from(shard.0).unwrap_or(u8::MAX));
        let commit = CommitOffset { slot, group, topic, lsn: Some(position) };
        self.change(Key(0), Command::CommitOffset(Box::new(commit)), |receipt, _| {
            matches!(receipt, Receipt::Offset { .. }).then_some(())
        })
        .await
    }

    async fn product(&self, sku: &Sku) -> Result<Option<Described>, CallError> {
        let message = GetProductDetailsRequest { sku: sku.to_string() };
        let told = match &self.way {
            Way::Native(client) => return Ok(client.products(&[*sku]).await?.pop().flatten()),
            Way::Grpc(client) => client.get_product_details(message).await,
            Way::Session(session) => session.product_details(message).await,
        };
        match told {
            Ok(told) => answers::sound(told.product.and_then(described::described)).map(Some),
            Err(CallError::Refused(refused)) if refused.reason == "UNKNOWN_PRODUCT" => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Places with a comma between them behind a scheme, which may stand in front of each; `None` if one is none.
fn places<'a>(scheme: &str, address: &'a str) -> Option<Vec<&'a str>> {
    let places = address.strip_prefix(scheme)?.split(',');
    let places = places.map(|place| place.strip_prefix(scheme).unwrap_or(place));
    places.map(|place| port(place).map(|_| place)).collect()
}

fn strange(reply: &Reply) -> CallError {
    let message = format!("expected an answer to what was asked, found {:?}", reply.outcome);
    CallError::Unknown { code: Code::Internal, message }
}

fn refunded(answer: ProcessRefundResponse) -> Result<Refunded, CallError> {
    let found = answer.refund.and_then(|found| {
        let state = match RefundStatus::try_from(found.status).ok()? {
            RefundStatus::Unspecified => return None,
            RefundStatus::Pending => RefundState::Pending,
            RefundStatus::Succeeded => RefundState::Succeeded,
            RefundStatus::Failed => RefundState::Failed,
        };
        Some(Refunded { refund: found.number.try_into().ok()?, minor: found.minor_units, state })
    });
    answers::sound(found)
}

impl From<&Verdict> for Validated {
    fn from(verdict: &Verdict) -> Self {
        let refused = match verdict.reason() {
            Some(reason) => Some(reason.0.to_owned()),
            // A later release has more of them.
            None if !verdict.valid() => Some("INVALID_FIELD".to_owned()),
            None => None,
        };
        Self { refused, available: verdict.available(), price: verdict.price() }
    }
}

impl From<LineValidation> for Validated {
    fn from(line: LineValidation) -> Self {
        Self {
            refused: (!line.valid).then_some(line.reason),
            available: line.available,
            price: answers::amount(line.unit_price.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_says_which_protocol_is_spoken() {
        for address in [
            "",
            "127.0.0.1:50060",
            "onrush://",
            "onrush://host",
            "onrush+grpc://host",
            "quic://host:1",
            "onrush+quic://host",
            "onrush+tls://:1",
            "http://:1",
            "onrush://127.0.0.1:1,",
            "onrush://127.0.0.1:1,host",
            "http://127.0.0.1:1,onrush://127.0.0.1:1:x",
        ] {
            let error = Shop::connect(address).await.err();
            assert_eq!(error, Some(CallError::Address(address.into())), "{address}");
        }
        // Over gRPC connections are made when they are used.
        let shop = Shop::connect("http://127.0.0.1:50052,http://127.0.0.2:50052").await.unwrap();
        assert!(matches!(shop.way, Way::Grpc(_)));
        let shop = Shop::connect("onrush+grpc://127.0.0.1:50052,127.0.0.1:50062").await.unwrap();
        assert!(matches!(shop.way, Way::Session(_)));
        let options = ShopOptions { retry: Retry::NEVER, ..ShopOptions::default() };
        let error = Shop::connect_with("onrush://127.0.0.1:1", &options).await.err().unwrap();
        assert!(error.to_string().contains("expected a server at 127.0.0.1:1"), "{error}");
    }

    #[test]
    fn a_key_has_the_digits_that_travel() {
        assert_eq!(Key(0xab).to_string(), format!("{}ab", "0".repeat(30)));
        assert_ne!(Key::fresh(), Key::fresh());
    }
}
