//! Who may do what, over real sockets: roles and calls, own objects and others', tokens that are none.

mod keys;
mod matrix;
mod message;
mod open;
mod over_http;
mod over_json;
mod tokens;

use onrush_services::access::{Access, Call, Keyring, Role};
use onrush_services::config::{Config, Service, Tokens};
use prost::bytes::{Buf, BufMut};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::shop::Shop;

/// A shop that wants tokens, with everything it serves, and the key that signs them.
pub(crate) struct Street {
    pub(crate) shop: Shop,
    http: reqwest::Client,
    keyring: Keyring,
    channels: Vec<(&'static str, Channel)>,
}

/// What a call was refused for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) field: Option<String>,
    pub(crate) message: String,
}

impl Refusal {
    fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone());
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        Self { code: status.code(), reason, field, message: status.message().into() }
    }
}

/// Everything is served, and parcels lie where they are.
pub(crate) fn everything(config: &mut Config) {
    config.services = Service::ALL.map(|service| (service, 0)).to_vec();
    config.shipping.behaviour = "p50_ms=1,p99_ms=2,pickup_ms=3600000".parse().unwrap();
}

impl Street {
    pub(crate) async fn open() -> Self {
        Self::open_with(|config| config.access = Access::Required).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        let mut tokens = Tokens::default();
        let shop = Shop::open_with(|config| {
            everything(config);
            change(config);
            tokens = config.tokens.clone();
        });
        let keyring = Keyring::open(&shop.dir.path().join("data"), &tokens).unwrap();
        let mut channels = Vec::new();
        for service in Service::ALL {
            let channel = Endpoint::from_shared(shop.address(service)).unwrap().connect().await.unwrap();
            channels.push((service.grpc_name(), channel));
        }
        // The admin service and the log stand beside each.
        channels.push(("onrush.log.v1.LogService", channels[0].1.clone()));
        channels.push(("onrush.admin.v1.AdminService", channels[0].1.clone()));
        Self { shop, http: reqwest::Client::new(), keyring, channels }
    }

    /// A good token.
    pub(crate) fn token(&self, user: &str, roles: &[Role]) -> String {
        self.keyring.issue(user, "a-login", roles.iter().copied().collect()).unwrap()
    }

    /// Makes a call with these values of `authorization`.
    pub(crate) async fn call_with(
        &self,
        call: Call,
        authorization: &[String],
        message: Vec<u8>,
    ) -> Result<Vec<u8>, Refusal> {
        let (_, channel) = self.channels.iter().find(|(name, _)| *name == call.service()).unwrap();
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let mut request = Request::new(message);
        for value in authorization {
            request.metadata_mut().append("authorization", value.parse().unwrap());
        }
        let path: PathAndQuery = format!("/{}/{}", call.service(), call.name()).parse().unwrap();
        let answer = grpc.unary(request, path, Raw).await;
        answer.map(tonic::Response::into_inner).map_err(|status| Refusal::of(&status))
    }

    /// Makes a call as the bearer of a token, or as nobody.
    pub(crate) async fn call(
        &self,
        call: Call,
        token: Option<&str>,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, Refusal> {
        let value: Vec<String> = token.iter().map(|token| format!("Bearer {token}")).collect();
        self.call_with(call, &value, message).await
    }

    /// The same, of a call that must succeed.
    pub(crate) async fn ask<M: prost::Message + Default>(
        &self,
        call: Call,
        token: &str,
        message: impl prost::Message,
    ) -> M {
        let answer = self.call(call, Some(token), message.encode_to_vec()).await;
        M::decode(answer.unwrap_or_else(|refusal| panic!("{call:?}: {refusal:?}")).as_slice()).unwrap()
    }

    /// Puts a product with stock, as a merchant.
    pub(crate) async fn stock(&self, sku: &str) {
        use onrush_grpc::product::v1 as product;
        let merchant = self.token("merchant-0", &[Role::Merchant]);
        let put = crate::shop::product(sku, 499);
        self.ask::<product::PutProductResponse>(Call::PutProduct, &merchant, put).await;
        let change = Some(product::update_stock_request::Change::Set(1_000));
        let update = product::UpdateStockRequest { sku: sku.into(), change, ..Default::default() };
        self.ask::<product::UpdateStockResponse>(Call::UpdateStock, &merchant, update).await;
    }
}

/// Messages as they are on the wire: calls by name, whatever they carry.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let len = from.remaining();
        Ok(Some(from.copy_to_bytes(len).to_vec()))
    }
}
