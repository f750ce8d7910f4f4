//! Where a shop is asked: it may be on several nodes, and one of them leads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onrush_proto::frame::{Cluster, NODES_MAX, Node};

use super::CallError;

/// The addresses that were given, those that nodes told of, and who led last. Shared by all calls of a client.
#[derive(Debug)]
pub(super) struct Whereabouts {
    /// What stands in front of `host:port` in an address.
    scheme: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What was given, and is kept for good.
    given: Vec<Arc<str>>,
    /// Where nodes say that each of them is, at most [`NODES_MAX`].
    told: BTreeMap<u64, Arc<str>>,
    /// Where one was reached, which stands above what is told: it may have another name for us.
    reached: BTreeMap<u64, Arc<str>>,
    /// Where the leader of a shard was last.
    leaders: BTreeMap<u16, Arc<str>>,
    /// Where the others are looked for.
    home: Arc<str>,
}

impl Whereabouts {
    /// Several addresses, with a comma between them; the scheme of the first may be left out behind it. `None` if one of
    /// them does not read like `host:port` behind the scheme.
    pub(super) fn parse(scheme: &'static str, text: &str) -> Option<Self> {
        let places = text.strip_prefix(scheme)?.split(',');
        let places = places.map(|place| place.strip_prefix(scheme).unwrap_or(place));
        let given: Vec<Arc<str>> = places
            .map(|place| port(place).map(|_| format!("{scheme}{place}").into()))
            .collect::<Option<_>>()?;
        let home = given.first()?.clone();
        let (told, reached, leaders) = Default::default();
        Some(Self { scheme, state: Mutex::new(State { given, told, reached, leaders, home }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the leader of a shard was last, or is looked for.
    pub(super) fn at(&self, shard: u16) -> Arc<str> {
        self.state().at(shard).clone()
    }

    /// The addresses that were given.
    pub(super) fn given(&self) -> Vec<Arc<str>> {
        self.state().given.clone()
    }

    /// How many there are to go round.
    pub(super) fn count(&self) -> usize {
        self.state().all().len()
    }

    /// True if it is one of those.
    pub(super) fn knows(&self, address: &str) -> bool {
        self.state().all().iter().any(|known| **known == *address)
    }

    /// The one behind `address`, round and round.
    pub(super) fn next(&self, address: &str) -> Arc<str> {
        let state = self.state();
        let all = state.all();
        let next = all.iter().position(|known| **known == *address).map_or(0, |at| at + 1);
        all.get(next).or(all.first()).unwrap_or(&state.home).clone()
    }

    /// Where to ask behind `address`, which was of no use: whoever it names as leader, or the next one.
    pub(super) fn behind(&self, address: &str, error: &CallError) -> Arc<str> {
        let named = error.leader().filter(|(node, _)| *node != 0);
        let named =
            named.and_then(|(node, said)| self.leader(node, said)).filter(|leader| **leader != *address);
        named.unwrap_or_else(|| self.next(address))
    }

    /// What the node at `address` says of the cluster.
    pub(super) fn learn(&self, address: &str, cluster: &Cluster) {
        if cluster.own() == 0 {
            return;
        }
        let mut state = self.state();
        let told = |Node { number, address }: &Node| (*number, format!("{}{address}", self.scheme).into());
        state.told = cluster.nodes().iter().map(told).collect();
        // Of a number that nobody tells of any more nothing is kept.
        let State { told, reached, .. } = &mut *state;
        reached.retain(|node, at| told.contains_key(node) && **at != *address);
        if told.contains_key(&cluster.own()) {
            reached.insert(cluster.own(), address.into());
        }
    }

    /// Where a node is that leads; `said` is what was said of it together with its number.
    fn leader(&self, node: u64, said: Option<&str>) -> Option<Arc<str>> {
        let mut state = self.state();
        if let Some(place) = said.filter(|place| port(place).is_some()) {
            let address: Arc<str> = format!("{}{place}", self.scheme).into();
            if state.told.len() < NODES_MAX || state.told.contains_key(&node) {
                state.told.insert(node, address.clone());
            }
            return Some(address);
        }
        state.reached.get(&node).or(state.told.get(&node)).cloned()
    }

    /// True if somebody leads, as was said without an address, and no node told where that is.
    pub(super) fn has_no_place_of(&self, leader: Option<(u64, Option<&str>)>) -> bool {
        let Some((node, None)) = leader.filter(|(node, _)| *node != 0) else { return false };
        let state = self.state();
        !state.reached.contains_key(&node) && !state.told.contains_key(&node)
    }

    /// A shard is asked at `to` from now on, if it is asked at `from` yet: others may have found out more meanwhile.
    fn turn(&self, shard: u16, from: &str, to: &Arc<str>) {
        let mut state = self.state();
        if **state.at(shard) == *from {
            state.leaders.insert(shard, to.clone());
        }
        // Shards that nobody asked for yet are likely led there too.
        if *state.home == *from {
            state.home = to.clone();
        }
    }

    /// A shard was answered for there.
    fn answered(&self, shard: u16, at: &Arc<str>) {
        self.state().leaders.entry(shard).or_insert_with(|| at.clone());
    }

    /// Nobody answers there: what others say of where that node is may be right.
    fn lost(&self, address: &str) {
        self.state().reached.retain(|_, at| **at != *address);
    }
}

impl State {
    fn at(&self, shard: u16) -> &Arc<str> {
        self.leaders.get(&shard).unwrap_or(&self.home)
    }

    /// Every address once, and every node once.
    fn all(&self) -> Vec<Arc<str>> {
        let mut all = self.given.clone();
        let told = self.told.iter().filter(|(node, _)| !self.reached.contains_key(node));
        for address in self.reached.values().chain(told.map(|(_, address)| address)) {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }
}

/// One call on its way to whoever leads.
pub(super) struct Pursuit<'a> {
    whereabouts: &'a Whereabouts,
    shard: u16,
    at: Arc<str>,
    /// True if it leads, as far as was heard.
    known: bool,
    /// Where nobody answered.
    silent: Vec<Arc<str>>,
    /// Where somebody was who does not lead.
    asked: Vec<Arc<str>>,
}

/// When the next try is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Onward {
    /// Now.
    AtOnce,
    /// After a pause.
    Later,
    /// After one that is long enough for a vote to end.
    AfterVote,
}

impl<'a> Pursuit<'a> {
    /// From where the leader of a shard was last.
    pub(super) fn new(whereabouts: &'a Whereabouts, shard: u16) -> Self {
        let state = whereabouts.state();
        let (at, known) = (state.at(shard).clone(), state.leaders.contains_key(&shard));
        drop(state);
        Self { whereabouts, shard, at, known, silent: Vec::new(), asked: Vec::new() }
    }

    /// Where else to ask whether somebody leads by now, behind who was asked that last.
    pub(super) fn beside(&self, last: &str) -> Arc<str> {
        let next = self.whereabouts.next(last);
        if next == self.at { self.whereabouts.next(&next) } else { next }
    }

    /// True if this names somebody who leads, and not who is asked already.
    pub(super) fn names_another(&self, error: &CallError) -> bool {
        let named = error.leader().filter(|(node, _)| *node != 0);
        let named = named.and_then(|(node, said)| self.whereabouts.leader(node, said));
        named.is_some_and(|leader| leader != self.at && !self.silent.contains(&leader))
    }

    /// Nobody answers where it is asked, and there is more to be had elsewhere.
    pub(super) fn pass_over(&mut self, to: Arc<str>) {
        let from = std::mem::replace(&mut self.at, to);
        self.whereabouts.turn(self.shard, &from, &self.at);
        self.silent.push(from);
    }

    /// Where to ask.
    pub(super) fn at(&self) -> &Arc<str> {
        &self.at
    }

    /// It was answered there.
    pub(super) fn answered(&self) {
        // Most calls find it known.
        if !self.known {
            self.whereabouts.answered(self.shard, &self.at);
        }
    }

    /// What came of it there: turns to where to ask next.
    pub(super) fn turn(&mut self, error: &CallError) -> Onward {
        let from = self.at.clone();
        let (to, onward) = match (error, error.leader()) {
            (_, Some((node, said))) => self.astray(node, said),
            (CallError::Unknown { .. }, None) => {
                self.whereabouts.lost(&from);
                self.silent.push(from.clone());
                (self.whereabouts.next(&from), Onward::Later)
            }
            // It was not looked at: it is later.
            _ => return Onward::Later,
        };
        self.whereabouts.turn(self.shard, &from, &to);
        self.at = to;
        onward
    }

    /// Somebody else leads.
    fn astray(&mut self, node: u64, said: Option<&str>) -> (Arc<str>, Onward) {
        self.asked.push(self.at.clone());
        let leader = self.whereabouts.leader(node, said).filter(|_| node != 0);
        match leader {
            // Two that name each other, or one that names itself: they are of two minds for a moment.
            Some(leader) if self.asked.contains(&leader) => (leader, Onward::AfterVote),
            Some(leader) if !self.silent.contains(&leader) => (leader, Onward::AtOnce),
            // Nobody leads, or who did is gone and the others do not know yet.
            _ => (self.whereabouts.next(&self.at), Onward::AfterVote),
        }
    }
}

/// The port that a place names.
pub(super) fn port(place: &str) -> Option<u16> {
    place.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok())
}

#[cfg(test)]
mod tests {
    use onrush_proto::Refusal;
    use tonic::Code;

    use super::*;

    fn gone() -> CallError {
        CallError::Unknown { code: Code::Unavailable, message: "gone".into() }
    }

    fn led_by(leader: u64) -> CallError {
        Refusal::NotLeader { leader }.into()
    }

    fn cluster(own: u64, nodes: &[(u64, &str)]) -> Cluster {
        let node = |(number, address): &(u64, &str)| Node { number: *number, address: (*address).into() };
        Cluster::new(own, nodes.iter().map(node).collect()).unwrap()
    }

    #[test]
    fn addresses_stand_side_by_side_and_each_is_one() {
        for (text, expected) in [
            ("x://a:1", Some("x://a:1")),
            ("x://a:1,b:2", Some("x://a:1 x://b:2")),
            ("x://a:1,x://b:2,[::1]:3", Some("x://a:1 x://b:2 x://[::1]:3")),
            ("x://", None),
            ("x://a:1,", None),
            ("x://a:1,b", None),
            ("x://a:1,y://b:2:", None),
            ("a:1", None),
        ] {
            let found = Whereabouts::parse("x://", text).map(|places| places.state().all().join(" "));
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn one_address_finds_the_rest_and_no_node_stands_there_twice() {
        let places = Whereabouts::parse("", "here:1").unwrap();
        assert_eq!((places.count(), &*places.next("here:1")), (1, "here:1"));
        places.learn("here:1", &cluster(2, &[(1, "a:1"), (2, "b:1"), (3, "c:1")]));
        assert_eq!(places.state().all().join(" "), "here:1 a:1 c:1", "the second is here");
        assert_eq!(&*places.leader(2, None).unwrap(), "here:1");
        assert_eq!(
            ["here:1", "a:1", "c:1", "x:1"].map(|at| places.next(at).to_string()),
            ["a:1", "c:1", "here:1", "here:1"]
        );
        // Who was of no use and says who leads is believed, unless it says itself.
        let behind =
            [led_by(3), led_by(0), led_by(2), led_by(9), gone()].map(|error| places.behind("here:1", &error));
        assert_eq!(behind.map(|at| at.to_string()), ["c:1", "a:1", "a:1", "a:1", "a:1"]);
        // It moved: what others say of it counts.
        places.lost("here:1");
        assert_eq!(&*places.leader(2, None).unwrap(), "b:1");
        // What stands alone tells nothing, and what is left out is gone.
        places.learn("a:1", &Cluster::default());
        assert_eq!(places.count(), 4);
        places.learn("a:1", &cluster(1, &[(1, "a:1"), (3, "c:1")]));
        assert_eq!(places.state().all().join(" "), "here:1 a:1 c:1");
        // What is said of a leader stays within its bound.
        for node in 10..100 {
            assert!(places.leader(node, Some("z:1")).is_some());
        }
        assert_eq!(places.state().told.len(), NODES_MAX);
        assert_eq!(places.leader(5_000, Some("nowhere")), None);
    }

    #[test]
    fn a_call_follows_who_leads_and_the_next_one_begins_there() {
        let places = Whereabouts::parse("", "a:1,b:1,c:1").unwrap();
        places.learn("a:1", &cluster(1, &[(1, "a:1"), (2, "b:1"), (3, "c:1")]));
        let mut call = Pursuit::new(&places, 7);
        assert_eq!((call.turn(&led_by(3)), &**call.at()), (Onward::AtOnce, "c:1"));
        assert_eq!(&*Pursuit::new(&places, 7).at, "c:1");
        // An answer of elsewhere that comes late changes nothing.
        places.turn(7, "a:1", &"b:1".into());
        assert_eq!(&*places.at(7), "c:1");
        let late = CallError::from(Refusal::Overloaded);
        assert_eq!((call.turn(&late), &**call.at()), (Onward::Later, "c:1"), "it was not looked at");
    }

    #[test]
    fn who_led_and_is_gone_is_passed_over_until_others_know() {
        let places = Whereabouts::parse("", "a:1,b:1,c:1").unwrap();
        places.learn("a:1", &cluster(1, &[(1, "a:1"), (2, "b:1"), (3, "c:1")]));
        let mut call = Pursuit::new(&places, 0);
        let steps = [
            (gone(), Onward::Later, "b:1"),
            (led_by(1), Onward::AfterVote, "c:1"),
            (led_by(0), Onward::AfterVote, "a:1"),
            (gone(), Onward::Later, "b:1"),
            // Between two that are of two minds there is a pause.
            (led_by(3), Onward::AfterVote, "c:1"),
            (led_by(2), Onward::AfterVote, "b:1"),
        ];
        for (number, (error, onward, at)) in steps.into_iter().enumerate() {
            assert_eq!((call.turn(&error), &**call.at()), (onward, at), "step {number}");
        }
    }

    #[test]
    fn a_leader_without_an_address_is_looked_for() {
        let places = Whereabouts::parse("x://", "x://a:1,b:1").unwrap();
        let mut call = Pursuit::new(&places, 0);
        assert_eq!((call.turn(&led_by(9)), &**call.at()), (Onward::AfterVote, "x://b:1"));
        let CallError::Refused(mut refused) = led_by(9) else { panic!("a refusal") };
        refused.leader_address = Some("c:1".into());
        assert_eq!((call.turn(&CallError::Refused(refused)), &**call.at()), (Onward::AtOnce, "x://c:1"));
        assert_eq!(places.count(), 3);
    }
}
