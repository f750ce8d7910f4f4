//! The order's graph: every state against every command.

use onrush_proto::OrderState;

use crate::table::check;

/// How an order `o` gets into a state.
const STATES: [(&str, &[&str]); 13] = [
    ("Pending", &[]),
    ("Paid", &["pay o", "settle o #1 captured"]),
    ("Fulfilling", &["pay o", "settle o #1 captured", "move o fulfilling"]),
    ("Shipped", &["pay o", "settle o #1 captured", "move o fulfilling", "move o shipped"]),
    (
        "Delivered",
        &["pay o", "settle o #1 captured", "move o fulfilling", "move o shipped", "move o delivered"],
    ),
    ("Cancelled", &["cancel o"]),
    ("Expired", &["tick"]),
    ("PartiallyRefunded", &["pay o", "settle o #1 captured", "refund o 40", "refunded o #1 ok"]),
    ("Refunded", &["pay o", "settle o #1 captured", "refund o 100", "refunded o #1 ok"]),
    // A refund in part, at each stage of the delivery, and money on its way back.
    ("PartiallyRefunded, fulfilling", &[PAY, "settle o #1 captured", PACK, REFUND, "refunded o #1 ok"]),
    ("PartiallyRefunded, shipped", &[PAY, "settle o #1 captured", PACK, SHIP, REFUND, "refunded o #1 ok"]),
    (
        "PartiallyRefunded, delivered",
        &[PAY, "settle o #1 captured", PACK, SHIP, "move o delivered", REFUND, "refunded o #1 ok"],
    ),
    ("Fulfilling, being cancelled", &[PAY, "settle o #1 captured", PACK, "cancel o"]),
];
const PAY: &str = "pay o";
const PACK: &str = "move o fulfilling";
const SHIP: &str = "move o shipped";
const REFUND: &str = "refund o 40";

/// What becomes of an order in a state (row) by a command (column); `-` is an illegal transition,
/// `off` a refusal because the order is being called off. Calling off an order that is paid begins
/// with its refund.
const MATRIX: &str = "
    state             | cancel    | pending | fulfilling | shipped | delivered | pay     | refund
    Pending           | Cancelled | -       | -          | -       | -         | Pending | none
    Paid              | refund    | -       | Fulfilling | -       | -         | -       | Paid
    Fulfilling        | refund    | -       | -          | Shipped | -         | -       | Fulfilling
    Shipped           | -         | -       | -          | -       | Delivered | -       | Shipped
    Delivered         | -         | -       | -          | -       | -         | -       | Delivered
    Cancelled         | -         | -       | -          | -       | -         | -       | none
    Expired           | -         | -       | -          | -       | -         | -       | none
    PartiallyRefunded | refund    | -       | Fulfilling | -       | -         | -       | PartiallyRefunded
    Refunded          | -         | -       | -          | -       | -         | -       | none
    PartiallyRefunded, fulfilling | refund | - | -       | Shipped | -         | -       | PartiallyRefunded
    PartiallyRefunded, shipped    | -      | - | -       | -       | Delivered | -       | PartiallyRefunded
    PartiallyRefunded, delivered  | -      | - | -       | -       | -         | -       | PartiallyRefunded
    Fulfilling, being cancelled   | off    | - | -       | off     | -         | -       | none
";

fn row(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
}

fn camel(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// The table of one cell: the way into the state, the command, and what is found after it.
fn cell(state: &str, command: &str, becomes: &str) -> String {
    let (_, way) = STATES.iter().find(|(name, _)| *name == state).unwrap();
    let mut table = String::from("0s | put tea stock 9 | ok\n0s | order ada tea as o | ok\n");
    let at = if state == "Expired" { "600s" } else { "1s" };
    let stands = state.split(',').next().unwrap();
    for step in *way {
        table += &format!("{at} | {step} | {}\n", if *step == "tick" { "-" } else { "ok" });
    }
    let (text, to) = match command {
        "cancel" => ("cancel o".into(), "Cancelled".into()),
        "pay" => ("pay o".into(), "Paid".into()),
        "refund" => ("refund o 10".into(), String::new()),
        onward => (format!("move o {onward}"), camel(onward)),
    };
    let outcome = match becomes {
        "-" => format!("ILLEGAL_TRANSITION {stands} -> {to}"),
        "off" => "ORDER_BEING_CANCELLED order_id".into(),
        "none" => "REFUND_ABOVE_CAPTURED amount".into(),
        _ => "ok".into(),
    };
    table + &format!("{at} | {text} | {outcome}\n")
}

/// The check of a refusal includes that no record was written.
#[test]
fn every_state_against_every_command() {
    let mut lines = MATRIX.lines().filter(|line| line.contains('|')).map(row);
    let commands = lines.next().unwrap();
    let mut cells = 0;
    for line in lines {
        for (command, becomes) in commands.iter().zip(&line).skip(1) {
            check(&cell(line[0], command, becomes));
            cells += 1;
        }
    }
    assert_eq!(cells, STATES.len() * 7);
}

#[test]
fn legal_edges_move() {
    check(
        "at | command                 | outcome
         0s | put tea stock 9         | ok
         0s | order ada tea as o      | ok
         0s | pay o                   | ok
         0s | settle o #1 captured    | ok
         0s | move o fulfilling       | now Fulfilling
         0s | refund o 10             | ok
         0s | refunded o #1 ok        | ok
         0s | move o shipped          | now Shipped
         0s | move o delivered        | now Delivered
         0s | refund o 10             | ok
         0s | refunded o #2 ok        | ok
         0s | get o                   | PartiallyRefunded Succeeded authorised 100 captured 100 refunded 20
         0s | cancel nothing          | UNKNOWN_ORDER order_id
         0s | move nothing shipped    | UNKNOWN_ORDER order_id
         0s | get nothing             | UNKNOWN_ORDER order_id",
    );
}

#[test]
fn the_graph_is_the_specifications() {
    use OrderState::*;
    let all = [
        Queued,
        Reserving,
        Rejected,
        Pending,
        Paid,
        Fulfilling,
        Shipped,
        Delivered,
        Cancelled,
        Expired,
        PartiallyRefunded,
        Refunded,
    ];
    let edges = [
        (Queued, Reserving),
        (Queued, Rejected),
        (Reserving, Pending),
        (Reserving, Rejected),
        (Pending, Paid),
        (Pending, Cancelled),
        (Pending, Expired),
        (Expired, Paid),
        (Paid, Fulfilling),
        (Fulfilling, Shipped),
        (Shipped, Delivered),
        (Paid, Cancelled),
        (Fulfilling, Cancelled),
        (PartiallyRefunded, Fulfilling),
        (PartiallyRefunded, Shipped),
        (PartiallyRefunded, Delivered),
        (PartiallyRefunded, Cancelled),
    ];
    for from in all {
        for to in all {
            let money = matches!(to, PartiallyRefunded | Refunded) && from.is_sold() && from != Refunded;
            assert_eq!(from.may_become(to), money || edges.contains(&(from, to)), "{from:?} -> {to:?}");
        }
    }
}
