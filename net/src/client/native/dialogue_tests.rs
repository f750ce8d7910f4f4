//! A conversation against a peer that is written here, frame by frame.

use onrush_proto::frame::{
    Answer, Commands, ErrorCode, ErrorFrame, FRAME_BYTES_MAX, Frame, Hello, Kind, RecordsFrame, Start,
    Subscribe, ValidateView, Verdict, Welcome, begin, put_no_product, put_reply, put_verdict,
};
use onrush_proto::{
    Command, CreateOrder, GetDocument, Lsn, Money, OrderId, OrderLine, Outcome, Receipt, Reply, ShardId,
    SlotMap,
};
use proptest::prelude::*;

use super::dialogue::{Dialogue, DialogueError, Heard, NotAsked, Question};

fn order(lines: usize) -> Command {
    let line = |number: usize| OrderLine::new(format!("tea-{number}").parse().unwrap(), 1);
    let lines = (0..lines).map(line).collect();
    Command::CreateOrder(CreateOrder { customer: "ada".parse().unwrap(), lines, hold_us: 0 })
}

fn question(tag: u64, command: &Command) -> Question<'_> {
    Question { tag, key: tag.into(), patience_us: 5, command, settled: false }
}

fn welcome(credit: u32, frame_bytes_max: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Welcome::new(1, SlotMap::new(2).unwrap(), frame_bytes_max, credit).write(&mut out);
    out
}

fn receipt(tag: u64) -> Reply {
    let total = Money::new(tag as i64, onrush_proto::Currency::EUR);
    let receipt = Receipt::Order { order: OrderId(tag.into()), total, held_until_us: 1 };
    Reply { outcome: Outcome::Accepted(receipt), replayed: false, lsn: Lsn(1) }
}

fn outcomes(tags: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    let frame = begin(&mut out, Kind::Outcomes);
    tags.iter().for_each(|tag| assert!(put_reply(&mut out, *tag, &receipt(*tag))));
    frame.seal(&mut out, tags.len() as u16, tags.len() as u32);
    out
}

/// What was said so far, as the tags of each frame of commands; whatever else is there by its kind.
fn said(dialogue: &mut Dialogue) -> Vec<(Kind, Vec<u64>)> {
    let bytes = dialogue.output().to_vec();
    dialogue.written(bytes.len());
    let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
    while let Some((frame, behind)) = Frame::read(rest, FRAME_BYTES_MAX).unwrap() {
        let tags = Commands::of(&frame).map(|commands| commands.map(|command| command.tag).collect());
        found.push((frame.kind, tags.unwrap_or_default()));
        rest = behind;
    }
    assert!(rest.is_empty(), "half a frame is never shown");
    found
}

fn welcomed(credit: u32, frame_bytes_max: u32) -> Dialogue {
    let mut dialogue = Dialogue::new("a.b.c", "test");
    assert_eq!(said(&mut dialogue), [(Kind::Hello, vec![])]);
    dialogue.input(&welcome(credit, frame_bytes_max), &mut |_| {}).unwrap();
    dialogue
}

/// The tags that bytes bring answers for.
fn heard(dialogue: &mut Dialogue, bytes: &[u8]) -> Result<Vec<u64>, DialogueError> {
    let mut tags = Vec::new();
    dialogue.input(bytes, &mut |heard| {
        if let Heard::Outcome(entry) = heard {
            assert_eq!(entry.answer, Answer::Reply(receipt(entry.tag)));
            tags.push(entry.tag);
        }
    })?;
    Ok(tags)
}

#[test]
fn the_hello_says_who_calls_and_nothing_goes_before_the_welcome() {
    let mut dialogue = Dialogue::new("a.b.c", "test");
    assert_eq!(dialogue.ask(&question(1, &order(1))), Err(NotAsked::Early));
    let bytes = dialogue.output().to_vec();
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    assert_eq!(Hello::read(&frame), Ok(Hello::new("a.b.c", "test")));
    dialogue.input(&welcome(3, 1 << 20), &mut |_| {}).unwrap();
    assert_eq!((dialogue.credit(), dialogue.welcome().unwrap().shards), (3, 2));
}

#[test]
fn what_is_asked_between_two_writes_is_one_frame() {
    let mut dialogue = welcomed(10, 1 << 20);
    let command = order(1);
    for tag in 1..=3 {
        dialogue.ask(&question(tag, &command)).unwrap();
    }
    assert_eq!(said(&mut dialogue), [(Kind::Commands, vec![1, 2, 3])]);
    dialogue.ask(&question(4, &command)).unwrap();
    dialogue.ping().unwrap();
    dialogue.ask(&question(5, &command)).unwrap();
    let frames = said(&mut dialogue);
    assert_eq!(frames, [(Kind::Commands, vec![4]), (Kind::Ping, vec![]), (Kind::Commands, vec![5])]);
    assert_eq!((dialogue.open(), dialogue.credit()), (6, 4));
}

#[test]
fn a_frame_ends_where_the_server_reads_no_more() {
    // Header, and an entry of 144 bytes each.
    let mut dialogue = welcomed(100, 16 + 2 * 144 + 8);
    let command = order(1);
    for tag in 0..5 {
        dialogue.ask(&question(tag, &command)).unwrap();
    }
    let frames: Vec<_> = said(&mut dialogue).into_iter().map(|(_, tags)| tags).collect();
    assert_eq!(frames, [vec![0, 1], vec![2, 3], vec![4]]);
    let most = 16 + 2 * 144 + 8;
    let large = order(10);
    assert_eq!(dialogue.ask(&question(7, &large)), Err(NotAsked::TooLarge { most, found: 16 + 88 + 560 }));
    dialogue.ask(&question(8, &command)).unwrap();
    assert!(dialogue.ask(&question(7, &large)).is_err());
    dialogue.ask(&question(9, &command)).unwrap();
    let frames: Vec<_> = said(&mut dialogue).into_iter().flat_map(|(_, tags)| tags).collect();
    assert_eq!((frames, dialogue.open()), (vec![8, 9], 7));
}

#[test]
fn credit_is_spent_and_comes_back() {
    let mut dialogue = welcomed(2, 1 << 20);
    let command = order(1);
    dialogue.ask(&question(1, &command)).unwrap();
    dialogue.validate(2, &[("tea".parse().unwrap(), 1)]).unwrap();
    assert_eq!(dialogue.ask(&question(3, &command)), Err(NotAsked::Credit));
    assert_eq!(dialogue.ping(), Err(NotAsked::Credit));
    assert_eq!(heard(&mut dialogue, &outcomes(&[1])), Ok(vec![1]));
    dialogue.ask(&question(3, &command)).unwrap();
    let mut more = Vec::new();
    begin(&mut more, Kind::Credit).seal(&mut more, 0, 7);
    dialogue.input(&more, &mut |_| {}).unwrap();
    assert_eq!((dialogue.credit(), dialogue.open()), (7, 2));
}

#[test]
fn lines_come_back_as_verdicts() {
    let mut dialogue = welcomed(2, 1 << 20);
    dialogue.validate(9, &[("tea".parse().unwrap(), 1), ("cup".parse().unwrap(), -2)]).unwrap();
    let bytes = dialogue.output().to_vec();
    let (frame, _) = Frame::read(&bytes, FRAME_BYTES_MAX).unwrap().unwrap();
    let view = ValidateView::of(&frame).unwrap();
    let lines: Vec<_> = view.lines.iter().map(|line| (line.sku().unwrap(), line.quantity())).collect();
    assert_eq!(lines, [("tea".parse().unwrap(), 1), ("cup".parse().unwrap(), -2)]);

    let mut out = Vec::new();
    let frame = begin(&mut out, Kind::Verdicts);
    out.extend_from_slice(&9u64.to_le_bytes());
    put_verdict(&mut out, &Verdict::new(None, Some((5, Money::new(450, onrush_proto::Currency::EUR)))));
    put_verdict(&mut out, &Verdict::new(Some(&onrush_proto::Refusal::UnknownSku { line: 1 }), None));
    frame.seal(&mut out, 2, 1);
    let mut seen = Vec::new();
    let mut hear = |heard: Heard<'_>| match heard {
        Heard::Verdicts { tag, verdicts } => {
            seen.extend(verdicts.iter().map(|verdict| (tag, verdict.valid(), verdict.available())));
        }
        other => panic!("expected verdicts, found {other:?}"),
    };
    dialogue.input(&out, &mut hear).unwrap();
    assert_eq!((seen, dialogue.credit()), (vec![(9, true, 5), (9, false, 0)], 2));
}

#[test]
fn a_command_without_an_operation_leaves_nothing_behind() {
    let mut dialogue = welcomed(9, 1 << 20);
    let get = GetDocument { key: "a/b".parse().unwrap(), placement: None };
    let unknown = Command::GetDocument(Box::new(get));
    assert_eq!(dialogue.ask(&question(1, &unknown)), Err(NotAsked::Unknown));
    assert_eq!((dialogue.pending(), dialogue.credit()), (0, 9));
    dialogue.ask(&question(2, &order(1))).unwrap();
    assert_eq!(dialogue.ask(&question(1, &unknown)), Err(NotAsked::Unknown));
    assert_eq!(said(&mut dialogue), [(Kind::Commands, vec![2])]);
}

#[test]
fn an_end_is_told_apart_from_a_fault() {
    let mut dialogue = welcomed(9, 1 << 20);
    dialogue.ask(&question(1, &order(1))).unwrap();
    let mut leaving = Vec::new();
    begin(&mut leaving, Kind::Leaving).seal(&mut leaving, 0, 0);
    dialogue.input(&leaving, &mut |_| {}).unwrap();
    assert_eq!(dialogue.ask(&question(2, &order(1))), Err(NotAsked::Late));
    assert_eq!(heard(&mut dialogue, &outcomes(&[1])), Ok(vec![1]), "what is open is still answered");

    let error = ErrorFrame::new(ErrorCode::Credit, "credit: expected 1, found 2");
    let mut out = Vec::new();
    error.write(&mut out);
    let mut dialogue = welcomed(9, 1 << 20);
    assert_eq!(heard(&mut dialogue, &out), Err(DialogueError::Peer(error)));
    assert_eq!(said(&mut dialogue), [], "the server knows");

    // The first frame may be one, too.
    let error = ErrorFrame::new(ErrorCode::Unauthenticated, "token: expected one");
    out.clear();
    error.write(&mut out);
    assert_eq!(heard(&mut Dialogue::new("", ""), &out), Err(DialogueError::Peer(error)));
}

#[test]
fn what_is_no_answer_ends_the_conversation_and_is_said() {
    let mut strange = Vec::new();
    begin(&mut strange, Kind::Goodbye).seal(&mut strange, 0, 0);
    let mut flipped = outcomes(&[1]);
    flipped[20] ^= 1;
    for bytes in [outcomes(&[1, 2]), strange, flipped, vec![0; 16], welcome(1, 1)] {
        let mut dialogue = welcomed(9, 1 << 20);
        dialogue.ask(&question(1, &order(1))).unwrap();
        said(&mut dialogue);
        let error = heard(&mut dialogue, &bytes).unwrap_err();
        assert!(!matches!(error, DialogueError::Peer(_)), "{error}");
        assert_eq!(said(&mut dialogue), [(Kind::Error, vec![])], "{error}");
        assert_eq!(dialogue.ask(&question(2, &order(1))), Err(NotAsked::Late));
    }
    let mut dialogue = Dialogue::new("", "");
    let mut later = Vec::new();
    Welcome::new(2, SlotMap::new(1).unwrap(), 1 << 20, 1).write(&mut later);
    assert_eq!(heard(&mut dialogue, &later), Err(DialogueError::Version { found: 2 }));
}

proptest! {
    /// Answers in any order, in frames of any size, in reads cut anywhere, questions written in any parts: each
    /// question is asked once and answered once, and all credit comes back.
    #[test]
    fn every_question_is_answered_once_however_bytes_come(
        questions in 1u64..60,
        order_seed in any::<u64>(),
        frames in proptest::collection::vec(1usize..8, 60),
        reads in proptest::collection::vec(1usize..700, 1..40),
        writes in proptest::collection::vec(0usize..900, 1..40),
    ) {
        let mut dialogue = welcomed(60, 2_048);
        let command = order(1);
        let (mut wire, mut cut) = (Vec::new(), writes.iter().cycle());
        for tag in 0..questions {
            dialogue.ask(&question(tag, &command)).unwrap();
            if tag % 3 == 0 {
                let bytes = dialogue.output();
                let part = (*cut.next().unwrap()).min(bytes.len());
                wire.extend_from_slice(&bytes[..part]);
                dialogue.written(part);
            }
        }
        wire.extend_from_slice(dialogue.output());
        dialogue.written(wire.len());
        let (mut rest, mut asked) = (wire.as_slice(), Vec::new());
        while let Some((frame, behind)) = Frame::read(rest, 2_048).unwrap() {
            asked.extend(Commands::of(&frame).unwrap().map(|entry| entry.tag));
            rest = behind;
        }
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&asked, &(0..questions).collect::<Vec<_>>());

        asked.sort_by_key(|tag| (tag ^ order_seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut answers, mut left) = (Vec::new(), asked.as_slice());
        for size in frames {
            let (now, later) = left.split_at(size.min(left.len()));
            if now.is_empty() {
                break;
            }
            answers.extend(outcomes(now));
            left = later;
        }
        let (mut found, mut left, mut cut) = (Vec::new(), answers.as_slice(), reads.iter().cycle());
        while !left.is_empty() {
            let (now, later) = left.split_at((*cut.next().unwrap()).min(left.len()));
            found.extend(heard(&mut dialogue, now).unwrap());
            left = later;
        }
        prop_assert_eq!(found, asked);
        prop_assert_eq!((dialogue.open(), dialogue.credit(), dialogue.pending()), (0, 60, 0));
    }
}

/// A subscription is a question that is open until it ends: its records answer nothing and give nothing back.
#[test]
fn a_subscription_is_open_until_its_answer() {
    let mut dialogue = welcomed(2, 1 << 20);
    let group = onrush_proto::Text::EMPTY;
    let wanted = Subscribe { shard: ShardId(1), topic: None, group, from: Start::At(Lsn(5)) };
    assert!(!dialogue.follows());
    dialogue.subscribe(7, 100, &wanted).unwrap();
    dialogue.grant(7, 50);
    dialogue.unsubscribe(7);
    let kinds: Vec<Kind> = said(&mut dialogue).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [Kind::Subscribe, Kind::Grant, Kind::Unsubscribe]);
    assert_eq!((dialogue.follows(), dialogue.open(), dialogue.credit()), (true, 1, 1));
    let mut bytes = Vec::new();
    RecordsFrame::begin(&mut bytes, 7, ShardId(1)).seal(&mut bytes, Lsn(9));
    let mut reached = Vec::new();
    let mut hear = |heard: Heard<'_>| {
        if let Heard::Records(records) = heard {
            reached.push((records.subscription, records.shard, records.reached));
        }
    };
    dialogue.input(&bytes, &mut hear).unwrap();
    dialogue.input(&bytes, &mut hear).unwrap();
    assert_eq!(reached, [(7, ShardId(1), Lsn(9)); 2]);
    assert_eq!((dialogue.open(), dialogue.credit()), (1, 1));
    assert_eq!(heard(&mut dialogue, &outcomes(&[7])).unwrap(), [7]);
    assert_eq!((dialogue.open(), dialogue.credit()), (0, 2));
}

#[test]
fn products_are_asked_for_in_frames_of_their_own() {
    let mut dialogue = welcomed(3, 16 + 8 + 3 * 40);
    let skus = ["tea".parse().unwrap(); 4];
    assert!(matches!(dialogue.details(1, &skus), Err(NotAsked::TooLarge { found: 184, .. })));
    dialogue.details(2, &skus[..3]).unwrap();
    assert_eq!((said(&mut dialogue), dialogue.open()), (vec![(Kind::Details, vec![])], 1));
    let mut bytes = Vec::new();
    let open = begin(&mut bytes, Kind::Products);
    bytes.extend_from_slice(&2u64.to_le_bytes());
    skus[..3].iter().for_each(|sku| put_no_product(&mut bytes, Some(sku)));
    open.seal(&mut bytes, 3, 1);
    let mut told = Vec::new();
    let mut hear = |heard: Heard<'_>| {
        if let Heard::Products(products) = heard {
            told.push((products.tag, products.filter(Result::is_err).count()));
        }
    };
    dialogue.input(&bytes, &mut hear).unwrap();
    assert_eq!((told, dialogue.open(), dialogue.credit()), (vec![(2, 3)], 0, 3));
}
