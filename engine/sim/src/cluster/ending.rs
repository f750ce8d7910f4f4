//! The liveness phase: faults and load end, and the nodes must come to one leader, one log and one state.

use onrush_engine::replication::{NodeId, Raft, RoleKind};
use onrush_proto::{CancelOrder, Command, CreateOrder, OrderLine, Outcome, Receipt, Refusal, Request};
use smallvec::smallvec;

use super::{Member, World, place};
use crate::clients::Shop;
use crate::invariants::{self, liveness};
use crate::report::{Verdict, Violation};

/// Simulated seconds within which everything open comes to an end: longer than any hold.
const SECONDS_MAX: u64 = 30;
/// Orders that a healed cluster must take.
const FRESH_ORDERS: usize = 100;
/// After so long a shard has nothing more to say for itself.
const QUIET_US: u64 = 200_000;
/// Eighths of an election timeout within which a healed cluster of one shard has a leader.
const ELECT_ROUNDS: u64 = 200;
/// Who lacks what was released fetches a snapshot first, and asks again for a piece that was lost.
const FETCH_US: u64 = 7_000_000;
/// Rounds within which nodes that hear each other come to rest while no time passes.
const ROUNDS_MAX: usize = 20_000;

impl World {
    pub(super) fn end(&mut self) -> Verdict {
        self.tell(|| "the load ends".to_owned());
        self.healed = true;
        self.doomed = None;
        self.end_plot();
        self.network.calm();
        // Mostly what has got stuck must come loose by itself; now and then everybody begins anew.
        let anew = self.faults.percent(30);
        for node in 0..self.nodes.len() {
            if anew {
                self.lose_power(node);
            }
            self.heal(node)?;
        }
        if self.is_beyond_repair() {
            self.summary.beyond += 1;
            return self.full_check();
        }
        self.elect()?;
        if self.faults.percent(40) {
            self.lose_leader()?;
        }
        self.come_to_rest()?;
        self.retry_everything()?;
        self.come_to_rest()?;
        self.fresh_orders()?;
        self.agree()?;
        // Whoever came to a process that goes on has been answered.
        if let Some((tag, asked)) = self.asked.first_key_value() {
            return Err(liveness::stuck("everybody answered", (asked, self.oracle.request(*tag))));
        }
        self.full_check()
    }

    /// Time passes until everything that is open has come to an end.
    fn come_to_rest(&mut self) -> Verdict {
        let mut rest = self.at_rest();
        for _ in 0..SECONDS_MAX {
            self.let_time_pass(1_000_000)?;
            for command in self.gateway.truths(&self.mirror) {
                self.send_request(Request::unkeyed(command))?;
            }
            self.settle()?;
            rest = self.at_rest();
            if rest.is_ok() {
                return Ok(());
            }
        }
        if self.in_office().is_none() {
            // Nothing ends where nobody decides: says why nobody does.
            self.elect()?;
        }
        rest
    }

    fn at_rest(&self) -> Verdict {
        liveness::at_rest(&self.mirror)?;
        invariants::baskets::settled(&self.mirror)?;
        invariants::payments::settled(&self.mirror)
    }

    /// True if a voter has lost its disk and another one has, as far as it can tell, lost what it had acknowledged: no quorum
    /// is left that has everything for certain, and an operator has to decide. One of them alone is borne; faults that come
    /// one by one are not made into both, but a torn write may look like the second.
    fn is_beyond_repair(&self) -> bool {
        let lost = |node: &NodeId| self.nodes[place(*node)].id != *node;
        let barred =
            |member: &&Member| member.live.as_ref().is_some_and(|live| live.replica.raft().is_barred());
        let is_beyond = |shard: usize| {
            let Some(members) = &self.groups[shard].commits.members else { return false };
            let is_hurt =
                self.members.iter().filter(|member| member.shard == shard).any(|member| barred(&member));
            members.voters().chain(members.outgoing()).any(|node| lost(&node)) && is_hurt
        };
        (0..self.shards()).any(is_beyond)
    }

    /// Nothing is wrong with a node any more, and nothing that was still to come comes.
    fn heal(&mut self, node: usize) -> Verdict {
        for at in self.of_node(node) {
            self.members[at].disk.disarm();
        }
        if !self.is_whole(node) {
            return self.start(node);
        }
        self.nodes[node].paused_until_us = 0;
        let calm = self.plan.calm();
        for at in self.of_node(node) {
            let member = &mut self.members[at];
            member.stalled_until_us = 0;
            member.disk.calm();
            member.disk.faults(calm);
            member.store.calm();
        }
        Ok(())
    }

    /// Time passes in steps that a leader keeps its office through.
    fn let_time_pass(&mut self, us: u64) -> Verdict {
        let until_us = self.now_us + us;
        // Between heartbeats nothing happens: what is due is stepped to.
        let step = (self.plan.election_us / 4).max(1);
        while self.now_us < until_us {
            self.now_us += step;
            self.settle()?;
        }
        Ok(())
    }

    /// One node in office for all shards, soon.
    fn elect(&mut self) -> Verdict {
        let rounds = if self.shards() > 1 { 2 * ELECT_ROUNDS } else { ELECT_ROUNDS };
        let mut until_us = self.now_us + rounds * self.plan.election_us / 8;
        let latest_us = until_us + FETCH_US;
        while self.now_us < until_us {
            self.now_us += self.plan.election_us / 8;
            self.settle()?;
            if self.in_office().is_some() {
                return Ok(());
            }
            if self.now_us >= until_us && self.is_one_lacking() {
                until_us = latest_us;
            }
        }
        let told = |at: usize| {
            let raft = self.members[at].live.as_ref().map(|live| live.replica.raft());
            let barred = |raft: &Raft| if raft.is_barred() { " and barred" } else { "" };
            let say = |raft: &Raft| {
                let (role, term, last, group) = (raft.role(), raft.term(), raft.log().last(), raft.members());
                format!("{role:?}{} in term {term} at {last:?} of {group:?}", barred(raft))
            };
            format!("{}: {}", self.name(at), raft.map_or_else(|| "down".to_owned(), say))
        };
        let members: Vec<_> = (0..self.members.len()).map(told).collect();
        Err(liveness::stuck(&format!("a node in office within {} election timeouts", rounds / 8), members))
    }

    /// True if somebody leads whose follower lacks what was released: its vote may be what the quorum wants.
    fn is_one_lacking(&self) -> bool {
        let lives = self.members.iter().filter_map(|member| member.live.as_ref());
        lives.map(|live| live.replica.raft()).any(|raft| !raft.lacking().is_empty())
    }

    /// The node in office is not heard, hears nobody, or both: another one takes over, if the others are whole.
    fn lose_leader(&mut self) -> Verdict {
        let Some(leader) = self.in_office().filter(|_| (0..self.shards()).all(|shard| self.is_sound(shard)))
        else {
            return Ok(());
        };
        let (sends, hears) = self.faults.pick(&[(true, true), (false, true), (true, false)]);
        self.tell(|| format!("node {leader} is cut off: what it sends {sends}, what it hears {hears}"));
        self.summary.cuts += 1;
        self.network.cut_off(leader, sends, hears);
        let until_us = self.now_us + ELECT_ROUNDS / 4 * self.plan.election_us + FETCH_US;
        while self.now_us < until_us {
            self.now_us += self.plan.election_us / 8;
            self.settle()?;
            let decides = |node: usize| self.of_node(node).all(|at| self.decides(at));
            if (0..self.nodes.len()).any(|node| node != leader && decides(node)) {
                self.network.mend();
                return self.elect();
            }
        }
        let lost = match (sends, hears) {
            (true, true) => "is cut off",
            (true, false) => "is not heard",
            _ => "hears nobody",
        };
        Err(liveness::stuck(
            &format!("another one in office than node {leader}, which {lost}"),
            self.in_office(),
        ))
    }

    /// True if all voters of a group are there, know the same of it, and have lost nothing.
    fn is_sound(&self, shard: usize) -> bool {
        let Some(members) = &self.groups[shard].commits.members else { return false };
        let is_sound = |node: NodeId| {
            let member = &self.members[self.of_node(place(node)).start + shard];
            let raft = member.live.as_ref().map(|live| live.replica.raft());
            member.id == node && raft.is_some_and(|raft| !raft.is_barred() && raft.members() == members)
        };
        members.voters().count() > 2 && !members.is_changing() && members.voters().all(is_sound)
    }

    /// Lets everything happen that can happen without time passing.
    fn settle(&mut self) -> Verdict {
        for _ in 0..ROUNDS_MAX {
            let mut busy = self.deliver()? | self.deliver_inside();
            for node in 0..self.nodes.len() {
                if !self.is_whole(node) {
                    self.start(node)?;
                }
            }
            for at in 0..self.members.len() {
                busy |= self.has_work(at);
                self.advance(at)?;
            }
            // What the last one did may call the first one.
            if !busy && self.network.is_empty() && !(0..self.members.len()).any(|at| self.has_work(at)) {
                return Ok(());
            }
        }
        let busy: Vec<_> = (0..self.members.len()).map(|at| self.steps(at)).collect();
        Err(liveness::stuck("a cluster that comes to rest", (busy, self.network.is_empty())))
    }

    /// One node is in office, and all members of a group hold the same log, and the same of it applied.
    fn agree(&mut self) -> Verdict {
        // What others have confirmed is recorded a while after they did.
        self.let_time_pass(QUIET_US)?;
        self.let_time_pass(self.plan.election_us)?;
        let mut agreed = self.agreed();
        for _ in 0..SECONDS_MAX {
            if agreed.is_ok() {
                break;
            }
            // Who lacks much may still fetch it.
            self.let_time_pass(1_000_000)?;
            agreed = self.agreed();
        }
        agreed
    }

    fn agreed(&self) -> Verdict {
        let Some(leader) = self.in_office() else {
            return Err(liveness::stuck("a node in office", self.nodes.len()));
        };
        self.of_node(leader).try_for_each(|at| self.agree_with(at))
    }

    fn agree_with(&self, leader: usize) -> Verdict {
        let shard = self.members[leader].shard;
        let all = || self.members.iter().filter(|member| member.shard == shard);
        let leaders = all().filter_map(|member| member.live.as_ref());
        let leaders = leaders.filter(|live| live.replica.raft().role() == RoleKind::Leader).count();
        if leaders != 1 {
            return Err(liveness::stuck("one leader", (shard, leaders)));
        }
        let state = |member: &Member| {
            let live = member.live.as_ref()?;
            let raft = live.replica.raft();
            Some((raft.log().last(), raft.commit(), live.replica.applied(), live.applied.lsn))
        };
        let Some(live) = &self.members[leader].live else { return Ok(()) };
        let members = live.replica.raft().members();
        if members.is_changing() {
            return Err(liveness::stuck("a change of the group that is through", members));
        }
        // Nobody tells those who do not belong to the group; and lost numbers never come back.
        let there = all().filter(|member| members.contains(member.id));
        let states: Vec<_> = there.map(state).collect();
        let end = self.mirror.books[shard].end_lsn;
        let same =
            states.iter().all(|state| *state == states[0] && state.is_some_and(|state| state.3 == end));
        if same {
            Ok(())
        } else {
            Err(liveness::stuck("the same log at all nodes, applied", (shard, end, states)))
        }
    }

    /// Each acknowledged key still gets its receipt.
    fn retry_everything(&mut self) -> Verdict {
        let past: Vec<Request> = self.workload.past().to_vec();
        for mut request in past {
            let known = self.oracle.receipt(request.key.0);
            request.deadline_us = 0;
            let key = request.key;
            let outcome = self.ask_and_wait(request)?;
            if outcome == Outcome::Refused(Refusal::KeyInProgress) {
                return Err(liveness::stuck("no running key", key));
            }
            if let (Some(known), Outcome::Accepted(receipt)) = (known, &outcome)
                && known != *receipt
            {
                return Err(liveness::stuck("the first receipt again", outcome));
            }
        }
        Ok(())
    }

    fn ask_and_wait(&mut self, request: Request) -> Result<Outcome, Violation> {
        self.last_outcome = None;
        for _ in 0..20 {
            self.send_request(request.clone())?;
            self.settle()?;
            match self.last_outcome.take() {
                // Sent to a node that does not lead, as clients do now and then, or nobody leads now.
                Some(Outcome::Refused(Refusal::Stopped)) if self.in_office().is_some() => {}
                Some(Outcome::Refused(Refusal::Stopped)) => self.elect()?,
                Some(outcome) => return Ok(outcome),
                // Whoever had it is gone, or waits for others: a client asks again, under the same key.
                None => self.let_time_pass(self.plan.election_us)?,
            }
        }
        Err(liveness::stuck("a node that leads", self.in_office()))
    }

    /// Orders for goods that nobody has touched, on every shard, each called off again to make room.
    fn fresh_orders(&mut self) -> Verdict {
        let wares: Vec<_> = (0..self.plan.shards).map(|shard| Shop::fresh(self.mirror.map, shard)).collect();
        for ware in &wares {
            for command in [ware.put(ware.price, true), ware.stock()] {
                let request = self.workload.keyed(command);
                let outcome = self.ask_and_wait(request)?;
                if !matches!(outcome, Outcome::Accepted(_)) {
                    return Err(liveness::stuck("fresh goods", outcome));
                }
            }
        }
        for at in 0..FRESH_ORDERS {
            let customer = self.workload.shop.customers[0];
            // Every other one is over two shards.
            let mut lines = smallvec![OrderLine::new(wares[at % wares.len()].sku, 1)];
            if at % 2 == 1 && wares.len() > 1 {
                lines.push(OrderLine::new(wares[(at + 1) % wares.len()].sku, 1));
            }
            let create = CreateOrder { customer, lines, hold_us: 60_000_000 };
            let request = self.workload.keyed(Command::CreateOrder(create));
            let outcome = self.ask_and_wait(request)?;
            let Outcome::Accepted(Receipt::Order { order, .. }) = outcome else {
                return Err(liveness::stuck("a fresh order taken", outcome));
            };
            let request = self.workload.keyed(Command::CancelOrder(CancelOrder { order }));
            let outcome = self.ask_and_wait(request)?;
            if !matches!(outcome, Outcome::Accepted(_)) {
                return Err(liveness::stuck("a fresh order called off", outcome));
            }
        }
        Ok(())
    }
}
