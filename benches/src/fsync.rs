//! `fsync`: raw durable writes, the limit that the machine sets.

use std::time::{Duration, Instant};

use clap::Parser;
use onrush_storage::disk::{AlignedBuf, Disk, DiskFile, RealDisk};

use crate::Failure;
use crate::machine;
use crate::samples::Samples;
use crate::scratch::Scratch;
use crate::table::Table;

/// Sizes of writes in bytes.
const SIZES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Size of the file that is overwritten: one segment of the log.
const FILE_BYTES: u64 = 64 << 20;

/// Raw durable writes of 4 KiB to 1 MiB, the limit of the machine
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Seconds of each size per round
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Rounds; the sizes alternate within each
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub scratch: Scratch,
}

/// A file of zeros that is overwritten in order, round and round, as the log does.
pub struct Overwritten {
    file: Box<dyn DiskFile>,
    offset: u64,
}

impl Overwritten {
    /// Makes the file.
    pub fn create(disk: &RealDisk) -> Result<Self, Failure> {
        Ok(Self { file: disk.create("overwritten", FILE_BYTES)?, offset: 0 })
    }

    /// One durable write; how long it took in us.
    pub fn write(&mut self, bytes: &AlignedBuf) -> Result<f64, Failure> {
        let len = bytes.sectors().len() as u64;
        if self.offset + len > FILE_BYTES {
            self.offset = 0;
        }
        let start = Instant::now();
        self.file.write_durable(self.offset, bytes)?;
        self.offset += len;
        Ok(start.elapsed().as_secs_f64() * 1e6)
    }
}

/// Bytes to write that are not zeros.
pub fn filled(bytes: usize) -> AlignedBuf {
    let mut buffer = AlignedBuf::with_capacity(bytes);
    buffer.extend_from_slice(&vec![0xA5; bytes]);
    buffer
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = args.scratch.fresh()?;
    let disk = RealDisk::open(dir.path())?;
    let method = format!(
        "one write at a time by {} over a zero-filled file of 64 MiB under {}, {} s of each size in each of \
         {} rounds; median over rounds of p50 and p99",
        disk.durability(),
        dir.path().parent().unwrap_or(dir.path()).display(),
        args.seconds,
        args.rounds
    );
    machine::head("fsync: raw durable writes", &method);
    let mut file = Overwritten::create(&disk)?;
    let mut rounds: Vec<Vec<Samples>> = SIZES.map(|_| Vec::new()).to_vec();
    for _ in 0..args.rounds {
        for (size, rounds) in SIZES.iter().zip(&mut rounds) {
            rounds.push(measure(&mut file, *size, args.seconds)?);
        }
    }
    let mut table = Table::new(["KiB", "p50 us", "rounds", "p99 us", "MiB/s at p50", "orders of 220 B/s"]);
    for (size, rounds) in SIZES.iter().zip(&rounds) {
        let over = |q: f64| rounds.iter().map(|round| round.quantile(q)).collect::<Samples>();
        let (p50, p99) = (over(0.5), over(0.99));
        let per_second = *size as f64 / p50.median() * 1e6;
        table.row([
            (size >> 10).to_string(),
            format!("{:.0}", p50.median()),
            p50.range(),
            format!("{:.0}", p99.median()),
            format!("{:.0}", per_second / f64::from(1 << 20)),
            format!("{:.0}", per_second / 220.0),
        ]);
    }
    table.print();
    Ok(())
}

fn measure(file: &mut Overwritten, size: usize, seconds: f64) -> Result<Samples, Failure> {
    let (bytes, patience) = (filled(size), Duration::from_secs_f64(seconds));
    let mut samples = Samples::default();
    let start = Instant::now();
    while samples.is_empty() || start.elapsed() < patience {
        samples.push(file.write(&bytes)?);
    }
    Ok(samples)
}
