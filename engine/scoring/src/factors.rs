//! Factors of users and products: implicit alternating least squares (Hu, Koren, Volinsky 2008).
//!
//! What a user bought is a preference of 1 held with a confidence that grows with the count; everything
//! else one of 0 with confidence 1. Each half step solves one system of 64 equations a row. A row with
//! few entries is solved by as many equations as it has entries (the Woodbury identity): most products
//! are bought by a handful of users.

use crate::scan::{ItemFactors as _, ItemRows};
use crate::wide::{add_scaled, dot, widest};

/// Numbers of a factor.
pub const DIMENSIONS: usize = 64;

/// A factor.
pub type Factor = [f32; DIMENSIONS];

/// How a preference is held, and how large factors may become.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AlsOptions {
    /// Steps of both halves.
    pub steps: usize,
    /// How fast confidence grows with the logarithm of the count.
    pub confidence: f32,
    /// What large factors cost.
    pub regularization: f32,
    /// Where the factors begin.
    pub seed: u64,
    /// Threads that solve rows.
    pub threads: usize,
}

impl Default for AlsOptions {
    fn default() -> Self {
        Self { steps: 4, confidence: 8.0, regularization: 60.0, seed: 1, threads: 1 }
    }
}

/// Rows of (number, confidence beyond 1).
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sparse {
    starts: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Sparse {
    /// No rows.
    pub fn new() -> Self {
        Self { starts: vec![0], entries: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl Iterator<Item = (u32, f32)>) {
        self.entries.extend(row);
        self.starts.push(self.entries.len());
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// A row.
    pub fn row(&self, at: usize) -> &[(u32, f32)] {
        &self.entries[self.starts[at]..self.starts[at + 1]]
    }

    /// The same with rows and columns changed.
    pub fn transposed(&self, columns: usize) -> Self {
        let mut starts = vec![0; columns + 1];
        self.entries.iter().for_each(|(column, _)| starts[*column as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        for row in 0..self.rows() {
            for (column, value) in self.row(row) {
                let place = &mut next[*column as usize];
                entries[*place] = (row as u32, *value);
                *place += 1;
            }
        }
        Self { starts, entries }
    }
}

/// Factors of users and products.
#[derive(Clone, PartialEq, Debug)]
pub struct Factors {
    /// By the number of the user.
    pub users: Vec<Factor>,
    /// By the number of the product.
    pub products: Vec<Factor>,
}

/// What all rows of a half step share.
#[derive(Clone)]
pub struct Half {
    /// The sum of squares of the other side, with the regularization.
    gram: Box<[Factor; DIMENSIONS]>,
    /// Its inverse.
    inverse: Box<[Factor; DIMENSIONS]>,
}

/// Hears how much of a piece of work is done, 0..1; what it says decides whether it goes on.
pub type GoOn<'a> = &'a dyn Fn(f32) -> bool;

impl Factors {
    /// Learns factors of `by_user`, a row for each user; `None` if `go_on` said no.
    pub fn learn(by_user: &Sparse, products: usize, options: AlsOptions, go_on: GoOn<'_>) -> Option<Self> {
        let by_product = by_user.transposed(products);
        let mut random = fastrand::Rng::with_seed(options.seed);
        let mut draw = |_| std::array::from_fn(|_| (random.f32() - 0.5) * 0.2);
        let mut factors = Self {
            users: vec![[0.0; DIMENSIONS]; by_user.rows()],
            products: (0..products).map(&mut draw).collect(),
        };
        for step in 0..options.steps {
            factors.half(by_user, &by_product, options);
            if !go_on((step + 1) as f32 / options.steps as f32) {
                return None;
            }
        }
        Some(factors)
    }

    /// Both halves of a step.
    fn half(&mut self, by_user: &Sparse, by_product: &Sparse, options: AlsOptions) {
        solve_all(by_user, &self.products, &mut self.users, options);
        solve_all(by_product, &self.users, &mut self.products, options);
    }
}

impl Half {
    /// What the rows share whose other side is `others`.
    pub fn of(others: &[Factor], regularization: f32) -> Self {
        let mut gram = Box::new([[0.0; DIMENSIONS]; DIMENSIONS]);
        add_squares(&mut gram, others);
        Self::with(gram, regularization)
    }

    /// The same of factors that lie where they are.
    pub fn of_rows<B: AsRef<[u8]>>(others: &ItemRows<B>, regularization: f32) -> Self {
        let mut gram = Box::new([[0.0; DIMENSIONS]; DIMENSIONS]);
        let mut some: Vec<Factor> = Vec::with_capacity(AT_ONCE);
        for from in (0..others.items()).step_by(AT_ONCE) {
            some.clear();
            some.extend((from..others.items()).take(AT_ONCE).filter_map(|item| others.factor(item)));
            add_squares(&mut gram, &some);
        }
        Self::with(gram, regularization)
    }

    fn with(mut gram: Box<[Factor; DIMENSIONS]>, regularization: f32) -> Self {
        (0..DIMENSIONS).for_each(|at| gram[at][at] += regularization);
        let inverse = inverse(&gram);
        Self { gram, inverse }
    }

    /// The factor of a row.
    pub fn solve(&self, row: &[(u32, f32)], others: &[Factor]) -> Factor {
        solve_wide(self, row, others)
    }
}

/// Solves every row, split among threads.
fn solve_all(rows: &Sparse, others: &[Factor], solved: &mut [Factor], options: AlsOptions) {
    let half = Half::of(others, options.regularization);
    // For rows with few entries: the other side seen through the inverse.
    let seen: Vec<Factor> = see(&half, others);
    let threads = options.threads.max(1);
    let share = solved.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        for (part, solved) in solved.chunks_mut(share).enumerate() {
            let (half, seen) = (&half, &seen);
            let work = move || solve_part(half, rows, part * share, others, seen, solved);
            scope.spawn(work);
        }
    });
}

widest! {
    fn solve_part(half: &Half, rows: &Sparse, first: usize, others: &[Factor], seen: &[Factor], solved: &mut [Factor]) {
        let mut small = Small::default();
        for (at, factor) in solved.iter_mut().enumerate() {
            let row = rows.row(first + at);
            *factor = match row.len() {
                0 => [0.0; DIMENSIONS],
                1..=FEW => small.solve(row, others, seen),
                _ => solve_direct(half, row, others),
            };
        }
    }
}

widest! {
    fn solve_wide(half: &Half, row: &[(u32, f32)], others: &[Factor]) -> Factor {
        if row.is_empty() { [0.0; DIMENSIONS] } else { solve_direct(half, row, others) }
    }
}

widest! {
    fn see(half: &Half, others: &[Factor]) -> Vec<Factor> {
        let mut all = vec![[0.0; DIMENSIONS]; others.len()];
        for (seen, other) in all.iter_mut().zip(others) {
            for (value, row) in other.iter().zip(half.inverse.iter()) {
                add_scaled(seen, *value, row);
            }
        }
        all
    }
}

widest! {
    fn add_squares(gram: &mut [Factor; DIMENSIONS], others: &[Factor]) {
        for other in others {
            for (value, row) in other.iter().zip(gram.iter_mut()) {
                add_scaled(row, *value, other);
            }
        }
    }
}

/// Factors that are copied to be summed up.
const AT_ONCE: usize = 256;
/// Columns that are left out together.
const BLOCK: usize = 16;
/// Entries up to which a row is solved by as many equations.
const FEW: usize = 40;
/// Numbers of its equations that are worked on together.
const NARROW: usize = 8;

/// The system of a row with few entries: what lies on the diagonal and right of it.
struct Small {
    system: [[f32; FEW]; FEW],
    right: [f32; FEW],
}

impl Default for Small {
    fn default() -> Self {
        Self { system: [[0.0; FEW]; FEW], right: [0.0; FEW] }
    }
}

impl Small {
    /// With U the rows of the other side, Z = U G^-1 and D the confidences beyond 1, the factor is
    /// Z' w where (D^-1 + Z U') w = D^-1 (1 + d).
    #[inline(always)]
    fn solve(&mut self, row: &[(u32, f32)], others: &[Factor], seen: &[Factor]) -> Factor {
        let count = row.len();
        // Whole registers: what lies behind the last equation stays 0.
        let width = count.next_multiple_of(NARROW).min(FEW);
        let Self { system, right } = self;
        for (at, (one, confidence)) in row.iter().enumerate() {
            let seen = &seen[*one as usize];
            for (to, (other, _)) in row.iter().enumerate().take(at + 1) {
                system[to][at] = dot(seen, &others[*other as usize]);
            }
            system[at][at] += 1.0 / confidence;
            system[at][count..width].fill(0.0);
            right[at] = (1.0 + confidence) / confidence;
        }
        // Cholesky, in place, line by line: each number has the same taken from it in the same sequence as if it were
        // summed up alone. Then both triangles.
        for at in 0..count {
            let root = system[at][at].max(1e-9).sqrt();
            system[at][at] = root;
            system[at][at + 1..width].iter_mut().for_each(|value| *value /= root);
            let line = system[at];
            for below in at + 1..count {
                // What lies left of the diagonal is never looked at.
                let from = below - below % NARROW;
                take_scaled(&mut system[below][from..width], line[below], &line[from..width]);
            }
        }
        for at in 0..count {
            let solved = right[at] / system[at][at];
            right[at] = solved;
            take_scaled(&mut right[at + 1..count], solved, &system[at][at + 1..count]);
        }
        for at in (0..count).rev() {
            let mut sum = right[at];
            for above in at + 1..count {
                sum -= system[at][above] * right[above];
            }
            right[at] = sum / system[at][at];
        }
        let mut factor = [0.0; DIMENSIONS];
        for ((one, _), weight) in row.iter().zip(right.iter()) {
            add_scaled(&mut factor, *weight, &seen[*one as usize]);
        }
        factor
    }
}

/// Takes a multiple of `b` from `a`.
#[inline(always)]
fn take_scaled(a: &mut [f32], factor: f32, b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a -= factor * b;
    }
}

/// The system of a row with many entries: Cholesky on all 64 equations.
#[inline(always)]
fn solve_direct(half: &Half, row: &[(u32, f32)], others: &[Factor]) -> Factor {
    let mut system = *half.gram;
    let mut right = [0.0; DIMENSIONS];
    // Four at once: a line of the system is loaded and stored once for them.
    let (fours, rest) = row.as_chunks::<4>();
    // No closures: they would be compiled for any processor.
    for four in fours {
        add_entries(&mut system, &mut right, four, others);
    }
    for one in rest {
        add_entries(&mut system, &mut right, &[*one], others);
    }
    factorize(&mut system);
    for at in 0..DIMENSIONS {
        // Column by column: what is solved is taken out of what follows.
        let solved = right[at] / system[at][at];
        right[at] = solved;
        for below in at + 1..DIMENSIONS {
            right[below] -= solved * system[at][below];
        }
    }
    // Whole lines: what is not solved yet counts as 0.
    let mut solved = [0.0; DIMENSIONS];
    for at in (0..DIMENSIONS).rev() {
        let from = at - at % BLOCK;
        solved[at] = (right[at] - dot(&system[at][from..], &solved[from..])) / system[at][at];
    }
    solved
}

/// Adds entries of a row to its equations, one after the other.
#[inline(always)]
fn add_entries<const N: usize>(
    system: &mut [Factor; DIMENSIONS],
    right: &mut Factor,
    entries: &[(u32, f32); N],
    others: &[Factor],
) {
    let others: [&Factor; N] = entries.map(|(one, _)| &others[one as usize]);
    for ((_, confidence), other) in entries.iter().zip(others) {
        add_scaled(right, 1.0 + confidence, other);
    }
    // It is symmetric: what lies left of the diagonal is left out, by blocks as wide as registers.
    for block in (0..DIMENSIONS).step_by(BLOCK) {
        for line in block..block + BLOCK {
            let factors: [f32; N] = std::array::from_fn(|n| entries[n].1 * others[n][line]);
            for at in block..DIMENSIONS {
                let mut sum = system[line][at];
                for n in 0..N {
                    sum += factors[n] * others[n][at];
                }
                system[line][at] = sum;
            }
        }
    }
}

/// The upper triangle of a Cholesky factorization, row by row, in place.
#[inline(always)]
fn factorize(system: &mut [Factor; DIMENSIONS]) {
    for at in 0..DIMENSIONS {
        let root = system[at][at].max(1e-9).sqrt();
        let line = &mut system[at];
        line[at..].iter_mut().for_each(|value| *value /= root);
        let line = *line;
        for below in at + 1..DIMENSIONS {
            // What lies left of the diagonal's block is never looked at.
            let from = below - below % BLOCK;
            add_scaled(&mut system[below][from..], -line[below], &line[from..]);
        }
    }
}

/// The inverse, in double precision.
fn inverse(gram: &[Factor; DIMENSIONS]) -> Box<[Factor; DIMENSIONS]> {
    let mut left: Vec<Vec<f64>> =
        gram.iter().map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect();
    let mut right: Vec<Vec<f64>> =
        (0..DIMENSIONS).map(|at| (0..DIMENSIONS).map(|to| f64::from(u8::from(at == to))).collect()).collect();
    // Gauss and Jordan; the matrix is positive definite, so that no pivot is needed.
    for at in 0..DIMENSIONS {
        let pivot = left[at][at];
        for side in [&mut left[at], &mut right[at]] {
            side.iter_mut().for_each(|value| *value /= pivot);
        }
        let (line, other) = (left[at].clone(), right[at].clone());
        for row in (0..DIMENSIONS).filter(|row| *row != at) {
            let factor = left[row][at];
            for (value, line) in left[row].iter_mut().zip(&line) {
                *value -= factor * line;
            }
            for (value, line) in right[row].iter_mut().zip(&other) {
                *value -= factor * line;
            }
        }
    }
    Box::new(std::array::from_fn(|at| std::array::from_fn(|to| right[at][to] as f32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(random: &mut fastrand::Rng, count: usize) -> Vec<Factor> {
        (0..count).map(|_| std::array::from_fn(|_| random.f32() - 0.5)).collect()
    }

    fn row(random: &mut fastrand::Rng, count: usize, of: usize) -> Vec<(u32, f32)> {
        let mut numbers: Vec<u32> = (0..of as u32).collect();
        random.shuffle(&mut numbers);
        numbers.into_iter().take(count).map(|number| (number, 0.5 + 8.0 * random.f32())).collect()
    }

    /// What the factor of a row has to fulfil: the gradient of its loss is zero.
    fn residual(factor: &Factor, row: &[(u32, f32)], others: &[Factor], regularization: f32) -> f64 {
        let mut slope = [0f64; DIMENSIONS];
        let product = |other: &Factor| {
            other.iter().zip(factor).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
        for (number, other) in (0..).zip(others) {
            let confidence =
                row.iter().find(|(one, _)| *one == number).map_or(1.0, |(_, more)| 1.0 + f64::from(*more));
            let wanted = f64::from(u8::from(confidence > 1.0));
            let error = confidence * (product(other) - wanted);
            slope.iter_mut().zip(other).for_each(|(slope, value)| *slope += error * f64::from(*value));
        }
        let held = slope
            .iter()
            .zip(factor)
            .map(|(slope, value)| slope + f64::from(regularization) * f64::from(*value));
        held.map(f64::abs).fold(0.0, f64::max)
    }

    #[test]
    fn rows_of_few_and_of_many_entries_solve_their_equations() {
        let mut random = fastrand::Rng::with_seed(7);
        let others = some(&mut random, 300);
        let half = Half::of(&others, 5.0);
        let seen = see(&half, &others);
        for count in [1, 2, 7, FEW - 1, FEW, FEW + 1, 150, 300] {
            let row = row(&mut random, count, others.len());
            let direct = half.solve(&row, &others);
            let left = residual(&direct, &row, &others, 5.0);
            assert!(left < 1e-2, "{count} entries: {left}");
            if count <= FEW {
                let small = Small::default().solve(&row, &others, &seen);
                let left = residual(&small, &row, &others, 5.0);
                assert!(left < 1e-2, "{count} entries, as many equations: {left}");
            }
        }
        assert_eq!(half.solve(&[], &others), [0.0; DIMENSIONS]);
    }

    #[test]
    fn factors_put_what_like_minded_users_buy_in_front() {
        // Two halves of users, each of which buys of its half of the products.
        let mut random = fastrand::Rng::with_seed(3);
        let mut rows = Sparse::new();
        for user in 0..60u32 {
            let of_half = (0..20u32).map(|product| product * 2 + user % 2);
            let bought: Vec<u32> = of_half.filter(|_| random.f32() < 0.5).collect();
            rows.push(bought.into_iter().map(|product| (product, 5.0)));
        }
        let options = AlsOptions { regularization: 1.0, ..AlsOptions::default() };
        let learn =
            |threads| Factors::learn(&rows, 40, AlsOptions { threads, ..options }, &|_| true).unwrap();
        let factors = learn(1);
        let one = dot(&factors.users[0], &factors.products[0]) + dot(&factors.users[0], &factors.products[2]);
        let other =
            dot(&factors.users[0], &factors.products[1]) + dot(&factors.users[0], &factors.products[3]);
        assert!(one > 1.0 && other < 0.3, "{one} and {other}");
        assert_eq!(learn(3), factors, "threads share the work and change nothing");
        assert!(Factors::learn(&rows, 40, options, &|done| done < 0.5).is_none(), "called off");
    }
}
