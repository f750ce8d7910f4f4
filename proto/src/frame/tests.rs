//! Frames come over as they are, and nothing else is taken for one.

use proptest::prelude::*;

use super::*;
use crate::command::{
    CancelOrder, CapturePayment, Command, CommitOffset, CreateOrder, OrderLine, PutProduct, RefundPayment,
    StartPayment, StockChange, UpdateStock,
};
use crate::payment::{Account, Attempt, AttemptState, Payment, PaymentState, Posting, Refund, RefundState};
use crate::row::{Line, StateChange, StockRow};
use crate::{
    Currency, Delivery, IdempotencyKey, Lsn, Money, OrderId, OrderRow, OrderState, Outcome, Receipt, Refusal,
    Reply, Slot, SlotMap, Text, Topic,
};

pub(super) fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).unwrap()
}

pub(super) fn create(lines: usize) -> Command {
    let line = |index: usize| OrderLine::new(text(&format!("tea-{index}")), index as i64 + 1);
    let lines = (0..lines).map(line).collect();
    Command::CreateOrder(CreateOrder { customer: text("ada"), lines, hold_us: 7 })
}

/// One of each that an operation stands for.
pub(super) fn commands() -> Vec<(Command, bool)> {
    let order = OrderId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let start =
        Command::StartPayment(Box::new(StartPayment { order, method: text("tok_visa"), capture: true }));
    let stock = |change| UpdateStock { sku: text("tea"), change, reason: text("count") };
    let product = PutProduct {
        sku: text("tea"),
        name: "Tee für Zwei".into(),
        description: "x".repeat(1_001),
        category: text("hot drinks"),
        brand: text("ours"),
        price: Money::new(450, Currency::EUR),
        limit_per_customer: 2,
        limit_returns: true,
        backorder: 3,
        hold_us: 9,
        active: false,
    };
    let lsn = Some(Lsn(u64::MAX));
    let commit = CommitOffset { slot: Slot(3), group: text("books"), topic: Topic::OrderCreated, lsn };
    vec![
        (create(1), false),
        (create(3), false),
        (create(0), false),
        (Command::GetOrder(order), false),
        (Command::CancelOrder(CancelOrder { order }), false),
        (start.clone(), false),
        (start, true),
        (Command::CapturePayment(CapturePayment { order, minor: i64::MAX }), false),
        (Command::RefundPayment(RefundPayment { order, minor: -1 }), false),
        (Command::PutProduct(Box::new(product)), false),
        (Command::UpdateStock(stock(StockChange::Set(5))), false),
        (Command::UpdateStock(stock(StockChange::Add(-5))), false),
        (Command::UpdateStock(stock(StockChange::AddIfVersion { add: 1, version: u64::MAX })), false),
        (Command::GetStock(text("tea")), false),
        (Command::CommitOffset(Box::new(commit)), false),
    ]
}

fn order() -> OrderRow {
    let attempt = Attempt {
        number: 1,
        state: AttemptState::Captured,
        capture: true,
        minor: 900,
        capture_minor: 900,
        method: Text::EMPTY,
        reference: text("ch_1"),
        decline: text(""),
        started_us: 12,
    };
    let refund = Refund {
        number: 2,
        minor: 100,
        state: RefundState::Pending,
        cancels: true,
        surplus: false,
        started_us: 13,
    };
    let posting = Posting { from: Account::Authorised, to: Account::Captured, minor: 900, at_us: 14 };
    let payment = Payment {
        state: PaymentState::Succeeded,
        authorised: 900,
        captured: 900,
        refunded: 0,
        attempts: [attempt].into_iter().collect(),
        refunds: vec![refund],
        postings: [posting; 3].into_iter().collect(),
    };
    let line = |sku: &str| Line { sku: text(sku), quantity: 2, unit_minor: 450 };
    OrderRow {
        id: OrderId(5),
        customer: text("ada"),
        lines: [line("tea"), line("cup")].into_iter().collect(),
        total: Money::new(1_800, Currency::EUR),
        state: OrderState::Paid,
        delivery: Delivery::Waiting,
        held_until_us: 99,
        changed_us: 98,
        key: IdempotencyKey::NONE,
        body: 0,
        history: [StateChange { state: OrderState::Paid, at_us: 98 }].into_iter().collect(),
        payment: Some(Box::new(payment)),
    }
}

pub(super) fn outcomes() -> Vec<Outcome> {
    let (order_id, amount) = (OrderId(u128::MAX - 1), Money::new(-5, Currency::USD));
    let stock = StockRow {
        sku: text("tea"),
        on_hand: 10,
        held: 2,
        sold: 3,
        received: 13,
        version: 4,
        price: amount,
        limit_per_customer: 2,
        limit_returns: true,
        backorder: 1,
        hold_us: 8,
        active: true,
    };
    let receipts = [
        Receipt::Order { order: order_id, total: amount, held_until_us: u64::MAX },
        Receipt::OrderMoved { order: order_id, state: OrderState::Cancelled },
        Receipt::AttemptStarted { order: order_id, attempt: 3, amount },
        Receipt::AttemptSettled {
            order: order_id,
            attempt: 3,
            order_state: OrderState::Paid,
            payment_state: PaymentState::Succeeded,
        },
        Receipt::CaptureStarted { order: order_id, attempt: 1, amount },
        Receipt::Refund { order: order_id, refund: 2, amount, state: RefundState::Pending },
        Receipt::Stock { on_hand: -1, held: 2, version: 3 },
        Receipt::Product { version: 9 },
        Receipt::Offset { lsn: u64::MAX },
    ];
    let unpaid = OrderRow { payment: None, history: Default::default(), ..order() };
    let rows = [Outcome::Order(Box::new(order())), Outcome::Order(Box::new(unpaid))];
    let refusals = [
        Refusal::OutOfStock { line: 0, asked: 2, available: 1 },
        Refusal::Invalid { field: "sku", expected: "1 to 39 bytes" },
    ];
    let accepted = receipts.into_iter().map(Outcome::Accepted);
    accepted
        .chain(rows)
        .chain(refusals.map(Outcome::Refused))
        .chain([Outcome::Stock(Box::new(stock))])
        .collect()
}

fn command_frame() -> Vec<u8> {
    let mut out = Vec::new();
    let frame = begin(&mut out, Kind::Commands);
    for (index, (command, settled)) in commands().iter().enumerate() {
        assert!(put_command(&mut out, index as u64, 5, u128::MAX - index as u128, command, *settled));
    }
    frame.seal(&mut out, commands().len() as u16, 0);
    out
}

fn outcome_frame() -> Vec<u8> {
    let mut out = Vec::new();
    let frame = begin(&mut out, Kind::Outcomes);
    for (index, outcome) in outcomes().into_iter().enumerate() {
        let reply = Reply { outcome, replayed: index % 2 == 0, lsn: Lsn(index as u64) };
        assert!(put_reply(&mut out, index as u64, &reply));
    }
    put_rejected(&mut out, 77, "FORBIDDEN", "customer_id: expected the caller's own id");
    frame.seal(&mut out, outcomes().len() as u16 + 1, 9);
    out
}

fn read(bytes: &[u8]) -> Frame<'_> {
    let (frame, rest) = Frame::read(bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert!(rest.is_empty());
    frame
}

/// Everything that a frame can be read as, so that looking at it is tried in every way.
fn look(frame: &Frame<'_>) {
    let _ = (Hello::read(frame), Welcome::read(frame), ErrorFrame::read(frame));
    let _ = (ValidateView::of(frame).map(|view| view.lines.len()), Verdicts::of(frame).is_ok());
    let _ =
        (DetailsView::of(frame).map(|view| view.skus().count()), Products::of(frame).map(Iterator::count));
    let _ = (SubscribeView::of(frame).map(|view| view.wanted()), Grant::of(frame), Unsubscribe::of(frame));
    let _ = Records::of(frame).map(Iterator::count);
    for kind in [Kind::Commands, Kind::Outcomes] {
        let frame = Frame { kind, ..*frame };
        if let Ok(commands) = Commands::of(&frame) {
            commands.for_each(|entry| drop((entry.operation(), entry.command())));
        }
        if let Ok(outcomes) = Outcomes::of(&frame) {
            outcomes.for_each(drop);
        }
    }
}

#[test]
fn commands_come_over_as_they_are() {
    let bytes = command_frame();
    let read: Vec<_> = Commands::of(&read(&bytes)).unwrap().collect();
    assert_eq!(read.len(), commands().len());
    for (index, (entry, (command, settled))) in read.iter().zip(commands()).enumerate() {
        assert_eq!((entry.tag, entry.patience_us), (index as u64, 5));
        assert_eq!(entry.key, u128::MAX - index as u128);
        assert_eq!(entry.operation() == Ok(Operation::Pay), settled);
        assert_eq!(entry.command(), Ok(command));
    }
}

#[test]
fn outcomes_come_over_as_they_are() {
    let bytes = outcome_frame();
    let frame = read(&bytes);
    assert_eq!(frame.argument, 9);
    let read: Vec<_> = Outcomes::of(&frame).unwrap().map(Result::unwrap).collect();
    for (index, (entry, outcome)) in read.iter().zip(outcomes()).enumerate() {
        let reply = Reply { outcome, replayed: index % 2 == 0, lsn: Lsn(index as u64) };
        assert_eq!(*entry, OutcomeEntry { tag: index as u64, answer: Answer::Reply(reply) });
    }
    let rejected =
        Rejected { reason: "FORBIDDEN".into(), message: "customer_id: expected the caller's own id".into() };
    assert_eq!(read.last(), Some(&OutcomeEntry { tag: 77, answer: Answer::Rejected(rejected) }));
}

/// The zeros behind an empty message are not the one in front of it.
#[test]
fn a_rejection_needs_no_message() {
    for message in ["", "x", "1234567", "12345678"] {
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Outcomes);
        put_rejected(&mut out, 1, "FORBIDDEN", message);
        frame.seal(&mut out, 1, 1);
        let read: Vec<_> = Outcomes::of(&read(&out)).unwrap().collect();
        let rejected = Rejected { reason: "FORBIDDEN".into(), message: message.into() };
        assert_eq!(read, [Ok(OutcomeEntry { tag: 1, answer: Answer::Rejected(rejected) })]);
    }
}

#[test]
fn first_frames_come_over_as_they_are() {
    let mut out = Vec::new();
    let hello = Hello::new("a.b.c", "a client");
    hello.write(&mut out);
    assert_eq!(Hello::read(&read(&out)), Ok(hello));
    assert_eq!(hello.version(), Some(1));
    assert_eq!(Hello { version_min: 2, version_max: 9, ..hello }.version(), None);
    out.clear();
    let map = SlotMap::new(3).unwrap();
    let welcome = Welcome::new(1, map, 1 << 20, 4_096);
    welcome.write(&mut out);
    assert_eq!(Welcome::read(&read(&out)), Ok(welcome.clone()));
    let slots = (0..=u8::MAX).map(crate::Slot);
    assert!(slots.into_iter().all(|slot| welcome.shard(slot) == map.shard(slot)));
    out.clear();
    let error = ErrorFrame::new(ErrorCode::Version, "version: expected 1 to 1, found 2 to 9");
    error.write(&mut out);
    assert_eq!(ErrorFrame::read(&read(&out)), Ok(error));
}

/// What a later version says in such places would be lost, so it is not read as this one.
#[test]
fn a_first_frame_with_something_where_zeros_stand_is_refused() {
    let mut out = Vec::new();
    Hello::new("a.b.c", "a client").write(&mut out);
    let frame = read(&out);
    let padded = |at: usize| {
        let mut body = frame.body.to_vec();
        body[at] = 1;
        body
    };
    let padding = padded(frame.body.len() - 1);
    let refused = Hello::read(&Frame { body: &padding, ..frame });
    assert!(matches!(refused, Err(FrameError::Field { field: "padding", .. })), "{refused:?}");
    let refused = Hello::read(&Frame { count: 1, ..frame });
    assert_eq!(refused, Err(FrameError::Count { expected: 1, found: 0 }));
    let mut out = Vec::new();
    Welcome::new(1, SlotMap::new(3).unwrap(), 1 << 20, 4_096).write(&mut out);
    let frame = read(&out);
    let mut body = frame.body.to_vec();
    body[12] = 1;
    let refused = Welcome::read(&Frame { body: &body, ..frame });
    assert_eq!(refused, Err(FrameError::NotZero { field: "byte 12", found: 1 }));
}

/// A text that is mended grows: three bytes stand for each that is none.
#[test]
fn an_error_text_that_is_mended_stays_within_its_bound() {
    let mut out = Vec::new();
    ErrorFrame::new(ErrorCode::Full, "x".repeat(1_024)).write(&mut out);
    let frame = read(&out);
    let mut body = frame.body.to_vec();
    body[8..].fill(0xff);
    let read = ErrorFrame::read(&Frame { body: &body, ..frame }).unwrap();
    assert_eq!(read.text, "\u{fffd}".repeat(1_024 / 3));
}

#[test]
fn lines_and_verdicts_come_over_as_they_are() {
    let mut out = Vec::new();
    let frame = begin(&mut out, Kind::Validate);
    out.extend_from_slice(&7u64.to_le_bytes());
    put_line(&mut out, &text("tea"), 3);
    put_line(&mut out, &text("cup"), i64::MIN);
    frame.seal(&mut out, 2, 0);
    let bytes = out.clone();
    let frame = read(&bytes);
    let view = ValidateView::of(&frame).unwrap();
    let lines: Vec<_> = view.lines.iter().map(|line| (line.sku().unwrap(), line.quantity())).collect();
    assert_eq!((view.tag, lines), (7, vec![(text("tea"), 3), (text("cup"), i64::MIN)]));
    assert!(ValidateView::of(&Frame { count: 3, ..frame }).is_err(), "a line is missing");

    out.clear();
    let frame = begin(&mut out, Kind::Verdicts);
    out.extend_from_slice(&7u64.to_le_bytes());
    let price = Money::new(450, Currency::EUR);
    let refused = Refusal::OutOfStock { line: 0, asked: 3, available: -2 };
    put_verdict(&mut out, &Verdict::new(Some(&refused), Some((-2, price))));
    put_verdict(&mut out, &Verdict::new(None, Some((5, price))));
    put_verdict(&mut out, &Verdict::new(Some(&Refusal::UnknownSku { line: 2 }), None));
    frame.seal(&mut out, 3, 1);
    let frame = read(&out);
    let said = |verdict: &Verdict| (verdict.refusal(), verdict.available(), verdict.price());
    let verdicts: Vec<_> = Verdicts::of(&frame).unwrap().verdicts.iter().map(said).collect();
    assert_eq!(verdicts, [(16, 0, Some(price)), (0, 5, Some(price)), (11, 0, None)]);
}

/// The bytes stand for good: `docs/wire.md` shows these.
#[test]
fn a_one_line_order_has_the_bytes_that_the_document_shows() {
    let mut out = Vec::new();
    let frame = begin(&mut out, Kind::Commands);
    assert!(put_command(&mut out, 1, 0, 2, &create(1), false));
    frame.seal(&mut out, 1, 0);
    assert_eq!(out.len(), 16 + 144);
    let hex: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
    let zeros = |bytes: usize| "00".repeat(bytes);
    let head = format!("{}a0000000020001{}", &hex[..8], zeros(1)) + &zeros(4);
    let entry = format!("90000000010000000100000000000000{}02{}", zeros(8), zeros(15));
    let customer = format!("616461{}03", zeros(36));
    let hold = "0700000000000000";
    let line = format!("7465612d30{}05", zeros(34)) + "0100000000000000" + "ffffffffffffff7f";
    assert_eq!(hex, head + &entry + &customer + hold + &line);
    assert_eq!(&hex[..8], "c8050658");
    assert_eq!(document::example(), out, "docs/wire.md");
}

#[test]
fn a_frame_that_is_cut_anywhere_has_not_arrived() {
    for whole in [command_frame(), outcome_frame()] {
        for length in 0..whole.len() {
            assert_eq!(Frame::read(&whole[..length], FRAME_BYTES_MAX), Ok(None), "cut at {length}");
        }
    }
}

#[test]
fn a_frame_with_a_flipped_bit_is_refused() {
    for whole in [command_frame(), outcome_frame()] {
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A length that grew waits for more bytes, and is refused when they come.
            flipped.resize(FRAME_BYTES_MAX, 0);
            assert!(Frame::read(&flipped, FRAME_BYTES_MAX).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_kept() {
    for length in [0, 8, 15, 17, FRAME_BYTES_MAX as u32 + 8, u32::MAX, u32::MAX - 7] {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&length.to_le_bytes());
        let expected = FrameError::Length { most: FRAME_BYTES_MAX, found: length };
        assert_eq!(Frame::length(&bytes, FRAME_BYTES_MAX), Err(expected));
    }
    let frame = |body: &[u8], count| {
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Commands);
        out.extend_from_slice(body);
        frame.seal(&mut out, count, 0);
        out
    };
    let whole = command_frame();
    let body = &whole[HEADER_BYTES..];
    for length in [0u32, 8, 39, 41, body.len() as u32 + 8, u32::MAX] {
        let mut lying = body.to_vec();
        lying[..4].copy_from_slice(&length.to_le_bytes());
        let bytes = frame(&lying, commands().len() as u16);
        assert!(matches!(Commands::of(&read(&bytes)), Err(FrameError::EntryLength { index: 0, .. })));
    }
    for count in [0, commands().len() as u16 - 1, commands().len() as u16 + 1, u16::MAX] {
        let bytes = frame(body, count);
        let expected = FrameError::Count { expected: count, found: commands().len() };
        assert_eq!(Commands::of(&read(&bytes)).map(drop), Err(expected));
    }
}

/// A frame by itself is good; what one of its commands says is not.
#[test]
fn an_entry_that_is_never_right_is_refused_by_itself() {
    let refused = |operation: u8, body: &[u8]| {
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Commands);
        out.extend_from_slice(&(40 + body.len() as u32).to_le_bytes());
        out.extend_from_slice(&[operation, 0, 0, 0]);
        out.extend_from_slice(&[0; 32]);
        out.extend_from_slice(body);
        frame.seal(&mut out, 1, 0);
        let frame = read(&out);
        let entry = Commands::of(&frame).unwrap().next().unwrap();
        match entry.command() {
            Err(Refusal::Invalid { field, .. }) => field,
            Err(Refusal::TooManyLines { .. }) => "lines",
            other => panic!("expected a refusal, found {other:?}"),
        }
    };
    let bad_text = |at: usize, length: usize| {
        let mut body = vec![0; length];
        body[at] = 40;
        body
    };
    assert_eq!(refused(0, &[]), "operation");
    assert_eq!(refused(12, &[]), "operation");
    assert_eq!(refused(255, &[]), "operation");
    assert_eq!(refused(1, &[0; 40]), "length");
    assert_eq!(refused(1, &[0; 48 + 8]), "length");
    assert_eq!(refused(1, &bad_text(39, 48)), "customer_id");
    assert_eq!(refused(1, &bad_text(48 + 39, 48 + 56)), "lines.sku");
    assert_eq!(refused(1, &vec![0; 48 + 56 * 10_001]), "lines");
    assert_eq!(refused(2, &[0; 8]), "length");
    assert_eq!(refused(3, &[0; 24]), "length");
    assert_eq!(refused(4, &bad_text(16 + 48, 72)), "capture");
    assert_eq!(refused(5, &bad_text(16 + 46, 72)), "payment_method");
    assert_eq!(refused(9, &bad_text(40, 128)), "change");
    let with = |length: usize, bytes: &[(usize, u8)]| {
        let mut body = vec![0; length];
        bytes.iter().for_each(|(at, byte)| body[*at] = *byte);
        body
    };
    assert_eq!(refused(4, &with(72, &[(71, 1)])), "reserved");
    assert_eq!(refused(9, &with(128, &[(40, 1), (47, 1)])), "reserved");
    assert_eq!(refused(9, &with(128, &[(40, 2), (56, 1)])), "version");
    assert_eq!(refused(8, &with(208, &[(204, 1)])), "reserved");
    assert_eq!(refused(8, &with(216, &[(196, 1), (208, b'x'), (209, b'y')])), "reserved", "in the padding");
    assert_eq!(refused(11, &with(64, &[(58, 18)])), "topic");
    assert_eq!(refused(11, &with(64, &[(57, 1), (58, 1)])), "shard");
    assert_eq!(refused(11, &with(64, &[(58, 1), (63, 1)])), "reserved");
    assert_eq!(refused(10, &bad_text(38, 40)), "sku", "something stands behind the text");
    assert_eq!(refused(8, &[0; 208]), "price.currency");
}

proptest! {
    /// Whatever a frame says, looking at it is safe.
    #[test]
    fn any_body_is_safe_to_look_at(
        body in proptest::collection::vec(any::<u8>(), 0..600),
        lengths in proptest::collection::vec((0usize..600, 0u32..700), 0..4),
        kind in 0..Kind::ALL.len(),
        count in any::<u16>(),
    ) {
        let mut body = body;
        for (at, length) in lengths {
            if let Some(place) = body.get_mut(at / 8 * 8..at / 8 * 8 + 4) {
                place.copy_from_slice(&(length / 8 * 8).to_le_bytes());
            }
        }
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::ALL[kind]);
        out.extend_from_slice(&body);
        frame.seal(&mut out, count, 0);
        look(&read(&out));
    }

    /// Parts of good frames in any order are no frame, or are looked at safely.
    #[test]
    fn good_bytes_in_another_order_are_safe_to_look_at(
        cuts in proptest::collection::vec((0usize..200, 0usize..200), 1..8),
    ) {
        let mut body = [&command_frame()[HEADER_BYTES..], &outcome_frame()[HEADER_BYTES..]].concat();
        for (from, to) in cuts {
            let words = body.len() / 8;
            let (from, to) = (from % words * 8, to % words * 8);
            for byte in 0..8 {
                body.swap(from + byte, to + byte);
            }
        }
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Commands);
        out.extend_from_slice(&body);
        frame.seal(&mut out, 3, 0);
        look(&read(&out));
    }
}
