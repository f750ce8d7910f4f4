//! Records under small numbers, reused: nothing is allocated once the slab has grown.

/// A record's number and the generation it was put under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(pub(crate) u64);

impl Ticket {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

struct Cell<T> {
    generation: u32,
    record: Option<T>,
}

/// Records by [`Ticket`]; a ticket of a removed record finds nothing, even once its cell is reused.
pub(crate) struct Slab<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// A slab with room for that many.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { cells: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity) }
    }

    /// Keeps a record.
    pub(crate) fn insert(&mut self, record: T) -> Ticket {
        if let Some(index) = self.free.pop() {
            let cell = &mut self.cells[index as usize];
            cell.record = Some(record);
            return Ticket::new(index, cell.generation);
        }
        self.cells.push(Cell { generation: 0, record: Some(record) });
        Ticket::new(self.cells.len() as u32 - 1, 0)
    }

    /// The record, if it is still kept.
    pub(crate) fn find(&mut self, ticket: Ticket) -> Option<&mut T> {
        let cell = self.cells.get_mut(ticket.index())?;
        (cell.generation == ticket.generation()).then_some(cell.record.as_mut()).flatten()
    }

    /// Gives the record back.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let cell = self.cells.get_mut(ticket.index())?;
        if cell.generation != ticket.generation() {
            return None;
        }
        let record = cell.record.take()?;
        cell.generation = cell.generation.wrapping_add(1);
        self.free.push(ticket.index() as u32);
        Some(record)
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_ticket_finds_nothing_in_a_reused_cell() {
        let mut slab = Slab::with_capacity(1);
        let first = slab.insert("a");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b");
        assert_eq!(slab.find(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.find(second).copied(), Some("b"));
        assert_eq!(slab.len(), 1);
    }
}
