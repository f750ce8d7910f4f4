//! Figures of several rounds or calls.

/// Figures in one unit.
#[derive(Clone, Default, Debug)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The figure at or below which the share `q` (0..=1) of all lies; NaN of none.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let at = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(at.saturating_sub(1).min(last)).copied().unwrap_or(f64::NAN)
    }

    /// `least..most`, for the reader to judge how much rounds differ.
    pub fn range(&self) -> String {
        let (least, most) = (self.quantile(0.0), self.quantile(1.0));
        let digits = if most < 100.0 { 2 } else { 0 };
        format!("{least:.digits$}..{most:.digits$}")
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn quantiles_are_figures_that_occurred() {
        let samples: Samples = [4.0, 1.0, 3.0, 2.0, 5.0].into_iter().collect();
        assert_eq!(samples.median(), 3.0);
        assert_eq!((samples.quantile(0.0), samples.quantile(0.99), samples.quantile(1.0)), (1.0, 5.0, 5.0));
        assert_eq!(samples.range(), "1.00..5.00");
        assert!(Samples::default().median().is_nan());
    }
}
