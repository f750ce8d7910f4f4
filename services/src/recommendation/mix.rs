//! How history, trends and what is bought together weigh against each other.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::fmt;

use onrush_grpc::recommendation::v1 as wire;
use rkyv::{Archive, Deserialize, Serialize};

use super::window::Window;

/// Weights of a ranking. Each part counts from 0 to 1 before it is weighed.
#[derive(Clone, Copy, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Mix {
    /// What the customer bought before.
    pub(super) history: f64,
    /// What many buy.
    pub(super) trend: f64,
    /// Over which time.
    pub(super) window: Window,
    /// What is bought together with what is looked at.
    pub(super) together: f64,
}

/// A mix that was published.
#[derive(Clone, Copy, PartialEq, Debug, Default, Archive, Serialize, Deserialize)]
pub struct Model {
    /// Counts publications; 0 = the mix it came with.
    pub(super) version: u64,
    /// The last publication of a mix without a model, by which all models before it were withdrawn; 0 for none.
    pub(super) alone: u64,
    pub(super) mix: Mix,
}

/// By how much a preferred category or brand lifts a product.
pub(super) const PREFERRED: f64 = 1.5;
/// By how much being of the category of the page's product does.
pub(super) const SAME_CATEGORY: f64 = 1.25;

impl Default for Mix {
    fn default() -> Self {
        Self { history: 1.0, trend: 0.3, window: Window::Week, together: 2.0 }
    }
}

impl Mix {
    /// As a message.
    pub(super) fn message(&self) -> wire::Weights {
        let Self { history, trend, window, together } = *self;
        wire::Weights { history, trend, window: window.message().into(), together }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { history, trend, window, together } = self;
        write!(f, "history {history}, trend {trend} of the {window:?}, together {together}")
    }
}

/// From a count without bound to less than 1, half at `half`.
pub(super) fn part(count: f64, half: f64) -> f64 {
    count / (count + half)
}
