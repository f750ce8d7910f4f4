//! Measures: what `/metrics` of every port tells.
//!
//! Each front counts its own calls in cells that no other thread writes ([`Meter`]), consumer groups say
//! how far they are ([`Positions`]), and what the engine counts anyway is read when somebody asks. A scrape
//! sums all that into families of samples ([`family`]) of the whole process.

pub(crate) mod calls;
pub(crate) mod commands;
pub(crate) mod engine;
pub(crate) mod exposition;
pub(crate) mod family;
mod latency;
mod meter;
mod positions;

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Service;

pub(crate) use commands::{Commands, Transport};
pub(crate) use meter::{Counting, Edge, Meter, Tally, UNMATCHED};
pub(crate) use positions::{Position, Positions, Readers};

/// What a process counts.
#[derive(Default)]
pub(crate) struct Metrics {
    meters: Mutex<Vec<Arc<Meter>>>,
    commands: Mutex<Vec<(Transport, Arc<Commands>)>>,
    /// How far its consumer groups are.
    pub(crate) positions: Positions,
}

impl Metrics {
    /// A meter of its own for one edge of one port of one front. `calls` are its methods and routes.
    pub(crate) fn meter(
        &self,
        service: Service,
        edge: Edge,
        calls: impl IntoIterator<Item = (String, String)>,
    ) -> Arc<Meter> {
        let meter = Arc::new(Meter::new(service, edge, calls));
        self.meters.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&meter));
        meter
    }

    /// What one front of the native protocol counts.
    pub(crate) fn native_front(&self, transport: Transport) -> Arc<Commands> {
        let commands = Arc::<Commands>::default();
        let mut all = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((transport, Arc::clone(&commands)));
        commands
    }

    /// What the fronts over a transport count.
    fn commands(&self, wanted: Transport) -> Vec<Arc<Commands>> {
        let all = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().filter(|(transport, _)| *transport == wanted);
        found.map(|(_, commands)| Arc::clone(commands)).collect()
    }

    fn meters(&self) -> Vec<Arc<Meter>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
