//! What `onrush model evaluate --json` writes.

use onrush_scoring::evaluation::Score;
use serde::Serialize;

/// Means over users.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct OfTask {
    /// Share of users who bought anything among the first 10.
    pub hit_rate10: f64,
    /// Share of what was bought that is among the first 10.
    pub recall10: f64,
    /// The same among the first 20.
    pub recall20: f64,
    /// The same among the first 10, where what stands above counts more.
    pub ndcg10: f64,
    /// Different products among all first tens, as a share of those sold in the history.
    pub coverage10: f64,
    /// Users.
    pub users: usize,
}

/// The same for both tasks, where it makes sense.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct OfTasks {
    /// The next basket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_basket: Option<OfTask>,
    /// What is bought for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<OfTask>,
}

/// What a model has to beat.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Baselines {
    /// What is bought most in 28 days.
    pub popularity28: OfTasks,
    /// What the user bought, of which half counts after 90 days.
    pub history90: OfTasks,
}

/// How well a model foretells.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The next basket of each known user.
    pub next_basket: OfTask,
    /// All that each known user buys for the first time.
    pub discovery: OfTask,
    /// What training took of the CPU, in seconds.
    pub train_cpu_s: f64,
    /// What a model has to beat.
    pub baselines: Baselines,
}

impl From<Score> for OfTask {
    fn from(score: Score) -> Self {
        let Score { hit_rate10, recall10, recall20, ndcg10, coverage10, users } = score;
        Self { hit_rate10, recall10, recall20, ndcg10, coverage10, users }
    }
}
