//! Reading and writing: what a call does at once, and the operations that wait.
//!
//! The inactivity timer of a direction is armed when an operation begins to wait, and again only
//! after it made progress; a spurious wake-up does not prolong it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::rt::Millis;
use crate::sock::error::{Error, Operation, Stage};
use crate::sock::framing::{Frame, Step};
use crate::sock::rxbuf::RxBuf;
use crate::sock::stream::{Begun, ReadOutcome, Socket, TcpSocket};
use crate::sock::transport::{Direction, Timer, Transport};

/// A read has to wait.
pub(super) struct Stalled {
    /// How much it needs.
    pub(super) want: usize,
    /// Something was received.
    progress: bool,
}

impl<T: Transport> Socket<T> {
    /// Looks for the end of `frame`, and receives until it is there or there is nothing to
    /// receive. Inlined up to where the data are there already: that is the life of a pipeline of
    /// short replies. When it has failed, the read half may be closed, and the caller reaps.
    #[inline(always)]
    pub(super) fn advance(
        &mut self,
        rx: &mut RxBuf,
        frame: &mut Frame,
    ) -> Result<ReadOutcome, Stalled> {
        match &self.connection {
            Some(connection) if connection.readable => match frame.step(rx.data()) {
                Step::Done(piece) => Ok(ReadOutcome::Data(piece)),
                // Nearly every first read of an answer.
                Step::Want(want) if connection.must_wait() => Err(Stalled {
                    want,
                    progress: false,
                }),
                Step::Want(want) => self.receive(rx, frame, want),
            },
            _ => Ok(not_connected()),
        }
    }

    /// Receives, for a `frame` that still needs `want` bytes; see [`advance`](Self::advance).
    #[inline(never)]
    fn receive(
        &mut self,
        rx: &mut RxBuf,
        frame: &mut Frame,
        mut want: usize,
    ) -> Result<ReadOutcome, Stalled> {
        let mut progress = false;
        let error = loop {
            let transport = match &mut self.connection {
                Some(connection) if !connection.readable => return Ok(not_connected()),
                Some(connection) if connection.ended => return Ok(self.at_eof(rx, frame)),
                Some(connection) if connection.transport.ready(Direction::Read) => {
                    &mut connection.transport
                }
                Some(_) => {
                    rx.release_if_empty();
                    return Err(Stalled { want, progress });
                }
                None => return Ok(not_connected()),
            };
            let spare = match rx.spare(want) {
                Ok(spare) => spare,
                Err(error) => break error,
            };
            match transport.recv(spare) {
                Ok(0) => return Ok(self.at_eof(rx, frame)),
                Ok(n) => rx.filled(n),
                // The transport is no longer ready.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    rx.release_if_empty();
                    return Err(Stalled { want, progress });
                }
                Err(error) => break Error::from_io(&error, Stage::Read),
            }
            progress = true;
            match frame.step(rx.data()) {
                Step::Done(piece) => return Ok(ReadOutcome::Data(piece)),
                Step::Want(more) => want = more,
            }
        };
        self.close_half(Direction::Read);
        Ok(ReadOutcome::Failed(error, Some(frame.partial(rx.data()))))
    }

    fn at_eof(&mut self, rx: &mut RxBuf, frame: &mut Frame) -> ReadOutcome {
        match frame.at_eof(rx.data()) {
            Ok(whole) => {
                if let Some(connection) = &mut self.connection {
                    connection.ended = true;
                }
                ReadOutcome::Data(whole)
            }
            Err(part) => {
                self.close_half(Direction::Read);
                ReadOutcome::Failed(Error::Closed, Some(part))
            }
        }
    }

    /// May a send begin?
    pub(super) fn begin_send(&self) -> Result<(), Error> {
        self.slots
            .idle(&[Operation::Connecting, Operation::Writing])
    }

    /// Sends as much of `data` as the kernel takes; returns how much. An error closes the write
    /// half, and the caller reaps.
    pub(super) fn push(&mut self, data: &[u8]) -> Result<usize, Error> {
        let transport = match &mut self.connection {
            Some(connection) if connection.writable => &mut connection.transport,
            _ => return Err(Error::NotConnected(Stage::Write)),
        };
        let mut sent = 0;
        loop {
            let rest = data.get(sent..).unwrap_or_default();
            if rest.is_empty() || !transport.ready(Direction::Write) {
                return Ok(sent);
            }
            match transport.send(rest) {
                Ok(0) => return Ok(sent),
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) => {
                    self.close_half(Direction::Write);
                    return Err(Error::from_io(&error, Stage::Write));
                }
            }
        }
    }

    /// Waits once more, unless the time is up.
    fn wait(
        &mut self,
        dir: Direction,
        wait: &mut Wait,
        progress: bool,
        timeout: Millis,
        cx: &mut Context<'_>,
    ) -> Result<(), TimedOut> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let timer = match wait {
            Wait::Waiting if !progress => {
                if connection.transport.timed_out(dir) {
                    return Err(TimedOut);
                }
                Timer::Keep
            }
            _ => Timer::Arm(timeout),
        };
        *wait = Wait::Waiting;
        connection.transport.wait(dir, cx.waker(), timer);
        Ok(())
    }

    /// The operation in `dir` is over.
    #[inline(always)]
    fn finish(&mut self, dir: Direction, wait: &mut Wait) {
        if let (Wait::Waiting, Some(connection)) = (&wait, &mut self.connection) {
            connection.transport.cancel_wait(dir);
        }
        *wait = Wait::Over;
        self.slots.clear(operation(dir));
    }
}

#[cold]
fn not_connected() -> ReadOutcome {
    ReadOutcome::Failed(Error::NotConnected(Stage::Read), None)
}

struct TimedOut;

/// Where a waiting operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Its timer was not armed yet.
    Begun,
    Waiting,
    Over,
}

fn operation(dir: Direction) -> Operation {
    match dir {
        Direction::Read => Operation::Reading,
        Direction::Write => Operation::Writing,
    }
}

/// An operation was dropped while it waited: its light thread was killed. What it was in the
/// middle of cannot be taken up by anyone, so its half is closed, and the other one with it
/// unless another light thread is using that.
fn abort<T: Transport>(socket: &TcpSocket<T>, dir: Direction, wait: &mut Wait) {
    if *wait == Wait::Over {
        return;
    }
    let in_use = {
        let mut inner = socket.0.socket.borrow_mut();
        inner.finish(dir, wait);
        inner.close_half(dir);
        inner
            .slots
            .idle(&[Operation::Reading, Operation::Writing])
            .is_err()
    };
    if in_use {
        socket.reap();
    } else {
        socket.abandon();
    }
}

/// A read that waits. Dropping it before it is complete (the light thread was killed) closes the
/// connection, or only the read half while another light thread is sending.
#[must_use = "dropping a read closes the connection"]
pub struct ReadOp<T: Transport> {
    socket: TcpSocket<T>,
    frame: Frame,
    /// How much the frame still needs.
    want: usize,
    wait: Wait,
}

impl<T: Transport> ReadOp<T> {
    /// Takes the reading slot.
    pub(super) fn new(socket: TcpSocket<T>, frame: Frame, want: usize) -> Self {
        socket.0.socket.borrow_mut().slots.set(Operation::Reading);
        Self {
            socket,
            frame,
            want,
            wait: Wait::Begun,
        }
    }

    /// The socket that is read from.
    pub fn socket(&self) -> &TcpSocket<T> {
        &self.socket
    }
}

impl<T: Transport> Future for ReadOp<T> {
    type Output = ReadOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ReadOutcome> {
        let Self {
            socket,
            frame,
            want,
            wait,
        } = &mut *self;
        if *wait == Wait::Over {
            return Poll::Pending;
        }
        let mut inner = socket.0.socket.borrow_mut();
        // Cannot fail: whoever takes a piece has finished the read.
        let Ok(mut rx) = socket.rx() else {
            return Poll::Pending;
        };
        let received = if *wait == Wait::Begun && inner.must_wait() {
            // As when it began, right before.
            Err(Stalled {
                want: *want,
                progress: false,
            })
        } else {
            inner.receive(&mut rx, frame, *want)
        };
        let outcome = match received {
            Ok(outcome) => outcome,
            Err(stalled) => {
                *want = stalled.want;
                let timeout = inner.timeouts.read;
                match inner.wait(Direction::Read, wait, stalled.progress, timeout, cx) {
                    Ok(()) => return Poll::Pending,
                    Err(TimedOut) => {
                        let partial = frame.partial_at_timeout(rx.data());
                        ReadOutcome::Failed(Error::Timeout(Stage::Read), Some(partial))
                    }
                }
            }
        };
        inner.finish(Direction::Read, wait);
        drop((inner, rx));
        if matches!(outcome, ReadOutcome::Failed(..)) {
            socket.reap();
        }
        Poll::Ready(outcome)
    }
}

impl<T: Transport> Drop for ReadOp<T> {
    fn drop(&mut self) {
        abort(&self.socket, Direction::Read, &mut self.wait);
    }
}

impl<T: Transport> fmt::Debug for ReadOp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOp")
            .field("frame", &self.frame)
            .finish_non_exhaustive()
    }
}

impl<T: Transport> TcpSocket<T> {
    /// `send`: ready with the byte count when the kernel took everything; otherwise the rest is
    /// copied and the operation holds the writing slot.
    pub fn send(&self, data: &[u8]) -> Begun<Result<usize, Error>, SendOp<T>> {
        self.send_rest(data, self.send_now(data))
    }

    /// The beginning of [`send`](Self::send), which [`send_rest`](Self::send_rest) has to follow
    /// unless all of `data` is sent: how much the kernel took.
    ///
    /// # Errors
    /// As `send`.
    #[inline(always)]
    pub fn send_now(&self, data: &[u8]) -> Result<usize, Error> {
        let mut socket = self.0.socket.borrow_mut();
        socket.begin_send()?;
        socket.push(data)
    }

    /// Goes on with a [`send`](Self::send) that has begun.
    pub fn send_rest(
        &self,
        data: &[u8],
        sent: Result<usize, Error>,
    ) -> Begun<Result<usize, Error>, SendOp<T>> {
        match sent {
            Ok(sent) if sent == data.len() => Begun::Ready(Ok(sent)),
            Ok(sent) => SendOp::begin(self, data, sent),
            Err(error) => {
                // Where it could not even begin, there is nothing to reap.
                self.reap();
                Begun::Ready(Err(error))
            }
        }
    }
}

/// A send that waits; completes with the count of all bytes of the call. Dropping it early closes
/// the connection, or only the write half while another light thread is reading.
#[must_use = "dropping a send closes the connection"]
pub struct SendOp<T: Transport> {
    socket: TcpSocket<T>,
    /// What the kernel did not take when the call was made.
    rest: Vec<u8>,
    sent: usize,
    total: usize,
    wait: Wait,
}

impl<T: Transport> SendOp<T> {
    /// Takes the writing slot for what is left of `data` after `sent` bytes.
    pub(super) fn begin(
        socket: &TcpSocket<T>,
        data: &[u8],
        sent: usize,
    ) -> Begun<Result<usize, Error>, Self> {
        let rest = data.get(sent..).unwrap_or_default();
        let mut copy = Vec::new();
        if copy.try_reserve_exact(rest.len()).is_err() {
            // Half a message is out; nothing sensible can follow it.
            socket.0.socket.borrow_mut().close_half(Direction::Write);
            socket.reap();
            return Begun::Ready(Err(Error::NoMemory));
        }
        copy.extend_from_slice(rest);
        socket.0.socket.borrow_mut().slots.set(Operation::Writing);
        Begun::Pending(Self {
            socket: socket.clone(),
            rest: copy,
            sent: 0,
            total: data.len(),
            wait: Wait::Begun,
        })
    }
}

impl<T: Transport> Future for SendOp<T> {
    type Output = Result<usize, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            socket,
            rest,
            sent,
            total,
            wait,
        } = &mut *self;
        if *wait == Wait::Over {
            return Poll::Pending;
        }
        let mut inner = socket.0.socket.borrow_mut();
        let result = match inner.push(rest.get(*sent..).unwrap_or_default()) {
            Ok(n) if *sent + n == rest.len() => Ok(*total),
            Ok(n) => {
                *sent += n;
                let timeout = inner.timeouts.send;
                match inner.wait(Direction::Write, wait, n > 0, timeout, cx) {
                    Ok(()) => return Poll::Pending,
                    Err(TimedOut) => {
                        inner.close_half(Direction::Write);
                        Err(Error::Timeout(Stage::Write))
                    }
                }
            }
            Err(error) => Err(error),
        };
        inner.finish(Direction::Write, wait);
        drop(inner);
        if result.is_err() {
            socket.reap();
        }
        Poll::Ready(result)
    }
}

impl<T: Transport> Drop for SendOp<T> {
    fn drop(&mut self) {
        abort(&self.socket, Direction::Write, &mut self.wait);
    }
}

impl<T: Transport> fmt::Debug for SendOp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendOp")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}
