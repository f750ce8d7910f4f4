//! What one case came to in one round.

/// Figures of one round; `None` where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Units per second.
    pub(crate) per_s: f64,
    /// Median latency of a request.
    pub(crate) p50_us: Option<f64>,
    /// Latency that one in a hundred exceeds.
    pub(crate) p99_us: Option<f64>,
    /// CPU time of the client per unit.
    pub(crate) client_us: Option<f64>,
    /// CPU time of the server per unit.
    pub(crate) server_us: Option<f64>,
}
