//! Percentile files as HdrHistogram's own tools write and plot them. Values are in us.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::Summary;

/// Lines per halving of the distance to 100 %.
const TICKS: u32 = 5;

/// File name and text of every operation x outcome.
pub(crate) fn hgrm(summary: &Summary) -> Vec<(String, String)> {
    let tracks = summary.tracks.iter();
    let name = |operation: &str, verdict: &str| format!("{}-{operation}-{verdict}.hgrm", summary.scenario);
    tracks.map(|track| (name(track.operation.name(), track.verdict.name()), text(&track.whole))).collect()
}

fn text(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / 1e3, step.quantile_iterated_to());
        // Writing to a String cannot fail.
        let _ = if quantile < 1.0 {
            writeln!(text, "{value:12.3} {quantile:.12} {total:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value:12.3} {quantile:.12} {total:10}")
        };
    }
    let (mean, deviation) = (histogram.mean() / 1e3, histogram.stdev() / 1e3);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(
        text,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        histogram.max() as f64 / 1e3,
        histogram.len()
    );
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), 2_048);
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn files_end_at_all_samples() {
        let files = hgrm(&sample());
        assert_eq!(files.len(), 3);
        let (name, text) = &files[0];
        assert_eq!(name, "flash-sale-create_order-accepted.hgrm");
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]));
        assert_eq!(rows.last().unwrap()[1..3], [1.0, 2_000.0]);
        assert!(text.contains("Total count    =         2000]"));
    }
}
