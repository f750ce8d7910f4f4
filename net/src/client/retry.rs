//! Trying again, always under the same key.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tonic::Code;
use uuid::Uuid;

use super::CallError;
use super::whereabouts::{Onward, Pursuit, Whereabouts};

/// How a call is tried again when no answer came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Tries after the first, at each address that the client knows: with three nodes there are three times as many.
    pub retries: u32,
    /// Bound of the first pause; it doubles with every try.
    pub pause: Duration,
    /// Bound of every pause.
    pub pause_max: Duration,
    /// How long one try may take. After a quarter of it without an answer another node is asked the same, under the same
    /// key, if there are several and a second try may be: it may lead by now.
    pub timeout: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            retries: 3,
            pause: Duration::from_millis(50),
            pause_max: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
        }
    }
}

impl Retry {
    /// No second try.
    pub const NEVER: Self = Self {
        retries: 0,
        pause: Duration::ZERO,
        pause_max: Duration::ZERO,
        timeout: Duration::from_secs(5),
    };

    /// Tries until there is an answer, or no more tries: where the leader of a shard is, as far as is known.
    pub(super) async fn until_answered<T, F>(
        &self,
        (whereabouts, shard): (&Whereabouts, u16),
        mut attempt: impl FnMut(Arc<str>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut pursuit = Pursuit::new(whereabouts, shard);
        let (mut number, mut pauses, mut unknown) = (0, 0, None);
        loop {
            let (tried, passed_over) = self.attend(whereabouts, &mut pursuit, &mut attempt).await;
            if passed_over {
                unknown.get_or_insert(CallError::Unknown {
                    code: Code::DeadlineExceeded,
                    message: "the node that led did not answer, and another one leads".into(),
                });
            }
            let error = match tried {
                Ok(answer) => {
                    pursuit.answered();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let astray = error.leader().is_some();
            if !astray && !error.is_open(unknown.is_some()) {
                return Err(error);
            }
            let onward = pursuit.turn(&error);
            // The first that nobody knows of stands: what came behind it says no more. Who does not lead began nothing.
            if !astray {
                unknown.get_or_insert(error.clone());
            }
            if number >= self.tries(whereabouts.count()) {
                return Err(unknown.unwrap_or(error));
            }
            number += 1;
            if onward != Onward::AtOnce {
                pauses += 1;
                tokio::time::sleep(self.pause_for(onward, pauses)).await;
            }
        }
    }

    /// What comes of a try. A node that led may stand still, or be gone without a word: while it says nothing, others are
    /// asked in turn. True if it was passed over, and what it did is unknown: another one answered, or names who leads.
    async fn attend<T, F>(
        &self,
        whereabouts: &Whereabouts,
        pursuit: &mut Pursuit<'_>,
        attempt: &mut impl FnMut(Arc<str>) -> F,
    ) -> (Result<T, CallError>, bool)
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut last = pursuit.at().clone();
        let mut first = pin!(attempt(last.clone()));
        loop {
            let beside = async {
                tokio::time::sleep(self.timeout / 4).await;
                if self.retries == 0 || whereabouts.count() < 2 {
                    return pending().await;
                }
                last = pursuit.beside(&last);
                attempt(last.clone()).await
            };
            let found = tokio::select! {
                biased;
                found = &mut first => return (found, false),
                found = beside => found,
            };
            if found.as_ref().err().is_none_or(|error| pursuit.names_another(error)) {
                pursuit.pass_over(last);
                return (found, true);
            }
        }
    }

    /// Tries after the first where there are so many addresses to go round.
    pub(super) fn tries(&self, addresses: usize) -> u32 {
        self.retries.saturating_mul(u32::try_from(addresses).unwrap_or(u32::MAX))
    }

    /// The pause number `number` (from 1). While nodes vote it has at least half its bound: they would all be asked before
    /// they are done.
    pub(super) fn pause_for(&self, onward: Onward, number: u32) -> Duration {
        let pause = self.pause_before(number, Uuid::new_v4().as_u64_pair().1);
        match onward {
            Onward::AtOnce => Duration::ZERO,
            Onward::Later => pause,
            Onward::AfterVote => (self.bound(number) + pause) / 2,
        }
    }

    fn bound(&self, number: u32) -> Duration {
        self.pause.saturating_mul(1 << number.saturating_sub(1).min(16)).min(self.pause_max)
    }

    /// The pause before try number `number` (from 1): anything up to the bound, so that clients
    /// that failed together do not come back together.
    pub(super) fn pause_before(&self, number: u32, dice: u64) -> Duration {
        self.bound(number).mul_f64((dice >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use onrush_proto::Refusal;
    use tokio::time::Instant;

    use super::*;

    const RETRY: Retry = Retry {
        retries: 2,
        pause: Duration::from_millis(1),
        pause_max: Duration::from_millis(1),
        timeout: Duration::from_secs(4),
    };

    /// What a node does with a call.
    #[derive(Clone, Copy)]
    enum Node {
        Silent,
        Answers,
        Names(u64),
    }

    /// Asks three nodes that do this; whom, what came of it, and after how long, of a clock that waits for nobody.
    async fn asked(retry: Retry, nodes: [Node; 3]) -> (Vec<usize>, Result<usize, CallError>, Duration) {
        const PLACES: [&str; 3] = ["a:1", "b:1", "c:1"];
        let places = Whereabouts::parse("", &PLACES.join(",")).unwrap();
        let (asked, began) = (RefCell::new(Vec::new()), Instant::now());
        let attempt = |at: Arc<str>| {
            let node = PLACES.iter().position(|place| **place == *at).unwrap();
            asked.borrow_mut().push(node + 1);
            async move {
                match nodes[node] {
                    Node::Answers => Ok(node + 1),
                    Node::Silent => {
                        tokio::time::sleep(retry.timeout).await;
                        Err(CallError::Unknown { code: Code::DeadlineExceeded, message: "silent".into() })
                    }
                    Node::Names(leader) => {
                        let refusal = Refusal::NotLeader { leader };
                        Err(match CallError::from(refusal) {
                            CallError::Refused(mut refused) if leader > 0 => {
                                refused.leader_address = Some(PLACES[leader as usize - 1].into());
                                CallError::Refused(refused)
                            }
                            error => error,
                        })
                    }
                }
            }
        };
        let found = retry.until_answered((&places, 0), attempt).await;
        (asked.into_inner(), found, began.elapsed())
    }

    /// A leader that stands still was waited for until the try was over, though another one led long since.
    #[tokio::test(start_paused = true)]
    async fn another_one_is_asked_while_the_first_is_silent() {
        let quarter = RETRY.timeout / 4;
        // The second one has not heard of another leader.
        let (asked_of, found, took) = asked(RETRY, [Node::Silent, Node::Names(1), Node::Answers]).await;
        assert_eq!((asked_of, found.unwrap(), took), (vec![1, 2, 3], 3, 2 * quarter));
        // It has.
        let (asked_of, found, took) = asked(RETRY, [Node::Silent, Node::Names(3), Node::Answers]).await;
        assert_eq!((asked_of, found.unwrap(), took), (vec![1, 2, 3], 3, quarter));
        // Nobody leads: what the silent one did is unknown, whatever the others say.
        let (_, found, _) = asked(RETRY, [Node::Silent, Node::Names(3), Node::Names(0)]).await;
        assert!(matches!(found, Err(CallError::Unknown { .. })), "{found:?}");
        // What may be asked once alone is asked once.
        let (asked_of, found, took) = asked(Retry { retries: 0, ..RETRY }, [Node::Silent; 3]).await;
        assert_eq!((asked_of, took), (vec![1], RETRY.timeout));
        assert!(found.is_err());
    }

    #[test]
    fn pauses_stay_below_a_doubling_bound() {
        let retry = Retry::default();
        assert!(retry.pause_before(1, u64::MAX) <= Duration::from_millis(50));
        assert!(retry.pause_before(3, u64::MAX) > Duration::from_millis(190));
        assert!(retry.pause_before(30, u64::MAX) <= retry.pause_max);
        assert_eq!(retry.pause_before(5, 0), Duration::ZERO);
        assert_eq!(retry.pause_for(Onward::AtOnce, 3), Duration::ZERO);
        let vote = retry.pause_for(Onward::AfterVote, 3);
        assert!(vote >= Duration::from_millis(100) && vote <= Duration::from_millis(200), "{vote:?}");
        assert_eq!((retry.tries(1), retry.tries(3), Retry::NEVER.tries(3)), (3, 9, 0));
    }
}
