//! The streams of a connection beside the first: each carries one request and its answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use quinn::{RecvStream, SendStream};

use super::halves::{Interrupt, Outgoing, Tokio};
use super::settings;
use crate::session::{Connection, Desk, Further, Runtime as _, Shared, Signal, Stage, farther};

type Stream<D> = Rc<Connection<<D as Desk>::Session, Interrupt>>;

/// Those that are open.
pub(super) struct Streams<D: Desk> {
    front: Rc<Shared<D, Tokio>>,
    connection: quinn::Connection,
    open: RefCell<HashMap<u64, Stream<D>>>,
    ended: Signal,
}

impl<D: Desk> Streams<D> {
    pub(super) fn new(front: Rc<Shared<D, Tokio>>, connection: quinn::Connection) -> Rc<Self> {
        let (open, ended) = (RefCell::default(), Signal::default());
        Rc::new(Self { front, connection, open, ended })
    }

    /// The first one has ended: so do they, in the same manner.
    pub(super) async fn end(&self, first: Stage) {
        let open: Vec<_> = self.open.borrow().values().cloned().collect();
        for stream in open {
            match first {
                Stage::Open | Stage::Leaving => stream.leave(None),
                Stage::Failed | Stage::Gone => stream.vanish(),
            }
        }
        while !self.open.borrow().is_empty() {
            self.ended.wait().await;
        }
    }

    fn take(self: &Rc<Self>, first: &Stream<D>, (sink, source): (SendStream, RecvStream)) {
        let sink = Outgoing::new(sink);
        // Both halves are reset when nobody takes them.
        if first.stage() != Stage::Open {
            return;
        }
        let (streams, first, stream) = (Rc::clone(self), Rc::clone(first), Rc::new(first.further()));
        // Before its task runs for the first time: who stops the front in between tells it, too.
        let number = self.front.enter(&stream);
        self.open.borrow_mut().insert(number, Rc::clone(&stream));
        drop(Tokio::spawn(async move {
            farther(&streams.front, (&first, &stream), source, sink).await;
            streams.front.leave(number);
            streams.open.borrow_mut().remove(&number);
            streams.ended.set();
        }));
    }
}

/// They are taken for as long as the connection lives.
impl<D: Desk> Further<D, Tokio> for Rc<Streams<D>> {
    fn begin(&self, first: &Stream<D>) {
        settings::admit(&self.connection, &self.front.limits);
        let (streams, first) = (Rc::clone(self), Rc::clone(first));
        drop(Tokio::spawn(async move {
            while let Ok(stream) = streams.connection.accept_bi().await {
                streams.take(&first, stream);
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use onrush_proto::SlotMap;
    use onrush_proto::frame::{
        Answer, CommandEntry, DetailsView, ErrorFrame, FRAME_BYTES_MAX, Frame, Hello, Kind, Rejected,
        SubscribeView, ValidateView, begin,
    };
    use quinn::crypto::rustls::QuicClientConfig;
    use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
    use tokio::task::LocalSet;

    use super::*;
    use crate::session::{Feed, Limits, Taken, Ticket, pump};
    use crate::tls::{Identity, Trust};

    /// Nobody is here to answer anything.
    struct Nobody;

    impl Desk for Nobody {
        type Session = ();

        fn welcome(&mut self, _: &Hello<'_>) -> Result<(), ErrorFrame> {
            Ok(())
        }

        fn farewell(&mut self, (): &()) {}

        fn slot_map(&self) -> SlotMap {
            SlotMap::new(1).unwrap()
        }

        fn reads(&self, _: &CommandEntry<'_>) -> bool {
            false
        }

        fn command(&mut self, (): &(), _: Ticket, _: &CommandEntry<'_>) -> Taken {
            Taken::Later
        }

        fn validate(&mut self, (): &(), _: &ValidateView<'_>, _: &mut Vec<u8>) -> Result<(), Answer> {
            Ok(())
        }

        fn details(&mut self, (): &(), _: &DetailsView<'_>, _: &mut Vec<u8>) -> Result<(), Answer> {
            Ok(())
        }

        fn subscribe(&mut self, (): &(), _: &SubscribeView<'_>) -> Result<Box<dyn Feed>, Answer> {
            Err(Answer::Rejected(Rejected { reason: "FORBIDDEN".into(), message: String::new() }))
        }

        fn flush(&mut self) {}

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn drain(&mut self, _: impl FnMut(Ticket, Answer)) {}
    }

    fn endpoint(server: Option<ServerConfig>) -> Endpoint {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime)).unwrap()
    }

    /// A server and a client on one thread, with their endpoints.
    async fn pair() -> [(Endpoint, quinn::Connection); 2] {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let identity = Identity::read(&certificate, &key).unwrap();
        let server = endpoint(Some(settings::server(&identity, &Limits::default()).unwrap()));
        let client = endpoint(None);
        let trust = Trust::Pinned(certificate).config().unwrap();
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(trust).unwrap()));
        let called = client.connect_with(config, server.local_addr().unwrap(), "localhost").unwrap();
        let (called, taken) = tokio::join!(called, async { server.accept().await.unwrap().await });
        [(server, taken.unwrap()), (client, called.unwrap())]
    }

    #[test]
    fn a_stream_that_was_just_taken_hears_that_the_front_stops() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let [(_server, taken), (_client, called)] = pair().await;
            let limits = Limits::default();
            settings::admit(&taken, &limits);
            let front = Rc::new(Shared::<_, Tokio>::new(Nobody, limits));
            let first = Rc::new(Connection::new((), limits));
            let pumping = Tokio::spawn(pump(Rc::clone(&front)));
            let (mut send, mut recv) = called.open_bi().await.unwrap();
            let mut ping = Vec::new();
            begin(&mut ping, Kind::Ping).seal(&mut ping, 0, 0);
            send.write_all(&ping).await.unwrap();
            let halves = taken.accept_bi().await.unwrap();
            let streams = Streams::new(Rc::clone(&front), taken.clone());
            streams.take(&first, halves);
            drop(streams);
            // From here to the stop no other task runs: that of the stream has not begun.
            let heard = async {
                let bytes = recv.read_to_end(FRAME_BYTES_MAX).await.unwrap();
                // The client lets go, so that nothing of it is waited for.
                send.finish().unwrap();
                bytes
            };
            let (heard, ()) = {
                let stopping = front.stop(pumping, Duration::from_secs(60));
                tokio::pin!(stopping);
                let first = std::future::poll_fn(|context| Poll::Ready(stopping.as_mut().poll(context)));
                assert!(first.await.is_pending(), "the stream is waited for");
                tokio::join!(heard, stopping)
            };
            let (frame, behind) = Frame::read(&heard, FRAME_BYTES_MAX).unwrap().unwrap();
            assert_eq!((frame.kind, behind), (Kind::Leaving, &[][..]));
        });
    }
}
