//! The log alone: durable appends in frames, read back by a subscriber in a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use onrush_benches::Failure;
use onrush_benches::cpu::process_ns;
use onrush_benches::samples::Samples;
use onrush_storage::disk::RealDisk;
use onrush_storage::log::{FrameBuf, Log, LogOptions, LogReader, ReadError};

use crate::interrupt;
use crate::nats::MESSAGE_BYTES;
use crate::round::Round;
use crate::stage::Stage;

/// Records of a frame: as many as a publisher of the other case has open.
const RECORDS: usize = 4_000;

/// What the subscriber has read: its progress for whoever writes.
#[derive(Default)]
struct Read {
    records: AtomicU64,
    /// One past the last record.
    next_lsn: AtomicU64,
    ended: AtomicBool,
}

/// Measures it: what counts is what the subscriber has read.
pub(crate) fn measure(stage: &Stage<'_>) -> Result<Round, Failure> {
    let dir = stage.fresh()?;
    let disk = Arc::new(RealDisk::open(dir.path())?);
    let (mut log, _) = Log::open(disk, LogOptions::new(0, 1))?;
    let (reader, read) = (log.reader(), Arc::new(Read::default()));
    let (appended, news) = mpsc::sync_channel(64);
    let progress = Arc::clone(&read);
    let subscriber = std::thread::Builder::new()
        .name("subscriber".into())
        .spawn(move || subscribe(reader, &news, &progress))?;
    let mut writer = Writer { log: &mut log, frame: FrameBuf::new(), read: &read };
    let round = writer.run(stage, || appended.send(()).is_ok());
    drop(appended);
    match subscriber.join() {
        Ok(ended) => ended?,
        Err(_) => return Err(Failure::unexpected("a subscriber that goes on", "a panic")),
    }
    round
}

/// Reads what is appended, until nothing more will be.
fn subscribe(mut reader: LogReader, news: &Receiver<()>, read: &Read) -> Result<(), ReadError> {
    let ended = follow(&mut reader, news, read);
    read.ended.store(true, Ordering::Release);
    ended
}

fn follow(reader: &mut LogReader, news: &Receiver<()>, read: &Read) -> Result<(), ReadError> {
    loop {
        while let Some(frame) = reader.next_frame()? {
            let whole = frame.records().filter(|record| record.payload.len() == MESSAGE_BYTES).count();
            read.records.fetch_add(whole as u64, Ordering::Relaxed);
            read.next_lsn.store(frame.info().next_lsn(), Ordering::Release);
        }
        if news.recv().is_err() {
            return Ok(());
        }
    }
}

struct Writer<'a> {
    log: &'a mut Log,
    frame: FrameBuf,
    read: &'a Read,
}

impl Writer<'_> {
    fn run(&mut self, stage: &Stage<'_>, mut tell: impl FnMut() -> bool) -> Result<Round, Failure> {
        let mut samples = Samples::default();
        self.until(Instant::now() + stage.span.warm, &mut samples, &mut tell)?;
        let (before, start, cpu) = (self.read.records.load(Ordering::Relaxed), Instant::now(), process_ns());
        let mut samples = Samples::default();
        self.until(start + stage.span.measured, &mut samples, &mut tell)?;
        let (took, cpu) = (start.elapsed().as_secs_f64(), process_ns() - cpu);
        let records = (self.read.records.load(Ordering::Relaxed) - before).max(1) as f64;
        Ok(Round {
            per_s: records / took,
            p50_us: Some(samples.median()),
            p99_us: Some(samples.quantile(0.99)),
            client_us: None,
            server_us: Some(cpu as f64 / 1e3 / records),
        })
    }

    /// Appends frame after frame; a full channel waits for the subscriber.
    fn until(
        &mut self,
        end: Instant,
        samples: &mut Samples,
        tell: &mut impl FnMut() -> bool,
    ) -> Result<(), Failure> {
        let payload = [0xA5; MESSAGE_BYTES];
        while samples.is_empty() || Instant::now() < end {
            self.frame.clear();
            for number in 0..RECORDS as u64 {
                self.frame.push(1, number, &payload);
            }
            let now_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
            let start = Instant::now();
            self.log.append(&mut self.frame, now_us)?;
            samples.push(start.elapsed().as_secs_f64() * 1e6);
            // A subscriber that has ended says why when it is joined.
            if !tell() || self.read.ended.load(Ordering::Acquire) {
                return Err(Failure::unexpected("a subscriber that goes on", "its end"));
            }
            self.log.release_below(self.read.next_lsn.load(Ordering::Acquire));
            interrupt::check()?;
        }
        Ok(())
    }
}
