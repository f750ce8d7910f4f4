//! A vote survives tears and later damage to either slot.

use std::sync::Arc;

use onrush_storage::disk::{Disk, FaultDisk, FaultPlan};
use onrush_storage::log::{Vote, VoteError, VoteFile};

fn open(disk: &FaultDisk) -> Result<VoteFile, VoteError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    VoteFile::open(&disk)
}

fn vote(term: u64) -> Vote {
    let voted_for = (!term.is_multiple_of(3)).then_some(term % 3);
    Vote { term, voted_for, barred: term.is_multiple_of(5) }
}

#[test]
fn what_was_saved_is_opened() {
    let disk = FaultDisk::new(1);
    assert_eq!(open(&disk).unwrap().vote(), Vote::default());
    for term in 1..10 {
        let mut file = open(&disk).unwrap();
        file.save(vote(term)).unwrap();
        assert_eq!(file.vote(), vote(term));
        assert_eq!(open(&disk).unwrap().vote(), vote(term));
    }
}

#[test]
fn a_crash_leaves_the_old_or_the_new_vote() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..300 {
        let disk = FaultDisk::new(seed);
        disk.faults(FaultPlan { flip_at_crash_ppm: 800_000, ..FaultPlan::default() });
        let mut promised = Vote::default();
        let mut term = 0;
        for life in 0..12 {
            disk.crash_after_steps(1 + (seed + life * 7) % 5);
            // What was in flight may have survived.
            let Ok(mut file) = open(&disk) else { continue };
            let found = file.vote();
            assert!(found == promised || found == vote(term), "seed {seed}: {found:?} after {promised:?}");
            if found == promised {
                old += 1
            } else {
                new += 1
            }
            promised = found;
            loop {
                term += 1;
                if file.save(vote(term)).is_err() {
                    assert!(matches!(file.save(vote(term)), Err(VoteError::Poisoned)));
                    break;
                }
                promised = vote(term);
            }
        }
    }
    assert!(old > 100 && new > 100, "found {old} old and {new} new votes");
}

#[test]
fn damage_to_either_slot_never_brings_an_earlier_vote_back() {
    for byte in (0..32).chain(4096..4128) {
        let disk = FaultDisk::new(1);
        let mut file = open(&disk).unwrap();
        for term in 1..=5 {
            file.save(vote(term)).unwrap();
        }
        disk.flip_bit("vote", byte, 4).unwrap();
        let mut file = open(&disk).unwrap();
        assert_eq!(file.vote(), vote(5), "byte {byte}");
        file.save(vote(6)).unwrap();
        disk.flip_bit("vote", (byte + 4096) % 8192, 4).unwrap();
        assert_eq!(open(&disk).unwrap().vote(), vote(6), "the damaged slot was made good");
    }
}

#[test]
fn a_vote_that_may_be_lost_is_an_error() {
    let disk = FaultDisk::new(1);
    open(&disk).unwrap().save(vote(1)).unwrap();
    disk.flip_bit("vote", 20, 0).unwrap();
    disk.flip_bit("vote", 4096 + 20, 0).unwrap();
    assert!(matches!(open(&disk).err().unwrap(), VoteError::Corrupt));
    disk.truncate("vote", 4096).unwrap();
    assert!(matches!(open(&disk).err().unwrap(), VoteError::Length { found: 4096 }));
}
