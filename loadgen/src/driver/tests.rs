//! The loop against targets that only count, or push back.

use std::collections::HashSet;

use clap::Parser;
use onrush_proto::{Lsn, Outcome, Refusal, Sku};

use super::*;
use crate::cli::Cli;
use crate::meter::Meter;
use crate::schedule::Curve;
use crate::target::{Books, Page, Setup, TargetError, Viewed};

/// Says sold out at once to everything, with room for `room` requests.
struct Wall {
    tags: Vec<u64>,
    room: usize,
}

impl Target for Wall {
    fn name(&self) -> String {
        "wall".into()
    }

    fn submit(&mut self, tag: u64, request: Request) -> Option<Request> {
        if self.tags.len() == self.room {
            return Some(request);
        }
        self.tags.push(tag);
        None
    }

    fn flush(&mut self) {}

    fn drain(&mut self, replies: &mut Vec<(u64, Reply)>) -> usize {
        let refusal = Refusal::OutOfStock { line: 0, asked: 1, available: 0 };
        let reply = Reply { outcome: Outcome::Refused(refusal), replayed: false, lsn: Lsn(0) };
        replies.extend(self.tags.drain(..).map(|tag| (tag, reply.clone())));
        replies.len()
    }

    fn wait(&mut self, _timeout: Duration) -> bool {
        true
    }

    fn in_flight(&self) -> usize {
        self.tags.len()
    }

    fn view(&mut self, _tag: u64, _page: Page, _sku: &Sku) -> Viewed {
        Viewed::Missing
    }

    fn books(&mut self) -> Result<Books, TargetError> {
        Ok(Books::default())
    }

    fn meter(&self) -> Result<Meter, TargetError> {
        Ok(Meter::blind())
    }

    fn setup(&self) -> Setup {
        Setup::default()
    }

    fn close(self: Box<Self>) -> Result<(), TargetError> {
        Ok(())
    }
}

/// Offers a flat rate for a second; returns the tally and how many were answered `sold_out`.
fn offer(rate: f64, room: usize) -> (Tally, u64) {
    let cli = Cli::try_parse_from(["loadgen", "flash-sale", "--duration", "1"]).unwrap();
    let mut plan = cli.scenario().plan().unwrap();
    plan.times = Times::Along(Curve::flat(rate, 1.0));
    plan.sells_out = 0;
    let mut wall = Wall { tags: Vec::new(), room };
    let mut driver = Driver::new(&plan, &mut wall, Progress::new(true, plan.duration_s));
    driver.run();
    (driver.tally, driver.recorder.count(Operation::CreateOrder, Verdict::SoldOut))
}

#[test]
fn keys_are_reproducible_and_never_meet() {
    assert_eq!(key_of(1, 2, 3), key_of(1, 2, 3));
    let keys: HashSet<u128> =
        (0..100_000).flat_map(|serial| [0, 1, 2].map(|step| key_of(5, serial, step).0)).collect();
    assert_eq!(keys.len(), 300_000);
}

#[test]
fn a_target_that_pushes_back_loses_no_request() {
    let (tally, sold_out) = offer(20_000.0, 7);
    assert!((19_000..21_000).contains(&tally.offered), "{tally:?}");
    assert_eq!((tally.offered, tally.answered), (sold_out, sold_out));
}

#[test]
fn a_door_turns_away_whom_it_has_no_room_for() {
    let cli = Cli::try_parse_from(["loadgen", "overload", "--duration", "1", "--in-flight", "5"]).unwrap();
    let mut plan = cli.scenario().plan().unwrap();
    plan.times = Times::Along(Curve::flat(20_000.0, 1.0));
    let mut wall = Wall { tags: Vec::new(), room: 1_000 };
    let mut driver = Driver::new(&plan, &mut wall, Progress::new(true, plan.duration_s));
    driver.run();
    let Tally { offered, answered, turned_away, .. } = driver.tally;
    assert!(turned_away > 0 && answered > 0, "{:?}", driver.tally);
    assert_eq!(offered, answered + turned_away);
    let throttled = [Operation::CreateOrder, Operation::OverloadOrder, Operation::AfterOrder]
        .map(|operation| driver.recorder.count(operation, Verdict::Throttled));
    assert_eq!(throttled.iter().sum::<u64>(), turned_away);
}
