//! What the fronts have counted, summed over them.

use std::collections::BTreeMap;

use tonic::Code;

use super::Metrics;
use super::family::{Family, Labels, Times};
use super::meter::Edge;
use crate::config::Service;

type Place = (Edge, Service, String, String);

#[derive(Default)]
struct Sum {
    codes: BTreeMap<usize, u64>,
    times: Times,
}

/// Calls by code, and how long they took.
pub(crate) fn families(metrics: &Metrics) -> Vec<Family> {
    let mut sums: BTreeMap<Place, Sum> = BTreeMap::new();
    for meter in metrics.meters() {
        for row in meter.counted() {
            let place = (row.edge, row.service, row.route.to_owned(), row.method.to_owned());
            let sum = sums.entry(place).or_default();
            row.codes.iter().for_each(|(code, calls)| *sum.codes.entry(*code).or_default() += calls);
            row.add_to(&mut sum.times);
        }
    }
    let (counts, times) = (|edge| counts(&sums, edge), |edge| times(&sums, edge));
    vec![
        Family::counters(
            "grpc_calls",
            "Calls by gRPC answered, by service, method and code",
            counts(Edge::Grpc),
        ),
        Family::histograms(
            "grpc_call_duration_seconds",
            "Time until calls by gRPC were answered, a stream until it began",
            times(Edge::Grpc),
        ),
        Family::counters(
            "http_requests",
            "Requests by HTTP answered, by service, route, method and code",
            counts(Edge::Http),
        ),
        Family::histograms(
            "http_request_duration_seconds",
            "Time until requests by HTTP were answered",
            times(Edge::Http),
        ),
    ]
}

fn counts(sums: &BTreeMap<Place, Sum>, wanted: Edge) -> Vec<(Labels, u64)> {
    let of_edge = sums.iter().filter(|((edge, ..), _)| *edge == wanted);
    let by_code = of_edge.flat_map(|(place, sum)| {
        sum.codes.iter().map(move |(code, calls)| {
            let mut labels = labels(place);
            labels.push(("code", code_name(wanted, *code)));
            (labels, *calls)
        })
    });
    by_code.collect()
}

fn times(sums: &BTreeMap<Place, Sum>, wanted: Edge) -> Vec<(Labels, Times)> {
    let of_edge = sums.iter().filter(|((edge, ..), _)| *edge == wanted);
    of_edge.map(|(place, sum)| (labels(place), sum.times.clone())).collect()
}

fn labels((edge, service, route, method): &Place) -> Labels {
    let route_label = match edge {
        Edge::Grpc => "rpc_service",
        Edge::Http => "route",
    };
    vec![("service", service.name().into()), (route_label, route.clone()), ("method", method.clone())]
}

/// A status of HTTP by its number, a code of gRPC by the name that its other implementations use in measures.
fn code_name(edge: Edge, code: usize) -> String {
    match (edge, code) {
        (Edge::Http, _) => code.to_string(),
        // Ours writes it in the British way.
        (Edge::Grpc, 1) => "Canceled".into(),
        (Edge::Grpc, 0) => "OK".into(),
        (Edge::Grpc, _) => format!("{:?}", Code::from_i32(code as i32)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::Samples;
    use super::*;

    #[test]
    fn fronts_are_summed() {
        let metrics = Metrics::default();
        let calls = || [("CreateOrder".to_owned(), "onrush.order.v1.OrderService".to_owned())];
        for _ in 0..2 {
            let meter = metrics.meter(Service::Order, Edge::Grpc, calls());
            meter.begin("CreateOrder", "onrush.order.v1.OrderService").end(0);
            meter.begin("CreateOrder", "onrush.order.v1.OrderService").end(Code::NotFound as usize);
        }
        let found = families(&metrics);
        let Samples::Counters(counts) = &found[0].samples else { panic!("{found:?}") };
        let labels = |code: &str| {
            let texts = [
                ("service", "order"),
                ("rpc_service", "onrush.order.v1.OrderService"),
                ("method", "CreateOrder"),
                ("code", code),
            ];
            texts.map(|(name, text)| (name, text.to_owned())).to_vec()
        };
        assert_eq!(counts[..], [(labels("OK"), 2), (labels("NotFound"), 2)]);
        let Samples::Histograms(times) = &found[1].samples else { panic!("{found:?}") };
        assert_eq!(times[0].1.buckets.iter().map(|(_, count)| count).sum::<u64>(), 4);
    }
}
