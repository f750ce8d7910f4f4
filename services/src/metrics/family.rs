//! Families of samples, as a scrape finds them, and their way to prometheus-client.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The labels of a sample.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// One measure with its samples.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Family {
    /// Without the prefix of the process, and a counter without `_total`.
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) help: &'static str,
    /// The samples.
    pub(crate) samples: Samples,
}

/// Samples of one kind.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Samples {
    /// What only grows.
    Counters(Vec<(Labels, u64)>),
    /// What is so now.
    Gauges(Vec<(Labels, f64)>),
    /// How often something took how much.
    Histograms(Vec<(Labels, Times)>),
}

/// A histogram: each bound with what is above the one before and not above it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Times {
    /// The last bound is infinite.
    pub(crate) buckets: Vec<(f64, u64)>,
    /// The sum of all.
    pub(crate) sum: f64,
}

/// Everything that one scrape found.
#[derive(Debug)]
pub(super) struct Found(pub(super) Vec<Family>);

impl Family {
    pub(crate) fn counters(name: &'static str, help: &'static str, samples: Vec<(Labels, u64)>) -> Self {
        Self { name, help, samples: Samples::Counters(samples) }
    }

    pub(crate) fn gauges(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Self {
        Self { name, help, samples: Samples::Gauges(samples) }
    }

    pub(crate) fn histograms(name: &'static str, help: &'static str, samples: Vec<(Labels, Times)>) -> Self {
        Self { name, help, samples: Samples::Histograms(samples) }
    }

    fn kind(&self) -> MetricType {
        match self.samples {
            Samples::Counters(_) => MetricType::Counter,
            Samples::Gauges(_) => MetricType::Gauge,
            Samples::Histograms(_) => MetricType::Histogram,
        }
    }

    fn is_empty(&self) -> bool {
        match &self.samples {
            Samples::Counters(samples) => samples.is_empty(),
            Samples::Gauges(samples) => samples.is_empty(),
            Samples::Histograms(samples) => samples.is_empty(),
        }
    }

    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match &self.samples {
            Samples::Counters(samples) => samples.iter().try_for_each(|(labels, count)| {
                encoder.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)
            }),
            Samples::Gauges(samples) => samples
                .iter()
                .try_for_each(|(labels, value)| encoder.encode_family(labels)?.encode_gauge(value)),
            Samples::Histograms(samples) => samples.iter().try_for_each(|(labels, times)| {
                let count = times.buckets.iter().map(|(_, count)| count).sum();
                let mut encoder = encoder.encode_family(labels)?;
                encoder.encode_histogram::<NoLabelSet>(times.sum, count, &times.buckets, None)
            }),
        }
    }
}

impl Collector for Found {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut told = self.0.iter().filter(|family| !family.is_empty());
        told.try_for_each(|family| {
            family.encode(encoder.encode_descriptor(family.name, family.help, None, family.kind())?)
        })
    }
}
