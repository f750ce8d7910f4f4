//! Which of many SKUs is bought: Zipf-Mandelbrot popularity.

use crate::random::Random;

/// Exponent, fitted on public retail data (67,845 products, 1.44 M lines).
const S: f64 = 1.074;
/// Mandelbrot's shift: it flattens the head, as real assortments do.
const B: f64 = 101.8;

/// Draws ranks 0..n with weight `1 / (rank + 1 + B)^S` in constant time (Walker's alias method).
#[derive(Clone, Debug)]
pub(crate) struct Popularity {
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Chance to stay in this column.
    keep: f64,
    /// Where the rest goes.
    alias: u32,
}

fn weight(rank: usize) -> f64 {
    (rank as f64 + 1.0 + B).powf(-S)
}

impl Popularity {
    /// Popularity of `n` SKUs; at least one.
    pub(crate) fn new(n: usize) -> Self {
        let n = n.max(1);
        let total: f64 = (0..n).map(weight).sum();
        let mut shares: Vec<f64> = (0..n).map(|rank| weight(rank) * n as f64 / total).collect();
        let mut columns: Vec<Column> = (0..n).map(|rank| Column { keep: 1.0, alias: rank as u32 }).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|rank| shares[*rank] < 1.0);
        while let (Some(poor), Some(rich)) = (small.pop(), large.pop()) {
            columns[poor] = Column { keep: shares[poor], alias: rich as u32 };
            shares[rich] -= 1.0 - shares[poor];
            if shares[rich] < 1.0 { small.push(rich) } else { large.push(rich) }
        }
        Self { columns }
    }

    /// A rank.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let rank = random.below(self.columns.len() as u64) as u32;
        let column = self.columns[rank as usize];
        if random.unit() < column.keep { rank } else { column.alias }
    }

    /// How many ranks there are.
    pub(crate) fn len(&self) -> u32 {
        self.columns.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_percent_takes_the_published_share() {
        let popularity = Popularity::new(67_845);
        let mut random = Random::new(11, 1);
        let draws = 400_000;
        let top = (0..draws).filter(|_| popularity.draw(&mut random) < 678).count();
        let share = top as f64 / f64::from(draws);
        let exact: f64 = (0..678).map(weight).sum::<f64>() / (0..67_845).map(weight).sum::<f64>();
        assert!((share - exact).abs() < 0.005, "drawn {share}, exact {exact}");
        assert!((0.25..0.40).contains(&share), "the data's top 1 % take 31 % of lines, drawn {share}");
    }

    #[test]
    fn frequencies_follow_the_weights() {
        let popularity = Popularity::new(5);
        let mut random = Random::new(2, 1);
        let mut counts = [0f64; 5];
        (0..500_000).for_each(|_| counts[popularity.draw(&mut random) as usize] += 1.0);
        let total: f64 = (0..5).map(weight).sum();
        for (rank, count) in counts.iter().enumerate() {
            assert!((count / 500_000.0 - weight(rank) / total).abs() < 0.005);
        }
    }
}
