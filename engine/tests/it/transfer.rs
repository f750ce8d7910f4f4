//! A snapshot on its way from a leader to a member that lacks what the leader has released.

use std::sync::Arc;

use onrush_engine::replication::{
    Append, Arrived, Body, EntryLog, Giver, Members, Message, NodeId, Offer, Position, Raft, RaftOptions,
    Taker, Took,
};
use onrush_storage::disk::{Disk, FaultDisk};
use onrush_storage::log::{Front, Vote};
use onrush_storage::snapshot::{SnapshotHeader, SnapshotWriter, newest_verified};

const LEADER: NodeId = NodeId(1);
const LAST: Position = Position { term: 3, index: 40 };

/// A member that follows a leader and holds nothing.
fn follower() -> Raft {
    let members = Members::of([1, 2, 3].map(NodeId)).unwrap();
    let log = EntryLog::new(members, 1 << 20);
    let mut raft = Raft::new(RaftOptions::new(NodeId(2), 7), Vote::default(), log, 0, 0);
    let append = Append { previous: LAST, commit: 40, sent_us: 1, as_of_us: 0, entries: Vec::new() };
    raft.step(Message { from: LEADER, to: NodeId(2), term: 3, body: Body::Append(append) }, 1).unwrap();
    raft
}

/// A shelf with one snapshot of 200 rows.
fn shelf(header: SnapshotHeader) -> Arc<dyn Disk> {
    let shelf: Arc<dyn Disk> = Arc::new(FaultDisk::new(1));
    put(&shelf, header);
    shelf
}

fn put(shelf: &Arc<dyn Disk>, header: SnapshotHeader) {
    let mut writer = SnapshotWriter::create(Arc::clone(shelf), header).unwrap();
    for row in 0..200_u32 {
        writer.push(1, &row.to_be_bytes(), &[7; 100]).unwrap();
    }
    writer.finish().unwrap();
}

const HEADER: SnapshotHeader =
    SnapshotHeader { shard: 0, lsn: 99, term: 3, time_us: 5, index: 40, state_hash: 0 };

fn piece(body: Body) -> (u64, u64, Vec<u8>) {
    let Body::Piece { lsn, offset, bytes } = body else { panic!("{body:?}") };
    (lsn, offset, bytes)
}

/// What is to be asked for next, until the snapshot is whole.
fn fetch(giver: &mut Giver, taker: &mut Taker, raft: &Raft, mut ask: Body) -> (Offer, usize) {
    for pieces in 1.. {
        let Body::Fetch { lsn, offset } = ask else { panic!("{ask:?}") };
        let (lsn, offset, bytes) = piece(giver.piece(NodeId(2), (lsn, offset), 5).unwrap().unwrap());
        match taker.piece(raft, LEADER, (lsn, offset, &bytes), 6).unwrap() {
            Took::Ask(next) => ask = next,
            Took::Whole(offer) => return (offer, pieces),
            Took::Nothing => panic!("expected a piece to be taken"),
        }
    }
    unreachable!()
}

/// A member that asked for a piece named a term which its disk did not know yet, and after a power loss was in an earlier one.
/// Nobody had read it; now there is nothing to read.
#[test]
fn what_is_said_of_a_snapshot_names_no_term() {
    for body in [Body::Fetch { lsn: 99, offset: 0 }, Body::Piece { lsn: 99, offset: 0, bytes: vec![7] }] {
        let message = Message::of_snapshot(NodeId(2), LEADER, body);
        assert!(message.is_of_snapshot());
        assert_eq!(message.term, 0, "{message:?}");
    }
    assert!(!Message { from: LEADER, to: NodeId(2), term: 3, body: Body::TakeOffice }.is_of_snapshot());
}

#[test]
fn it_comes_in_pieces_and_a_member_begins_anew_from_it() {
    let raft = follower();
    let disk = FaultDisk::new(2);
    let mut giver = Giver::new(shelf(HEADER), 1_000);
    let mut taker = Taker::new(Arc::new(disk.clone()));
    let offer = giver.offer(0, u64::MAX, 2).unwrap().unwrap();
    assert_eq!((offer.lsn, offer.last), (99, LAST));
    let ask = taker.offered(&raft, (LEADER, offer), 3).unwrap().unwrap();
    assert_eq!(giver.keeps_behind(3), None);
    let (whole, pieces) = fetch(&mut giver, &mut taker, &raft, ask);
    assert_eq!((whole, pieces), (offer, (offer.bytes as usize).div_ceil(1_000)));
    assert_eq!(giver.keeps_behind(5), Some(40), "the log behind it is kept for who fetched it");
    disk.crash();
    let arrived = Arrived::on(&disk).unwrap().unwrap();
    assert_eq!(arrived.front(), Front { next_lsn: 100, index: 40, term: 3, time_us: 5 });
    arrived.done(&disk).unwrap();
    assert!(Arrived::on(&disk).unwrap().is_none());
    let newest = newest_verified(&disk).unwrap().reader.unwrap();
    assert_eq!(newest.summary().rows, 200);
    assert_eq!(disk.list().unwrap().len(), 1);
}

#[test]
fn what_was_not_offered_or_does_not_come_next_is_not_taken() {
    let raft = follower();
    let (mut giver, mut taker) = (Giver::new(shelf(HEADER), 1_000), Taker::new(Arc::new(FaultDisk::new(2))));
    let offer = giver.offer(0, u64::MAX, 2).unwrap().unwrap();
    let first = piece(giver.piece(NodeId(2), (99, 0), 2).unwrap().unwrap());
    let mut take = |from: NodeId, lsn: u64, offset: u64, bytes: &[u8]| {
        taker.piece(&raft, from, (lsn, offset, bytes), 3).unwrap()
    };
    assert_eq!(take(LEADER, 99, 0, &first.2), Took::Nothing, "nothing was offered");
    assert_eq!(taker.offered(&raft, (NodeId(3), offer), 3).unwrap(), None, "it is not the leader's");
    let long = Offer { bytes: 2_500, ..offer };
    assert!(taker.offered(&raft, (LEADER, long), 3).unwrap().is_some());
    assert_eq!(taker.offered(&raft, (LEADER, long), 4).unwrap(), None, "it is under way");
    let mut take = |from: NodeId, lsn: u64, offset: u64, bytes: &[u8]| {
        taker.piece(&raft, from, (lsn, offset, bytes), 3).unwrap()
    };
    let lies: [(NodeId, u64, u64, usize); 5] = [
        (NodeId(3), 99, 0, 10),
        (LEADER, 98, 0, 10),
        (LEADER, 99, 10, 10),
        (LEADER, 99, 0, 0),
        (LEADER, 99, 0, 2_501),
    ];
    for (from, lsn, offset, len) in lies {
        assert_eq!(take(from, lsn, offset, &vec![1; len]), Took::Nothing, "{from} {lsn} {offset} {len}");
    }
    assert_eq!(take(LEADER, 99, 0, &first.2), Took::Ask(Body::Fetch { lsn: 99, offset: 1_000 }));
    assert_eq!(take(LEADER, 99, 0, &first.2), Took::Nothing, "it came twice");
    let again = taker.offered(&raft, (LEADER, long), 1_000_000).unwrap();
    assert_eq!(again, Some(Body::Fetch { lsn: 99, offset: 1_000 }), "after silence it is asked for again");
    assert_eq!(giver.piece(NodeId(2), (99, 1 << 40), 3).unwrap(), None, "there is nothing so far back");
    assert_eq!(giver.piece(NodeId(2), (98, 0), 3).unwrap(), None, "there is no such snapshot");
}

#[test]
fn who_lacks_nothing_takes_none_and_one_without_a_place_is_not_offered() {
    let mut raft = follower();
    let mut taker = Taker::new(Arc::new(FaultDisk::new(2)));
    let mut giver = Giver::new(shelf(HEADER), 1 << 20);
    let offer = giver.offer(0, u64::MAX, 2).unwrap().unwrap();
    let known = Offer { last: Position::default(), ..offer };
    assert_eq!(taker.offered(&raft, (LEADER, known), 3).unwrap(), None, "it is in front of what it has");
    // Its leader is gone: it stands for election itself.
    assert!(!taker.is_fetching(&raft));
    let ask = taker.offered(&raft, (LEADER, offer), 3).unwrap().unwrap();
    assert!(taker.is_fetching(&raft));
    raft.tick(100_000_000).unwrap();
    assert!(!taker.is_fetching(&raft), "it may be elected as it is");
    let Body::Fetch { lsn, offset } = ask else { panic!("{ask:?}") };
    let (lsn, offset, bytes) = piece(giver.piece(NodeId(2), (lsn, offset), 5).unwrap().unwrap());
    assert_eq!(taker.piece(&raft, LEADER, (lsn, offset, &bytes), 6).unwrap(), Took::Nothing);
    assert_eq!(taker.offered(&raft, (LEADER, offer), 7).unwrap(), None);
    let mut nowhere = Giver::new(shelf(SnapshotHeader { index: 0, ..HEADER }), 1 << 20);
    assert_eq!(nowhere.offer(0, u64::MAX, 2).unwrap(), None);
    assert_eq!(Giver::new(Arc::new(FaultDisk::new(3)), 1).offer(0, u64::MAX, 2).unwrap(), None);
}

/// Groups may be behind all snapshots, and some of these in front of the log: a member that has begun anew keeps its older ones
/// for a while. Who began anew from one of those would ask for entries that nobody has.
#[test]
fn offered_is_the_newest_in_front_of_what_groups_lack_behind_which_the_log_goes_on() {
    let disk = FaultDisk::new(1);
    let shelf: Arc<dyn Disk> = Arc::new(disk.clone());
    let places = [(10, 4), (20, 11), (30, 15), (40, 0), (50, 23)];
    places.iter().for_each(|(lsn, index)| put(&shelf, SnapshotHeader { lsn: *lsn, index: *index, ..HEADER }));
    let offered = |front: u64, owed: u64| {
        let offer = Giver::new(Arc::clone(&shelf), 1).offer(front, owed, 2);
        offer.map(|offer| offer.map(|offer| offer.lsn)).map_err(|error| error.to_string())
    };
    for (front, owed, lsn) in [
        (0, u64::MAX, Some(50)),
        (0, 51, Some(50)),
        // The fourth does not say where it ends.
        (0, 50, Some(30)),
        (0, 21, Some(20)),
        (0, 5, Some(10)),
        (4, 5, Some(10)),
        (5, 5, Some(20)),
        (12, 5, Some(30)),
        (16, 21, Some(50)),
        (23, 21, Some(50)),
        (24, 21, None),
    ] {
        assert_eq!(offered(front, owed), Ok(lsn), "behind entry {front}, and record {owed}");
    }
    // One that is damaged is passed over; if there is no other, that is told.
    for lsn in [20, 50] {
        disk.flip_bit(&format!("snapshot-{lsn:020}.snap"), 9, 1).unwrap();
    }
    assert_eq!((offered(0, u64::MAX), offered(5, 25)), (Ok(Some(30)), Ok(Some(30))));
    assert!(offered(16, u64::MAX).unwrap_err().contains("50"));
}

/// The one that somebody fetches is offered to others as well, unless the log has been let go of behind it.
#[test]
fn what_is_fetched_is_not_offered_once_the_log_is_gone_behind_it() {
    let shelf = shelf(HEADER);
    let mut giver = Giver::new(Arc::clone(&shelf), 1_000);
    giver.piece(NodeId(2), (99, 0), 3).unwrap().unwrap();
    put(&shelf, SnapshotHeader { lsn: 199, index: 50, ..HEADER });
    let lsn = |offer: Option<Offer>| offer.map(|offer| offer.lsn);
    assert_eq!(lsn(giver.offer(40, u64::MAX, 4).unwrap()), Some(99));
    assert_eq!(lsn(giver.offer(41, u64::MAX, 4).unwrap()), Some(199));
}

/// A follower whose disk is full asked for the same pieces for ever: nothing newer was offered, and the leader kept all log behind
/// what it gave, without bound.
#[test]
fn who_gets_no_further_keeps_neither_the_log_nor_newer_snapshots_back() {
    const SECOND_US: u64 = 1_000_000;
    let shelf = shelf(HEADER);
    let mut giver = Giver::new(Arc::clone(&shelf), 1_000);
    let ask = |giver: &mut Giver, node: u64, offset: u64, now_us: u64| {
        giver.piece(NodeId(node), (99, offset), now_us).unwrap();
    };
    ask(&mut giver, 2, 0, 0);
    put(&shelf, SnapshotHeader { lsn: 199, index: 50, ..HEADER });
    let lsn = |offer: Option<Offer>| offer.map(|offer| offer.lsn);
    for second in 1..59 {
        ask(&mut giver, 2, 0, second * SECOND_US);
        let offered = lsn(giver.offer(0, u64::MAX, second * SECOND_US).unwrap());
        assert_eq!(offered, Some(if second < 5 { 99 } else { 199 }), "after {second} s");
    }
    assert_eq!(giver.keeps_behind(59 * SECOND_US), Some(40));
    // Another one gets further, and so does the first.
    ask(&mut giver, 3, 0, 59 * SECOND_US);
    assert_eq!(lsn(giver.offer(0, u64::MAX, 59 * SECOND_US).unwrap()), Some(99));
    ask(&mut giver, 2, 1_000, 70 * SECOND_US);
    assert_eq!(giver.keeps_behind(129 * SECOND_US), Some(40));
    assert_eq!(giver.keeps_behind(130 * SECOND_US), None);
}

#[test]
fn who_fetches_from_a_leader_that_fell_begins_with_the_next_one_at_once() {
    let mut raft = follower();
    let (mut giver, mut taker) = (Giver::new(shelf(HEADER), 1_000), Taker::new(Arc::new(FaultDisk::new(2))));
    let offer = giver.offer(0, u64::MAX, 2).unwrap().unwrap();
    let ask = taker.offered(&raft, (LEADER, offer), 3).unwrap().unwrap();
    let Body::Fetch { lsn, offset } = ask else { panic!("{ask:?}") };
    let (lsn, offset, bytes) = piece(giver.piece(NodeId(2), (lsn, offset), 3).unwrap().unwrap());
    taker.piece(&raft, LEADER, (lsn, offset, &bytes), 4).unwrap();
    let next = NodeId(3);
    let append = Append { previous: LAST, commit: 40, sent_us: 5, as_of_us: 0, entries: Vec::new() };
    raft.step(Message { from: next, to: NodeId(2), term: 4, body: Body::Append(append) }, 5).unwrap();
    // It answers nobody any more who asks it for a piece, and five seconds would pass before that is given up.
    let ask = taker.offered(&raft, (next, offer), 6).unwrap();
    assert_eq!(
        ask,
        Some(Body::Fetch { lsn: 99, offset: 0 }),
        "expected the other leader's from its beginning"
    );
    assert_eq!(taker.offered(&raft, (LEADER, offer), 7).unwrap(), None, "it leads no more");
}

#[test]
fn what_arrives_damaged_or_in_part_is_removed_and_nothing_is_begun() {
    let raft = follower();
    let whole = |disk: &FaultDisk| {
        let (mut giver, mut taker) = (Giver::new(shelf(HEADER), 1 << 20), Taker::new(Arc::new(disk.clone())));
        let offer = giver.offer(0, u64::MAX, 2).unwrap().unwrap();
        let ask = taker.offered(&raft, (LEADER, offer), 3).unwrap().unwrap();
        fetch(&mut giver, &mut taker, &raft, ask).0.bytes
    };
    let bytes = {
        let disk = FaultDisk::new(2);
        whole(&disk)
    };
    for byte in (0..bytes).step_by(997) {
        let disk = FaultDisk::new(2);
        whole(&disk);
        disk.flip_bit("arriving", byte, (byte % 8) as u8).unwrap();
        assert!(Arrived::on(&disk).unwrap().is_none(), "byte {byte}");
        assert!(disk.list().unwrap().is_empty(), "byte {byte}");
    }
    // A process that ended while it arrived.
    let disk = FaultDisk::new(2);
    let (mut giver, mut taker) = (Giver::new(shelf(HEADER), 1_000), Taker::new(Arc::new(disk.clone())));
    let offer = giver.offer(0, u64::MAX, 2).unwrap().unwrap();
    taker.offered(&raft, (LEADER, offer), 3).unwrap().unwrap();
    let (lsn, offset, bytes) = piece(giver.piece(NodeId(2), (99, 0), 3).unwrap().unwrap());
    taker.piece(&raft, LEADER, (lsn, offset, &bytes), 4).unwrap();
    drop(taker);
    assert!(Arrived::on(&disk).unwrap().is_none());
    assert!(disk.list().unwrap().is_empty());
}
