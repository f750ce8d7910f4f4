//! Who may do what over the native protocol: the rules of every edge.

use onrush_proto::frame::{ErrorCode, Hello};
use onrush_proto::{CancelOrder, Command, OrderState, Outcome, Receipt, Refusal};
use onrush_services::access::{Access, Keyring, Role};
use onrush_services::config::Tokens;

use super::peer::{Peer, create, ordered, outcome, receipt, refusal, rejected, sell, stock};
use crate::shop::Shop;

struct Street {
    shop: Shop,
    keyring: Keyring,
}

impl Street {
    fn open() -> Self {
        let mut tokens = Tokens::default();
        let shop = Shop::open_with(|config| {
            config.access = Access::Required;
            tokens = config.tokens.clone();
        });
        let keyring = Keyring::open(&shop.dir.path().join("data"), &tokens).unwrap();
        Self { shop, keyring }
    }

    fn peer(&self, user: &str, role: Role) -> Peer {
        let token = self.keyring.issue(user, "a-login", [role].into_iter().collect()).unwrap();
        Peer::open(self.shop.native(), &token)
    }
}

#[tokio::test]
async fn a_token_is_believed_or_the_connection_ends() {
    let street = Street::open();
    let good = street.keyring.issue("ada", "a-login", Default::default()).unwrap();
    let mut altered = good.clone();
    altered.replace_range(
        good.len() - 4..good.len() - 3,
        if good.as_bytes()[good.len() - 4] == b'A' { "B" } else { "A" },
    );
    for token in ["", "x", "a.b.c", &altered, &"x".repeat(8 << 10)] {
        let error = Peer::refused(street.shop.native(), &Hello::new(token, "a test"));
        assert_eq!(error.code, ErrorCode::Unauthenticated, "{token}: {error}");
        assert!(!error.text.contains(token) || token.is_empty() || token == "x", "{error}");
    }
    Peer::open(street.shop.native(), &good);
}

#[tokio::test]
async fn customers_touch_what_is_theirs_and_staff_touch_all() {
    let street = Street::open();
    let mut admin = street.peer("root", Role::Admin);
    sell(&mut admin, "tea", 450, 10);
    let (mut ada, mut eve) = (street.peer("ada", Role::Customer), street.peer("eve", Role::Customer));
    // Whoever names nobody means themselves.
    let order = ordered(&ada.ask(5, &create("", &[("tea", 1)])));
    assert_eq!(ordered(&ada.ask(5, &create("ada", &[("tea", 1)]))), order, "the same, said aloud");
    assert_ne!(ordered(&eve.ask(5, &create("eve", &[("tea", 1)]))), order, "keys of two callers never meet");

    let cancel = Command::CancelOrder(CancelOrder { order });
    let unknown = Refusal::UnknownOrder { order };
    assert_eq!(refusal(&eve.ask(0, &Command::GetOrder(order))), unknown);
    assert_eq!(refusal(&eve.ask(0, &cancel)), unknown);
    assert_eq!(refusal(&eve.pay(0, order, "pm_card")), unknown);
    assert_eq!(rejected(&eve.ask(0, &create("ada", &[("tea", 1)]))).reason, "FORBIDDEN");
    for command in [stock("tea", 99), Command::GetStock("tea".parse().unwrap())] {
        assert_eq!(rejected(&eve.ask(0, &command)).reason, "FORBIDDEN");
    }

    for peer in [&mut ada, &mut admin] {
        let Outcome::Order(row) = outcome(&peer.ask(0, &Command::GetOrder(order))) else {
            panic!("an order")
        };
        assert_eq!((row.customer.as_str(), row.state), ("ada", OrderState::Pending));
    }
    let Receipt::AttemptSettled { order_state: OrderState::Paid, .. } =
        receipt(&ada.pay(0, order, "pm_card"))
    else {
        panic!("expected a paid order");
    };
    let second = ordered(&ada.ask(0, &create("", &[("tea", 1)])));
    let cancel = Command::CancelOrder(CancelOrder { order: second });
    assert_eq!(
        receipt(&ada.ask(0, &cancel)),
        Receipt::OrderMoved { order: second, state: OrderState::Cancelled }
    );
}
