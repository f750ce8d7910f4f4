//! Where a shipment stands, and where it may go from there.

use serde::{Deserialize, Serialize};

/// Where a shipment stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipmentState {
    /// The order is paid; the carrier is asked for a label.
    Created,
    /// The label is paid for.
    LabelPurchased,
    /// With the carrier.
    InTransit,
    /// On the last van.
    OutForDelivery,
    /// Arrived.
    Delivered,
    /// Somebody has to look after it.
    Exception,
    /// Back with the shop, or called off before it left.
    Returned,
}

impl ShipmentState {
    /// All states.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::LabelPurchased,
        Self::InTransit,
        Self::OutForDelivery,
        Self::Delivered,
        Self::Exception,
        Self::Returned,
    ];

    /// The name in events and texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::LabelPurchased => "label_purchased",
            Self::InTransit => "in_transit",
            Self::OutForDelivery => "out_for_delivery",
            Self::Delivered => "delivered",
            Self::Exception => "exception",
            Self::Returned => "returned",
        }
    }

    /// True if the graph has the edge `self -> to`. Carriers pass over scans, so a parcel may be seen
    /// first at the door; and one that nobody opened to goes back to the depot.
    pub fn may_become(self, to: Self) -> bool {
        use ShipmentState::*;
        match self {
            Created => matches!(to, LabelPurchased | Exception | Returned),
            LabelPurchased => matches!(to, InTransit | OutForDelivery | Delivered | Exception | Returned),
            InTransit => matches!(to, OutForDelivery | Delivered | Exception | Returned),
            OutForDelivery => matches!(to, InTransit | Delivered | Exception | Returned),
            Exception => {
                matches!(to, Created | LabelPurchased | InTransit | OutForDelivery | Delivered | Returned)
            }
            Delivered => to == Returned,
            Returned => false,
        }
    }

    /// True while the carrier or we have something to do.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Delivered | Self::Returned)
    }

    /// True if the parcel has not left the house.
    pub fn is_inside(self) -> bool {
        matches!(self, Self::Created | Self::LabelPurchased)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row: from; column: to, in the order of `ALL`.
    const GRAPH: [(ShipmentState, &str); 7] = [
        (ShipmentState::Created, ".x...xx"),
        (ShipmentState::LabelPurchased, "..xxxxx"),
        (ShipmentState::InTransit, "...xxxx"),
        (ShipmentState::OutForDelivery, "..x.xxx"),
        (ShipmentState::Delivered, "......x"),
        (ShipmentState::Exception, "xxxxx.x"),
        (ShipmentState::Returned, "......."),
    ];

    #[test]
    fn the_graph_is_the_table() {
        for (from, row) in GRAPH {
            let found: String = ShipmentState::ALL
                .map(|to| if from.may_become(to) { 'x' } else { '.' })
                .into_iter()
                .collect();
            assert_eq!(found, row, "from {}", from.name());
        }
    }

    #[test]
    fn names_are_those_of_the_documents() {
        for state in ShipmentState::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
        }
    }
}
