//! The numbers of what has a name. `docs/wire.md` has them as tables; they never change their meaning.

use crate::payment::{Account, AttemptState, PaymentState, RefundState};
use crate::progress::Delivery;
use crate::row::{HoldState, OrderState};

/// Something with a name that travels as a number.
pub(super) trait Number: Copy {
    /// Its number.
    fn number(self) -> u8;
    /// What has this number.
    fn named(number: u8) -> Option<Self>;
}

macro_rules! numbers {
    ($($kind:ident { $($variant:ident = $number:literal),+ $(,)? })+) => {
        $(
            impl Number for $kind {
                fn number(self) -> u8 {
                    match self { $(Self::$variant => $number,)+ }
                }

                fn named(number: u8) -> Option<Self> {
                    match number {
                        $($number => Some(Self::$variant),)+
                        _ => None,
                    }
                }
            }
        )+

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn the_document_has_every_number() {
                use super::super::document::table;
                let known = [$((
                    stringify!($kind),
                    [$(concat!($number, " ", stringify!($variant))),+].join(", "),
                )),+];
                let rows = table("Numbers of states", 0);
                let rows: Vec<_> = rows.iter().map(|row| (row[0].as_str(), row[1].clone())).collect();
                assert_eq!(rows, known);
            }

            #[test]
            fn every_name_has_a_number_of_its_own() {
                $(
                    let all = [$($kind::$variant),+];
                    let known: Vec<_> = (0..=u8::MAX).filter_map($kind::named).collect();
                    assert_eq!(known.len(), all.len(), stringify!($kind));
                    assert!(all.iter().all(|one| $kind::named(one.number()) == Some(*one)));
                )+
            }
        }
    };
}

numbers! {
    OrderState {
        Reserving = 1, Queued = 2, Rejected = 3, Pending = 4, Paid = 5, Fulfilling = 6, Shipped = 7,
        Delivered = 8, Cancelled = 9, Expired = 10, PartiallyRefunded = 11, Refunded = 12,
    }
    Delivery { Waiting = 1, Fulfilling = 2, Shipped = 3, Delivered = 4 }
    PaymentState {
        RequiresPaymentMethod = 1, RequiresAction = 2, Processing = 3, RequiresCapture = 4, Succeeded = 5,
        Canceled = 6,
    }
    AttemptState {
        Processing = 1, Authorised = 2, Captured = 3, Declined = 4, Unknown = 5, Voided = 6, Capturing = 7,
    }
    RefundState { Pending = 1, Succeeded = 2, Failed = 3 }
    HoldState { Held = 1, Captured = 2, Released = 3, Returned = 4 }
    Account { Customer = 1, Authorised = 2, Captured = 3, Refunded = 4, Fees = 5 }
}
