//! `onrush model evaluate`.

use std::path::{Path, PathBuf};

use onrush_scoring::baselines::{Popularity, history};
use onrush_scoring::candidates::{Chart, Moment, Task};
use onrush_scoring::counters::User;
use onrush_scoring::evaluation::{Score, score, truth};
use onrush_scoring::model::{Desk, Model};
use onrush_scoring::sales::Sales;

use super::onnx::{Ranker, ScoreError};
use super::report::{Baselines, OfTasks, Report};
use super::{ModelCommandError, Numbers};

/// Products that are foretold.
const DEPTH: usize = 20;

/// What is evaluated, and on what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evaluate {
    /// Directory of the model.
    pub model: PathBuf,
    /// What is known when it foretells.
    pub history: PathBuf,
    /// What was bought then.
    pub test: PathBuf,
    /// Where both are split, in unix seconds: of the history counts what is before, of the test what is not.
    pub split_s: Option<i64>,
    /// A network in place of the model's own for next baskets, as an ONNX file.
    pub onnx: Option<PathBuf>,
}

/// A network that ranks in place of the model's own.
struct Other<'a> {
    file: &'a Path,
    ranker: Ranker,
    desk: Desk,
    /// Why it gave no scores, the first time.
    failed: Option<ScoreError>,
}

impl<'a> Other<'a> {
    fn read(file: &'a Path) -> Result<Self, ModelCommandError> {
        let failed = |source| ModelCommandError::Ranker { file: file.to_path_buf(), source };
        let ranker = Ranker::read(file).map_err(failed)?;
        Ok(Self { file, ranker, desk: Desk::default(), failed: None })
    }

    /// The best products of a user, the best first; none once it failed.
    fn foretell(&mut self, task: Task, user: &User, moment: &Moment<'_>, most: usize) -> Vec<u32> {
        if self.failed.is_some() {
            return Vec::new();
        }
        let Self { ranker, desk, failed, .. } = self;
        desk.rank(task, user, moment, most, |features, scores| {
            *failed = ranker.score(features, scores).err()
        });
        desk.ranked.iter().map(|(_, product)| *product).collect()
    }

    /// What went wrong, if anything did.
    fn end(self) -> Result<(), ModelCommandError> {
        let file = self.file.to_path_buf();
        self.failed.map_or(Ok(()), |source| Err(ModelCommandError::Scores { file, source }))
    }
}

/// Says how well a model foretells.
///
/// # Errors
/// A file of no use, a model or network that cannot be used, or one that knows what it is to foretell.
pub fn evaluate(command: &Evaluate) -> Result<Report, ModelCommandError> {
    let failed = |source| ModelCommandError::Model { directory: command.model.clone(), source };
    let model = Model::read(&command.model).map_err(failed)?;
    let mut other = command.onnx.as_deref().map(Other::read).transpose()?;
    let mut numbers = Numbers::of(&command.model, model.names.iter().map(String::as_str))?;
    let mut past = numbers.sales(&command.history)?;
    let mut test = numbers.any_sales(&command.test)?;
    if let Some(split_s) = command.split_s {
        past.retain(|sale| sale.time_s < split_s);
        test.retain(|sale| sale.time_s >= split_s);
    }
    let (past, test) = (Sales::of(past), Sales::of(test));
    let now_s = test.first_s();
    for (file, sales) in [(&command.history, &past), (&command.test, &test)] {
        if sales.baskets().next().is_none() {
            return Err(ModelCommandError::Nothing { file: file.clone(), split_s: command.split_s });
        }
    }
    // Who knows the answers foretells nothing.
    let knows = [(&command.history, past.last_s()), (&command.model, model.origin.last_s)];
    if let Some((what, last_s)) = knows.into_iter().find(|(_, last_s)| *last_s >= now_s) {
        return Err(ModelCommandError::Foreknown { what: what.clone(), last_s, test_s: now_s });
    }
    let mut counters = model.counters(past.users());
    past.baskets().for_each(|basket| counters.count(&basket));
    let sold = counters.products.iter().filter(|product| product.baskets > 0).count();
    let chart = Chart::of(&counters, &model.base, now_s);
    let moment = Moment { counters: &counters, base: &model.base, chart: &chart, now_s };
    let popularity = Popularity::of(&past, now_s);
    let mut desk = Desk::default();
    let mut of_task = |task: Task| {
        let truth = truth(task, &counters, &test, now_s, i64::MAX);
        let scored = |foretell: &mut dyn FnMut(&User) -> Vec<u32>| -> Score {
            let users = truth.iter().map(|(user, _)| &*counters.users[*user as usize]);
            score(&truth, &users.map(foretell).collect::<Vec<_>>(), sold)
        };
        [
            scored(&mut |user| match other.as_mut().filter(|_| task == Task::NextBasket) {
                Some(other) => other.foretell(task, user, &moment, DEPTH),
                None => {
                    model.foretell(task, user, &moment, &mut desk, DEPTH);
                    desk.ranked.iter().map(|(_, product)| *product).collect()
                }
            }),
            scored(&mut |user| popularity.foretell(task, user, DEPTH)),
            scored(&mut |user| history(user, now_s, DEPTH)),
        ]
    };
    let [next_basket, popular_basket, history90] = of_task(Task::NextBasket);
    let [discovery, popular_discovery, _] = of_task(Task::Discovery);
    other.map_or(Ok(()), Other::end)?;
    Ok(Report {
        next_basket: next_basket.into(),
        discovery: discovery.into(),
        train_cpu_s: model.origin.cpu_s,
        baselines: Baselines {
            popularity28: OfTasks {
                next_basket: Some(popular_basket.into()),
                discovery: Some(popular_discovery.into()),
            },
            // What was bought before is nothing new.
            history90: OfTasks { next_basket: Some(history90.into()), discovery: None },
        },
    })
}
