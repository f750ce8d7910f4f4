//! Events that a consumer cannot handle.

use std::time::Duration;

use onrush_grpc::log::v1::{RejectEventRequest, row};

use super::{CREATED, Consumer, all_of, log, member, orders, reason, standing, two_shards_with};

fn reject(consumer: &Consumer, shard: u32, lsn: u64, why: &str) -> RejectEventRequest {
    let (group, topic, generation) = ("books".into(), CREATED.into(), consumer.assigned.generation);
    RejectEventRequest { group, topic, shard, lsn, generation, reason: why.into() }
}

#[tokio::test]
async fn an_event_that_is_rejected_comes_again_and_at_last_goes_to_the_dead_letters() {
    let (shop, [first, _]) = two_shards_with(|config| {
        config.events.tries = 3;
        config.events.pause = Duration::from_millis(1);
    })
    .await;
    let expected = orders(&shop, &first, 4).await;
    let mut a = Consumer::open(&shop, member("a")).await;
    let events: Vec<_> = a.events(4).await.into_iter().map(|(_, event)| event).collect();
    let bad = events[1].lsn;
    let mut client = log(&shop).await;
    for tries in 1..=2 {
        let answer = client.reject_event(reject(&a, 0, bad, "no such shelf")).await.unwrap().into_inner();
        assert_eq!((answer.tries, answer.dead, answer.again_ms), (tries, false, u64::from(tries)));
        // All before it is done with; it comes again, and what is behind it.
        let group = standing(&shop, CREATED).await;
        assert_eq!((group.positions[0].lsn, group.positions[0].rejected), (bad - 1, bad));
        assert_eq!(group.positions[0].tries, tries);
        let rewound = a.rewound().await;
        assert_eq!((rewound.shard, rewound.lsn), (0, bad));
        let again: Vec<_> = a.events(3).await.into_iter().map(|(_, event)| event).collect();
        assert_eq!(again, events[1..]);
    }
    let answer = client.reject_event(reject(&a, 0, bad, "no such shelf at all")).await.unwrap().into_inner();
    assert_eq!((answer.tries, answer.dead, answer.again_ms), (3, true, 0));
    let group = standing(&shop, CREATED).await;
    assert_eq!((group.positions[0].lsn, group.positions[0].rejected), (bad, 0));

    // The letter stands in the log, with the event that it is of.
    let mut letters = Consumer::open(&shop, all_of("dead.letters")).await;
    let (shard, letter) = letters.events(1).await.remove(0);
    assert_eq!((shard, letter.kind.as_str(), letter.key.as_str()), (0, "dead lettered", "books"));
    let Some(row::Row::DeadLetter(letter)) = &letter.rows[0].row else { panic!("a letter: {letter:?}") };
    assert_eq!((letter.group.as_str(), letter.topic.as_str(), letter.shard), ("books", CREATED, 0));
    assert_eq!((letter.lsn, letter.tries, letter.reason.as_str()), (bad, 3, "no such shelf at all"));

    // Who was going on goes on, and who comes next begins behind it.
    client.commit_offset(a.commit(0, events[2].lsn)).await.unwrap();
    drop(a);
    let mut b = Consumer::begin(&shop, member("b")).await;
    assert!(b.so_many_shards(2).await.contains(&(0, events[2].lsn + 1)));
    assert_eq!(b.events(1).await[0].1.key, expected[3]);
}

#[tokio::test]
async fn tries_are_counted_over_members_and_restarts() {
    let (shop, [first, _]) = two_shards_with(|config| config.events.tries = 3).await;
    orders(&shop, &first, 1).await;
    let mut a = Consumer::open(&shop, member("a")).await;
    let bad = a.events(1).await[0].1.lsn;
    let mut client = log(&shop).await;
    let stale = RejectEventRequest { generation: a.assigned.generation + 1, ..reject(&a, 0, bad, "") };
    let refused = client.reject_event(stale).await.unwrap_err();
    assert!(reason(&refused).starts_with("STALE_GENERATION"), "{refused:?}");
    client.reject_event(reject(&a, 0, bad, "")).await.unwrap();
    let (shop, _) = tokio::join!(
        shop.restart_with(|config| {
            config.shards = Some(2);
            config.events.tries = 3;
        }),
        a.end()
    );
    let mut client = log(&shop).await;
    for (name, expected) in [("b", (2, false)), ("c", (3, true))] {
        let mut next = Consumer::begin(&shop, member(name)).await;
        let shards = next.so_many_shards(2).await;
        assert!(shards.contains(&(0, bad)), "{shards:?}");
        assert_eq!(next.events(1).await[0].1.lsn, bad);
        let answer = client.reject_event(reject(&next, 0, bad, "still not")).await.unwrap().into_inner();
        assert_eq!((answer.tries, answer.dead), expected);
    }
}

/// Said twice, the last try counts while the event still waits: it comes no more then, and what is behind it comes at once.
#[tokio::test]
async fn an_event_that_is_given_up_while_it_waits_does_not_come_again() {
    let (shop, [first, _]) = two_shards_with(|config| {
        config.events.tries = 2;
        config.events.pause = Duration::from_secs(3_600);
    })
    .await;
    orders(&shop, &first, 3).await;
    let mut a = Consumer::open(&shop, member("a")).await;
    let events: Vec<_> = a.events(3).await.into_iter().map(|(_, event)| event).collect();
    let bad = events[0].lsn;
    let mut client = log(&shop).await;
    client.reject_event(reject(&a, 0, bad, "no such shelf")).await.unwrap();
    assert_eq!(a.rewound().await.lsn, bad);
    assert!(client.reject_event(reject(&a, 0, bad, "no such shelf")).await.unwrap().into_inner().dead);
    assert_eq!(a.rewound().await.lsn, bad + 1);
    let rest: Vec<_> = a.events(2).await.into_iter().map(|(_, event)| event).collect();
    assert_eq!(rest, events[1..]);
}
