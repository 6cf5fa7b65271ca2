//! Time limits of a connection, and the order of its first call.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Sink, Stream};
use netengine_proto::{
    limits,
    root::{ROOT_VERSION, RootRequest, RootResponse},
    wire::Wire,
};
use tarpc::{ClientMessage, Response};
use tokio::{
    net::UnixStream,
    time::{Instant, Sleep, sleep_until},
};

type Inner = Wire<UnixStream, ClientMessage<RootRequest>, Response<RootResponse>>;

/// A connection from userd that ends when its peer is slow, silent or out of turn.
pub struct Guarded {
    inner: Inner,
    reading: Pin<Box<Sleep>>,
    stage: Stage,
    writing: Option<Pin<Box<Sleep>>>,
    in_flight: usize,
    greeted: bool,
}

// A connection that was silent for so long has no call in flight: the last one's time is over.
const _: () = assert!(limits::ROOT_IDLE.as_millis() >= limits::ROOT_CALL_TTL.as_millis());

/// What the read timer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The first frame.
    First,
    /// The rest of a frame that has begun.
    Rest,
    /// The next frame.
    Next,
}

impl Guarded {
    /// Guards a connection that was just accepted.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            inner: netengine_proto::wire::server_transport(stream),
            reading: Box::pin(sleep_until(Instant::now() + limits::ROOT_FIRST_FRAME)),
            stage: Stage::First,
            writing: None,
            in_flight: 0,
            greeted: false,
        }
    }

    fn enter(&mut self, stage: Stage, time: Duration) {
        self.stage = stage;
        self.reading.as_mut().reset(Instant::now() + time);
    }

    fn took(&mut self, message: &ClientMessage<RootRequest>) -> io::Result<()> {
        if let ClientMessage::Request(request) = message {
            match request.message {
                // Another version is told so, and may then do nothing.
                RootRequest::Hello { version } => self.greeted = version == ROOT_VERSION,
                _ if !self.greeted => {
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a call before hello"));
                }
                _ => {}
            }
            self.in_flight += 1;
        }
        Ok(())
    }
}

impl Stream for Guarded {
    type Item = io::Result<ClientMessage<RootRequest>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => {
                if let Err(error) = this.took(&message) {
                    return Poll::Ready(Some(Err(error)));
                }
                this.enter(Stage::Next, limits::ROOT_IDLE);
                Poll::Ready(Some(Ok(message)))
            }
            // A peer that is gone cannot take answers: without this, tarpc would keep the connection, and its place among
            // the few, until the calls in flight are answered, and a wait for events takes half a minute.
            Poll::Ready(None) if this.in_flight > 0 => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            Poll::Ready(other) => Poll::Ready(other),
            Poll::Pending => {
                if this.inner.mid_frame() && this.stage == Stage::Next {
                    this.enter(Stage::Rest, limits::ROOT_FRAME_TIME);
                }
                if this.reading.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }
}

impl Sink<Response<RootResponse>> for Guarded {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_ready(cx);
        self.bound_write(polled, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Response<RootResponse>) -> io::Result<()> {
        self.in_flight = self.in_flight.saturating_sub(1);
        Pin::new(&mut self.inner).start_send(item)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.bound_write(polled, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_close(cx);
        self.bound_write(polled, cx)
    }
}

impl Guarded {
    /// A peer that does not read is given up.
    fn bound_write(&mut self, polled: Poll<io::Result<()>>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if polled.is_ready() {
            self.writing = None;
            return polled;
        }
        let timer = self.writing.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limits::ROOT_WRITE_TIME)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}
