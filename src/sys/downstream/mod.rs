//! The client's connection as a byte stream: the request body as it arrives,
//! or everything, raw.

mod body;
mod raw;

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ngx::ffi::{
    NGX_OK, ngx_add_timer, ngx_buf_t, ngx_connection_t, ngx_event_t, ngx_handle_read_event,
    ngx_handle_write_event, ngx_http_event_handler_pt, ngx_int_t, ngx_msec_t, ngx_post_event,
    ngx_posted_events,
};

use self::body::Body;
use super::event::now_msec;
use super::request::Request;
use super::side::{disarm, mute};
use super::ssl;
use crate::rt::{AddressMap, Millis, wake_both_now, worker_local};
use crate::sock::{Direction, IdleKey, Timer, Transport};

/// Why there is no request socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    BodyExists,
    BodyDiscarded,
    NoBody,
    BodyBeingRead,
    PendingOutput,
    Duplicate,
    NoMemory,
    /// What came with the header shows it.
    Broken(Broken),
}

impl Unavailable {
    /// The string that Lua gets.
    pub fn text(self) -> &'static str {
        match self {
            Unavailable::BodyExists => "request body already exists",
            Unavailable::BodyDiscarded => "request body discarded",
            Unavailable::NoBody => "no body",
            Unavailable::BodyBeingRead => "pending request body reading in some other thread",
            Unavailable::PendingOutput => "pending data to write",
            Unavailable::Duplicate => "duplicate call",
            Unavailable::NoMemory => "no memory",
            Unavailable::Broken(Broken::ClientAborted) => "client aborted",
            Unavailable::Broken(Broken::Invalid) => "invalid request body",
            Unavailable::Broken(Broken::TooLarge) => "request body too large",
            Unavailable::Broken(Broken::Internal) => "failed to read the request body",
        }
    }
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    ClientAborted,
    /// Not what chunked coding looks like.
    Invalid,
    /// More than `client_max_body_size`.
    TooLarge,
    /// nginx could not; it has logged why.
    Internal,
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> io::Error {
        match broken {
            Broken::ClientAborted => io::ErrorKind::ConnectionAborted.into(),
            Broken::Invalid => io::ErrorKind::InvalidData.into(),
            Broken::TooLarge => io::ErrorKind::FileTooLarge.into(),
            Broken::Internal => io::Error::from_raw_os_error(libc::EIO),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Body,
    Raw,
}

/// One direction, as event handlers see it.
#[derive(Default)]
struct Half {
    waker: RefCell<Option<Waker>>,
    /// The timer of the operation that waits has fired.
    timed_out: Cell<bool>,
    /// TLS had to write in order to read, or the other way round.
    crossed: Cell<bool>,
    /// When the wait is over, in milliseconds of nginx's clock.
    deadline: Cell<Millis>,
}

/// What the request's event handlers see.
struct Shared {
    kind: Kind,
    read: Half,
    write: Half,
    body: Body,
    /// There may be more of the body.
    readable: Cell<bool>,
    /// A client that goes away while nobody reads ends the request.
    watched: Cell<bool>,
    /// The read handler that reports to this socket.
    handler: ngx_http_event_handler_pt,
}

impl Shared {
    fn half(&self, dir: Direction) -> &Half {
        match dir {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    /// Who waits for an event of `dir`, which says "time is up" if `expired`.
    fn take_wakers(&self, dir: Direction, expired: bool) -> [Option<Waker>; 2] {
        let other = match dir {
            Direction::Read => self.half(Direction::Write),
            Direction::Write => self.half(Direction::Read),
        };
        let half = self.half(dir);
        let waker = half.waker.borrow_mut().take();
        if expired {
            half.timed_out.set(waker.is_some());
            return [waker, None];
        }
        let crossed = other.crossed.get();
        [
            waker,
            crossed.then(|| other.waker.borrow_mut().take()).flatten(),
        ]
    }
}

worker_local! {
    /// Request sockets by request: nginx tells its handlers nothing else.
    static OPEN: RefCell<AddressMap<Rc<Shared>>> = RefCell::new(AddressMap::new());
}

/// A request socket's byte stream. Lives no longer than its request: the
/// context that owns the socket closes it when the request ends.
pub struct Downstream {
    request: Request,
    shared: Rc<Shared>,
}

impl Downstream {
    fn open(request: Request, kind: Kind) -> Downstream {
        request.set_read_handler(on_readable);
        let shared = Rc::new(Shared {
            kind,
            read: Half::default(),
            write: Half::default(),
            readable: Cell::new(true),
            body: Body::default(),
            watched: Cell::new(false),
            handler: request.read_handler(),
        });
        OPEN.with_borrow_mut(|open| open.insert(request.raw(), shared.clone()));
        Downstream { request, shared }
    }

    fn connection(&self) -> *mut ngx_connection_t {
        // SAFETY: the request is live.
        unsafe { (*self.request.raw()).connection }
    }

    fn event(&self, dir: Direction) -> *mut ngx_event_t {
        event(self.request, dir)
    }

    /// The handler that used the socket has ended; another one may come.
    pub fn settle(&self) {
        if self.shared.kind == Kind::Body {
            self.settle_body();
        }
    }
}

fn event(request: Request, dir: Direction) -> *mut ngx_event_t {
    // SAFETY: a live request has a connection.
    unsafe {
        let c = (*request.raw()).connection;
        match dir {
            Direction::Read => (*c).read,
            Direction::Write => (*c).write,
        }
    }
}

/// Moves bytes from the front of an nginx buffer.
///
/// # Safety
/// `from` must be a live buffer in memory.
unsafe fn take(to: &mut [u8], from: *mut ngx_buf_t) -> usize {
    // SAFETY: by the caller's promise; pos to last is what the buffer holds.
    unsafe {
        let n = (*from).last.offset_from_unsigned((*from).pos).min(to.len());
        ptr::copy_nonoverlapping((*from).pos, to.as_mut_ptr(), n);
        (*from).pos = (*from).pos.add(n);
        n
    }
}

fn shared_of(request: Request) -> Option<Rc<Shared>> {
    OPEN.with_borrow(|open| open.get(request.raw()).cloned())
}

/// Whether the event is that time is up; nginx's own handlers, which may be
/// next, must not take it for theirs.
fn take_expired(event: *mut ngx_event_t) -> bool {
    // SAFETY: callers pass an event of a live connection.
    unsafe {
        let expired = (*event).timedout() != 0;
        (*event).set_timedout(0);
        expired
    }
}

/// The request's read handler while its socket is open.
fn on_readable(request: Request) {
    let Some(shared) = shared_of(request) else {
        return;
    };
    let expired = take_expired(event(request, Direction::Read));
    if !expired {
        shared.readable.set(true);
    }
    match shared.take_wakers(Direction::Read, expired) {
        [None, None] => {
            mute(event(request, Direction::Read));
            if !expired && shared.watched.get() {
                drop(shared);
                request.test_client();
            }
        }
        wakers => wake_both_now(wakers),
    }
}

/// To be called when the client's connection is writable: wakes a send of a
/// raw socket. False where the connection is nginx's to write to.
pub fn on_writable(request: Request) -> bool {
    let Some(shared) = shared_of(request) else {
        return false;
    };
    // While a subrequest had the connection's events, the one that would have
    // woken a read may be lost.
    // SAFETY: the event belongs to the live connection.
    let readable = unsafe { (*event(request, Direction::Read)).ready() != 0 };
    if readable && let Some(waker) = shared.read.waker.borrow_mut().take() {
        shared.readable.set(true);
        waker.wake();
    }
    if shared.kind == Kind::Body {
        return false;
    }
    let event = event(request, Direction::Write);
    let expired = take_expired(event);
    match shared.take_wakers(Direction::Write, expired) {
        [None, None] => mute(event),
        wakers => wake_both_now(wakers),
    }
    true
}

/// Has a client that goes away while nobody reads from it end the request.
/// False where events do not come to a request socket.
pub fn watch(request: Request) -> bool {
    let Some(shared) = shared_of(request).filter(|shared| request.reads_by(shared.handler)) else {
        return false;
    };
    shared.watched.set(true);
    let event = event(request, Direction::Read);
    // SAFETY: the event belongs to the live connection.
    unsafe {
        if (*event).pending_eof() != 0 && shared.read.waker.borrow().is_none() {
            // It has gone already; there will be no other event.
            ngx_post_event(event, &raw mut ngx_posted_events);
        }
    }
    true
}

/// The handler whose socket it was is left behind by an internal redirect.
#[inline]
pub fn detach(request: Request) {
    let shared = OPEN.with_borrow_mut(|open| open.remove(request.raw()));
    if let Some(shared) = shared {
        give_back(request, &shared);
    }
}

/// The client's connection is nginx's again.
fn give_back(request: Request, shared: &Shared) {
    if request.reads_by(shared.handler) {
        disarm(event(request, Direction::Read));
        request.restore_read_handler();
    }
    // Unless a send of ours waits, the timer is nginx's own.
    if shared.write.waker.borrow_mut().take().is_some() {
        disarm(event(request, Direction::Write));
    }
}

impl Transport for Downstream {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.shared.kind {
            Kind::Body => self.recv_body(buf),
            Kind::Raw => self.recv_raw(buf),
        }
    }

    fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.shared.kind {
            Kind::Body => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
            Kind::Raw => self.send_raw(data),
        }
    }

    fn ready(&self, dir: Direction) -> bool {
        if self.shared.kind == Kind::Body {
            return self.shared.readable.get();
        }
        // SAFETY: the connection is live.
        unsafe {
            (*self.event(dir)).ready() != 0
                || self.shared.half(dir).crossed.get()
                || dir == Direction::Read
                    && (self.has_preread()
                        || !(*self.connection()).ssl.is_null()
                            && ssl::has_pending(self.connection()))
        }
    }

    fn wait(&mut self, dir: Direction, waker: &Waker, timer: Timer) {
        let half = self.shared.half(dir);
        *half.waker.borrow_mut() = Some(waker.clone());
        let event = self.event(dir);
        let now = now_msec();
        if let Timer::Arm(timeout) = timer {
            half.deadline.set(now.saturating_add(timeout));
            half.timed_out.set(false);
        }
        let left = half.deadline.get().saturating_sub(now);
        // Set anew in any case: nginx sets it to client_body_timeout when it
        // reads a body.
        disarm(event);
        // SAFETY: the event belongs to the live connection.
        unsafe {
            ngx_add_timer(event, left as ngx_msec_t);
            let rc = match dir {
                Direction::Read => ngx_handle_read_event(event, 0),
                Direction::Write => ngx_handle_write_event(event, 0),
            };
            if rc != NGX_OK as ngx_int_t {
                (*self.connection()).set_error(1);
                (*event).set_ready(1);
                ngx_post_event(event, &raw mut ngx_posted_events);
            }
        }
    }

    fn timed_out(&self, dir: Direction) -> bool {
        self.shared.half(dir).timed_out.get()
    }

    fn cancel_wait(&mut self, dir: Direction) {
        let half = self.shared.half(dir);
        half.timed_out.set(false);
        let waker = half.waker.borrow_mut().take();
        drop(waker);
        disarm(self.event(dir));
    }

    fn connect_result(&mut self) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Request sockets are never kept; the binding refuses.
    fn disown(&mut self) {}

    fn park(&mut self, _key: IdleKey, _timeout: Option<Millis>) {}

    fn is_quiet(&mut self) -> bool {
        false
    }

    fn fd(&self) -> RawFd {
        // SAFETY: the connection is live.
        unsafe { (*self.connection()).fd }
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        let key = self.request.raw();
        let is_ours = OPEN.with_borrow_mut(|open| {
            let is_ours = open
                .get(key)
                .is_some_and(|shared| Rc::ptr_eq(shared, &self.shared));
            if is_ours {
                open.remove(key);
            }
            is_ours
        });
        if is_ours {
            if self.shared.kind == Kind::Body {
                self.hide_body();
            }
            give_back(self.request, &self.shared);
        }
    }
}
