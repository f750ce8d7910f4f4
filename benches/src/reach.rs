//! What a measurement is to reach.

use std::fmt;

/// A bound and on which side of it is good.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Reach {
    /// The bound, and whether `found` keeps it.
    pub fn verdict(self, found: f64) -> String {
        let kept = match self {
            Self::AtMost(bound) => found <= bound,
            Self::AtLeast(bound) => found >= bound,
        };
        format!("{self}: {}", if kept { "reached" } else { "missed" })
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "<= {bound}"),
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reach;

    #[test]
    fn a_bound_is_good_on_its_own_side() {
        assert_eq!(Reach::AtMost(1.5).verdict(1.5), "<= 1.5: reached");
        assert_eq!(Reach::AtLeast(0.5).verdict(0.49), ">= 0.5: missed");
    }
}
