//! What is asked of a thread that ranks. It is moved there with room for its answer, so that such a thread takes nothing
//! anew. Where it has to look through the catalogue for its customer, it does for those of the next that wait, too.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use onrush_scoring::scan::QUERIES_MAX;
use tokio::sync::oneshot;

use super::board::Board;
use super::knowledge::Knowledge;
use super::learner::Learner;
use super::rank::{Asked, Ranked};
use super::scorers::Waiting;

/// Room for answers that a thread keeps for the next: more calls at once take theirs anew.
const SPARE_MAX: usize = 32;
/// Candidates that such an answer has room for, at most: one for a page of the longest, or a few more.
const SPARE_CANDIDATES_MAX: usize = 1_024;

thread_local! {
    static SPARE: RefCell<Vec<Ranked>> = const { RefCell::new(Vec::new()) };
}

/// A question.
pub(super) struct Question {
    pub(super) learner: Arc<Learner>,
    pub(super) asked: Arc<Asked>,
    pub(super) board: Arc<Board>,
    /// Candidates that are put in order, at most.
    pub(super) most: usize,
    /// Room for the answer.
    pub(super) ranked: Ranked,
    pub(super) told: oneshot::Sender<Ranked>,
}

impl Question {
    /// Answers it. Who asked may have gone while it waited, or while it is answered.
    pub(super) fn answer(self, waiting: &Mutex<Waiting>) {
        let Self { learner, asked, board, most, mut ranked, told } = self;
        if told.is_closed() {
            return;
        }
        learner.look(|knowledge| {
            look_ahead(knowledge, &asked, waiting);
            asked.rank(knowledge, &board, most, &mut ranked);
        });
        let _ = told.send(ranked);
    }
}

/// Makes the profile of who asks together with those of the next that wait, if it is not there and any of theirs is not.
fn look_ahead(knowledge: &Knowledge, asked: &Asked, waiting: &Mutex<Waiting>) {
    let Some(own) = asked.sought().filter(|own| knowledge.lacks(own)) else { return };
    // Whoever holds it waits for the next question: there is none.
    let Ok(mut waiting) = waiting.try_lock() else { return };
    let (mut together, mut count) = ([own; QUERIES_MAX], 1);
    for next in waiting.ahead().filter_map(|next| next.asked.sought()) {
        if count < QUERIES_MAX && !together[..count].contains(&next) && knowledge.lacks(&next) {
            together[count] = next;
            count += 1;
        }
    }
    drop(waiting);
    if count > 1 {
        knowledge.look_together(&together[..count]);
    }
}

impl Ranked {
    /// Room for an answer.
    pub(super) fn spare() -> Self {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps the room for another one.
    pub(super) fn give_back(mut self) {
        self.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX && self.room() <= SPARE_CANDIDATES_MAX {
                spare.push(self);
            }
        });
    }
}
