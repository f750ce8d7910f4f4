//! Charges that the buyer has to approve at the gateway first. Each is kept as a document on its order's slot,
//! from before anybody is told of it until it is settled, so that the link is told again, and a crash at any
//! point knows what was asked of whom.

use std::fmt;
use std::str::FromStr;

use onrush_proto::row::{self, RowTag};
use onrush_proto::{
    AttemptState, Command, DeleteDocument, DocKey, DocumentRow, FactView, OrderId, OrderRow, OrderState,
    PaymentState, PutDocument, RecordKind, Refusal, Request, Text,
};
use serde::{Deserialize, Serialize};

use super::{GatewayKey, Op};
use crate::backend::{Accepted, Backend};
use crate::base_url::base_url;
use crate::deadline::Deadline;
use crate::settlements::Watch;
use crate::status::Rejection;

/// The collection of approvals.
const COLLECTION: &str = "approvals/";
/// Bytes of a link.
const LINK_BYTES_MAX: usize = 2_048;
/// What stands for the order's id in a return URL.
const ORDER: &str = "{order}";

/// What the buyer is to approve, or did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Approval {
    /// Where the buyer's browser goes for it.
    pub link: String,
    /// The gateway's name of the charge.
    pub(super) reference: String,
    /// How far it is.
    pub(super) stage: Stage,
}

/// How far an approval is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The buyer is to approve.
    Awaited,
    /// The buyer did, and the gateway may have been asked to take the money.
    Taking,
    /// Something else is to pay: nobody waits for it any more.
    GivenUp,
}

impl Approval {
    /// What a gateway says that the buyer is to approve; `None` if its link leads nowhere that a buyer
    /// should go.
    pub(super) fn new(link: &str, reference: &str) -> Option<Self> {
        let good = link.len() <= LINK_BYTES_MAX && base_url(link).is_some();
        good.then(|| Self { link: link.into(), reference: reference.into(), stage: Stage::Awaited })
    }
}

/// An approval as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) approval: Approval,
    key: GatewayKey,
    version: u64,
}

impl Kept {
    /// Keeps what a charge under this key has to wait for.
    pub(super) async fn keep(
        backend: &Backend,
        key: GatewayKey,
        approval: Approval,
    ) -> Result<Self, Rejection> {
        let version = put(backend, key, &approval, None).await?;
        Ok(Self { approval, key, version })
    }

    /// What a charge under this key waits for; `None` if for nothing.
    pub(super) async fn find(backend: &Backend, key: GatewayKey) -> Result<Option<Self>, Rejection> {
        let Some(row) = backend.document_at(document(key), Some(key.order.slot())).await? else {
            return Ok(None);
        };
        let approval = serde_json::from_slice(row.value.as_deref().unwrap_or_default())
            .map_err(|error| Rejection::Internal(format!("{}: {error}", row.key)))?;
        Ok(Some(Self { approval, key, version: row.version }))
    }

    /// Takes it to a stage; `None` if somebody else changed it first.
    pub(super) async fn to(mut self, backend: &Backend, stage: Stage) -> Result<Option<Self>, Rejection> {
        self.approval.stage = stage;
        match put(backend, self.key, &self.approval, Some(self.version)).await {
            Ok(version) => Ok(Some(Self { version, ..self })),
            Err(Rejection::Refused(Refusal::VersionMismatch { .. } | Refusal::NotFound)) => Ok(None),
            Err(rejection) => Err(rejection),
        }
    }
}

/// Nobody waits for the buyer any more.
pub(super) async fn forget(backend: &Backend, key: GatewayKey) -> Result<(), Rejection> {
    let delete = DeleteDocument { key: document(key), placement: Some(key.order.slot()), expected: None };
    match backend.accept(Request::unkeyed(Command::DeleteDocument(Box::new(delete)))).await {
        Ok(_) | Err(Rejection::Refused(Refusal::NotFound)) => Ok(()),
        Err(rejection) => Err(rejection),
    }
}

/// What the buyer is to approve now so that an order is paid; `None` if nothing.
pub async fn awaited(backend: &Backend, row: &OrderRow) -> Result<Option<Approval>, Rejection> {
    let Some(key) = under_way(row).filter(|_| row.state == OrderState::Pending) else { return Ok(None) };
    let kept = Kept::find(backend, key).await?;
    Ok(kept.map(|kept| kept.approval).filter(|approval| approval.stage == Stage::Awaited))
}

/// Starts an attempt. One that only waits for the buyer is in nobody's way: it is given up, and the new one
/// begins when the gateway has let go of it.
pub async fn start(
    backend: &Backend,
    watch: &mut Watch,
    deadline: Deadline,
    request: Request,
) -> Result<Accepted, Rejection> {
    let processing = Refusal::IllegalPayment { state: PaymentState::Processing };
    match backend.accept(request.clone()).await {
        Err(Rejection::Refused(refusal))
            if refusal == processing && give_up(backend, watch.order()).await? => {}
        other => return other,
    }
    watch.until(backend, deadline, |row| under_way(row).is_none()).await?;
    backend.accept(request).await
}

/// Gives up what the buyer was to approve; false if it is not for the buyer to go on.
async fn give_up(backend: &Backend, order: OrderId) -> Result<bool, Rejection> {
    let row = backend.order(order).await?;
    // Settled meanwhile.
    let Some(key) = under_way(&row) else { return Ok(true) };
    while let Some(kept) = Kept::find(backend, key).await? {
        match kept.approval.stage {
            Stage::Taking => return Ok(false),
            Stage::GivenUp => return Ok(true),
            Stage::Awaited if kept.to(backend, Stage::GivenUp).await?.is_some() => return Ok(true),
            Stage::Awaited => {}
        }
    }
    Ok(false)
}

/// The key of the charge that is with a gateway.
pub(super) fn under_way(row: &OrderRow) -> Option<GatewayKey> {
    let last = row.payment.as_ref()?.attempts.last()?;
    let open = matches!(last.state, AttemptState::Processing | AttemptState::Unknown);
    open.then_some(GatewayKey { order: row.id, number: last.number, op: Op::Charge })
}

/// The charge whose approval a record changes, and how it stands after it.
fn of_record(fact: FactView<'_>) -> Option<(GatewayKey, Approval)> {
    if fact.kind != RecordKind::DocumentPut {
        return None;
    }
    let (_, bytes) = fact.rows().flatten().find(|(tag, _)| *tag == RowTag::Document)?;
    let row = row::view::<DocumentRow>(RowTag::Document, bytes).ok()?;
    let key = GatewayKey::parse(&format!("{}:charge", row.key.as_str().strip_prefix(COLLECTION)?))?;
    Some((key, serde_json::from_slice(row.value.as_deref()?).ok()?))
}

/// The attempt that a record asks the buyer to approve.
pub(crate) fn asked(fact: FactView<'_>) -> Option<(OrderId, u16)> {
    let (key, approval) = of_record(fact)?;
    (approval.stage == Stage::Awaited).then_some((key.order, key.number))
}

/// The charge that a record gives up.
pub(super) fn given_up(fact: FactView<'_>) -> Option<GatewayKey> {
    let (key, approval) = of_record(fact)?;
    (approval.stage == Stage::GivenUp).then_some(key)
}

fn document(key: GatewayKey) -> DocKey {
    // 10 + 32 + 1 + at most 5 bytes.
    Text::new(&format!("{COLLECTION}{}:{}", key.order, key.number)).unwrap_or_default()
}

async fn put(
    backend: &Backend,
    key: GatewayKey,
    approval: &Approval,
    expected: Option<u64>,
) -> Result<u64, Rejection> {
    let value = serde_json::to_vec(approval).map_err(|error| Rejection::Internal(error.to_string()))?;
    let placement = Some(key.order.slot());
    backend.put_document_at(PutDocument { key: document(key), placement, value, expected, emit: None }).await
}

/// Where the buyer's browser goes when it is done at the gateway; `{order}` stands for the order's id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReturnUrl(String);

/// A text that is no return URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected an https URL, or http to this machine, in which {{order}} stands for the order's id, found {0:?}"
)]
pub struct ReturnUrlError(String);

impl FromStr for ReturnUrl {
    type Err = ReturnUrlError;

    fn from_str(text: &str) -> Result<Self, ReturnUrlError> {
        let url = base_url(&text.replace(ORDER, "0"));
        url.map(|_| Self(text.into())).ok_or_else(|| ReturnUrlError(text.into()))
    }
}

impl fmt::Display for ReturnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ReturnUrl {
    /// Where the buyer of this order goes.
    pub(super) fn of(&self, order: OrderId) -> String {
        self.0.replace(ORDER, &order.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_over_tls_and_are_bounded() {
        assert!(Approval::new("https://hooks.stripe.com/3d?x=1", "pi_1").is_some());
        let long = format!("https://hooks.stripe.com/{}", "x".repeat(LINK_BYTES_MAX));
        for link in ["", "http://hooks.stripe.com/", "javascript:alert(1)", "https://a:b@c.example", &long] {
            assert_eq!(Approval::new(link, "pi_1"), None, "{link:.40}");
        }
    }

    #[test]
    fn an_approval_reads_as_it_was_written() {
        let approval = Approval::new("https://a.example/x", "pp_1").unwrap();
        let text = serde_json::to_string(&approval).unwrap();
        assert_eq!(text, r#"{"link":"https://a.example/x","reference":"pp_1","stage":"awaited"}"#);
        assert_eq!(serde_json::from_str::<Approval>(&text).unwrap(), approval);
    }

    #[test]
    fn the_buyer_comes_back_to_the_order() {
        let url: ReturnUrl = "https://shop.example/orders/{order}?paid".parse().unwrap();
        assert_eq!(url.of(OrderId(10)), format!("https://shop.example/orders/{}?paid", OrderId(10)));
        for text in ["", "shop.example", "http://shop.example/{order}", "{order}"] {
            let error = text.parse::<ReturnUrl>().unwrap_err().to_string();
            assert!(error.starts_with("expected an https URL"), "{error}");
        }
    }
}
