//! What becomes of a model that is published, taken back, or there when the log is another one.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use onrush_engine::{Engine, EngineOptions, StoreKind};
use onrush_scoring::candidates::Task;
use onrush_scoring::scan::QUERIES_MAX;
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::model::onnx::{Ranker, encode};
use crate::recommendation::knowledge::Sought;
use crate::recommendation::knowledge::tests::kept;
use crate::recommendation::learning;
use crate::recommendation::learning::tests::{CUSTOMERS, DAY_US, DAYS, past};
use crate::recommendation::preferences::Preferences;
use crate::recommendation::purchase::Purchase;
use crate::recommendation::rank::{self, Filter};
use crate::recommendation::scorers::{Job, Waiting};
use crate::recommendation::window::Window;

const NOW_US: u64 = 1_700_000_000_000_000;
const SKUS: [&str; 3] = ["tea", "cup", "pot"];
const MIX: Mix = Mix { history: 1.0, trend: 0.05, window: Window::Day, together: 2.0 };

struct Place {
    engine: Engine,
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let options = EngineOptions { store: StoreKind::Memory, shards: Some(1), ..EngineOptions::default() };
        Self { engine: Engine::open(options).unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    /// A learner that goes on from what is kept here, with a network that is named.
    fn learner(&self) -> Learner {
        let mlp = kept(0).rankers.next_basket;
        let named = Ml::Ready(Ranker::decode(&encode(&mlp, "next_basket")).unwrap());
        let learner = Learner::new(Backend::local(self.engine.handle()), self.dir.path(), Arc::new(named));
        learner.restore();
        learner
    }

    /// The same that has counted an order, with what it makes of it.
    fn counted(&self) -> Learner {
        let learner = self.learner();
        count(&learner);
        learner.refresh(NOW_US);
        learner
    }

    fn file(&self, version: u64) -> std::path::PathBuf {
        self.dir.path().join(MODEL_DIRECTORY).join(format!("model-{version}.onrush"))
    }
}

fn count(learner: &Learner) {
    let lines = SKUS.map(|sku| (sku.parse().unwrap(), 499)).to_vec();
    let bought = Purchase { customer: "ada".parse().unwrap(), time_us: NOW_US, lines };
    learner.learn(ShardId(0), Lsn(1), &[(Lsn(1), Lesson::Bought(bought))]);
}

fn publish(learner: &Learner, mix: Mix, network: Option<Kept>) -> Result<u64, PublishError> {
    learner.publish(Candidate { mix, network }, NOW_US)
}

/// Products that are foretold, and whether by a model.
fn foretold(learner: &Learner) -> (usize, bool) {
    learner.look(|knowledge| {
        let mut told = 0;
        let ada = Sought { customer: "ada".parse().unwrap(), task: Task::NextBasket, now_us: NOW_US };
        knowledge.foretell(&ada, |_, _| told += 1);
        (told, knowledge.network().is_some())
    })
}

#[test]
fn a_model_that_a_mix_beats_is_taken_back_and_no_named_network_ranks_after_it() {
    let place = Place::new();
    let learner = place.counted();
    assert_eq!((learner.version(), foretold(&learner)), (0, (3, false)), "by the network that is named");
    assert_eq!(publish(&learner, Mix::default(), Some(kept(0))).unwrap(), 1);
    assert_eq!((learner.version(), foretold(&learner)), (1, (3, true)), "at once");
    let file = std::fs::read(place.file(1)).unwrap();
    assert_eq!(publish(&learner, MIX, None).unwrap(), 2);
    assert_eq!(foretold(&learner), (0, false));
    assert!(!place.file(1).exists());
    // Nor after a restart, though the file comes back.
    std::fs::write(place.file(1), file).unwrap();
    let again = place.learner();
    again.refresh(NOW_US);
    assert_eq!((again.version(), foretold(&again)), (2, (0, false)));
    again.look(|knowledge| assert!(knowledge.mix == MIX && knowledge.named().ranker().is_none()));
}

#[test]
fn what_cannot_be_kept_is_not_published() {
    let place = Place::new();
    let learner = place.counted();
    // Where the directory of models should be is a file.
    let models = place.dir.path().join(MODEL_DIRECTORY);
    std::fs::write(&models, "in the way").unwrap();
    assert!(matches!(publish(&learner, MIX, Some(kept(0))), Err(PublishError::Model(_))));
    assert_eq!((learner.version(), foretold(&learner)), (0, (3, false)), "the named network ranks on");
    std::fs::remove_file(&models).unwrap();
    // One with a weight that is no number.
    let mut spoiled = kept(0);
    spoiled.learned.factors[1][2] = f32::NAN;
    assert!(matches!(publish(&learner, MIX, Some(spoiled)), Err(PublishError::Model(_))));
    assert_eq!((learner.version(), foretold(&learner), place.file(1).exists()), (0, (3, false), false));
    publish(&learner, Mix::default(), Some(kept(0))).unwrap();
    // Where the counters should be is a directory: a mix alone is kept in them.
    let counters = place.dir.path().join(COUNTERS_FILE);
    std::fs::remove_file(&counters).unwrap();
    std::fs::create_dir(&counters).unwrap();
    assert!(matches!(publish(&learner, MIX, None), Err(PublishError::Counters(_))));
    assert_eq!((learner.version(), foretold(&learner), place.file(1).exists()), (1, (3, true), true));
    learner.look(|knowledge| assert_eq!(knowledge.mix, Mix::default()));
}

#[test]
fn a_model_outlives_counters_that_begin_anew() {
    let place = Place::new();
    let learner = place.counted();
    publish(&learner, MIX, Some(kept(0))).unwrap();
    learner.begin_anew();
    assert!(learner.is_new());
    assert_eq!((learner.version(), foretold(&learner)), (1, (0, true)), "nobody bought anything");
    learner.look(|knowledge| assert_eq!(knowledge.mix, MIX));
    count(&learner);
    assert_eq!(foretold(&learner), (0, true), "products may stand elsewhere");
    learner.refresh(NOW_US);
    assert_eq!(foretold(&learner), (3, true));
}

#[test]
fn what_is_looked_at_in_stretches_is_what_is_seen_at_once() {
    let place = Place::new();
    let learner = place.counted();
    publish(&learner, MIX, Some(kept(0))).unwrap();
    let listing = |number: usize| Listing {
        sku: format!("sku-{number}").parse().unwrap(),
        category: format!("category-{}", number % 7).parse().unwrap(),
        brand: "brand".parse().unwrap(),
        unit_minor: Some(1),
        since_us: if number.is_multiple_of(3) { NOW_US - number as u64 } else { 1 },
        time_us: NOW_US,
    };
    learner.list((0..2 * STRETCH + 9).map(listing));
    for number in 2..900u64 {
        let lines = (0..number % 5 + 1).map(|line| {
            let sku = format!("sku-{}", (number * number + line) % 8_000);
            (sku.parse().unwrap(), 5)
        });
        let lines = lines.collect();
        let bought = Purchase { customer: "bob".parse().unwrap(), time_us: NOW_US - number, lines };
        learner.learn(ShardId(0), Lsn(number), &[(Lsn(number), Lesson::Bought(bought))]);
    }
    learner.refresh(NOW_US);
    let board = learner.board();
    let ada = foretold(&learner);
    learner.look(|knowledge| {
        let at_once = Board::of(&knowledge.counters, NOW_US);
        assert_eq!(board.rest, at_once.rest);
        assert_eq!((&board.new, board.generation), (&at_once.new, at_once.generation));
        for window in Window::ALL {
            let [found, expected] = [&board, &at_once].map(|board| board.chart(window));
            assert!(found.all.len() > 500);
            assert_eq!(found.all, expected.all);
            let category = "category-5".parse().unwrap();
            assert_eq!(found.category(&category), expected.category(&category));
        }
        // Products that get other places are told.
        let mut sight = knowledge.sight(NOW_US).unwrap();
        sight.settle();
        assert!(sight.is_of(&knowledge.counters) && sight.go_on(&knowledge.counters));
        let others = Counters::new(Bounds::RECOMMENDED).instead_of(&knowledge.counters);
        assert!(!sight.is_of(&others));
    });
    let mut learned = learner.write();
    let at_once = learned.knowledge.outlook(NOW_US);
    drop(learned.knowledge.take(at_once));
    drop(learned);
    assert_eq!((foretold(&learner), ada.1), (ada, true));
    assert!(ada.0 > SKUS.len());
}

/// Which version ranks of how many that were given, and what is said of those that do not.
fn ranking(learner: &Learner) -> (u64, u64, Vec<String>) {
    let Versions { ranks, last, refused, .. } = learner.read().versions.clone();
    (ranks, last, refused.iter().map(ToString::to_string).collect())
}

#[test]
fn a_damaged_model_is_left_where_it_is_and_nothing_is_lost_with_it() {
    let place = Place::new();
    let learner = place.counted();
    publish(&learner, MIX, Some(kept(0))).unwrap();
    learner.close();
    let whole = std::fs::read(place.file(1)).unwrap();
    let restored = |bytes: &[u8]| {
        std::fs::write(place.file(1), bytes).unwrap();
        let learner = place.learner();
        learner.refresh(NOW_US);
        let counted = learner.look(|knowledge| knowledge.counters.counted().purchases);
        assert_eq!((learner.version(), counted), (1, 1));
        foretold(&learner)
    };
    assert_eq!(restored(&whole[..whole.len() - 1]), (0, false));
    assert_eq!(restored(&[]), (0, false));
    assert_eq!(restored(&whole), (3, true));
    assert!(Path::exists(&place.file(1)));
}

/// Files of versions, the oldest first.
fn versions(place: &Place) -> Vec<u64> {
    (0..10).filter(|version| place.file(*version).exists()).collect()
}

#[test]
fn the_model_before_ranks_where_the_newest_cannot_and_neither_number_is_given_again() {
    let place = Place::new();
    let learner = place.counted();
    for version in 1..=3 {
        assert_eq!(publish(&learner, MIX, Some(kept(0))).unwrap(), version);
    }
    assert_eq!(versions(&place), [2, 3]);
    learner.close();
    drop(learner);
    let spoil = |version: u64| {
        let mut bytes = std::fs::read(place.file(version)).unwrap();
        bytes[40] ^= 1;
        std::fs::write(place.file(version), bytes).unwrap();
    };
    spoil(3);
    let learner = place.learner();
    learner.refresh(NOW_US);
    let (ranks, last, refused) = ranking(&learner);
    assert_eq!((ranks, last, refused.len(), foretold(&learner)), (2, 3, 1, (3, true)));
    assert!(refused[0].starts_with("version 3 was refused: expected "), "{refused:?}");
    // What it is kept with says so, too: without counters the files do.
    learner.close();
    drop(learner);
    std::fs::remove_file(place.dir.path().join(COUNTERS_FILE)).unwrap();
    let learner = place.learner();
    assert_eq!(ranking(&learner), (2, 3, refused));
    // What ranked stays beside what is published, whatever lies between.
    assert_eq!(publish(&learner, MIX, Some(kept(0))).unwrap(), 4);
    assert_eq!((versions(&place), ranking(&learner)), (vec![2, 4], (4, 4, vec![])));
    learner.close();
    drop(learner);
    [2, 4].into_iter().for_each(spoil);
    let learner = place.learner();
    learner.refresh(NOW_US);
    let (ranks, last, refused) = ranking(&learner);
    assert_eq!((ranks, last, refused.len(), foretold(&learner).1), (4, 4, 2, false));
    learner.look(|knowledge| assert!(knowledge.named().ranker().is_none(), "something was published"));
    assert_eq!(publish(&learner, MIX, Some(kept(0))).unwrap(), 5);
    assert_eq!((versions(&place), ranking(&learner)), (vec![5], (5, 5, vec![])));
}

/// What is told of each customer's first page and of a page of a product, and of how many the profile was there before
/// their turn. They ask one after the other, or all before the first is answered.
fn asked(learner: &Arc<Learner>, is_together: bool) -> (Vec<Ranked>, usize) {
    let (sender, receiver) = sync_channel(2 * CUSTOMERS as usize);
    let waiting = Mutex::new(Waiting::of(receiver));
    let (mut answers, mut looked_ahead) = (Vec::new(), 0);
    let mut answer_next = || {
        let job = waiting.lock().unwrap().next();
        let Some(Job::Question(question)) = job else { panic!("expected a question") };
        let sought = question.asked.sought().unwrap();
        looked_ahead += usize::from(!learner.look(|knowledge| knowledge.lacks(&sought)));
        question.answer(&waiting);
    };
    for number in 0..2 * CUSTOMERS {
        let (place, skus) = match number < CUSTOMERS {
            true => (rank::Place::Home, vec![]),
            false => (rank::Place::ProductPage, vec!["sku-7".parse().unwrap()]),
        };
        let asked = Asked {
            customer: Some(format!("customer-{}", number % CUSTOMERS).parse().unwrap()),
            preferences: Preferences::default(),
            place,
            skus,
            filter: Filter::default(),
            now_us: (20_000 + DAYS) * DAY_US,
        };
        let (told, wait) = oneshot::channel();
        let (learner, asked, board) = (learner.clone(), Arc::new(asked), learner.board());
        let question = Question { learner, asked, board, most: 30, ranked: Ranked::default(), told };
        sender.send(Job::Question(question)).unwrap();
        answers.push(wait);
        if !is_together {
            answer_next();
        }
    }
    if is_together {
        answers.iter().for_each(|_| answer_next());
    }
    (answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect(), looked_ahead)
}

#[test]
fn who_asks_together_is_told_what_who_asks_alone_is() {
    let place = Place::new();
    let learner = place.learner();
    let past = past();
    for (purchase, lsn) in past.iter().zip(1..) {
        learner.learn(ShardId(0), Lsn(lsn), &[(Lsn(lsn), Lesson::Bought(purchase.clone()))]);
    }
    let model = learner.look(|knowledge| {
        learning::learn(&past, &knowledge.counters, &HashSet::new(), &|_| true).ok().unwrap()
    });
    publish(&learner, MIX, Some(model)).unwrap();
    learner.close();
    let [alone, together] = [false, true].map(|is_together| {
        // Each from the files: no profile is there yet.
        let learner = Arc::new(place.learner());
        learner.refresh((20_000 + DAYS) * DAY_US);
        asked(&learner, is_together)
    });
    assert!(alone.0.iter().all(|ranked| ranked.best.len() == 30), "{:?}", alone.0[0]);
    assert_eq!(alone.0, together.0);
    // Of each four that wait the first looks for all.
    let questions = 2 * CUSTOMERS as usize;
    assert_eq!((alone.1, together.1), (0, questions - questions / QUERIES_MAX));
}
