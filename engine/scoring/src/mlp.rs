//! The re-ranker: a small network of two hidden layers, trained on lists. Of each list it is to put what was
//! bought above what was not (softmax cross entropy over the list, ListNet; Cao et al. 2007), by Adam.

#![allow(missing_docs, reason = "rkyv derives public items without docs")]

use rkyv::{Archive, Deserialize, Serialize};

use crate::factors::GoOn;
use crate::features::{FEATURES, Features};
use crate::wide::{add_scaled, dot, widest};

/// Width of the first hidden layer.
pub const FIRST: usize = 64;
/// Width of the second one.
pub const SECOND: usize = 32;
const WEIGHTS: usize = FEATURES * FIRST + FIRST + FIRST * SECOND + SECOND + SECOND + 1;

/// How it learns.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MlpOptions {
    /// Times that all lists are seen.
    pub epochs: usize,
    /// The size of a step, at the beginning.
    pub rate: f32,
    /// Lists of a step.
    pub batch: usize,
    /// Where weights begin, and in which sequence lists come.
    pub seed: u64,
}

impl Default for MlpOptions {
    fn default() -> Self {
        Self { epochs: 4, rate: 3e-3, batch: 8, seed: 1 }
    }
}

/// A list of candidates, and which were bought.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Example {
    /// The numbers of each.
    pub candidates: Vec<Features>,
    /// What share of the purchases each is: they sum up to 1.
    pub targets: Vec<f32>,
}

/// The network, with what brings features to a mean of 0 and a deviation of 1.
#[derive(Clone, PartialEq, Debug, Archive, Serialize, Deserialize)]
pub struct Mlp {
    means: Features,
    scales: Features,
    weights: Vec<f32>,
}

/// A layer as plain numbers: `outputs = bias + inputs * weights`.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// By inputs: a row is what one input adds to all outputs.
    pub weights: Vec<f32>,
    /// What outputs begin with, as many as there are.
    pub bias: Vec<f32>,
}

/// Views of the weights: layers by their inputs, so that a row is what one input adds to all outputs.
struct Layers<'a> {
    first: &'a [f32],
    first_bias: &'a [f32],
    second: &'a [f32],
    second_bias: &'a [f32],
    last: &'a [f32],
    last_bias: &'a [f32],
}

fn layers(weights: &[f32]) -> Layers<'_> {
    let (first, rest) = weights.split_at(FEATURES * FIRST);
    let (first_bias, rest) = rest.split_at(FIRST);
    let (second, rest) = rest.split_at(FIRST * SECOND);
    let (second_bias, rest) = rest.split_at(SECOND);
    let (last, last_bias) = rest.split_at(SECOND);
    Layers { first, first_bias, second, second_bias, last, last_bias }
}

/// What one candidate made of the layers.
struct Pass {
    input: Features,
    first: [f32; FIRST],
    second: [f32; SECOND],
    out: f32,
}

/// Candidates whose slopes are added together: a line of the gradient is loaded and stored once for them.
const TOGETHER: usize = 4;
/// Numbers of the first layer whose slopes are worked out together, and lanes that a sum of each is taken in.
const LANES: usize = 8;

/// What learning from lists takes, kept between them.
struct Lesson {
    passes: Vec<Pass>,
    /// Candidates that say something of the weights, with how far off each is.
    wrong: Vec<(usize, f32)>,
    /// The second layer by its outputs.
    turned: Box<[[f32; FIRST]; SECOND]>,
    gradient: Vec<f32>,
}

impl Default for Lesson {
    fn default() -> Self {
        let turned = Box::new([[0.0; FIRST]; SECOND]);
        Self { passes: Vec::new(), wrong: Vec::new(), turned, gradient: vec![0.0; WEIGHTS] }
    }
}

/// How the loss of a candidate changes with what its layers say.
#[derive(Clone, Copy)]
struct Slopes {
    first: [f32; FIRST],
    second: [f32; SECOND],
}

impl Mlp {
    /// Learns from lists; `None` if `go_on` said no after an epoch.
    pub fn learn(examples: &[Example], options: MlpOptions, go_on: GoOn<'_>) -> Option<Self> {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let (means, scales) = spread(examples);
        let mut mlp = Self { means, scales, weights: begin(&mut random) };
        let mut adam = Adam::default();
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let steps = options.epochs * examples.len().div_ceil(options.batch.max(1));
        let mut step = 0usize;
        // The mean of the last third of all steps, at least of one.
        let average_from = steps - (steps / 3).max(1).min(steps);
        let mut average = vec![0f64; WEIGHTS];
        let mut lesson = Lesson::default();
        for epoch in 0..options.epochs {
            random.shuffle(&mut order);
            for batch in order.chunks(options.batch.max(1)) {
                lesson.begin(&mlp);
                batch.iter().for_each(|at| teach_list(&mlp, &examples[*at], &mut lesson));
                let left = 1.0 - step as f32 / steps as f32;
                adam.step(
                    &mut mlp.weights,
                    &lesson.gradient,
                    1.0 / batch.len() as f32,
                    options.rate * left.max(0.02),
                );
                step += 1;
                if step > average_from {
                    average
                        .iter_mut()
                        .zip(mlp.weights.iter())
                        .for_each(|(sum, weight)| *sum += f64::from(*weight));
                }
            }
            if !go_on((epoch + 1) as f32 / options.epochs as f32) {
                return None;
            }
        }
        if step == 0 {
            return Some(mlp);
        }
        let averaged = (step - average_from) as f64;
        mlp.weights
            .iter_mut()
            .zip(average.iter())
            .for_each(|(weight, sum)| *weight = (sum / averaged) as f32);
        Some(mlp)
    }

    /// What is wrong with it; `None` if nothing is.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.weights.len() != WEIGHTS {
            return Some(format!("expected {WEIGHTS} weights, found {}", self.weights.len()));
        }
        let all = self.means.iter().chain(&self.scales).chain(&self.weights);
        let wrong = all.zip(0..).find(|(weight, _)| !weight.is_finite());
        wrong.map(|(weight, at)| format!("expected a finite weight, found {weight} at {at}"))
    }

    /// The score of each candidate.
    pub fn score(&self, candidates: &[Features], scores: &mut Vec<f32>) {
        score_all(self, candidates, scores);
    }

    /// Its layers, with what brings features to a mean of 0 folded into the first; behind each but the last what is
    /// below 0 becomes 0.
    pub fn folded(&self) -> [Layer; 3] {
        let layers = layers(&self.weights);
        let mut weights = layers.first.to_vec();
        let mut bias: Vec<f64> = layers.first_bias.iter().map(|value| f64::from(*value)).collect();
        let scaling = self.means.iter().zip(&self.scales);
        for ((mean, scale), row) in scaling.zip(weights.as_chunks_mut::<FIRST>().0) {
            for (weight, bias) in row.iter_mut().zip(&mut bias) {
                *weight *= scale;
                *bias -= f64::from(*mean) * f64::from(*weight);
            }
        }
        let bias = bias.into_iter().map(|value| value as f32).collect();
        let layer = |weights: &[f32], bias: &[f32]| Layer { weights: weights.to_vec(), bias: bias.to_vec() };
        [
            Layer { weights, bias },
            layer(layers.second, layers.second_bias),
            layer(layers.last, layers.last_bias),
        ]
    }

    #[inline(always)]
    fn pass(&self, features: &Features) -> Pass {
        let layers = layers(&self.weights);
        let input: Features = std::array::from_fn(|at| (features[at] - self.means[at]) * self.scales[at]);
        let mut first: [f32; FIRST] = std::array::from_fn(|at| layers.first_bias[at]);
        for (value, row) in input.iter().zip(layers.first.as_chunks::<FIRST>().0) {
            add_scaled(&mut first, *value, row);
        }
        first.iter_mut().for_each(|value| *value = value.max(0.0));
        let mut second: [f32; SECOND] = std::array::from_fn(|at| layers.second_bias[at]);
        for (value, row) in first.iter().zip(layers.second.as_chunks::<SECOND>().0) {
            add_scaled(&mut second, *value, row);
        }
        second.iter_mut().for_each(|value| *value = value.max(0.0));
        let out = dot(&second, layers.last) + layers.last_bias[0];
        Pass { input, first, second, out }
    }
}

widest! {
    fn score_all(mlp: &Mlp, candidates: &[Features], scores: &mut Vec<f32>) {
        scores.clear();
        scores.reserve(candidates.len());
        for features in candidates {
            scores.push(mlp.pass(features).out);
        }
    }
}

widest! {
    fn teach_list(mlp: &Mlp, example: &Example, lesson: &mut Lesson) {
        let Lesson { passes, wrong, turned, gradient } = lesson;
        passes.clear();
        passes.reserve(example.candidates.len());
        for features in &example.candidates {
            passes.push(mlp.pass(features));
        }
        let most = passes.iter().map(|pass| pass.out).fold(f32::NEG_INFINITY, f32::max);
        let all: f32 = passes.iter().map(|pass| (pass.out - most).exp()).sum();
        wrong.clear();
        for (at, (pass, target)) in passes.iter().zip(&example.targets).enumerate() {
            let error = (pass.out - most).exp() / all - target;
            if error.abs() < 1e-5 {
                continue;
            }
            wrong.push((at, error));
        }
        let last = layers(&mlp.weights).last;
        // No closures: they would be compiled for any processor.
        let (some, rest) = wrong.as_chunks::<TOGETHER>();
        for some in some {
            add_slopes(some, passes, last, turned, gradient);
        }
        for one in rest {
            add_slopes(&[*one], passes, last, turned, gradient);
        }
    }
}

impl Lesson {
    /// Begins a step from these weights.
    fn begin(&mut self, mlp: &Mlp) {
        self.gradient.fill(0.0);
        for (at, row) in layers(&mlp.weights).second.as_chunks::<SECOND>().0.iter().enumerate() {
            self.turned.iter_mut().zip(row).for_each(|(turned, weight)| turned[at] = *weight);
        }
    }
}

/// Adds what some candidates say of the weights, one after the other.
#[inline(always)]
fn add_slopes<const N: usize>(
    wrong: &[(usize, f32); N],
    passes: &[Pass],
    last: &[f32],
    turned: &[[f32; FIRST]; SECOND],
    gradient: &mut [f32],
) {
    let (first_gradient, rest) = gradient.split_at_mut(FEATURES * FIRST);
    let (first_bias, rest) = rest.split_at_mut(FIRST);
    let (second_gradient, rest) = rest.split_at_mut(FIRST * SECOND);
    let (second_bias, rest) = rest.split_at_mut(SECOND);
    let (last_gradient, last_bias) = rest.split_at_mut(SECOND);
    let passes: [&Pass; N] = wrong.map(|(at, _)| &passes[at]);
    let mut slopes = [Slopes { first: [0.0; FIRST], second: [0.0; SECOND] }; N];
    for n in 0..N {
        slopes[n] = slopes_of(passes[n], wrong[n].1, last, turned);
        last_bias[0] += wrong[n].1;
    }
    let seconds: [&[f32; SECOND]; N] = std::array::from_fn(|n| &slopes[n].second);
    let firsts: [&[f32; FIRST]; N] = std::array::from_fn(|n| &slopes[n].first);
    add_all(last_gradient, wrong.map(|(_, error)| error), passes.map(|pass| &pass.second));
    add_all(second_bias, [1.0; N], seconds);
    add_all(first_bias, [1.0; N], firsts);
    for (at, line) in second_gradient.as_chunks_mut::<SECOND>().0.iter_mut().enumerate() {
        add_all(line, std::array::from_fn(|n| passes[n].first[at]), seconds);
    }
    for (at, line) in first_gradient.as_chunks_mut::<FIRST>().0.iter_mut().enumerate() {
        add_all(line, std::array::from_fn(|n| passes[n].input[at]), firsts);
    }
}

/// Adds multiples of some lines to one, one after the other; it is loaded and stored once.
#[inline(always)]
fn add_all<const N: usize, const WIDTH: usize>(
    line: &mut [f32],
    factors: [f32; N],
    others: [&[f32; WIDTH]; N],
) {
    for (from, part) in line.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sum = *part;
        for n in 0..N {
            for at in 0..LANES {
                sum[at] += factors[n] * others[n][from * LANES + at];
            }
        }
        *part = sum;
    }
}

/// The slopes of a candidate that is so far off.
#[inline(always)]
fn slopes_of(pass: &Pass, error: f32, last: &[f32], turned: &[[f32; FIRST]; SECOND]) -> Slopes {
    let mut slopes = Slopes { first: [0.0; FIRST], second: [0.0; SECOND] };
    for ((slope, value), weight) in slopes.second.iter_mut().zip(&pass.second).zip(last) {
        *slope = if *value > 0.0 { error * weight } else { 0.0 };
    }
    for from in (0..FIRST).step_by(LANES) {
        // The sums that `dot` takes of each line of the second layer, for some lines at once.
        let mut sums = [0f32; LANES];
        for lane in 0..LANES {
            let mut some = [0f32; LANES];
            for row in (lane..SECOND).step_by(LANES) {
                for at in 0..LANES {
                    some[at] += slopes.second[row] * turned[row][from + at];
                }
            }
            for at in 0..LANES {
                sums[at] += some[at];
            }
        }
        for (at, sum) in sums.into_iter().enumerate() {
            slopes.first[from + at] = if pass.first[from + at] > 0.0 { sum } else { 0.0 };
        }
    }
    slopes
}

/// Weights of a network that knows nothing: uniform, as wide as a layer's inputs ask (He et al. 2015).
fn begin(random: &mut fastrand::Rng) -> Vec<f32> {
    let mut weights = vec![0.0; WEIGHTS];
    let mut fill = |from: usize, len: usize, inputs: usize| {
        let width = (6.0 / inputs as f32).sqrt();
        weights[from..from + len].iter_mut().for_each(|weight| *weight = (random.f32() * 2.0 - 1.0) * width);
    };
    fill(0, FEATURES * FIRST, FEATURES);
    fill(FEATURES * FIRST + FIRST, FIRST * SECOND, FIRST);
    fill(FEATURES * FIRST + FIRST + FIRST * SECOND + SECOND, SECOND, SECOND);
    weights
}

/// Means of all features, and what brings their deviations to 1.
fn spread(examples: &[Example]) -> (Features, Features) {
    let mut sums = [(0f64, 0f64); FEATURES];
    let mut count = 0f64;
    for features in examples.iter().flat_map(|example| &example.candidates) {
        count += 1.0;
        for (sum, value) in sums.iter_mut().zip(features) {
            sum.0 += f64::from(*value);
            sum.1 += f64::from(*value) * f64::from(*value);
        }
    }
    let count = count.max(1.0);
    let means = sums.map(|(sum, _)| (sum / count) as f32);
    let scales = sums.map(|(sum, squares)| {
        let variance = squares / count - (sum / count) * (sum / count);
        if variance > 1e-9 { (1.0 / variance.sqrt()) as f32 } else { 0.0 }
    });
    (means, scales)
}

/// Adam (Kingma, Ba 2014).
struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Default for Adam {
    fn default() -> Self {
        Self { mean: vec![0.0; WEIGHTS], square: vec![0.0; WEIGHTS], steps: 0 }
    }
}

impl Adam {
    fn step(&mut self, weights: &mut [f32], gradient: &[f32], share: f32, rate: f32) {
        const KEEP: f32 = 0.9;
        const KEEP_SQUARE: f32 = 0.999;
        self.steps += 1;
        let mean_scale = 1.0 / (1.0 - KEEP.powi(self.steps));
        let square_scale = 1.0 / (1.0 - KEEP_SQUARE.powi(self.steps));
        for at in 0..WEIGHTS {
            let slope = gradient[at] * share;
            self.mean[at] = KEEP * self.mean[at] + (1.0 - KEEP) * slope;
            self.square[at] = KEEP_SQUARE * self.square[at] + (1.0 - KEEP_SQUARE) * slope * slope;
            let size = (self.square[at] * square_scale).sqrt() + 1e-8;
            weights[at] -= rate * self.mean[at] * mean_scale / size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(seed: u64) -> Vec<Example> {
        let mut random = fastrand::Rng::with_seed(seed);
        let list = |_| {
            let candidates: Vec<Features> =
                (0..20).map(|_| std::array::from_fn(|_| random.f32() * 10.0 - 3.0)).collect();
            // Bought is what has two features near to each other, which no line through them tells.
            let nearness = |features: &Features| (features[3] - features[8]).abs();
            let nearest =
                (0..20).min_by(|a, b| nearness(&candidates[*a]).total_cmp(&nearness(&candidates[*b])));
            let best = nearest.unwrap();
            let targets = (0..20).map(|at| f32::from(u8::from(at == best))).collect();
            Example { candidates, targets }
        };
        (0..600).map(list).collect()
    }

    #[test]
    fn it_learns_what_no_weighted_sum_says() {
        let options = MlpOptions { epochs: 30, ..MlpOptions::default() };
        let mlp = Mlp::learn(&examples(1), options, &|_| true).unwrap();
        let (mut scores, mut hits) = (Vec::new(), 0);
        let unseen = examples(2);
        for example in &unseen {
            mlp.score(&example.candidates, &mut scores);
            let best = scores.iter().zip(&example.targets).max_by(|a, b| a.0.total_cmp(b.0)).unwrap();
            hits += usize::from(*best.1 > 0.0);
        }
        // By luck it would be one in twenty.
        assert!(hits * 4 > unseen.len(), "{hits} of {}", unseen.len());
        assert_eq!(mlp.fault(), None);
        let again = Mlp::learn(&examples(1), MlpOptions { epochs: 1, ..options }, &|_| true);
        assert_eq!(again, Mlp::learn(&examples(1), MlpOptions { epochs: 1, ..options }, &|_| true));
        assert!(Mlp::learn(&examples(1), options, &|_| false).is_none(), "called off");
    }

    /// The slope of the loss by each weight, as the loss itself tells it.
    #[test]
    fn slopes_are_those_of_the_loss() {
        let examples = examples(4);
        let example = &examples[0];
        let mut mlp =
            Mlp::learn(&examples[..50], MlpOptions { epochs: 1, ..MlpOptions::default() }, &|_| true)
                .unwrap();
        let mut lesson = Lesson::default();
        lesson.begin(&mlp);
        teach_list(&mlp, example, &mut lesson);
        let gradient = lesson.gradient;
        let loss = |mlp: &Mlp| {
            let mut scores = Vec::new();
            mlp.score(&example.candidates, &mut scores);
            let all: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum();
            let bought = scores.iter().zip(&example.targets);
            bought.map(|(score, target)| f64::from(*target) * (all.ln() - f64::from(*score))).sum::<f64>()
        };
        for at in (0..WEIGHTS).step_by(97) {
            let weight = mlp.weights[at];
            mlp.weights[at] = weight + 1e-3;
            let above = loss(&mlp);
            mlp.weights[at] = weight - 1e-3;
            let below = loss(&mlp);
            mlp.weights[at] = weight;
            let slope = (above - below) / 2e-3;
            assert!(
                (slope - f64::from(gradient[at])).abs() < 1e-2,
                "weight {at}: {slope} and {}",
                gradient[at]
            );
        }
    }
}
