//! Places in the log as people write them.

use onrush_grpc::log::v1::{Edge, Place, place};

/// A place, and the shard that it is of if it is a position.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct When {
    pub(super) place: Place,
    pub(super) shard: Option<u32>,
}

/// `beginning`, `end`, a time, or `SHARD:LSN`.
pub(super) fn parse(text: &str) -> Result<When, String> {
    let of = |place| When { place: Place { place: Some(place) }, shard: None };
    match text {
        "beginning" => return Ok(of(place::Place::Edge(Edge::Beginning.into()))),
        "end" => return Ok(of(place::Place::Edge(Edge::End.into()))),
        _ => {}
    }
    if let Some((shard, lsn)) = text.split_once(':')
        && let (Ok(shard), Ok(lsn)) = (shard.parse(), lsn.parse())
    {
        return Ok(When { shard: Some(shard), ..of(place::Place::Lsn(lsn)) });
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        format!("expected beginning, end, a time such as 2026-11-27T08:00:00Z, or SHARD:LSN, found {text:?}")
    })?;
    Ok(of(place::Place::TimeUs(time.as_microsecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_edges_times_and_positions() {
        let place = |text: &str| parse(text).map(|when| (when.shard, when.place.place.unwrap()));
        assert_eq!(place("beginning"), Ok((None, place::Place::Edge(1))));
        assert_eq!(place("end"), Ok((None, place::Place::Edge(2))));
        assert_eq!(place("3:17"), Ok((Some(3), place::Place::Lsn(17))));
        assert_eq!(place("1970-01-01T00:00:01.5Z"), Ok((None, place::Place::TimeUs(1_500_000))));
        for text in ["", "begin", "3:", ":3", "3:-1", "2026-11-27", "3:1:2"] {
            assert!(place(text).unwrap_err().contains("expected beginning"), "{text}");
        }
    }
}
