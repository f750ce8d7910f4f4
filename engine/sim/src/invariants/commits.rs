//! What is committed stays: it is on the disks of a quorum when it is said to be, every later leader has it, every
//! node applies the same at the same place (Ongaro, 3.2: leader completeness, state machine safety).

use onrush_engine::replication::{Members, NodeId, RoleKind};

use crate::cluster::Member;
use crate::mirror::Mirror;
use crate::report::{Verdict, Violation};

const NAME: &str = "commits";

/// The terms of the committed entries, by index.
#[derive(Default)]
pub(crate) struct Commits {
    terms: Vec<u64>,
    /// What was on disks that are lost: it counts as what it was when it was acknowledged. Their nodes never vote again.
    graves: Vec<(NodeId, Vec<u64>)>,
    /// The group by the last committed entry about it.
    pub(crate) members: Option<Members>,
}

impl Commits {
    /// Looks at what a node believes to be committed; what nobody knew before is entered in the books.
    pub(crate) fn look(&mut self, mirror: &mut Mirror, all: &[Member], at: usize) -> Verdict {
        let Some(live) = &all[at].live else { return Ok(()) };
        let (raft, shard) = (live.replica.raft(), all[at].shard);
        if raft.role() == RoleKind::Leader
            && let Some(last) = self.terms.last()
            // A leader that does not know yet that its term is over lacks what later ones have committed.
            && raft.term() >= *last
            && raft.log().term(self.terms.len() as u64) != Some(*last)
        {
            let expected =
                format!("committed entry {} of term {last} with leader {}", self.terms.len(), raft.id());
            return Err(Violation::new(NAME, expected, format!("{:?}", raft.log().last())));
        }
        let known = raft.commit().min(self.terms.len() as u64);
        if known > 0 && raft.log().term(known) != Some(self.terms[known as usize - 1]) {
            let expected = format!("entry {known} of term {}", self.terms[known as usize - 1]);
            let found = format!("{:?} committed at {}", raft.log().term(known), raft.id());
            return Err(Violation::new(NAME, expected, found));
        }
        while raft.commit() > self.terms.len() as u64 {
            let index = self.terms.len() as u64 + 1;
            let failed = |error: String| Violation::new(NAME, format!("entry {index} to be read"), error);
            let entries = raft.log().read(index, index, 0).map_err(|error| failed(error.to_string()))?;
            let entry = entries.first().ok_or_else(|| failed("nothing".to_owned()))?;
            let term = entry.position().term;
            let has = |node: &&Member| node.on_disk.get(index as usize - 1) == Some(&term);
            let mut holders: Vec<_> =
                all.iter().filter(|node| node.shard == shard).filter(has).map(|node| node.id).collect();
            let had = |grave: &&(NodeId, Vec<u64>)| grave.1.get(index as usize - 1) == Some(&term);
            holders.extend(self.graves.iter().filter(had).map(|(node, _)| *node));
            if !is_held(raft.members(), &holders) {
                let expected = format!("committed entry {index} of term {term} on the disks of a quorum");
                return Err(Violation::new(NAME, expected, format!("{holders:?} of {:?}", raft.members())));
            }
            if let Ok(Some(members)) = entry.members() {
                self.members = Some(members);
            }
            self.terms.push(term);
            if entry.info().record_count > 0 {
                mirror.enter(shard, &entry.frame().view())?;
            }
        }
        Ok(())
    }

    /// A disk is lost for good.
    pub(crate) fn buried(&mut self, node: NodeId, on_disk: Vec<u64>) {
        self.graves.push((node, on_disk));
    }

    /// Committed entries.
    pub(crate) fn len(&self) -> usize {
        self.terms.len()
    }

    /// A node that begins anew from a snapshot loses no entry that is committed, or may yet be counted: where its log was
    /// that of the committed ones, the snapshot reaches as far.
    fn replaced(&self, node: &mut Member, (found, front): (Vec<u64>, usize)) -> Verdict {
        let common = node.on_disk.iter().zip(&self.terms).take_while(|(a, b)| a == b).count();
        (node.on_disk, node.taking_back, node.flipped) = (found, None, false);
        if common <= front {
            return Ok(());
        }
        let expected = format!("a snapshot of the first {common} entries or more, which {} had", node.id);
        Err(Violation::new(NAME, expected, front.to_string()))
    }

    /// A restarted node still has every entry that it said was on its disk, and was not taking back; but for the last one, if
    /// that was damaged.
    pub(crate) fn survived(&mut self, node: &mut Member) -> Verdict {
        let Some(live) = &node.live else { return Ok(()) };
        let log = live.replica.raft().log();
        // What is in front of the log was committed, and is in a snapshot.
        let front = log.front().index as usize;
        let mut found: Vec<u64> = self.terms.iter().copied().take(front).collect();
        if found.len() < front {
            let expected = format!("a log of {} behind what was committed", node.id);
            return Err(Violation::new(NAME, expected, format!("{front} of {}", self.terms.len())));
        }
        found.extend((front as u64 + 1..=log.last().index).map_while(|index| log.term(index)));
        if std::mem::take(&mut node.began_anew) {
            return self.replaced(node, (found, front));
        }
        let common = node.on_disk.iter().zip(&found).take_while(|(a, b)| a == b).count();
        let kept = node.taking_back.take().map_or(node.on_disk.len(), |kept| kept.min(node.on_disk.len()));
        let flipped = std::mem::take(&mut node.flipped);
        let kept = kept - usize::from(flipped && kept > 0);
        if common < kept {
            let expected = format!("the first {kept} entries on the disk of {}", node.id);
            return Err(Violation::new(NAME, expected, format!("{common} of {}", found.len())));
        }
        let had = std::mem::replace(&mut node.on_disk, found);
        if flipped {
            self.graves.push((node.id, had));
        }
        Ok(())
    }
}

/// True if a majority of the voters, and of those of before, are among `holders`: counted here, as the product's own count is
/// what may be wrong.
fn is_held(members: &Members, holders: &[NodeId]) -> bool {
    let majority =
        |voters: Vec<NodeId>| 2 * voters.iter().filter(|node| holders.contains(node)).count() > voters.len();
    majority(members.voters().collect()) && (!members.is_changing() || majority(members.outgoing().collect()))
}
