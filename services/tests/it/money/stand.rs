//! What the stand-ins for gateways share: books behind a small server, bad days, and a memory of every call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::wire::{self, Answer, Call, Place};

/// What goes wrong with a call that changes something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// 429 with a pause, nothing done, nothing remembered.
    Busy,
    /// Nothing is done, and 500.
    FailedBefore,
    /// It is done, and then 500.
    FailedAfter,
    /// It is done, and the connection ends without a word.
    Dropped,
    /// It is done, and the answer comes too late.
    Slow,
    /// It is done, and the answer is not JSON.
    Garbled,
    /// Another call under this key is still at it.
    Locked,
}

impl Fault {
    /// The status of a call that is kept from doing anything.
    pub(super) fn refuses(self) -> Option<u16> {
        match self {
            Self::Busy => Some(429),
            Self::Locked => Some(409),
            Self::FailedBefore => Some(500),
            Self::FailedAfter | Self::Dropped | Self::Slow | Self::Garbled => None,
        }
    }

    /// How the answer to a call that was done arrives.
    pub(super) fn spoil(fault: Option<Self>, status: u16, body: String) -> Answer {
        match fault {
            Some(Self::FailedAfter) => Answer::Say(500, "oops".into()),
            Some(Self::Dropped) => Answer::HangUp,
            Some(Self::Slow) => Answer::Late(body),
            Some(Self::Garbled) => Answer::Say(200, "<html>".into()),
            _ => Answer::Say(status, body),
        }
    }
}

/// The days that a stand-in has.
#[derive(Default)]
pub(crate) struct Days {
    faults: VecDeque<Fault>,
    /// Status that everything is answered with.
    pub(super) outage: Option<u16>,
    calls: Vec<Call>,
}

impl Days {
    /// What goes wrong with the next call that changes something.
    pub(super) fn fault(&mut self) -> Option<Fault> {
        self.faults.pop_front()
    }
}

/// What a stand-in keeps.
pub(crate) trait Books: Default + Send + 'static {
    /// The header that brings a call's key.
    const KEY: &'static str;

    fn days(&mut self) -> &mut Days;

    fn answer(&mut self, call: &Call) -> Answer;
}

/// A stand-in.
pub(crate) struct Stand<B> {
    pub(crate) base: String,
    books: Arc<Mutex<B>>,
}

impl<B: Books> Stand<B> {
    /// One that has these faults, one per call that changes something.
    pub(crate) fn start(faults: &[Fault]) -> Self {
        Self::start_at(Place::free(), faults)
    }

    /// The same at this place.
    pub(crate) fn start_at(place: Place, faults: &[Fault]) -> Self {
        let books = Arc::new(Mutex::new(B::default()));
        let shelf = books.clone();
        let answer = move |call: &Call| {
            let mut books = shelf.lock().unwrap();
            books.days().calls.push(call.clone());
            books.answer(call)
        };
        let address = wire::serve(place, answer);
        let stand = Self { base: format!("http://{address}"), books };
        stand.fail_next(faults);
        stand
    }

    /// One that is to come to this place.
    pub(crate) fn absent(place: &Place) -> Self {
        Self { base: format!("http://{}", place.address()), books: Arc::default() }
    }

    pub(super) fn books(&self) -> MutexGuard<'_, B> {
        self.books.lock().unwrap()
    }

    /// Answers everything with this status, or again as usual.
    pub(crate) fn outage(&self, status: Option<u16>) {
        self.books().days().outage = status;
    }

    /// The next calls that change something have these faults.
    pub(crate) fn fail_next(&self, faults: &[Fault]) {
        self.books().days().faults.extend(faults);
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.books().days().calls.clone()
    }

    /// Keys of the calls that were to change something at this path.
    pub(crate) fn keys_at(&self, path: &str) -> Vec<String> {
        let calls =
            self.calls().into_iter().filter(|call| call.method == "POST" && call.path.ends_with(path));
        calls.map(|call| call.header(B::KEY).to_owned()).collect()
    }
}
