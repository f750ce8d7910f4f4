//! Each field of what a client sends, at its limits and one beyond: a row for each value.

use super::tests::text;
use super::*;
use crate::command::{Command, MAX_LINES, OrderLine};
use crate::{Refusal, Sku};

const BODY: usize = HEADER_BYTES;
/// Bytes in front of the body of a command.
const HEAD: usize = 40;

/// A frame with these bytes behind its header.
fn framed(kind: Kind, count: usize, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let frame = begin(&mut out, kind);
    out.extend_from_slice(body);
    frame.seal(&mut out, count as u16, 0);
    out
}

fn parsed(bytes: &[u8]) -> Result<Frame<'_>, FrameError> {
    Frame::read(bytes, FRAME_BYTES_MAX).map(|read| read.unwrap().0)
}

/// What an error is about.
fn field(error: FrameError) -> String {
    error.to_string().split(':').next().unwrap().to_owned()
}

fn hello(token: usize, name: usize) -> Vec<u8> {
    let lengths = [1, 1, token as u16, name as u16].map(u16::to_le_bytes).concat();
    framed(Kind::Hello, 0, &[b"ONRUSH\r\n", &lengths[..], &vec![b't'; token], &vec![b'n'; name]].concat())
}

#[test]
fn a_hello_has_a_token_and_a_name_of_so_many_bytes() {
    const TOO_LONG: Result<(), &str> = Err("token_length");
    for (token, name, expected) in [
        (0, 0, Ok(())),
        (1, 1, Ok(())),
        (8_191, 127, Ok(())),
        (8_192, 128, Ok(())),
        (8_192, 0, Ok(())),
        (8_193, 0, TOO_LONG),
        (8_193, 128, TOO_LONG),
        (65_535, 0, TOO_LONG),
        (0, 128, Ok(())),
        (0, 129, TOO_LONG),
        (8_192, 129, TOO_LONG),
        (0, 65_535, TOO_LONG),
    ] {
        let bytes = hello(token, name);
        assert!(expected.is_err() || bytes.len() <= Hello::FRAME_BYTES_MAX, "{} bytes", bytes.len());
        let frame = parsed(&bytes).unwrap();
        let read = Hello::read(&frame).map(|hello| (hello.token.len(), hello.name.len()));
        let expected = expected.map(|()| (token, name)).map_err(str::to_owned);
        assert_eq!(read.map_err(field), expected, "{token} and {name} bytes");
    }
    assert_eq!(hello(8_192, 128).len(), Hello::FRAME_BYTES_MAX);
    // What is longer is cut where it is written, never within a letter.
    let (token, name) = ("t".repeat(8_193), "n".repeat(127) + "é");
    let mut out = Vec::new();
    Hello::new(&token, &name).write(&mut out);
    let frame = parsed(&out).unwrap();
    let read = Hello::read(&frame).unwrap();
    assert_eq!((read.token, read.name), (&token[..8_192], &name[..127]));
}

#[test]
fn an_error_has_a_text_of_so_many_bytes() {
    let with = |length: usize| {
        let head = [1, 1, 1, length as u16].map(u16::to_le_bytes).concat();
        framed(Kind::Error, 0, &[&head[..], &vec![b'x'; length]].concat())
    };
    for (length, expected) in [
        (0, Ok(0)),
        (1, Ok(1)),
        (1_023, Ok(1_023)),
        (1_024, Ok(1_024)),
        (1_025, Err("text")),
        (65_535, Err("text")),
    ] {
        let bytes = with(length);
        let read = ErrorFrame::read(&parsed(&bytes).unwrap()).map(|error| error.text.len());
        assert_eq!(read.map_err(field), expected.map_err(str::to_owned), "{length} bytes");
    }
    for (text, kept) in
        [("x".repeat(1_024), 1_024), ("x".repeat(1_025), 1_024), ("x".repeat(1_023) + "é", 1_023)]
    {
        let mut out = Vec::new();
        ErrorFrame::new(ErrorCode::Full, &text).write(&mut out);
        assert_eq!(ErrorFrame::read(&parsed(&out).unwrap()).unwrap().text, text[..kept]);
    }
}

#[test]
fn a_frame_has_so_many_bytes_and_entries() {
    for (length, expected) in [
        (0, Err("length")),
        (8, Err("length")),
        (16, Ok(true)),
        (17, Err("length")),
        (24, Ok(true)),
        (FRAME_BYTES_MAX - 8, Ok(true)),
        (FRAME_BYTES_MAX, Ok(true)),
        (FRAME_BYTES_MAX + 1, Err("length")),
        (FRAME_BYTES_MAX + 8, Err("length")),
        (u32::MAX as usize, Err("length")),
    ] {
        let head = [[0; 4], (length as u32).to_le_bytes()].concat();
        let told = Frame::length(&head, FRAME_BYTES_MAX).map(|told| told == Some(length));
        assert_eq!(told.map_err(field), expected.map_err(str::to_owned), "{length} bytes");
    }
    let most = framed(Kind::Ping, 0, &vec![0; FRAME_BYTES_MAX - HEADER_BYTES]);
    assert_eq!(parsed(&most).map(|frame| frame.body.len()), Ok(FRAME_BYTES_MAX - HEADER_BYTES));

    // As short as an entry can be, so that as many as can be counted are in a frame, and one more.
    let mut entry = [0; HEAD];
    entry[0] = HEAD as u8;
    for (entries, count, expected) in [
        (0, 0, Ok(0)),
        (1, 1, Ok(1)),
        (65_534, 65_534, Ok(65_534)),
        (65_535, 65_535, Ok(65_535)),
        (65_536, 65_535, Err("count")),
        (65_536, 0, Err("count")),
        (65_537, 1, Err("count")),
        (65_534, 65_535, Err("count")),
    ] {
        let bytes = framed(Kind::Commands, count, &entry.repeat(entries));
        let frame = parsed(&bytes).unwrap();
        let read = Commands::of(&frame).map(Iterator::count).map_err(field);
        assert_eq!(read, expected.map_err(str::to_owned), "{entries} entries, {count} counted");
    }
}

#[test]
fn numbers_of_a_command_come_over_from_the_least_to_the_most() {
    let order = |quantity, max_unit_minor, hold_us| {
        let line = OrderLine { max_unit_minor, ..OrderLine::new(text("tea"), quantity) };
        let (customer, lines) = (text("ada"), [line].into_iter().collect());
        Command::CreateOrder(crate::CreateOrder { customer, lines, hold_us })
    };
    for (tag, patience_us, key, quantity, ceiling, hold_us) in [
        (0, 0, 0, 0, 0, 0),
        (1, 1, 1, 1, 1, 1),
        (u64::MAX, 60_000_000, u128::MAX, crate::command::MAX_QUANTITY, i64::MAX, u64::MAX),
        (1 << 63, 60_000_001, 1 << 127, crate::command::MAX_QUANTITY + 1, i64::MAX - 1, 1 << 63),
        (u64::MAX - 1, u64::MAX, u128::MAX - 1, i64::MAX, -1, u64::MAX - 1),
        (7, u64::MAX - 1, 1 << 64, -1, i64::MIN, 7),
        (8, 1 << 63, u64::MAX.into(), i64::MIN, i64::MIN + 1, 8),
    ] {
        let command = order(quantity, ceiling, hold_us);
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Commands);
        assert!(put_command(&mut out, tag, patience_us, key, &command, false));
        frame.seal(&mut out, 1, 0);
        let frame = parsed(&out).unwrap();
        let entry = Commands::of(&frame).unwrap().next().unwrap();
        assert_eq!((entry.tag, entry.patience_us, entry.key), (tag, patience_us, key));
        assert_eq!(entry.command(), Ok(command));
    }
}

#[test]
fn an_order_has_so_many_lines() {
    let line = |index: usize| OrderLine::new(text(&format!("sku-{index}")), 1);
    for (lines, expected) in [
        (0, Ok(0)),
        (1, Ok(1)),
        (9_999, Ok(9_999)),
        (MAX_LINES, Ok(MAX_LINES)),
        (MAX_LINES + 1, Err(MAX_LINES + 1)),
    ] {
        let (customer, of) = (text("ada"), (0..lines).map(line).collect());
        let command = Command::CreateOrder(crate::CreateOrder { customer, lines: of, hold_us: 0 });
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Commands);
        assert!(put_command(&mut out, 1, 0, 0, &command, false));
        frame.seal(&mut out, 1, 0);
        let frame = parsed(&out).unwrap();
        let read = match Commands::of(&frame).unwrap().next().unwrap().command() {
            Ok(Command::CreateOrder(create)) => Ok(create.lines.len()),
            Err(Refusal::TooManyLines { found }) => Err(found),
            other => panic!("{other:?}"),
        };
        assert_eq!(read, expected);
    }
}

/// A command of an operation whose other fields say nothing wrong, changed at one place.
fn changed(operation: u8, length: usize, at: usize, bytes: &[u8]) -> Result<Command, String> {
    let mut body = vec![0; length];
    match operation {
        8 => body[184..187].copy_from_slice(b"EUR"),
        9 => body[40] = 1,
        11 => body[58] = 1,
        _ => {}
    }
    body[at..at + bytes.len()].copy_from_slice(bytes);
    let head = [&((HEAD + length) as u32).to_le_bytes()[..], &[operation, 0, 0, 0], &[0; 32]].concat();
    let out = framed(Kind::Commands, 1, &[head, body].concat());
    let frame = parsed(&out).unwrap();
    let command = Commands::of(&frame).unwrap().next().unwrap().command();
    command.map_err(|refusal| match refusal {
        Refusal::Invalid { field, .. } => field.to_owned(),
        other => panic!("expected a field, found {other:?}"),
    })
}

#[test]
fn every_text_of_a_command_has_so_many_bytes() {
    for (operation, length, at, most, name) in [
        (1, 48, 0, 39, "customer_id"),
        (1, 48 + 56, 48, 39, "lines.sku"),
        (4, 72, 16, 47, "payment_method"),
        (5, 72, 16, 47, "payment_method"),
        (8, 208, 0, 39, "sku"),
        (8, 208, 40, 63, "category"),
        (8, 208, 104, 63, "brand"),
        (9, 128, 0, 39, "sku"),
        (9, 128, 64, 63, "reason"),
        (10, 40, 0, 39, "sku"),
        (11, 64, 0, 47, "group"),
    ] {
        let refused = Err(name.to_owned());
        for (bytes, says, good) in [
            (0, 0, true),
            (1, 1, true),
            (most - 1, most - 1, true),
            (most, most, true),
            // A length that lies: more than there is place for, or less than there is.
            (most, most + 1, false),
            (most, 255, false),
            (most, most - 1, false),
            (1, 0, false),
        ] {
            let text = [&vec![b'x'; bytes][..], &vec![0; most - bytes], &[says as u8]].concat();
            let read = changed(operation, length, at, &text).map(drop);
            let expected = if good { Ok(()) } else { refused.clone() };
            assert_eq!(read, expected, "{name} of operation {operation}: {bytes} bytes, says {says}");
        }
        // As long as a letter would have to be cut, and letters that are none.
        for letters in [&b"\xc3"[..], b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
            let text = [letters, &vec![0; most - letters.len()], &[letters.len() as u8]].concat();
            assert_eq!(changed(operation, length, at, &text).map(drop), refused, "{letters:?}");
        }
    }
}

#[test]
fn every_choice_of_a_command_ends_where_its_table_does() {
    for (operation, length, at, bytes, expected) in [
        (4, 72, 64, &[0][..], Ok(())),
        (4, 72, 64, &[1], Ok(())),
        (4, 72, 64, &[2], Err("capture")),
        (5, 72, 64, &[255], Err("capture")),
        (8, 208, 187, &[0], Ok(())),
        (8, 208, 187, &[3], Ok(())),
        (8, 208, 187, &[4], Err("flags")),
        (8, 208, 187, &[255], Err("flags")),
        (8, 208, 184, b"AAA", Ok(())),
        (8, 208, 184, b"ZZZ", Ok(())),
        (8, 208, 184, b"EU@", Err("price.currency")),
        (8, 208, 184, b"EU[", Err("price.currency")),
        (8, 208, 184, b"eur", Err("price.currency")),
        (8, 208, 168, &[0xff; 16], Ok(())),
        (8, 208, 188, &[0xff; 8], Ok(())),
        (8, 208, 196, &[1, 0], Err("name_length")),
        (8, 208, 196, &[255, 255], Err("name_length")),
        (8, 208, 200, &[1, 0, 0, 0], Err("name_length")),
        (8, 208, 200, &[255, 255, 255, 255], Err("name_length")),
        (9, 128, 40, &[0], Err("change")),
        (9, 128, 40, &[1], Ok(())),
        (9, 128, 40, &[3], Ok(())),
        (9, 128, 40, &[4], Err("change")),
        (9, 128, 48, &[0xff; 8], Ok(())),
        (11, 64, 48, &[0xff; 8], Ok(())),
        (11, 64, 56, &[255, 0], Ok(())),
        (11, 64, 56, &[0, 1], Err("shard")),
        (11, 64, 56, &[255, 255], Err("shard")),
        (11, 64, 58, &[0], Err("topic")),
        (11, 64, 58, &[17], Ok(())),
        (11, 64, 58, &[18], Err("topic")),
        (11, 64, 58, &[255], Err("topic")),
    ] {
        let read = changed(operation, length, at, bytes).map(drop);
        assert_eq!(read, expected.map_err(str::to_owned), "operation {operation}, {bytes:?} at {at}");
    }
    for operation in 0..=255 {
        let known = !matches!(changed(operation, 208, 207, &[0]), Err(field) if field == "operation");
        assert_eq!(known, (1..=11).contains(&operation), "operation {operation}");
    }
}

#[test]
fn a_product_has_texts_as_long_as_their_lengths_say() {
    for (name, description) in [(0, 0), (1, 0), (65_535, 0), (0, 65_536), (400, 65_536), (65_535, 1 << 20)] {
        let put = crate::PutProduct {
            sku: text("tea"),
            name: "n".repeat(name),
            description: "d".repeat(description),
            category: text(""),
            brand: text(""),
            price: crate::Money::new(i64::MIN, crate::Currency::EUR),
            limit_per_customer: u32::MAX,
            limit_returns: true,
            backorder: u32::MAX,
            hold_us: u64::MAX,
            active: true,
        };
        let command = Command::PutProduct(Box::new(put));
        let mut out = Vec::new();
        let frame = begin(&mut out, Kind::Commands);
        assert!(put_command(&mut out, 1, 0, 0, &command, false));
        frame.seal(&mut out, 1, 0);
        let frame = parsed(&out).unwrap();
        assert_eq!(Commands::of(&frame).unwrap().next().unwrap().command(), Ok(command));
    }
}

#[test]
fn lines_and_skus_that_are_looked_up_have_texts_of_so_many_bytes() {
    for (bytes, says, expected) in [
        (0, 0, Some(0)),
        (38, 38, Some(38)),
        (39, 39, Some(39)),
        (39, 40, None),
        (39, 255, None),
        (39, 38, None),
    ] {
        let sku = [&vec![b'x'; bytes][..], &vec![0; 39 - bytes], &[says]].concat();
        let found = |sku: Option<Sku>| sku.map(|sku| sku.as_bytes().len());
        for quantity in [i64::MIN, 0, i64::MAX] {
            let line = [&7u64.to_le_bytes()[..], &sku, &quantity.to_le_bytes()].concat();
            let out = framed(Kind::Validate, 1, &line);
            let frame = parsed(&out).unwrap();
            let view = ValidateView::of(&frame).unwrap();
            assert_eq!((found(view.lines[0].sku()), view.lines[0].quantity()), (expected, quantity));
        }
        let out = framed(Kind::Details, 1, &[&7u64.to_le_bytes()[..], &sku].concat());
        let frame = parsed(&out).unwrap();
        let told = found(DetailsView::of(&frame).unwrap().skus().next().unwrap());
        assert_eq!(told, expected.filter(|length| *length > 0), "an empty one is none");
    }
    for (kind, each) in [(Kind::Validate, 48), (Kind::Details, 40)] {
        let most = (FRAME_BYTES_MAX - HEADER_BYTES - 8) / each;
        let most = most.min(65_535);
        for (parts, count, good) in
            [(0, 0, true), (most, most, true), (most, most - 1, false), (1, 0, false), (1, 2, false)]
        {
            let out = framed(kind, count, &vec![0; 8 + each * parts]);
            let frame = parsed(&out).unwrap();
            let read = (ValidateView::of(&frame).is_ok(), DetailsView::of(&frame).is_ok());
            assert_eq!(
                read,
                (good && kind == Kind::Validate, good && kind == Kind::Details),
                "{parts}, {count}"
            );
        }
    }
}

#[test]
fn subscriptions_are_asked_for_within_their_bounds() {
    let with = |at: usize, bytes: &[u8]| {
        let mut out = Vec::new();
        let wanted = Subscribe {
            shard: crate::ShardId(0),
            topic: None,
            group: text(""),
            from: Start::At(crate::Lsn(1)),
        };
        wanted.write(&mut out, 7, 9);
        let mut body = out[BODY..].to_vec();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        let out = framed(Kind::Subscribe, 0, &body);
        let frame = parsed(&out).unwrap();
        let view = SubscribeView::of(&frame).unwrap();
        let said = match view.wanted() {
            Ok(_) => Ok(()),
            Err(Refusal::Invalid { field, .. }) => Err(field),
            Err(other) => panic!("{other:?}"),
        };
        (view.subscription(), view.credit(), said)
    };
    let group = |bytes: usize, says: u8| [&vec![b'g'; bytes][..], &vec![0; 47 - bytes], &[says]].concat();
    for (at, bytes, expected) in [
        (0, &[0; 8][..], (0, 9, Ok(()))),
        (0, &[0xff; 8], (u64::MAX, 9, Ok(()))),
        (8, &[0; 8], (7, 9, Err("from"))),
        (8, &[0xff; 8], (7, 9, Ok(()))),
        (8, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], (7, 9, Ok(()))),
        // A group needs a topic.
        (16, &group(47, 47), (7, 9, Err("topic"))),
        (16, &[group(46, 46), vec![9, 0, 0, 0, 0, 0, 1]].concat(), (7, 9, Ok(()))),
        (16, &[group(47, 47), vec![9, 0, 0, 0, 0, 0, 16]].concat(), (7, 9, Ok(()))),
        (16, &[group(47, 48), vec![9, 0, 0, 0, 0, 0, 16]].concat(), (7, 9, Err("group"))),
        (16, &[group(47, 46), vec![9, 0, 0, 0, 0, 0, 16]].concat(), (7, 9, Err("group"))),
        (64, &[0; 4], (7, 0, Ok(()))),
        (64, &[0xff; 4], (7, u32::MAX, Ok(()))),
        (68, &[0xff; 2], (7, 9, Ok(()))),
        (70, &[17], (7, 9, Ok(()))),
        (70, &[18], (7, 9, Err("topic"))),
        (70, &[255], (7, 9, Err("topic"))),
    ] {
        assert_eq!(with(at, bytes), expected, "{bytes:?} at {at}");
    }
    for (subscription, bytes) in [(0, 0), (u64::MAX, u32::MAX)] {
        let mut out = Vec::new();
        Grant { subscription, bytes }.write(&mut out);
        assert_eq!(Grant::of(&parsed(&out).unwrap()), Ok(Grant { subscription, bytes }));
    }
}
