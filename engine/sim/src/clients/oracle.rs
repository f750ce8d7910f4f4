//! What clients may be told: every attempt ends as accepted, refused, or unknown.

use std::collections::BTreeMap;

use onrush_proto::{
    Command, KeyState, OrderState, Outcome, Receipt, Refusal, Reply, Request, Row, RowTag, Slot,
};

use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "oracle";

/// One sending of a request.
pub(crate) struct Attempt {
    pub(crate) request: Request,
    /// What the key stood for when this was sent, as far as clients knew.
    known: Option<(u64, Receipt)>,
}

/// Attempts with one body under one key.
#[derive(Default)]
struct Tally {
    sent: u64,
    refused: u64,
}

#[derive(Default)]
struct KeyBook {
    accepted: Option<(u64, Receipt)>,
    bodies: BTreeMap<u64, Tally>,
}

/// All attempts and what is known of each key.
#[derive(Default)]
pub(crate) struct Oracle {
    keys: BTreeMap<u128, KeyBook>,
    waiting: BTreeMap<u64, Attempt>,
    next_tag: u64,
}

impl Oracle {
    /// Notes a sending; returns its tag.
    pub(crate) fn sent(&mut self, request: &Request) -> u64 {
        let mut known = None;
        if !request.key.is_none() {
            let book = self.keys.entry(request.key.0).or_default();
            book.bodies.entry(request.body).or_default().sent += 1;
            known = book.accepted;
        }
        self.next_tag += 1;
        self.waiting.insert(self.next_tag, Attempt { request: request.clone(), known });
        self.next_tag
    }

    /// Nobody will answer any more: everything under way is unknown.
    pub(crate) fn lost(&mut self) -> Vec<Attempt> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Nobody will answer this one any more.
    pub(crate) fn forget(&mut self, tag: u64) {
        self.waiting.remove(&tag);
    }

    /// What an attempt that waits asked for.
    pub(crate) fn request(&self, tag: u64) -> Option<&Request> {
        self.waiting.get(&tag).map(|attempt| &attempt.request)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Judges a reply. Returns the attempt that it answers.
    pub(crate) fn answered(
        &mut self,
        mirror: &mut Mirror,
        tag: u64,
        reply: &Reply,
    ) -> Result<Attempt, Violation> {
        let attempt = self.waiting.remove(&tag).ok_or_else(|| wrong("one reply per attempt", reply))?;
        if attempt.request.key.is_none() {
            judge_read(mirror, &attempt.request, reply)?;
        } else if !mirror.lost.has_key(attempt.request.key.0) {
            self.judge(mirror, &attempt, reply)?;
        }
        Ok(attempt)
    }

    fn judge(&mut self, mirror: &Mirror, attempt: &Attempt, reply: &Reply) -> Verdict {
        let (key, body) = (attempt.request.key.0, attempt.request.body);
        let book = self.keys.entry(key).or_default();
        match reply.outcome {
            Outcome::Accepted(receipt) => {
                let told = (body, receipt);
                if book.accepted.is_some_and(|accepted| accepted != told) {
                    return Err(wrong(&format!("{:?}, as told before", book.accepted), reply));
                }
                if attempt.known.is_some() && !reply.replayed {
                    return Err(wrong("an acceptance marked as a replay", reply));
                }
                book.accepted = Some(told);
                durable(mirror, key, told, reply)
            }
            Outcome::Refused(Refusal::Stopped) => Ok(()),
            Outcome::Refused(refusal) => {
                let tally = book.bodies.entry(body).or_default();
                tally.refused += 1;
                let others =
                    book.bodies.iter().any(|(other, tally)| *other != body && tally.sent > tally.refused);
                let sent: u64 = book.bodies.values().map(|tally| tally.sent).sum();
                let fits = match (refusal, attempt.known) {
                    (Refusal::DeadlineExceeded, _) => true,
                    (Refusal::KeyReused, Some((known, _))) => known != body,
                    (Refusal::KeyReused, None) => others,
                    (_, Some(_)) => false,
                    (Refusal::KeyInProgress, None) => sent > 1,
                    (_, None) => true,
                };
                if fits {
                    Ok(())
                } else {
                    Err(wrong(&format!("{:?} of key {key:032x}", attempt.known), reply))
                }
            }
            _ => Ok(()),
        }
    }

    /// Keys that clients hold a receipt of.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = (u128, u64, Receipt)> {
        self.keys.iter().filter_map(|(key, book)| book.accepted.map(|(body, receipt)| (*key, body, receipt)))
    }

    /// True if some attempt with this body was not refused.
    pub(crate) fn may_stand(&self, key: u128, body: u64) -> bool {
        let tally = self.keys.get(&key).and_then(|book| book.bodies.get(&body));
        tally.is_some_and(|tally| tally.sent > tally.refused)
    }

    /// The receipt that clients hold for a key.
    pub(crate) fn receipt(&self, key: u128) -> Option<Receipt> {
        self.keys.get(&key)?.accepted.map(|(_, receipt)| receipt)
    }

    /// A shard lost its last unsealed frame: receipts from it are unknown again.
    pub(crate) fn forget_lost(&mut self, mirror: &Mirror) {
        for (key, book) in &mut self.keys {
            if !mirror.firsts.contains_key(key) || mirror.lost.has_key(*key) {
                book.accepted = None;
            }
        }
    }
}

fn wrong(expected: &str, reply: &Reply) -> Violation {
    Violation::new(NAME, expected, format!("{reply:?}"))
}

/// An acceptance leaves only when its record, and its key's claim, are durable.
fn durable(mirror: &Mirror, key: u128, told: (u64, Receipt), reply: &Reply) -> Verdict {
    let first = mirror.firsts.get(&key).map(|first| (first.body, first.receipt));
    if first != Some(told) {
        return Err(wrong(&format!("a reply after its record is durable: {first:?}"), reply));
    }
    let keeper = mirror.owner(Slot::of_hash(key));
    match mirror.books[keeper].keys.get(&key) {
        Some(KeyState::First { .. } | KeyState::Claim { .. }) => Ok(()),
        None => Err(wrong("a reply after its key's claim is durable", reply)),
    }
}

/// Reads show the row as it was at the position they name.
fn judge_read(mirror: &mut Mirror, request: &Request, reply: &Reply) -> Verdict {
    let shard = mirror.owner(request.command.slot());
    let lsn = reply.lsn.0;
    let (tag, key, row) = match (&request.command, &reply.outcome) {
        (Command::GetOrder(id), Outcome::Order(row)) => {
            (RowTag::Order, id.0.to_be_bytes().to_vec(), Some(Row::Order((**row).clone())))
        }
        (Command::GetStock(sku), Outcome::Stock(row)) => {
            (RowTag::Stock, sku.as_bytes().to_vec(), Some(Row::Stock(**row)))
        }
        (Command::GetDocument(get), Outcome::Document(row)) => {
            (RowTag::Document, get.key.as_bytes().to_vec(), Some(Row::Document(row.clone())))
        }
        (Command::GetStock(sku), Outcome::Refused(Refusal::UnknownProduct)) => {
            (RowTag::Stock, sku.as_bytes().to_vec(), None)
        }
        (Command::GetOrder(id), Outcome::Refused(Refusal::UnknownOrder { .. })) => {
            return match mirror.order(*id).map(|order| order.state) {
                None | Some(OrderState::Queued | OrderState::Reserving | OrderState::Rejected) => Ok(()),
                // Accepted after the read was decided.
                Some(_) if mirror.version_at(shard, RowTag::Order, &id.0.to_be_bytes(), lsn).is_none() => {
                    Ok(())
                }
                Some(_) => Err(wrong("an order that the log has", reply)),
            };
        }
        _ => return Ok(()),
    };
    let expected = mirror.version_at(shard, tag, &key, lsn);
    let found = row.map(|row| mirror.hash_of(&row));
    if expected == found { Ok(()) } else { Err(wrong(&format!("the row as of record {lsn}"), reply)) }
}
