//! What a durable append and a replay cost in a directory.
//!
//! `cargo run --release -p onrush-storage --example log_throughput -- DIR`

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "measuring needs a clock, and a table is what this prints"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onrush_storage::disk::{AlignedBuf, Disk, RealDisk};
use onrush_storage::log::{FrameBuf, Log, LogOptions};

const KIB: usize = 1024;
const FRAME_KIB: [usize; 6] = [4, 16, 64, 128, 256, 1024];
const PAYLOAD_BYTES: usize = 150;
const ROUNDS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = root.join(format!("onrush-log-throughput-{}", std::process::id()));
    let measured = measure(&dir);
    std::fs::remove_dir_all(&dir)?;
    measured
}

fn measure(dir: &Path) -> Result<(), Box<dyn Error>> {
    println!("{} in {}", RealDisk::open(dir)?.durability(), dir.display());
    println!("frame KiB | raw p50 us | raw p99 us | append p50 us | append p99 us | append MiB/s");
    for frame_kib in FRAME_KIB {
        let (raw, append) = durable_writes(&dir.join(frame_kib.to_string()), frame_kib * KIB)?;
        let (mean_us, mib) = (mean_us(&append), frame_kib as f64 / 1024.0);
        println!(
            "{frame_kib:9} | {:10} | {:10} | {:13} | {:13} | {:12.0}",
            percentile_us(&raw, 50),
            percentile_us(&raw, 99),
            percentile_us(&append, 50),
            percentile_us(&append, 99),
            mib / mean_us * 1e6,
        );
    }
    replay(&dir.join("replay"))
}

/// The same bytes written raw into a file of zeros, and appended as frames; in turns, since a shared
/// disk drifts.
fn durable_writes(dir: &Path, frame_bytes: usize) -> Result<(Vec<Duration>, Vec<Duration>), Box<dyn Error>> {
    let disk = Arc::new(RealDisk::open(dir)?);
    let rounds = ROUNDS.min((512 << 20) / frame_bytes);
    let file = disk.create("raw", (rounds * frame_bytes) as u64)?;
    let (mut log, _) = Log::open(disk, LogOptions::new(0, 1))?;
    let mut sectors = AlignedBuf::default();
    sectors.extend_from_slice(&vec![7; frame_bytes]);
    let mut frame = FrameBuf::new();
    let (mut raw, mut append) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        fill(&mut frame, frame_bytes);
        let started = Instant::now();
        file.write_durable((round * frame_bytes) as u64, &sectors)?;
        raw.push(started.elapsed());
        let started = Instant::now();
        log.append(&mut frame, round as u64)?;
        append.push(started.elapsed());
    }
    Ok((raw, append))
}

fn replay(dir: &Path) -> Result<(), Box<dyn Error>> {
    let (mut log, _) = Log::open(Arc::new(RealDisk::open(dir)?), LogOptions::new(0, 1))?;
    let mut frame = FrameBuf::new();
    for round in 0..4096 {
        fill(&mut frame, 64 * KIB);
        log.append(&mut frame, round)?;
    }
    let bytes = log.stats().bytes as f64;
    drop(log);
    let started = Instant::now();
    let (log, recovery) = Log::open(Arc::new(RealDisk::open(dir)?), LogOptions::new(0, 2))?;
    let opened = started.elapsed();
    println!("open and check {:.0} MiB: {:.0} MiB/s", bytes / MIB, bytes / MIB / opened.as_secs_f64());
    for pass in ["first", "second", "third"] {
        let started = Instant::now();
        let (mut reader, mut records, mut payload_bytes) = (log.reader(), 0_u64, 0);
        while let Some(frame) = reader.next_frame()? {
            for record in frame.records() {
                records += 1;
                payload_bytes += record.payload.len();
            }
        }
        assert_eq!((records, payload_bytes), (recovery.end_lsn, records as usize * PAYLOAD_BYTES));
        let secs = started.elapsed().as_secs_f64();
        let (rate, millions) = (bytes / MIB / secs, records as f64 / secs / 1e6);
        println!("replay, {pass} pass: {rate:.0} MiB/s, {millions:.1} M records/s");
    }
    Ok(())
}

const MIB: f64 = (1 << 20) as f64;

/// As many records as fit.
fn fill(frame: &mut FrameBuf, frame_bytes: usize) {
    frame.clear();
    let payload = [5; PAYLOAD_BYTES];
    while frame.len_bytes() + PAYLOAD_BYTES + 16 <= frame_bytes {
        frame.push(1, 2, &payload);
    }
}

fn percentile_us(times: &[Duration], percent: usize) -> u128 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * percent / 100].as_micros()
}

fn mean_us(times: &[Duration]) -> f64 {
    times.iter().sum::<Duration>().as_secs_f64() * 1e6 / times.len() as f64
}
