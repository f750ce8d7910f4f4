//! Tests as aligned tables: a time, a command, its outcome; below them the books.
//!
//! `check(text)` runs the lines in order on one shard, [`check_on`] on several. A line that begins
//! with `&` is decided in the same turn as the line above it. `name@2` is a name that lives on
//! shard 2. After each line the books are audited, at the end memory and store are compared with
//! the log.

use onrush_proto::{Command, CommitOffset, IdempotencyKey, Sku, Slot, Topic};

use crate::books::{audit, verify};
use crate::render::render;
use crate::rig::{Plan, Rig, START_US};
use crate::speech::Speaker;

/// Lines that a report shows around a wrong one.
const SHOWN_AROUND: usize = 12;

/// One line of a table.
struct Line<'a> {
    at: &'a str,
    command: &'a str,
    expected: &'a str,
    joined: bool,
}

/// Runs a table on one shard, once as it is and once with nothing kept in memory that the store has.
#[track_caller]
pub(crate) fn check(text: &str) {
    check_on(1, text);
}

/// Runs a table on several shards.
#[track_caller]
pub(crate) fn check_on(shards: u16, text: &str) {
    check_with(Plan::new(shards), false, text);
    check_with(Plan::forgetful(shards), true, text);
}

/// Runs a table on a rig of its own. With `flushing` every line ends with a flush.
#[track_caller]
pub(crate) fn check_with(plan: Plan, flushing: bool, text: &str) {
    let (lines, books) = parse(text);
    let mut stage = Stage { rig: Rig::new(plan), speaker: Speaker::default(), flushing };
    let mut found = Vec::new();
    let mut rest = lines.as_slice();
    while !rest.is_empty() {
        let joined = 1 + rest[1..].iter().take_while(|line| line.joined).count();
        let (group, later) = rest.split_at(joined);
        found.extend(stage.run(group));
        rest = later;
    }
    let right = lines.iter().zip(&found).all(|(line, found)| matches(line.expected, found));
    assert!(right, "\n{}", report(&lines, &found));
    verify(&mut stage.rig);
    stage.check_books(&books);
}

/// `ok` stands for any acceptance that is not a replay.
fn matches(expected: &str, found: &str) -> bool {
    expected == found || expected == "ok" && !is_refusal(found) && !found.ends_with("(replay)")
}

/// Refusals begin with a reason such as `OUT_OF_STOCK`; nothing else is written in capitals.
fn is_refusal(found: &str) -> bool {
    found.starts_with(|first: char| first.is_ascii_uppercase())
        && found[1..].starts_with(|second: char| second.is_ascii_uppercase())
}

fn parse(text: &str) -> (Vec<Line<'_>>, Vec<Vec<&str>>) {
    let mut rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.contains('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let books_at = rows.iter().position(|row| row[0] == "sku");
    let books = books_at.map(|at| rows.split_off(at)).unwrap_or_default();
    for row in &rows {
        assert_eq!(row.len(), 3, "expected `at | command | outcome`, found {row:?}");
    }
    let lines = rows.into_iter().filter(|row| row[0] != "at").map(|row| {
        let joined = row[1].starts_with('&');
        Line { at: row[0], command: row[1].trim_start_matches('&').trim(), expected: row[2], joined }
    });
    (lines.collect(), books.into_iter().skip(1).collect())
}

fn report(lines: &[Line<'_>], found: &[String]) -> String {
    let width = |of: &dyn Fn(&Line<'_>) -> usize| lines.iter().map(of).max().unwrap_or(0);
    let (at, command) = (width(&|line| line.at.len()), width(&|line| line.command.len() + 2));
    let expected = width(&|line| line.expected.len());
    let mut text = String::new();
    let wrong: Vec<usize> =
        (0..lines.len()).filter(|at| !matches(lines[*at].expected, &found[*at])).collect();
    for (index, (line, found)) in lines.iter().zip(found).enumerate() {
        if !wrong.iter().any(|at| at.abs_diff(index) <= SHOWN_AROUND) {
            continue;
        }
        let mark = if matches(line.expected, found) { ' ' } else { '>' };
        let join = if line.joined { "& " } else { "" };
        let shown = format!("{join}{}", line.command);
        text += &format!("{mark} {:at$} | {shown:command$} | {:expected$}", line.at, line.expected);
        if mark == '>' {
            text += &format!(" | found {found}");
        }
        text.push('\n');
    }
    text
}

/// A rig and what its tables call things.
struct Stage {
    rig: Rig,
    speaker: Speaker,
    flushing: bool,
}

impl Stage {
    /// Runs lines of one turn; their outcomes.
    fn run(&mut self, group: &[Line<'_>]) -> Vec<String> {
        let at_us = START_US + moment_us(group[0].at);
        if group.len() == 1 {
            self.rig.advance_to(at_us);
        } else {
            // The turn that decides is the one in which timers fire.
            self.rig.now_us = at_us;
        }
        if let [line] = group
            && self.stage_direction(line.command)
        {
            return vec!["-".into()];
        }
        let ends = self.ends();
        let tags: Vec<u64> = group.iter().flat_map(|line| self.submit(line.command)).collect();
        self.rig.run();
        let replies: Vec<_> = tags.iter().map(|tag| self.rig.take_reply(*tag)).collect();
        let mut replies = replies.into_iter();
        let mut outcomes = Vec::new();
        for line in group {
            let mut last = String::new();
            for _ in 0..self.speaker.commands(line.command) {
                let reply = replies.next().unwrap().expect("an answer");
                self.speaker.learn(line.command, &reply);
                last = render(&reply);
            }
            outcomes.push(last);
        }
        if let [outcome] = outcomes.as_slice()
            && self.rig.nodes.len() == 1
            && is_refusal(outcome)
        {
            assert_eq!(ends, self.ends(), "{}: a refusal writes nothing", group[0].command);
        }
        audit(&self.rig);
        if self.flushing {
            self.rig.flush(true);
        }
        outcomes
    }

    fn ends(&self) -> Vec<u64> {
        self.rig.nodes.iter().map(|node| node.shard.end().0).collect()
    }

    fn stage_direction(&mut self, command: &str) -> bool {
        match command {
            "tick" => {}
            "flush" => self.rig.flush(false),
            "checkpoint" => self.rig.flush(true),
            "restart" => {
                self.rig.restart();
                self.rig.run();
            }
            _ => return false,
        }
        true
    }

    fn submit(&mut self, text: &str) -> Vec<u64> {
        let requests = self.speaker.requests(&self.rig, text);
        requests.into_iter().map(|(key, command)| self.rig.submit(key, command)).collect()
    }

    fn check_books(&mut self, books: &[Vec<&str>]) {
        for row in books {
            let sku = sku_on(&self.rig, row[0]);
            let reply = self.rig.ask(IdempotencyKey::NONE, Command::GetStock(sku));
            let onrush_proto::Outcome::Stock(stock) = reply.outcome else { panic!("{}: {reply:?}", row[0]) };
            let found =
                [stock.on_hand, stock.held, stock.sold, stock.available()].map(|units| units.to_string());
            assert_eq!(found.as_slice(), &row[1..], "{} | on_hand | held | sold | available", row[0]);
        }
    }
}

/// `name@2` is the first of `name`, `name-1`, .. that lives on shard 2.
pub(crate) fn placed(rig: &Rig, text: &str, owner: impl Fn(&str) -> Slot) -> String {
    let Some((name, shard)) = text.split_once('@') else { return text.into() };
    let shard: u16 = shard.parse().unwrap();
    let names = std::iter::once(name.to_string()).chain((1..).map(|serial| format!("{name}-{serial}")));
    names.take(100_000).find(|name| rig.map.shard(owner(name)).0 == shard).unwrap()
}

pub(crate) fn sku_on(rig: &Rig, text: &str) -> Sku {
    placed(rig, text, |name| Slot::of(name.as_bytes())).parse().unwrap()
}

/// `600s`, `600s-1us`, `1.5s` in us.
pub(crate) fn moment_us(text: &str) -> u64 {
    if let Some((base, less)) = text.split_once('-') {
        return moment_us(base) - moment_us(less);
    }
    let number = |text: &str| text.parse::<f64>().unwrap();
    match (text.strip_suffix("us"), text.strip_suffix('s')) {
        (Some(us), _) => us.parse().unwrap(),
        (_, Some(seconds)) => (number(seconds) * 1e6).round() as u64,
        _ => panic!("expected a moment such as `600s-1us`, found {text}"),
    }
}

/// A position of a consumer group.
pub(crate) fn offset(group: &str, topic: &str, lsn: Option<u64>) -> Command {
    let topic = Topic::from_name(topic).unwrap();
    let lsn = lsn.map(onrush_proto::Lsn);
    Command::CommitOffset(Box::new(CommitOffset { slot: Slot(0), group: group.parse().unwrap(), topic, lsn }))
}
