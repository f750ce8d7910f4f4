//! What is counted. A case sets itself up, does its work within [`counted_by_callgrind`] and says how many
//! operations that was. The same work in every run: no clock, no randomness, hash tables with fixed seeds.

use std::hint::black_box;
use std::sync::Arc;

use onrush_engine::shard::{Shard, ShardOptions};
use onrush_engine::views::{ShardViews, Views, validate};
use onrush_proto::frame::{
    Commands, FRAME_BYTES_MAX, Frame, Kind, ValidateView, Verdict, begin, put_command, put_line, put_verdict,
};
use onrush_proto::{FactView, KeyHasher, Outcome, Refusal, ShardId, SlotMap};
use onrush_storage::log::{Frame as LogFrame, FrameBuf, Log, LogOptions, Prepare};

use super::callgrind::counted_by_callgrind;
use super::null_disk::NullDisk;
use crate::Failure;
use crate::lone::LoneShard;
use crate::sale::Sale;

/// Commands of a turn, records of a frame.
const GROUP: usize = 512;
/// Turns that are counted.
const TURNS: usize = 8;
/// Turns before, whose orders expire, so that the tables have their size.
const WARM_TURNS: usize = 16;
/// Commands or lines of a native frame.
const ENTRIES: usize = 64;
const FRAMES: usize = 64;
const SKUS: usize = 1_000;
/// What an accepted order takes in the log, about.
const RECORD_BYTES: usize = 256;
const NOW_US: u64 = 1_700_000_000_000_000;

/// Something that is counted.
pub(super) struct Case {
    /// Its name in the record.
    pub(super) name: &'static str,
    /// Does it, and says how many operations were counted.
    pub(super) run: fn() -> Result<u64, Failure>,
}

/// Everything that is counted.
pub(super) const CASES: [Case; 6] = [
    Case { name: "decide-accepted", run: decide_accepted },
    Case { name: "decide-sold-out", run: decide_sold_out },
    Case { name: "apply", run: apply },
    Case { name: "frame-parse", run: frame_parse },
    Case { name: "log-append", run: log_append },
    Case { name: "validate", run: validate_lines },
];

/// One-line orders with a key and a customer's limit that are accepted: the decision, its rows in memory
/// and its record in the frame.
fn decide_accepted() -> Result<u64, Failure> {
    turns(Sale::hot(), |outcome| matches!(outcome, Outcome::Accepted(_)))
}

/// The same when nothing is left.
fn decide_sold_out() -> Result<u64, Failure> {
    turns(Sale::sold_out(), |outcome| matches!(outcome, Outcome::Refused(Refusal::OutOfStock { .. })))
}

fn turns(mut sale: Sale, fits: fn(&Outcome) -> bool) -> Result<u64, Failure> {
    let mut lone = LoneShard::open(&sale)?;
    for _ in 0..WARM_TURNS {
        lone.load(sale.orders(GROUP));
        lone.batch();
        lone.let_go();
    }
    lone.expire();
    for _ in 0..TURNS {
        lone.load(sale.orders(GROUP));
        counted_by_callgrind(|| lone.batch());
        lone.expect("the outcome of the case", fits)?;
        lone.let_go();
    }
    Ok((TURNS * GROUP) as u64)
}

/// Records of accepted orders, decoded and applied as recovery and a follower do it.
fn apply() -> Result<u64, Failure> {
    let frames = frames_of_orders()?;
    let map = SlotMap::new(1).ok_or_else(|| Failure::unexpected("a map of one shard", 1))?;
    let mut shard = Shard::new(ShardOptions::new(ShardId(0), map, KeyHasher::new([1, 2])));
    // The first half is not counted: tables grow to their size.
    let (warm, counted) = frames.split_at(frames.len() / 2);
    warm.iter().try_for_each(|frame| replay(&mut shard, frame))?;
    counted_by_callgrind(|| counted.iter().try_for_each(|frame| replay(&mut shard, frame)))?;
    if shard.state().orders.open_len() != frames.len() * GROUP {
        return Err(Failure::unexpected("an open order for each record", shard.state().orders.open_len()));
    }
    Ok((counted.len() * GROUP) as u64)
}

fn replay(shard: &mut Shard, frame: &LogFrame) -> Result<(), Failure> {
    for record in frame.view().records() {
        let fact = FactView::new(record.kind, record.payload)?.read(record.key_hash)?;
        shard.replay(fact, record.lsn, NOW_US);
    }
    shard.settle_replay();
    Ok(())
}

/// Frames of turns that accept orders.
fn frames_of_orders() -> Result<Vec<LogFrame>, Failure> {
    let mut sale = Sale::hot();
    let mut lone = LoneShard::open(&sale)?;
    let mut log = log()?;
    let mut frames = Vec::new();
    for _ in 0..2 * TURNS {
        lone.load(sale.orders(GROUP));
        lone.batch();
        lone.expect("an accepted order", |outcome| matches!(outcome, Outcome::Accepted(_)))?;
        let mut records = lone.effects().frame.clone();
        log.append(&mut records, NOW_US)?;
        frames.push(records.to_frame());
        lone.let_go();
    }
    Ok(frames)
}

fn log() -> Result<Log, Failure> {
    let options = LogOptions { prepare: Prepare::Inline, ..LogOptions::new(0, 1) };
    Ok(Log::open(Arc::new(NullDisk), options)?.0)
}

/// Native frames of one-line orders, from the bytes to the commands.
fn frame_parse() -> Result<u64, Failure> {
    let mut sale = Sale::uniform(SKUS);
    let mut bytes = Vec::new();
    for _ in 0..FRAMES {
        let frame = begin(&mut bytes, Kind::Commands);
        for (tag, request) in sale.orders(ENTRIES).iter().enumerate() {
            put_command(&mut bytes, tag as u64, 0, request.key.0, &request.command, false);
        }
        frame.seal(&mut bytes, ENTRIES as u16, 0);
    }
    let parsed = counted_by_callgrind(|| parse(black_box(&bytes)))?;
    if parsed != FRAMES * ENTRIES {
        return Err(Failure::unexpected(format!("{} commands", FRAMES * ENTRIES), parsed));
    }
    Ok(parsed as u64)
}

fn parse(bytes: &[u8]) -> Result<usize, Failure> {
    let (mut rest, mut parsed) = (bytes, 0);
    while let Some((frame, behind)) = Frame::read(rest, FRAME_BYTES_MAX)? {
        for entry in Commands::of(&frame)? {
            black_box(entry.command().map_err(|refusal| Failure::unexpected("a command", refusal))?);
            parsed += 1;
        }
        rest = behind;
    }
    Ok(parsed)
}

/// Records that are framed, checksummed and appended.
fn log_append() -> Result<u64, Failure> {
    let mut log = log()?;
    let mut frame = FrameBuf::new();
    let payload = [7; RECORD_BYTES];
    // The first frame makes the segment, and the buffers grow to their size.
    append(&mut log, &mut frame, &payload)?;
    counted_by_callgrind(|| (0..TURNS).try_for_each(|_| append(&mut log, &mut frame, black_box(&payload))))?;
    let records = log.stats().records;
    if records != ((TURNS + 1) * GROUP) as u64 {
        return Err(Failure::unexpected("all records in the log", records));
    }
    Ok((TURNS * GROUP) as u64)
}

fn append(log: &mut Log, frame: &mut FrameBuf, payload: &[u8]) -> Result<(), Failure> {
    frame.clear();
    for key_hash in 0..GROUP as u64 {
        frame.push(1, key_hash, payload);
    }
    log.append(frame, NOW_US)?;
    Ok(())
}

/// Lines of native frames, looked up in what is published and answered.
fn validate_lines() -> Result<u64, Failure> {
    let sale = Sale::uniform(SKUS);
    let lone = LoneShard::open(&sale)?;
    let shard = ShardViews::default();
    for (position, row) in lone.shard().state().stock.iter().enumerate() {
        shard.publish_stock(position as u32, row);
    }
    let map = SlotMap::new(1).ok_or_else(|| Failure::unexpected("a map of one shard", 1))?;
    let views = Views::new(vec![Arc::new(shard)], map);
    let mut questions = Vec::new();
    let mut skus = sale.skus().iter().cycle();
    for tag in 0..FRAMES as u64 {
        let frame = begin(&mut questions, Kind::Validate);
        questions.extend_from_slice(&tag.to_le_bytes());
        skus.by_ref().take(ENTRIES).for_each(|sku| put_line(&mut questions, sku, 1));
        frame.seal(&mut questions, ENTRIES as u16, 0);
    }
    let mut answers = Vec::with_capacity(questions.len());
    let valid = counted_by_callgrind(|| answer(&views, black_box(&questions), &mut answers))?;
    if valid != FRAMES * ENTRIES {
        return Err(Failure::unexpected(format!("{} valid lines", FRAMES * ENTRIES), valid));
    }
    Ok(valid as u64)
}

/// Answers frames of lines; how many could be ordered.
fn answer(views: &Views, questions: &[u8], answers: &mut Vec<u8>) -> Result<usize, Failure> {
    let (mut rest, mut valid) = (questions, 0);
    while let Some((frame, behind)) = Frame::read(rest, FRAME_BYTES_MAX)? {
        let asked = ValidateView::of(&frame)?;
        let open = begin(answers, Kind::Verdicts);
        answers.extend_from_slice(&asked.tag.to_le_bytes());
        for (line, view) in asked.lines.iter().enumerate() {
            let stock = view.sku().and_then(|sku| views.stock(&sku));
            let refused = validate(line as u16, view.quantity(), stock.as_ref());
            let verdict = Verdict::new(refused.as_ref(), stock.map(|stock| (stock.available, stock.price)));
            valid += usize::from(verdict.valid());
            put_verdict(answers, &verdict);
        }
        open.seal(answers, frame.count, 1);
        rest = behind;
    }
    Ok(valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without valgrind: what a case is set up with, does and checks of itself.
    #[test]
    fn every_case_does_what_it_says() {
        for case in &CASES {
            let operations = (case.run)();
            assert!(operations.is_ok_and(|operations| operations > 1_000), "{}", case.name);
        }
    }
}
