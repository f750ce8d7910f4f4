//! A unary call over gRPC without the generated code around it: its message is read where it lies, and so is its
//! answer written. What is not of the plain form goes the usual way, as it came.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;
use prost::bytes::{Bytes, BytesMut};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Response;

use crate::protobuf::Odd;
use crate::status::Rejection;

/// What is in front of a message: whether it is compressed, and its length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Says how messages are compressed. Who says so is heard by the generated code.
pub(crate) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A body that is read, and is a body again of which nothing is gone.
pub(crate) struct Read {
    /// What was read of it.
    frames: VecDeque<Result<Frame<Bytes>, Status>>,
    body: Body,
}

impl Read {
    /// Nothing of it is read yet.
    pub(crate) fn of(body: Body) -> Self {
        Self { frames: VecDeque::new(), body }
    }

    /// What `read` makes of the message, if that is all of the body, in one piece, and has at most `bytes_max` bytes.
    pub(crate) async fn message<T>(
        &mut self,
        bytes_max: usize,
        read: impl Fn(&[u8]) -> Result<T, Odd>,
    ) -> Result<T, Odd> {
        let mut found = None;
        while let Some(frame) =
            std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await
        {
            let data = frame.as_ref().ok().and_then(Frame::data_ref);
            let odd = match data {
                Some(data) if data.is_empty() => false,
                Some(data) => found.replace(plain(data, bytes_max).and_then(&read)).is_some(),
                None => true,
            };
            self.frames.push_back(frame);
            if odd || matches!(found, Some(Err(Odd))) {
                return Err(Odd);
            }
        }
        found.unwrap_or(Err(Odd))
    }
}

/// The message that is all of these bytes.
fn plain(data: &[u8], bytes_max: usize) -> Result<&[u8], Odd> {
    let ([0, len @ ..], message) = data.split_first_chunk::<PREFIX_BYTES>().ok_or(Odd)? else {
        return Err(Odd);
    };
    match u32::from_be_bytes(*len) as usize {
        len if len == message.len() && len <= bytes_max => Ok(message),
        _ => Err(Odd),
    }
}

impl HttpBody for Read {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.body.is_end_stream()
    }
}

/// Room for a message of so many bytes behind its prefix, which [`seal`] fills in.
pub(crate) fn begin(bytes: usize) -> BytesMut {
    let mut open = BytesMut::with_capacity(PREFIX_BYTES + bytes);
    open.extend_from_slice(&[0; PREFIX_BYTES]);
    open
}

/// The message that was written behind its prefix.
pub(crate) fn seal(mut open: BytesMut) -> Bytes {
    let len = (open.len() - PREFIX_BYTES) as u32;
    open[1..PREFIX_BYTES].copy_from_slice(&len.to_be_bytes());
    open.freeze()
}

/// The answer to a call: a sealed message, or why there is none.
pub(crate) fn response(answer: Result<Bytes, Rejection>) -> Response<Body> {
    match answer {
        Ok(message) => {
            let mut response = Response::new(Body::new(Told { message: Some(message), ended: false }));
            let grpc = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(header::CONTENT_TYPE, grpc);
            response
        }
        Err(rejection) => Status::from(rejection).into_http(),
    }
}

/// The body of an answer: a message, then that all is well.
struct Told {
    message: Option<Bytes>,
    ended: bool,
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.message.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.ended, true) {
            return Poll::Ready(None);
        }
        let ok = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
        Poll::Ready(Some(Ok(Frame::trailers(ok))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(compressed: u8, bytes: &[u8]) -> Vec<u8> {
        let len = (bytes.len() as u32).to_be_bytes();
        [&[compressed], &len[..], bytes].concat()
    }

    fn body(frames: impl IntoIterator<Item = Result<Frame<Bytes>, Status>>) -> Read {
        let frames = Read { frames: frames.into_iter().collect(), body: Body::empty() };
        Read::of(Body::new(frames))
    }

    fn data(bytes: &[u8]) -> Result<Frame<Bytes>, Status> {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    /// Five bytes at most, none of which is odd.
    async fn five(read: &mut Read) -> Result<Vec<u8>, Odd> {
        let even = |message: &[u8]| match message.iter().all(|byte| byte % 2 == 0) {
            true => Ok(message.to_vec()),
            false => Err(Odd),
        };
        read.message(5, even).await
    }

    /// What is left to be read: data, and how else it ended.
    async fn rest(mut read: Read) -> (Vec<u8>, String) {
        let (mut bytes, mut end) = (Vec::new(), String::new());
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut read).poll_frame(context)).await
        {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => bytes.extend_from_slice(&data),
                Ok(Err(_)) => end.push_str("trailers"),
                Err(status) => end.push_str(status.message()),
            }
        }
        (bytes, end)
    }

    #[tokio::test]
    async fn a_message_in_one_piece_is_read_and_anything_else_is_handed_on_as_it_came() {
        let whole = message(0, &[2, 4, 6, 8, 10]);
        for frames in [vec![data(&whole)], vec![data(&[]), data(&whole), data(&[])]] {
            assert_eq!(five(&mut body(frames)).await, Ok(vec![2, 4, 6, 8, 10]));
        }
        let twice = [&whole[..], &whole].concat();
        let odd = [
            vec![],
            vec![data(&whole[..9]), data(&whole[9..])],
            vec![data(&whole), data(&whole)],
            vec![data(&twice)],
            vec![data(&whole[..4])],
            vec![data(&message(1, &[2]))],
            vec![data(&message(0, &[1]))],
            vec![data(&message(0, &[2; 6]))],
            vec![data(&whole), Ok(Frame::trailers(HeaderMap::new()))],
            vec![data(&whole), Err(Status::cancelled("gone"))],
        ];
        for frames in odd {
            let copy = frames.iter().map(|frame| match frame {
                Ok(frame) => {
                    frame.data_ref().map_or_else(|| Ok(Frame::trailers(HeaderMap::new())), |d| data(d))
                }
                Err(status) => Err(status.clone()),
            });
            let mut read = body(copy);
            assert_eq!(five(&mut read).await, Err(Odd), "{frames:?}");
            assert_eq!(rest(read).await, rest(body(frames)).await);
        }
    }

    #[tokio::test]
    async fn an_answer_is_a_message_and_then_trailers() {
        let mut open = begin(5);
        open.extend_from_slice(b"bytes");
        let mut body = response(Ok(seal(open))).into_body();
        let mut next = async || std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        assert_eq!(next().await.unwrap().unwrap().into_data().unwrap(), message(0, b"bytes"));
        let trailers = next().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!((trailers.len(), &trailers[STATUS]), (1, &HeaderValue::from_static("0")));
        assert!(next().await.is_none() && body.is_end_stream());
    }
}
