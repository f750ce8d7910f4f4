//! What a comparison found, over all gateways and of each.

use crate::gateway::{GatewayKind, Trouble};

/// Differences told one by one.
const DIFFERENCES_MAX: usize = 1_000;
/// Payments of nobody told one by one.
const STRANGERS_MAX: usize = 1_000;

/// What a comparison found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// One line per difference.
    pub differences: Vec<String>,
    /// Comparisons made: payments that moved or did not agree before. One that moved on both sides
    /// counts twice if there is more to compare than fits in memory.
    pub payments: u64,
    /// Payments with something under way.
    pub open: u64,
    /// Each gateway on its own.
    pub gateways: Vec<Compared>,
    /// Differences beyond those that are told.
    untold: u64,
}

/// What was found at one gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compared {
    /// Which one.
    pub gateway: GatewayKind,
    /// Why not all of its books were read.
    pub trouble: Option<String>,
    /// True if it gave no answer.
    pub away: bool,
    /// Payments compared with its books.
    pub payments: u64,
    /// Of these, those that differ.
    pub differences: u64,
    /// Payments that wait for it to answer.
    pub unanswered: u64,
    /// Up to when its list was read, in s since the epoch; `None` = it is not read by time.
    pub read_s: Option<u64>,
    /// One line per payment there that names no order of ours.
    pub strangers: Vec<String>,
}

impl Report {
    /// True if nothing differs and every gateway answered.
    pub fn ok(&self) -> bool {
        self.differences.is_empty() && self.gateways.iter().all(|compared| !compared.away)
    }

    /// What is found at a gateway.
    pub(super) fn of(&mut self, gateway: GatewayKind) -> &mut Compared {
        let place = match self.gateways.iter().position(|compared| compared.gateway == gateway) {
            Some(place) => place,
            None => {
                self.gateways.push(Compared::new(gateway));
                self.gateways.len() - 1
            }
        };
        &mut self.gateways[place]
    }

    /// Notes a difference.
    pub(super) fn differs(&mut self, line: String) {
        match self.differences.len() < DIFFERENCES_MAX {
            true => self.differences.push(line),
            false => self.untold += 1,
        }
    }

    /// All was noted.
    pub(super) fn end(&mut self) {
        if self.untold > 0 {
            self.differences.push(format!("{} more payments differ", self.untold));
        }
    }
}

impl Compared {
    fn new(gateway: GatewayKind) -> Self {
        Self {
            gateway,
            trouble: None,
            away: false,
            payments: 0,
            differences: 0,
            unanswered: 0,
            read_s: None,
            strangers: Vec::new(),
        }
    }

    /// It gave no answer.
    pub(super) fn is_away(&mut self, trouble: Trouble) {
        self.away = true;
        self.trouble.get_or_insert_with(|| trouble.to_string());
    }

    /// A payment there names no order of ours.
    pub(super) fn stranger(&mut self, name: &str) {
        let gateway = self.gateway;
        tracing::warn!(%gateway, payment = name, "a payment at a gateway names no order of ours");
        if self.strangers.len() < STRANGERS_MAX {
            self.strangers.push(format!("payment {name}: expected an order of ours, found none named"));
        }
    }
}
