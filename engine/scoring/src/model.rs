//! A model that ranks: the catalogue it was learned of, the base, and the re-rankers.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use std::path::Path;

use rkyv::{Archive, Deserialize, Serialize};

use crate::base::Base;
use crate::candidates::{Gathered, Moment, Task};
use crate::counters::{Counters, Listing, User};
use crate::features::Features;
use crate::kept;
use crate::mlp::Mlp;
use crate::profile::{Look, Profile, Whom};
use crate::scan::{entry, key};

pub use crate::kept::{FILE, Kept, ModelError, Origin};

/// The re-rankers, one for each task.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Rankers {
    pub next_basket: Mlp,
    pub discovery: Mlp,
}

/// A model that ranks. Its factors lie where they were mapped; a copy of it looks at the same.
#[derive(Clone)]
pub struct Model {
    /// Names of the products, by number.
    pub names: Vec<String>,
    /// Products as the catalogue had them.
    pub listings: Vec<Listing>,
    /// What was learned of all users at once.
    pub base: Base,
    /// The re-rankers.
    pub rankers: Rankers,
    /// How it came about.
    pub origin: Origin,
}

impl Model {
    /// Maps the model of a directory, and looks through all of it once.
    ///
    /// # Errors
    /// There is none, it is damaged or of another version, or its parts do not fit together.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        kept::read(directory)
    }

    /// The same of a file by its name.
    ///
    /// # Errors
    /// There is none, it is damaged or of another version, or its parts do not fit together.
    pub fn read_file(path: &Path) -> Result<Self, ModelError> {
        kept::map(path)
    }

    /// A model of what was learned, in memory.
    ///
    /// # Errors
    /// Parts do not fit together.
    pub fn of(kept: Kept) -> Result<Self, ModelError> {
        kept.model()
    }

    /// The best products of a user, the best first; at most so many.
    pub fn foretell(&self, task: Task, user: &User, moment: &Moment<'_>, desk: &mut Desk, most: usize) {
        desk.rank(task, user, moment, most, |features, scores| self.rankers.of(task).score(features, scores));
    }

    /// Counters of its catalogue, of which nothing was bought yet.
    pub fn counters(&self, users: usize) -> Counters {
        Counters::new(&self.listings, users)
    }
}

/// What ranking needs; kept between users, so that nothing is taken anew.
#[derive(Default)]
pub struct Desk {
    gathered: Gathered,
    look: Look,
    /// The user that was looked at last.
    pub profile: Profile,
    /// Those that were looked at together.
    profiles: Vec<Profile>,
    scores: Vec<f32>,
    keys: Vec<u64>,
    /// (score, number of the product), the best first.
    pub ranked: Vec<(f32, u32)>,
}

impl Rankers {
    /// The one for a task.
    pub fn of(&self, task: Task) -> &Mlp {
        match task {
            Task::NextBasket => &self.next_basket,
            Task::Discovery => &self.discovery,
        }
    }
}

impl Desk {
    /// Ranks the candidates of a user by what `score` says of their numbers; at most so many stay.
    pub fn rank(
        &mut self,
        task: Task,
        user: &User,
        moment: &Moment<'_>,
        most: usize,
        score: impl FnOnce(&[Features], &mut Vec<f32>),
    ) {
        self.look(task, user, moment);
        self.rank_by_profile(task, user, moment, most, score);
    }

    /// Looks at a user: what is found is their [`Desk::profile`].
    pub fn look(&mut self, task: Task, user: &User, moment: &Moment<'_>) {
        let whom = [Whom { user, task, now_s: moment.now_s }];
        self.look.together(moment.base, &whom, std::slice::from_mut(&mut self.profile));
    }

    /// Looks at several users for whom the catalogue is looked through together; their profiles, which are what
    /// [`Desk::look`] finds of each.
    pub fn look_together(&mut self, whom: &[Whom<'_>], base: &Base) -> &[Profile] {
        let Self { look, profiles, .. } = self;
        profiles.resize_with(whom.len().max(profiles.len()), Profile::default);
        look.together(base, whom, profiles);
        &profiles[..whom.len()]
    }

    /// Ranks the candidates of a user whose [`Desk::profile`] for this task it is, as [`Desk::rank`] does.
    pub fn rank_by_profile(
        &mut self,
        task: Task,
        user: &User,
        moment: &Moment<'_>,
        most: usize,
        score: impl FnOnce(&[Features], &mut Vec<f32>),
    ) {
        let Self { gathered, profile, scores, keys, ranked, .. } = self;
        gathered.gather(task, user, profile, moment);
        score(&gathered.features, scores);
        keys.clear();
        keys.extend(scores.iter().zip(&gathered.products).map(|(score, product)| key(*score, *product)));
        keys.sort_unstable();
        ranked.clear();
        ranked.extend(keys.iter().take(most).map(|key| entry(*key)).map(|(product, score)| (score, product)));
    }
}
