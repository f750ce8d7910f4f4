//! The log is released up to what a store needs that is filled from a snapshot, and no further.

use std::sync::Arc;

use onrush_engine::flush::{Absorber, Stored};
use onrush_engine::{FlushOptions, Flusher, Snapshots, Station, Tail, TailBounds, install_newest};
use onrush_proto::ShardId;
use onrush_storage::disk::{Disk, FaultDisk};
use onrush_storage::log::Log;
use onrush_storage::snapshot::{SnapshotReader, prune};
use onrush_storage::store::{MemoryStore, Store};

use crate::rig::{Plan, Rig};
use crate::speech::Speaker;

/// A snapshot used to be taken of whatever the store had. A store filled from it replays from the
/// checkpoint inside, which could be older than the snapshot, while the log was released up to the
/// snapshot itself: the shard did not start, though nothing but its store was lost.
#[test]
fn the_log_reaches_back_to_the_checkpoint_in_each_kept_snapshot() {
    let rig = sold();
    let log = &rig.nodes[0].log;
    let shelf: Arc<dyn Disk> = Arc::new(FaultDisk::new(1));
    let (station, mut flusher) = life(log, &shelf);
    let (mut reader, mut released) = (log.reader(), 0);
    while let Some(frame) = reader.next_frame().unwrap() {
        station.commit(frame.to_frame(), u64::MAX);
        flusher.absorb_committed().unwrap();
        if !flusher.write_snapshot() {
            continue;
        }
        let below = station.release_below();
        for lsn in prune(shelf.as_ref(), 2, u64::MAX).unwrap().kept {
            let mut filled = MemoryStore::new();
            let copy = only(shelf.as_ref(), lsn);
            assert_eq!(install_newest(&copy, &mut filled).unwrap().lsn, Some(lsn));
            let needed = Stored::new(filled.reader()).checkpoint().unwrap().lsn + 1;
            assert!(below <= needed, "expected record {needed} for snapshot {lsn}, found a log from {below}");
        }
        released = below;
    }
    assert!(released > 10, "expected a log that is released, found it kept from {released}");
}

/// What was kept was told by what a life had written itself: who was restarted before its next snapshot never let go of its
/// log.
#[test]
fn a_life_lets_go_of_what_an_earlier_one_has_snapshots_for() {
    let rig = sold();
    let log = &rig.nodes[0].log;
    let shelf: Arc<dyn Disk> = Arc::new(FaultDisk::new(1));
    let mut releases = Vec::new();
    for writes in [true, false] {
        let (station, mut flusher) = life(log, &shelf);
        let mut reader = log.reader();
        while let Some(frame) = reader.next_frame().unwrap() {
            station.commit(frame.to_frame(), u64::MAX);
            flusher.absorb_committed().unwrap();
            if writes {
                flusher.write_snapshot();
            }
        }
        releases.push(station.release_below());
    }
    assert!(releases[0] > 10, "{releases:?}");
    assert_eq!(releases[0], releases[1], "the second life wrote none");
}

/// A shop whose log has 82 records.
fn sold() -> Rig {
    let mut rig = Rig::new(Plan::small(1, false));
    let said = (0..80).map(|number| format!("order c{number} tea"));
    for text in std::iter::once("put tea price 100 stock 500".to_owned()).chain(said) {
        for (key, command) in Speaker::default().requests(&rig, &text) {
            rig.ask(key, command);
        }
    }
    rig
}

/// What absorbs a log from its beginning, and takes snapshots when it is told to.
fn life(log: &Log, shelf: &Arc<dyn Disk>) -> (Arc<Station>, Flusher) {
    let tail = Arc::new(Tail::new(0, log.reader(), TailBounds::at_most(1 << 20)));
    let station = Arc::new(Station::new(ShardId(0), 1, tail));
    let options = FlushOptions {
        rows: 1,
        log_bytes: 1,
        checkpoint_bytes: 5_000,
        lag_bytes_max: u64::MAX,
        snapshot_bytes: 1,
        ..FlushOptions::default()
    };
    let snapshots = Snapshots::new(ShardId(0), Arc::clone(shelf), 1).continuing(log).by_hand();
    let absorber = Absorber::new(0, 0, Vec::new(), Vec::new());
    let store = Box::new(MemoryStore::new());
    let flusher = Flusher::new(Arc::clone(&station), 0, absorber, store, (options, snapshots));
    (station, flusher)
}

/// A shelf with one snapshot alone.
fn only(shelf: &dyn Disk, lsn: u64) -> FaultDisk {
    let copy = FaultDisk::new(2);
    let names = shelf.list().unwrap();
    let name = names.iter().find(|name| {
        name.ends_with(".snap") && SnapshotReader::open(shelf, name).unwrap().header().lsn == lsn
    });
    let name = name.unwrap();
    let file = shelf.open(name).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    copy.create(name, 0).unwrap().write_at(0, &bytes).unwrap();
    copy
}
