//! What must hold of every decoder of the native protocol, whatever bytes come.
//!
//! libFuzzer calls these functions (`main.rs`), and `cargo test` calls them with the committed corpora
//! (`proto/tests/it`). What is decoded is encoded to the same bytes again, or is refused by an error that
//! says why; memory is asked for by the bytes that are there, not by what they say of themselves.

use onrush_proto::Refusal;
use onrush_proto::frame::{
    Answer, Commands, DetailsView, ErrorCode, ErrorFrame, FRAME_BYTES_MAX, Frame, FrameError, Grant,
    HEADER_BYTES, Hello, Kind, Operation, Outcomes, Products, Records, RecordsFrame, SubscribeView,
    Unsubscribe, ValidateView, Verdicts, Welcome, begin, put_command, put_line, put_no_product, put_product,
    put_rejected, put_reply, put_sku, put_verdict,
};
use onrush_proto::{Outcome, ProductRow, Reply, Sku};

use crate::heap::within;

/// Bytes of heap that decoding may ask for, and this many more for each byte that is there: vectors that
/// grow by doubling are asked for about twice, and a short part of a body becomes a longer one in memory.
const HEAP_BYTES: usize = 4 << 10;
const HEAP_PER_BYTE: usize = 16;

/// A decoder and what is tried on it.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    /// Its name, and that of its corpus.
    pub(crate) name: &'static str,
    check: fn(&[u8]),
}

/// Every decoder of bytes that strangers send.
pub(crate) const DECODERS: [Decoder; 14] = [
    Decoder { name: "frame", check: frame },
    Decoder { name: "hello", check: |input| body(Kind::Hello, input, hello) },
    Decoder { name: "welcome", check: |input| body(Kind::Welcome, input, welcome) },
    Decoder { name: "error", check: |input| body(Kind::Error, input, error) },
    Decoder { name: "commands", check: |input| body(Kind::Commands, input, commands) },
    Decoder { name: "outcomes", check: |input| body(Kind::Outcomes, input, outcomes) },
    Decoder { name: "validate", check: |input| body(Kind::Validate, input, lines) },
    Decoder { name: "verdicts", check: |input| body(Kind::Verdicts, input, verdicts) },
    Decoder { name: "details", check: |input| body(Kind::Details, input, details) },
    Decoder { name: "products", check: |input| body(Kind::Products, input, products) },
    Decoder { name: "subscribe", check: |input| body(Kind::Subscribe, input, subscribe) },
    Decoder { name: "grant", check: |input| body(Kind::Grant, input, grant) },
    Decoder { name: "unsubscribe", check: |input| body(Kind::Unsubscribe, input, unsubscribe) },
    Decoder { name: "records", check: |input| body(Kind::Records, input, records) },
];

impl Decoder {
    /// Tries some bytes.
    ///
    /// # Panics
    /// If something does not hold: that is a bug.
    pub(crate) fn try_on(&self, input: &[u8]) {
        (self.check)(input);
    }
}

/// Decodes within the bound of memory.
fn decoded<T>(bytes: &[u8], decode: impl FnOnce() -> T) -> T {
    within(HEAP_BYTES + HEAP_PER_BYTE * bytes.len(), decode)
}

/// Frames as they come; and, as strangers know how to count, under a length and a checksum that are right.
fn frame(input: &[u8]) {
    stream(input);
    if input.len() >= HEADER_BYTES {
        let mut forged = input[..input.len() / 8 * 8].to_vec();
        let length = forged.len() as u32;
        forged[4..8].copy_from_slice(&length.to_le_bytes());
        let crc = crc_fast::crc32_iscsi(&forged[4..]);
        forged[..4].copy_from_slice(&crc.to_le_bytes());
        stream(&forged);
    }
}

fn stream(bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let read = decoded(rest, || Frame::read(rest, FRAME_BYTES_MAX));
        let told = Frame::length(rest, FRAME_BYTES_MAX);
        let (frame, behind) = match read {
            Ok(Some(read)) => read,
            Ok(None) => {
                let missing = |length: Option<usize>| length.is_none_or(|length| length > rest.len());
                return assert!(told.is_ok_and(missing), "a frame that is there has arrived");
            }
            Err(FrameError::Length { .. }) => return assert!(told.is_err()),
            Err(_) => return assert!(told.is_ok_and(|length| length.is_some())),
        };
        let whole = &rest[..rest.len() - behind.len()];
        assert_eq!(told, Ok(Some(whole.len())));
        let mut again = Vec::new();
        let open = begin(&mut again, frame.kind);
        again.extend_from_slice(frame.body);
        open.seal(&mut again, frame.count, frame.argument);
        assert_eq!(again, whole, "the frame that was read");
        assert_eq!(Frame::read(&whole[..whole.len() - 1], FRAME_BYTES_MAX), Ok(None), "a byte is missing");
        rest = behind;
    }
}

/// A frame whose count and body are the input's, and what is said of it. Every other body is refused.
fn body(kind: Kind, input: &[u8], check: fn(&Frame<'_>, &[u8])) {
    let Some((count, body)) = input.split_first_chunk() else { return };
    let mut bytes = Vec::new();
    let open = begin(&mut bytes, kind);
    bytes.extend_from_slice(body);
    open.seal(&mut bytes, u16::from_le_bytes(*count), 0);
    let read = Frame::read(&bytes, FRAME_BYTES_MAX);
    let Ok(Some((frame, []))) = read else { panic!("expected the frame that was sealed, found {read:?}") };
    check(&frame, &bytes);
    let of_others = [
        (Kind::Hello, Hello::read(&frame).err()),
        (Kind::Welcome, Welcome::read(&frame).err()),
        (Kind::Error, ErrorFrame::read(&frame).err()),
        (Kind::Commands, Commands::of(&frame).err()),
        (Kind::Outcomes, Outcomes::of(&frame).err()),
        (Kind::Validate, ValidateView::of(&frame).err()),
        (Kind::Verdicts, Verdicts::of(&frame).err()),
        (Kind::Details, DetailsView::of(&frame).err()),
        (Kind::Products, Products::of(&frame).err()),
        (Kind::Subscribe, SubscribeView::of(&frame).err()),
        (Kind::Grant, Grant::of(&frame).err()),
        (Kind::Unsubscribe, Unsubscribe::of(&frame).err()),
        (Kind::Records, Records::of(&frame).err()),
    ];
    for (other, refused) in of_others.into_iter().filter(|(other, _)| *other != kind) {
        let told = matches!(refused, Some(FrameError::UnexpectedKind { found, .. }) if found == kind);
        assert!(told, "expected a {kind:?} that is no {other:?}, found {refused:?}");
    }
}

fn hello(frame: &Frame<'_>, bytes: &[u8]) {
    if let Ok(hello) = decoded(bytes, || Hello::read(frame)) {
        let mut again = Vec::new();
        hello.write(&mut again);
        assert_eq!(again, bytes, "{hello:?}");
        if let Some(version) = hello.version() {
            assert!((hello.version_min..=hello.version_max).contains(&version));
        }
    }
}

fn welcome(frame: &Frame<'_>, bytes: &[u8]) {
    if let Ok(welcome) = decoded(bytes, || Welcome::read(frame)) {
        let mut again = Vec::new();
        welcome.write(&mut again);
        assert_eq!(again, bytes, "{welcome:?}");
        let mut slots = (0..=u8::MAX).map(onrush_proto::Slot);
        assert!(slots.all(|slot| welcome.shard(slot).0 < welcome.shards));
    }
}

/// An error may say what is not known here, and is read all the same: then it is another one, for good.
fn error(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(read) = decoded(bytes, || ErrorFrame::read(frame)) else { return };
    let mut again = Vec::new();
    read.write(&mut again);
    let Ok(Some((frame, []))) = Frame::read(&again, FRAME_BYTES_MAX) else { panic!("no frame: {again:?}") };
    assert_eq!(ErrorFrame::read(&frame), Ok(read.clone()));
    let mended = read.code == ErrorCode::Internal || read.text.contains(char::REPLACEMENT_CHARACTER);
    assert!(mended || again == bytes, "{read:?}");
}

fn commands(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(entries) = decoded(bytes, || Commands::of(frame)) else { return };
    let mut rest = frame.body;
    let mut count = 0;
    for entry in entries {
        let (own, behind) = rest.split_at(entry.length());
        match decoded(own, || entry.command()) {
            Ok(command) => {
                let mut again = Vec::new();
                let settled = entry.operation() == Ok(Operation::Pay);
                let put = put_command(&mut again, entry.tag, entry.patience_us, entry.key, &command, settled);
                assert!(put && again == own, "{command:?}");
            }
            Err(Refusal::Invalid { .. } | Refusal::TooManyLines { .. }) => {}
            Err(other) => panic!("expected a refusal of the form, found {other:?}"),
        }
        (rest, count) = (behind, count + 1);
    }
    assert_eq!((rest.len(), count), (0, frame.count), "all entries and no more");
}

fn outcomes(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(read) = Outcomes::of(frame) else { panic!("an Outcomes frame is read entry by entry") };
    let entries: Vec<_> = decoded(bytes, || read.clone().collect());
    let good: Vec<_> = entries.iter().map_while(|entry| entry.as_ref().ok()).collect();
    assert!(good.len() + 1 >= entries.len(), "an error is the last that is said");
    if good.len() == entries.len() {
        assert_eq!(good.len(), usize::from(frame.count), "as many as were counted");
    }
    let mut again = Vec::new();
    for entry in good {
        let from = again.len();
        match &entry.answer {
            Answer::Reply(reply) => assert!(put_reply(&mut again, entry.tag, reply), "{reply:?}"),
            Answer::Rejected(said) => put_rejected(&mut again, entry.tag, &said.reason, &said.message),
        }
        // More texts than are kept come as one, on purpose.
        if !is_invalid(&entry.answer) {
            assert_eq!(again[from..], frame.body[from..again.len()], "{entry:?}");
        }
        let length = frame.body[from..].first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        again.resize(from + length as usize, 0);
    }
}

fn is_invalid(answer: &Answer) -> bool {
    matches!(answer, Answer::Reply(Reply { outcome: Outcome::Refused(Refusal::Invalid { .. }), .. }))
}

fn lines(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(view) = decoded(bytes, || ValidateView::of(frame)) else { return };
    assert_eq!(view.lines.len(), usize::from(frame.count));
    let mut again = Vec::new();
    let open = begin(&mut again, Kind::Validate);
    again.extend_from_slice(&view.tag.to_le_bytes());
    for line in view.lines {
        // What is no text is unknown, and refused as such where it stands.
        let Some(sku) = line.sku() else { return };
        put_line(&mut again, &sku, line.quantity());
    }
    open.seal(&mut again, frame.count, frame.argument);
    assert_eq!(again, bytes);
}

fn verdicts(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(view) = decoded(bytes, || Verdicts::of(frame)) else { return };
    assert_eq!(view.verdicts.len(), usize::from(frame.count));
    let mut again = Vec::new();
    let open = begin(&mut again, Kind::Verdicts);
    again.extend_from_slice(&view.tag.to_le_bytes());
    for verdict in view.verdicts {
        assert_eq!(verdict.valid(), verdict.refusal() == 0);
        assert!(!verdict.valid() || verdict.reason().is_none());
        let _ = (verdict.available(), verdict.price());
        put_verdict(&mut again, verdict);
    }
    open.seal(&mut again, frame.count, frame.argument);
    assert_eq!(again, bytes);
}

fn details(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(view) = decoded(bytes, || DetailsView::of(frame)) else { return };
    assert_eq!(view.len(), usize::from(frame.count));
    let mut again = Vec::new();
    let open = begin(&mut again, Kind::Details);
    again.extend_from_slice(&view.tag.to_le_bytes());
    for sku in view.skus() {
        // What is none is told so where it stands.
        let Some(sku) = sku else { return };
        put_sku(&mut again, &sku);
    }
    open.seal(&mut again, frame.count, frame.argument);
    assert_eq!(again, bytes);
}

fn products(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(view) = decoded(bytes, || Products::of(frame)) else { return };
    let mut again = Vec::new();
    let open = begin(&mut again, Kind::Products);
    again.extend_from_slice(&view.tag.to_le_bytes());
    let mut count = 0;
    for told in decoded(bytes, || view) {
        count += 1;
        match told {
            // A count below zero is never told, nor a refusal of another number: they are read all the same.
            Ok(product) if product.stock.available < 0 => return,
            Err(none) if !matches!((none.refusal, none.sku == Sku::EMPTY), (22, false) | (18, true)) => {
                return;
            }
            Ok(product) => put_product(&mut again, &row(&product), &product.stock),
            Err(none) => put_no_product(&mut again, Some(&none.sku).filter(|_| none.refusal == 22)),
        }
    }
    assert_eq!(count, frame.count, "all entries and no more");
    open.seal(&mut again, frame.count, frame.argument);
    assert_eq!(again, bytes);
}

fn row(product: &onrush_proto::frame::ProductEntry<'_>) -> ProductRow {
    ProductRow {
        sku: product.sku,
        name: product.name.into(),
        description: product.description.into(),
        category: product.category,
        brand: product.brand,
        version: product.version,
        changed_us: product.changed_us,
    }
}

fn subscribe(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(view) = decoded(bytes, || SubscribeView::of(frame)) else { return };
    match decoded(bytes, || view.wanted()) {
        Ok(wanted) => {
            let mut again = Vec::new();
            wanted.write(&mut again, view.subscription(), view.credit());
            assert_eq!(again, bytes, "{wanted:?}");
        }
        Err(refusal) => assert!(matches!(refusal, Refusal::Invalid { .. }), "{refusal:?}"),
    }
}

fn grant(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(grant) = decoded(bytes, || Grant::of(frame)) else { return };
    let mut again = Vec::new();
    grant.write(&mut again);
    assert_eq!(again, bytes, "{grant:?}");
}

fn unsubscribe(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(ended) = decoded(bytes, || Unsubscribe::of(frame)) else { return };
    let mut again = Vec::new();
    ended.write(&mut again);
    assert_eq!(again, bytes, "{ended:?}");
}

fn records(frame: &Frame<'_>, bytes: &[u8]) {
    let Ok(view) = Records::of(frame) else { return };
    let read: Vec<_> = decoded(bytes, || view.clone().collect());
    let good: Vec<_> = read.iter().map_while(|record| record.as_ref().ok()).collect();
    assert!(good.len() + 1 >= read.len(), "an error is the last that is said");
    if good.len() < read.len() {
        return;
    }
    assert_eq!(good.len(), usize::from(frame.count), "as many as were counted");
    let mut again = Vec::new();
    let mut written = RecordsFrame::begin(&mut again, view.subscription, view.shard);
    for record in good {
        written.put(&mut again, record);
    }
    written.seal(&mut again, view.reached);
    assert_eq!(again, bytes);
}
