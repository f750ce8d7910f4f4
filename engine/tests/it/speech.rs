//! Commands as tables write them.

use std::collections::BTreeMap;

use onrush_proto::{
    CancelOrder, CapturePayment, Command, CreateOrder, DeleteDocument, GatewayResult, GetDocument, GroupAsk,
    GroupCommand, IdempotencyKey, Lsn, Money, MoveOrder, NameCommand, OrderId, OrderLine, OrderState,
    Outcome, PutDocument, PutProduct, Receipt, RefundPayment, Reply, SettleAttempt, SettleRefund, Slot,
    StartPayment, StockChange, Text, Topic, UpdateStock,
};

use crate::rig::Rig;
use crate::table::{moment_us, offset, placed, sku_on};

/// What a table calls its orders.
#[derive(Default)]
pub(crate) struct Speaker {
    orders: BTreeMap<String, OrderId>,
}

/// The words of one command.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        Self(text.split_whitespace().collect())
    }

    fn at(&self, index: usize) -> &'a str {
        self.0.get(index).copied().unwrap_or_default()
    }

    /// The word after `name`.
    fn after(&self, name: &str) -> Option<&'a str> {
        self.0.iter().position(|word| *word == name).map(|at| self.0[at + 1])
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.after(name).map(|word| word.parse().ok().unwrap_or_else(|| panic!("a number after {name}")))
    }
}

/// A number of the table: `max` is the largest there is.
fn number(word: &str) -> i64 {
    match word {
        "max" => i64::MAX,
        "min" => i64::MIN,
        _ => word.parse().unwrap_or_else(|_| panic!("expected a number, found {word}")),
    }
}

impl Speaker {
    /// How many commands a line stands for.
    pub(crate) fn commands(&self, text: &str) -> usize {
        let words = Words::of(text);
        if words.at(0) == "put" && words.has("stock") { 2 } else { 1 }
    }

    /// Remembers an order under its name in the table.
    pub(crate) fn learn(&mut self, text: &str, reply: &Reply) {
        let name = Words::of(text).after("as");
        if let (Some(name), Outcome::Accepted(Receipt::Order { order, .. })) = (name, &reply.outcome) {
            self.orders.insert(name.into(), *order);
        }
    }

    /// A line's commands, each under its key.
    pub(crate) fn requests(&self, rig: &Rig, text: &str) -> Vec<(IdempotencyKey, Command)> {
        let words = Words::of(text);
        let keyed = |name: &str| rig.key("c", &placed(rig, name, |name| Slot::of_hash(rig.key("c", name).0)));
        let key = words.after("key").map_or(IdempotencyKey::NONE, keyed);
        if words.at(0) == "put" {
            let put = put(rig, &words);
            let set =
                words.after("stock").map(|units| stock(rig, words.at(1), StockChange::Set(number(units))));
            return std::iter::once((key, put)).chain(set.map(|set| (IdempotencyKey::NONE, set))).collect();
        }
        vec![(key, self.command(rig, &words))]
    }

    fn command(&self, rig: &Rig, words: &Words<'_>) -> Command {
        match words.at(0) {
            "stock" => stock_command(rig, words),
            "order" => order(rig, words),
            "doc" => document(words),
            "name" => name(words),
            "commit" => offset(words.at(1), words.at(2), Some(words.at(3).parse().unwrap())),
            "position" => offset(words.at(1), words.at(2), None),
            "groups" => Command::ListGroups(Slot(0)),
            "group" => group(words),
            verb => self.of_order(verb, words),
        }
    }

    fn of_order(&self, verb: &str, words: &Words<'_>) -> Command {
        let unknown = OrderId::new(Slot(0), 1, 0, 1 << 40);
        let order = self.orders.get(words.at(1)).copied().unwrap_or(unknown);
        let serial = || words.at(2).trim_start_matches('#').parse().unwrap();
        match verb {
            "get" => Command::GetOrder(order),
            "cancel" => Command::CancelOrder(CancelOrder { order }),
            "move" => Command::MoveOrder(MoveOrder { order, to: order_state(words.at(2)) }),
            "pay" => {
                let method = words.after("with").unwrap_or("pm_card").parse().unwrap();
                Command::StartPayment(Box::new(StartPayment { order, method, capture: !words.has("later") }))
            }
            "settle" => {
                let result = gateway_result(words);
                Command::SettleAttempt(Box::new(SettleAttempt { order, attempt: serial(), result }))
            }
            "capture" => Command::CapturePayment(CapturePayment { order, minor: number(words.at(2)) }),
            "refund" => Command::RefundPayment(RefundPayment { order, minor: number(words.at(2)) }),
            "refunded" => {
                let succeeded = words.at(3) == "ok";
                Command::SettleRefund(SettleRefund { order, refund: serial(), succeeded })
            }
            other => panic!("unknown command {other}"),
        }
    }
}

/// `group books order.created fence 2`, `.. fence 2 at 5`, `.. fence 2 else 5`, `.. commit 5 under 2`, `.. reject 6 under 2 of 3`, or nothing to read it.
fn group(words: &Words<'_>) -> Command {
    let generation = words.number("under").unwrap_or_default();
    let lsn = |name| words.number(name).map(Lsn);
    let ask = match words.at(3) {
        "fence" => {
            let generation = words.number("fence").unwrap();
            GroupAsk::Fence { generation, lsn: lsn("at"), begin: lsn("else") }
        }
        "commit" => GroupAsk::Commit { generation, lsn: lsn("commit").unwrap() },
        "reject" => GroupAsk::Reject {
            generation,
            lsn: lsn("reject").unwrap(),
            reason: "r".repeat(words.number("saying").unwrap_or(3)),
            tries_max: words.number("of").unwrap(),
        },
        _ => GroupAsk::Get,
    };
    let group = if words.at(1) == "none" { Text::EMPTY } else { words.at(1).parse().unwrap() };
    let topic = Topic::from_name(words.at(2)).unwrap();
    Command::Group(Box::new(GroupCommand { slot: Slot(0), group, topic, ask }))
}

fn put(rig: &Rig, words: &Words<'_>) -> Command {
    let currency = words.after("in").unwrap_or("EUR").parse().unwrap();
    let price = number(words.after("price").unwrap_or("100"));
    let name = words.after("named").unwrap_or("thing");
    Command::PutProduct(Box::new(PutProduct {
        sku: sku_on(rig, words.at(1)),
        name: if name == "nothing" { String::new() } else { name.into() },
        description: String::new(),
        category: Text::EMPTY,
        brand: Text::EMPTY,
        price: Money::new(price, currency),
        limit_per_customer: words.number("limit").unwrap_or(0),
        limit_returns: words.has("returns"),
        backorder: words.number("backorder").unwrap_or(0),
        hold_us: words.after("hold").map_or(0, moment_us),
        active: !words.has("withdrawn"),
    }))
}

fn stock(rig: &Rig, sku: &str, change: StockChange) -> Command {
    Command::UpdateStock(UpdateStock { sku: sku_on(rig, sku), change, reason: "test".parse().unwrap() })
}

fn stock_command(rig: &Rig, words: &Words<'_>) -> Command {
    let units = || number(words.at(3));
    let change = match (words.at(2), words.number("if")) {
        ("", _) => return Command::GetStock(sku_on(rig, words.at(1))),
        ("set", _) => StockChange::Set(units()),
        ("add", None) => StockChange::Add(units()),
        ("add", Some(version)) => StockChange::AddIfVersion { add: units(), version },
        (other, _) => panic!("expected set or add, found {other}"),
    };
    stock(rig, words.at(1), change)
}

/// `order ada tea x2 max-price 90 , cup x1 hold 60s key k1 as o1`
fn order(rig: &Rig, words: &Words<'_>) -> Command {
    let mut lines: Vec<OrderLine> = Vec::new();
    let mut rest = words.0[2..].iter().copied().peekable();
    while let Some(word) = rest.next() {
        match word {
            "key" | "as" | "hold" => drop(rest.next()),
            "max-price" => {
                let ceiling = number(rest.next().unwrap());
                lines.last_mut().unwrap().max_unit_minor = ceiling;
            }
            "," => {}
            sku => {
                let quantity =
                    rest.next_if(|word| word.starts_with('x')).map_or(1, |word| number(&word[1..]));
                lines.push(OrderLine::new(sku_on(rig, sku), quantity));
            }
        }
    }
    let customer = if words.at(1) == "nobody" { Text::EMPTY } else { words.at(1).parse().unwrap() };
    let hold_us = words.after("hold").map_or(0, moment_us);
    Command::CreateOrder(CreateOrder { customer, lines: lines.into(), hold_us })
}

fn order_state(word: &str) -> OrderState {
    use OrderState::*;
    let all = [
        Reserving,
        Rejected,
        Pending,
        Paid,
        Fulfilling,
        Shipped,
        Delivered,
        Cancelled,
        Expired,
        PartiallyRefunded,
        Refunded,
    ];
    all.into_iter().find(|state| format!("{state:?}").eq_ignore_ascii_case(word)).unwrap()
}

fn gateway_result(words: &Words<'_>) -> GatewayResult {
    let reference = "ref".parse().unwrap();
    match words.at(3) {
        "captured" => GatewayResult::Captured { reference },
        "authorised" => GatewayResult::Authorised { reference },
        "declined" => GatewayResult::Declined { code: "no_funds".parse().unwrap() },
        "expired" => GatewayResult::CaptureFailed { code: "expired".parse().unwrap() },
        "unknown" => GatewayResult::Unknown,
        other => panic!("unknown gateway result {other}"),
    }
}

fn document(words: &Words<'_>) -> Command {
    let (key, expected, placement) = (words.at(2).parse().unwrap(), words.number("if"), None);
    match words.at(1) {
        "put" => {
            let text = words.at(3);
            let value = match text.strip_prefix("bytes:") {
                Some(bytes) => vec![b'x'; bytes.parse().unwrap()],
                None => text.as_bytes().to_vec(),
            };
            let emit = words.after("emit").map(|topic| Topic::from_name(topic).unwrap());
            Command::PutDocument(Box::new(PutDocument { key, placement, value, expected, emit }))
        }
        "delete" => Command::DeleteDocument(Box::new(DeleteDocument { key, placement, expected })),
        "get" => Command::GetDocument(Box::new(GetDocument { key, placement })),
        other => panic!("unknown document command {other}"),
    }
}

fn name(words: &Words<'_>) -> Command {
    let name = words.at(2).parse().unwrap();
    let owner = words.after("by").map_or(Text::EMPTY, |owner| owner.parse().unwrap());
    Command::Name(Box::new(match words.at(1) {
        "claim" => {
            NameCommand::Claim { name, owner, for_us: words.after("for").map_or(1_000_000, moment_us) }
        }
        "confirm" => NameCommand::Confirm { name, owner },
        "release" => NameCommand::Release { name, owner },
        "get" => NameCommand::Get { name },
        other => panic!("unknown name command {other}"),
    }))
}
