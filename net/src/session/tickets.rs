//! Commands under way: whose they are, and how they are called over there.

use std::rc::Rc;

use super::desk::Ticket;

/// What is under way at one front. A place is free again once its command is answered.
pub(super) struct Tickets<T> {
    open: Vec<Option<Open<T>>>,
    free: Vec<u32>,
}

/// A command under way.
pub(super) struct Open<T> {
    /// Whose it is; it may have ended meanwhile.
    pub(super) connection: Rc<T>,
    /// What its answer brings back.
    pub(super) tag: u64,
    /// True if the answer may be as long as an order.
    pub(super) reads: bool,
    /// How long it was.
    pub(super) bytes: usize,
}

impl<T> Default for Tickets<T> {
    fn default() -> Self {
        Self { open: Vec::new(), free: Vec::new() }
    }
}

impl<T> Tickets<T> {
    pub(super) fn open(&mut self, open: Open<T>) -> Ticket {
        match self.free.pop() {
            Some(place) => {
                self.open[place as usize] = Some(open);
                Ticket(place)
            }
            None => {
                self.open.push(Some(open));
                Ticket(self.open.len() as u32 - 1)
            }
        }
    }

    /// `None` if it is not under way.
    pub(super) fn close(&mut self, ticket: Ticket) -> Option<Open<T>> {
        let open = self.open.get_mut(ticket.0 as usize)?.take()?;
        self.free.push(ticket.0);
        Some(open)
    }
}
