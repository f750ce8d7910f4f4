//! How fast the scan is against a plain read of the same bytes, on this machine.
//!
//! `cargo run --release -p onrush-scoring --example scan [-- ITEMS [ROUNDS]]`
//!
//! Each round reads each matrix plainly and scans it for one, two and four users, in an order that turns from
//! round to round; what is told are medians of all rounds. A plain read sums the bytes as `u64` with the widest
//! vectors that the processor has. Only the ratios of one run say something: the machine has other work.
#![allow(clippy::print_stdout, reason = "a table is what it is for")]
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use onrush_scoring::factors::Factor;
use onrush_scoring::scan::{
    AlignedBytes, Instructions, ItemMatrix, ItemRows, MatrixError, Pass, QUERIES_MAX, Quantized, Query,
};

const K: usize = 20;
/// Each round asks for other users, so that what they touch is not in the nearest cache.
const USERS: usize = 256;
const USERS_PER_PASS: [usize; 3] = [1, 2, 4];
/// Users whose exact top is compared with that of the codes.
const COMPARED: usize = 200;

/// What a pass reads.
#[derive(Clone, Copy)]
enum Read {
    Exact,
    QuantizedThenRows,
    QuantizedThenBlocks,
}

struct Shelf<B> {
    matrix: ItemMatrix<B>,
    rows: ItemRows<B>,
    codes: Quantized<B>,
}

struct Bench<B> {
    shelf: Shelf<B>,
    users: Vec<Factor>,
    rounds: usize,
}

fn main() -> Result<(), MatrixError> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (items, rounds) = (number(100_000), number(200).max(1));
    let mut random = fastrand::Rng::with_seed(5);
    let users: Vec<Factor> = (0..USERS).map(|_| normal(&mut random)).collect();
    let mut factors: Vec<Factor> = (0..items).map(|_| normal(&mut random)).collect();
    let bench = Bench { shelf: Shelf::of(&factors)?, users, rounds };
    println!("{items} x 64, top {K}, {rounds} rounds, plain read with {}", widest_read());
    println!(
        "| instructions | matrix | users per pass | plain read, us | pass, us | us per user \
         | plain / pass | best / best |\n|---|---|---|---|---|---|---|---|"
    );
    for instructions in Instructions::all() {
        bench.rows(instructions, "f32", Read::Exact);
        bench.rows(instructions, "i8, rescore from rows", Read::QuantizedThenRows);
        bench.rows(instructions, "i8, rescore from blocks", Read::QuantizedThenBlocks);
    }
    println!("overlap@{K} of i8 + rescore with exact f32: random {:.4}", bench.shelf.overlap(&bench.users));
    skew(&mut factors);
    println!(
        "overlap@{K} of i8 + rescore with exact f32: skewed {:.4}",
        Shelf::of(&factors)?.overlap(&bench.users)
    );
    println!("a service takes {}", Instructions::widest());
    Ok(())
}

impl<B: AsRef<[u8]>> Bench<B> {
    /// Prints the rows of a set of instructions and of what it reads.
    fn rows(&self, instructions: Instructions, name: &str, what: Read) {
        let mut pass = Pass::new(K, instructions);
        let bytes = match what {
            Read::Exact => self.shelf.matrix.bytes(),
            _ => self.shelf.codes.bytes(),
        };
        let mut times = vec![Vec::with_capacity(self.rounds); 1 + USERS_PER_PASS.len()];
        // What comes first finds the caches as the other matrix left them.
        read(bytes);
        for round in 0..self.rounds {
            for step in 0..times.len() {
                let turn = (round + step) % times.len();
                let began = Instant::now();
                match turn {
                    0 => read(bytes),
                    _ => self.scan(&mut pass, what, round * QUERIES_MAX, USERS_PER_PASS[turn - 1]),
                }
                times[turn].push(began.elapsed().as_nanos() as f64 / 1000.0);
            }
        }
        let plain = Times::of(&mut times[0]);
        for (users, times) in USERS_PER_PASS.iter().zip(&mut times[1..]) {
            let Times { best, median } = Times::of(times);
            let (per_user, ratio) = (median / *users as f64, plain.median / median);
            let of_best = plain.best / best;
            let read = plain.median;
            println!(
                "| {instructions} | {name} | {users} | {read:.0} | {median:.0} | {per_user:.0} \
                 | {ratio:.2} | {of_best:.2} |"
            );
        }
    }

    /// A pass for some of the users.
    fn scan(&self, pass: &mut Pass, what: Read, first: usize, users: usize) {
        let queries: [Query<'_>; QUERIES_MAX] =
            std::array::from_fn(|n| Query { user: &self.users[(first + n) % USERS], k: K });
        let (queries, Shelf { matrix, rows, codes }) = (&queries[..users], &self.shelf);
        let mut admit = |_: usize, _: u32| true;
        let ranked = match what {
            Read::Exact => pass.exact(matrix, queries, &mut admit),
            Read::QuantizedThenRows => pass.quantized(rows, codes, queries, &mut admit),
            Read::QuantizedThenBlocks => pass.quantized(matrix, codes, queries, &mut admit),
        };
        assert!(black_box(ranked).is_ok());
    }
}

impl Shelf<AlignedBytes> {
    fn of(factors: &[Factor]) -> Result<Self, MatrixError> {
        let matrix = ItemMatrix::build(factors)?;
        Ok(Self { codes: Quantized::build(&matrix), rows: ItemRows::build(factors)?, matrix })
    }
}

impl<B: AsRef<[u8]>> Shelf<B> {
    /// Which share of the exact top the codes find.
    fn overlap(&self, users: &[Factor]) -> f64 {
        let mut pass = Pass::new(K, Instructions::widest());
        let mut admit = |_: usize, _: u32| true;
        let (mut found, mut wanted) = (0, 0);
        for user in &users[..COMPARED] {
            let queries = [Query { user, k: K }];
            let exact = pass.exact(&self.matrix, &queries, &mut admit);
            let exact = exact.map(|ranked| ranked[0].clone()).unwrap_or_default();
            let named = pass.quantized(&self.rows, &self.codes, &queries, &mut admit);
            let named = named.map(|ranked| ranked[0].clone()).unwrap_or_default();
            found += named.iter().filter(|scored| exact.contains(scored)).count();
            wanted += exact.len();
        }
        found as f64 / f64::from(wanted.max(1) as u32)
    }
}

/// Dimensions that fall off, a part that all have in common, and items of very different length.
fn skew(factors: &mut [Factor]) {
    for factor in factors {
        let length = factor[0].exp();
        for (dimension, number) in factor.iter_mut().enumerate() {
            let common = if dimension < 8 { 3.0 } else { 0.0 };
            *number = (*number + common) * length / (dimension + 1) as f32;
        }
    }
}

struct Times {
    best: f64,
    median: f64,
}

impl Times {
    fn of(times: &mut [f64]) -> Self {
        times.sort_by(f64::total_cmp);
        Self { best: times[0], median: times[times.len() / 2] }
    }
}

/// A factor of normally distributed numbers, near enough: sums of twelve uniform ones.
fn normal(random: &mut fastrand::Rng) -> Factor {
    std::array::from_fn(|_| (0..12).map(|_| random.f32()).sum::<f32>() - 6.0)
}

/// Sums bytes as `u64`, with the widest vectors that there are.
fn read(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn by_512(bytes: &[u8]) -> u64 {
            sum(bytes)
        }
        #[target_feature(enable = "avx2")]
        fn by_256(bytes: &[u8]) -> u64 {
            sum(bytes)
        }
        #[allow(unsafe_code, reason = "functions for a processor that has these instructions")]
        // SAFETY: the processor has them, as is just looked at.
        let read = unsafe {
            match widest_read() {
                "avx512" => by_512(bytes),
                "avx2" => by_256(bytes),
                _ => sum(bytes),
            }
        };
        black_box(read);
    }
    #[cfg(not(target_arch = "x86_64"))]
    black_box(sum(bytes));
}

/// What a plain read runs with.
fn widest_read() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if is_x86_feature_detected!("avx2") {
            return "avx2";
        }
    }
    "what each processor has"
}

#[inline(always)]
fn sum(bytes: &[u8]) -> u64 {
    // The compiler makes four vectors of sums of it, so that no sum waits for the one before.
    bytes.as_chunks::<8>().0.iter().fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}
