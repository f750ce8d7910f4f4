//! Several values in one text, such as `timeout=0.02,p50_ms=300`: how the simulated gateway and the simulated
//! carrier are told to behave.

/// A text that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PairsError {
    /// Not `name=value`.
    #[error("expected name=value, found {0:?}")]
    Pair(String),
    /// No such name.
    #[error("expected one of {names}, found {found:?}")]
    Name {
        /// What there is.
        names: String,
        /// What was found.
        found: String,
    },
    /// A value that is out of range or not a number.
    #[error("{name}: expected {expected}, found {found:?}")]
    Value {
        /// The name.
        name: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
}

/// A name and its value.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    pub(crate) name: &'a str,
    value: &'a str,
}

/// The pairs of a text, in their order.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = Result<Pair<'_>, PairsError>> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or_else(|| PairsError::Pair(pair.into()))?;
        Ok(Pair { name: name.trim(), value: value.trim() })
    })
}

impl Pair<'_> {
    /// A whole number.
    pub(crate) fn whole(self) -> Result<u64, PairsError> {
        self.value.parse().map_err(|_| self.wrong("a whole number"))
    }

    /// A probability.
    pub(crate) fn share(self) -> Result<f64, PairsError> {
        let share = self.value.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.ok_or_else(|| self.wrong("a share of 0 to 1"))
    }

    /// A latency.
    pub(crate) fn millis(self) -> Result<f64, PairsError> {
        let millis = self.value.parse().ok().filter(|millis| (0.0..=60_000.0).contains(millis));
        millis.ok_or_else(|| self.wrong("milliseconds, 0 to 60,000"))
    }

    /// A stretch of days, in milliseconds.
    pub(crate) fn month_ms(self) -> Result<u64, PairsError> {
        let millis = self.value.parse().ok().filter(|millis| *millis <= 2_592_000_000);
        millis.ok_or_else(|| self.wrong("milliseconds, 0 to 2,592,000,000"))
    }

    /// Nothing is called that.
    pub(crate) fn unknown(self, names: &[&str]) -> PairsError {
        PairsError::Name { names: names.join(", "), found: self.name.into() }
    }

    fn wrong(self, expected: &str) -> PairsError {
        PairsError::Value { name: self.name.into(), expected: expected.into(), found: self.value.into() }
    }
}

/// Percentiles that can be: the higher one is no less.
pub(crate) fn percentiles(p50_ms: f64, p99_ms: f64) -> Result<(), PairsError> {
    match p99_ms < p50_ms {
        true => Err(Pair { name: "p99_ms", value: &p99_ms.to_string() }.wrong("at least p50_ms")),
        false => Ok(()),
    }
}
