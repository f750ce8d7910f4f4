//! Streams beside the first: one request each.

use onrush_proto::frame::{ErrorCode, Kind, ValidateView, begin, put_line};
use onrush_proto::{Command, Text};

use super::peer::{create, ordered, outcome};
use super::quic::sell;
use super::quic_peer::{Caller, open};

fn order() -> (u128, Command) {
    (0, create("ada", &[("tea", 1)]))
}

#[tokio::test]
async fn each_request_has_a_stream_that_ends_with_its_answers() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 1_000).await;
    for count in [1, 3, 200] {
        let answers = caller.request(&vec![order(); count]).await;
        assert_eq!(answers.len(), count);
        let orders: std::collections::BTreeSet<_> = answers.iter().map(|answer| ordered(answer).0).collect();
        assert_eq!(orders.len(), count);
    }
    // Many at a time, more than may be open: they wait for each other.
    let orders = [order()];
    let many: Vec<_> = (0..200).map(|_| caller.request(&orders)).collect();
    for answers in futures_of(many).await {
        ordered(&answers[0]);
    }
    let read = caller.request(&[(0, Command::GetStock(Text::new("tea").unwrap()))]).await;
    assert!(matches!(outcome(&read[0]), onrush_proto::Outcome::Stock(row) if row.held == 404));
    ordered(&first.ask(0, &order().1).await);
}

/// All of them, side by side.
async fn futures_of<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(found) = future.as_mut().poll(context) {
                *done = Some(found);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test]
async fn lines_are_looked_up_on_a_stream_too() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 7).await;
    let mut stream = caller.stream().await;
    let mut bytes = Vec::new();
    let frame = begin(&mut bytes, Kind::Validate);
    bytes.extend_from_slice(&9u64.to_le_bytes());
    put_line(&mut bytes, &"tea".parse().unwrap(), 1);
    frame.seal(&mut bytes, 1, 0);
    stream.write(&bytes).await;
    stream.send.finish().unwrap();
    let said = stream.rest().await;
    assert_eq!((said.len(), said[0].kind(), said[0].frame().argument), (1, Kind::Verdicts, 1));
    let verdicts =
        onrush_proto::frame::Verdicts::of(&said[0].frame()).map(|found| found.verdicts[0].available());
    assert_eq!(verdicts, Ok(7));
    assert!(ValidateView::of(&said[0].frame()).is_err(), "an answer is no question");
}

#[tokio::test]
async fn all_streams_spend_one_credit_and_give_it_back() {
    let shop = open(|config| config.native.limits.credit = 4);
    let (caller, mut first) = Caller::open(&shop, "").await;
    assert_eq!(first.credit, 4);
    sell(&mut first, "tea", 100).await;
    for _ in 0..5 {
        assert_eq!(caller.request(&vec![order(); 4]).await.len(), 4);
    }
    let mut greedy = caller.stream().await;
    let mut bytes = Vec::new();
    greedy.put(&mut bytes, &vec![order(); 5]);
    greedy.write(&bytes).await;
    let error = greedy.read().await.error();
    assert_eq!((error.code, error.text.as_str()), (ErrorCode::Credit, "credit: expected at most 4, found 5"));
    assert!(greedy.try_read().await.is_none());
    // That stream has ended, nothing of it was done, and the others go on.
    ordered(&first.ask(0, &order().1).await);
    let audit = shop.client.audit(Default::default()).await.unwrap();
    assert!(audit.ok && audit.orders == 21, "{audit:?}");
}

#[tokio::test]
async fn a_stream_that_is_wrong_ends_alone() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 10).await;
    let mut second = caller.stream().await;
    second.hello("").await;
    let error = second.read().await.error();
    assert_eq!(error.code, ErrorCode::Malformed);
    assert!(error.text.starts_with("kind: expected Commands"), "{error}");
    let mut broken = caller.stream().await;
    broken.write(&[0xff; 16]).await;
    assert_eq!(broken.read().await.error().code, ErrorCode::Malformed);
    assert_eq!(caller.request(&[order()]).await.len(), 1);
    ordered(&first.ask(0, &order().1).await);
}

/// What a stream had spent when its client broke it off comes back on the first.
#[tokio::test]
async fn credit_of_a_stream_that_was_broken_off_comes_back() {
    let shop = open(|config| config.native.limits.credit = 4);
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 100).await;
    let mut stream = caller.stream().await;
    let mut bytes = Vec::new();
    stream.put(&mut bytes, &vec![order(); 4]);
    // Broken behind what was asked: an error follows the answers, or stands in their place.
    bytes.extend_from_slice(&[0xff; 16]);
    stream.write(&bytes).await;
    let mut back = 0;
    for said in stream.rest().await {
        match said.kind() {
            Kind::Error => assert_eq!(said.error().code, ErrorCode::Malformed),
            _ => back += said.frame().argument,
        }
    }
    if back < 4 {
        let said = first.read().await;
        assert_eq!(said.kind(), Kind::Credit);
        back += said.frame().argument;
    }
    assert_eq!(back, 4);
    assert_eq!(caller.request(&vec![order(); 4]).await.len(), 4);
}

#[tokio::test]
async fn requests_end_before_the_connection_does() {
    let shop = open(|_| ());
    let (caller, mut first) = Caller::open(&shop, "").await;
    sell(&mut first, "tea", 1_000).await;
    let mut stream = caller.stream().await;
    let mut bytes = Vec::new();
    stream.put(&mut bytes, &vec![order(); 20]);
    stream.write(&bytes).await;
    // The first answer says that all of the frame was taken.
    let mut heard = stream.read().await.outcomes().len();
    first.say(Kind::Goodbye).await;
    heard += stream
        .rest()
        .await
        .iter()
        .filter(|said| said.kind() == Kind::Outcomes)
        .map(|said| said.outcomes().len())
        .sum::<usize>();
    assert_eq!(heard, 20);
    assert!(first.rest().await.is_empty());
    caller.closed().await;
}
