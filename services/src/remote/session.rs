//! The one stream on which a process asks: kept up, and what bears it is asked again when it breaks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use onrush_grpc::engine::v1::engine_service_client::EngineServiceClient;
use onrush_grpc::engine::v1::{Question as Sent, SessionRequest, SessionResponse};
use onrush_proto::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::message::Answer;
use super::questioner::Line;
use super::silence::Silence;
use super::{MESSAGE_BYTES_MAX, OPEN_MAX};
use crate::retry::Retry;

/// Questions that leave in one message.
const TOGETHER_MAX: usize = 256;
/// Messages that wait for the stream.
const MESSAGES_WAITING: usize = 64;
/// How long a question waits for a stream before nobody is believed to be there.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often those whose time is up are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// Second tries that may be owed at once, and how many each first one earns, in thousandths: an engine
/// that answers badly is not asked twice as much.
const BUDGET_MAX: u32 = 100_000;
const EARNED: u32 = 100;
const SPENT: u32 = 1_000;

/// A question on its way.
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    /// True if it may be asked again.
    pub(super) again: bool,
    /// When nobody waits any more.
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Result<Answer, Refusal>>,
}

/// What one process asks and has not been answered.
pub(super) struct Session {
    line: Line,
    asked: mpsc::Receiver<Pending>,
    /// Waits for a stream, with since when.
    waiting: VecDeque<(Pending, Instant)>,
    open: HashMap<u64, Pending>,
    next_tag: u64,
    budget: u32,
    silence: Arc<Silence>,
}

impl Session {
    pub(super) fn new(line: Line, asked: mpsc::Receiver<Pending>, silence: Arc<Silence>) -> Self {
        let (waiting, open) = (VecDeque::new(), HashMap::new());
        Self { line, asked, waiting, open, next_tag: 0, budget: BUDGET_MAX, silence }
    }

    /// Keeps asking until the last questioner is gone.
    pub(super) async fn run(mut self) {
        let mut retry = Retry::default();
        loop {
            if let Some((sender, answers)) = self.connect().await {
                retry = Retry::default();
                self.silence.broken_at(Instant::now(), false);
                if self.ask(&sender, answers).await.is_none() {
                    return;
                }
                self.broken();
            }
            let pause = retry.jittered_pause();
            if self.wait(Instant::now() + pause).await.is_none() {
                return;
            }
        }
    }

    /// A stream, unless it cannot be had before somebody's patience ends.
    async fn connect(&mut self) -> Option<(mpsc::Sender<SessionRequest>, Streaming<SessionResponse>)> {
        let (sender, requests) = mpsc::channel(MESSAGES_WAITING);
        let mut client: EngineServiceClient<_> =
            self.line.client().max_decoding_message_size(MESSAGE_BYTES_MAX);
        let call = client.session(self.line.authorised(ReceiverStream::new(requests)));
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(answers)) => Some((sender, answers.into_inner())),
            Ok(Err(status)) => {
                tracing::warn!(engine = %self.line.address, error = status.message(), "the engine does not answer");
                None
            }
            Err(_) => None,
        }
    }

    /// Asks and hears until the stream breaks; `None` if nobody asks any more.
    async fn ask(
        &mut self,
        sender: &mpsc::Sender<SessionRequest>,
        mut answers: Streaming<SessionResponse>,
    ) -> Option<()> {
        let mut batch = Vec::new();
        let mut sweep = Instant::now() + SWEEP_EVERY;
        loop {
            self.send_waiting(sender).await;
            let room = OPEN_MAX.saturating_sub(self.open.len()).min(TOGETHER_MAX);
            tokio::select! {
                count = self.asked.recv_many(&mut batch, room), if room > 0 => {
                    if count == 0 {
                        return None;
                    }
                    let now = Instant::now();
                    self.earn(count);
                    self.waiting.extend(batch.drain(..).map(|pending| (pending, now)));
                }
                message = answers.message() => match message {
                    Ok(Some(response)) => self.answered(response),
                    Ok(None) => return Some(()),
                    Err(status) => {
                        tracing::warn!(engine = %self.line.address, error = status.message(), "the engine is gone");
                        return Some(());
                    }
                },
                () = sleep_until(sweep) => {
                    self.open.retain(|_, pending| !pending.answer.is_closed());
                    sweep = Instant::now() + SWEEP_EVERY;
                }
            }
        }
    }

    /// Sends what waits, as far as there is room.
    async fn send_waiting(&mut self, sender: &mpsc::Sender<SessionRequest>) {
        let now = Instant::now();
        while !self.waiting.is_empty() && self.open.len() < OPEN_MAX {
            let mut questions = Vec::new();
            while let Some((pending, _)) = self.waiting.pop_front() {
                if pending.until <= now || pending.answer.is_closed() {
                    continue;
                }
                let tag = self.next_tag;
                self.next_tag += 1;
                questions.push(Sent { tag, question: pending.bytes.clone() });
                self.open.insert(tag, pending);
                if questions.len() == TOGETHER_MAX || self.open.len() == OPEN_MAX {
                    break;
                }
            }
            if questions.is_empty() {
                return;
            }
            // A stream that takes nothing any more is found broken by who reads it.
            if sender.send(SessionRequest { questions }).await.is_err() {
                return;
            }
            self.silence.asked_at(now);
        }
    }

    fn answered(&mut self, response: SessionResponse) {
        let said = !response.answers.is_empty();
        for answer in response.answers {
            let Some(pending) = self.open.remove(&answer.tag) else { continue };
            let answer = Answer::decode(&answer.answer).map_err(|error| {
                tracing::error!(%error, "the engine's answer cannot be read");
                Refusal::Unreachable
            });
            // Who gave up does not hear it.
            let _ = pending.answer.send(answer);
        }
        if said {
            self.silence.broken_at(Instant::now(), !self.open.is_empty());
        }
    }

    /// First tries pay for second ones.
    fn earn(&mut self, count: usize) {
        self.budget = self.budget.saturating_add(EARNED.saturating_mul(count as u32)).min(BUDGET_MAX);
    }

    /// What was under way waits for the next stream if it bears being asked twice and there is budget.
    fn broken(&mut self) {
        let now = Instant::now();
        let mut tags: Vec<u64> = self.open.keys().copied().collect();
        tags.sort_unstable();
        for tag in tags {
            let Some(pending) = self.open.remove(&tag) else { continue };
            match self.budget.checked_sub(SPENT).filter(|_| pending.again) {
                Some(left) => {
                    self.budget = left;
                    self.waiting.push_back((pending, now));
                }
                None => drop(pending.answer.send(Err(Refusal::Unreachable))),
            }
        }
    }

    /// Waits without a stream; `None` if nobody asks any more.
    async fn wait(&mut self, until: Instant) -> Option<()> {
        loop {
            self.give_up();
            let room = OPEN_MAX.saturating_sub(self.waiting.len());
            tokio::select! {
                asked = self.asked.recv(), if room > 0 => {
                    let now = Instant::now();
                    self.waiting.push_back((asked?, now));
                    // Whoever cannot be reached says nothing either.
                    self.silence.asked_at(now);
                }
                () = sleep_until(until) => return Some(()),
                () = sleep(SWEEP_EVERY) => {}
            }
        }
    }

    /// Tells those whose patience is over.
    fn give_up(&mut self) {
        let now = Instant::now();
        while let Some((pending, since)) = self.waiting.pop_front() {
            if now < since + PATIENCE && now < pending.until {
                self.waiting.push_front((pending, since));
                return;
            }
            let _ = pending.answer.send(Err(Refusal::Unreachable));
        }
    }
}

#[cfg(test)]
mod tests {
    use onrush_grpc::engine::v1::Answer as Sent;

    use super::super::EngineToken;
    use super::*;

    fn pending(again: bool) -> (Pending, oneshot::Receiver<Result<Answer, Refusal>>) {
        let (answer, answered) = oneshot::channel();
        let until = Instant::now() + Duration::from_secs(3_600);
        (Pending { bytes: vec![7], again, until, answer }, answered)
    }

    /// What is under way breaks off; how many wait to be asked again.
    fn break_off(session: &mut Session, count: u64, again: bool) -> (usize, usize) {
        session.waiting.clear();
        let mut answers = Vec::new();
        for tag in 0..count {
            let (pending, answered) = pending(again);
            session.open.insert(tag, pending);
            answers.push(answered);
        }
        session.broken();
        let told = |answer: &mut oneshot::Receiver<_>| answer.try_recv() == Ok(Err(Refusal::Unreachable));
        let refused = answers.iter_mut().filter_map(|answer| told(answer).then_some(())).count();
        (session.waiting.len(), refused)
    }

    #[tokio::test]
    async fn second_tries_run_dry_and_are_earned_by_first_ones() {
        let line = Line::nowhere(&EngineToken::random()).unwrap();
        let (_asked, questions) = mpsc::channel(1);
        let mut session = Session::new(line, questions, Arc::default());
        assert_eq!(break_off(&mut session, 10, false), (0, 10), "what may be done twice is not asked again");
        assert_eq!(break_off(&mut session, 250, true), (100, 150));
        assert_eq!(break_off(&mut session, 10, true), (0, 10));
        session.earn(9);
        assert_eq!(break_off(&mut session, 10, true), (0, 10), "nine questions earn nothing");
        session.earn(1);
        assert_eq!(break_off(&mut session, 10, true), (1, 9));
        session.earn(1_000_000);
        assert_eq!(break_off(&mut session, 250, true), (100, 150), "more than that is never owed");
        // An answer to what was given up is nobody's.
        session.answered(SessionResponse { answers: vec![Sent { tag: 9_999, answer: Vec::new() }] });
    }
}
