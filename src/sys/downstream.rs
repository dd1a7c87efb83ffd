//! The client's connection as a byte stream: the request body as it arrives,
//! or everything, raw.
//!
//! The body goes through nginx's own unbuffered reading, which knows
//! Content-Length, chunks and HTTP/2, and takes in more only when Lua has
//! taken what came before.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ngx::ffi::{
    NGX_AGAIN, NGX_ERROR, NGX_HTTP_SPECIAL_RESPONSE, NGX_OK, ngx_add_timer, ngx_buf_t, ngx_chain_t,
    ngx_connection_t, ngx_del_timer, ngx_event_t, ngx_handle_read_event, ngx_handle_write_event,
    ngx_http_read_client_request_body, ngx_http_read_unbuffered_request_body,
    ngx_http_request_body_t, ngx_http_request_t, ngx_int_t, ngx_msec_t, ngx_pcalloc,
};

use super::event::now_msec;
use super::request::Request;
use crate::rt::Millis;
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
    /// The body cannot be read: the client is gone or sent nonsense.
    ClientAborted,
    NoMemory,
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
            Unavailable::ClientAborted => "client aborted",
            Unavailable::NoMemory => "no memory",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Body,
    Raw,
}

/// What the request's event handlers see.
#[derive(Default)]
struct Shared {
    read: RefCell<Option<Waker>>,
    write: RefCell<Option<Waker>>,
    /// There may be more of the body.
    readable: Cell<bool>,
}

thread_local! {
    /// Request sockets by request: nginx tells its handlers nothing else.
    static OPEN: RefCell<HashMap<*mut ngx_http_request_t, Rc<Shared>>> = RefCell::default();
}

/// A request socket's byte stream. Lives no longer than its request: the
/// context that owns the socket closes it when the request ends.
pub struct Downstream {
    request: Request,
    kind: Kind,
    shared: Rc<Shared>,
    /// When the wait for the client is over, in milliseconds of nginx's clock.
    deadline: Millis,
}

impl Downstream {
    /// The request's body, as it arrives.
    pub fn body(request: Request) -> Result<Downstream, Unavailable> {
        let r = request.raw();
        // SAFETY: the request is live.
        unsafe {
            if (*r).discard_body() != 0 {
                return Err(Unavailable::BodyDiscarded);
            }
            if !(*r).request_body.is_null() {
                return Err(Unavailable::BodyExists);
            }
            if !request.may_have_body() {
                return Err(Unavailable::NoBody);
            }
            (*r).set_request_body_no_buffering(1);
            let rc = ngx_http_read_client_request_body(r, Some(on_begun));
            if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t || rc == NGX_ERROR as ngx_int_t {
                return Err(Unavailable::ClientAborted);
            }
        }
        // nginx counted one more user of the request; the handler that runs
        // counts itself.
        request.release();
        let socket = Downstream::open(request, Kind::Body);
        socket.shared.readable.set(true);
        Ok(socket)
    }

    /// The whole connection. nginx sends nothing more of its own.
    pub fn raw(request: Request) -> Result<Downstream, Unavailable> {
        if is_open(request) {
            return Err(Unavailable::Duplicate);
        }
        let r = request.raw();
        // SAFETY: the request is live.
        unsafe {
            if request.is_reading_body() {
                return Err(Unavailable::BodyBeingRead);
            }
            if (*(*r).connection).buffered() != 0 || !(*r).out.is_null() {
                return Err(Unavailable::PendingOutput);
            }
            if (*r).request_body.is_null() {
                // Says that the body is taken: nginx must not discard it.
                (*r).request_body =
                    ngx_pcalloc(request.pool(), size_of::<ngx_http_request_body_t>())
                        .cast::<ngx_http_request_body_t>();
                if (*r).request_body.is_null() {
                    return Err(Unavailable::NoMemory);
                }
            }
            (*r).set_header_sent(1);
            (*r).set_keepalive(0);
            (*r).set_lingering_close(1);
        }
        Ok(Downstream::open(request, Kind::Raw))
    }

    fn open(request: Request, kind: Kind) -> Downstream {
        let shared = Rc::<Shared>::default();
        OPEN.with_borrow_mut(|open| open.insert(request.raw(), shared.clone()));
        request.set_read_handler(on_readable);
        Downstream {
            request,
            kind,
            shared,
            deadline: 0,
        }
    }

    fn connection(&self) -> *mut ngx_connection_t {
        // SAFETY: the request is live.
        unsafe { (*self.request.raw()).connection }
    }

    fn event(&self, dir: Direction) -> *mut ngx_event_t {
        // SAFETY: a live request has a connection.
        unsafe {
            match dir {
                Direction::Read => (*self.connection()).read,
                Direction::Write => (*self.connection()).write,
            }
        }
    }

    fn waker(&self, dir: Direction) -> &RefCell<Option<Waker>> {
        match dir {
            Direction::Read => &self.shared.read,
            Direction::Write => &self.shared.write,
        }
    }

    /// Copies what nginx has read of the body.
    fn take_body(&mut self, buf: &mut [u8]) -> usize {
        let mut taken = 0;
        // SAFETY: the body structure and its chain live in the request's
        // pool; pos to last is what a buffer holds.
        unsafe {
            let body = (*self.request.raw()).request_body;
            while taken < buf.len() && !(*body).bufs.is_null() {
                let link: *mut ngx_chain_t = (*body).bufs;
                taken += take(&mut buf[taken..], (*link).buf);
                if (*(*link).buf).pos == (*(*link).buf).last {
                    (*body).bufs = (*link).next;
                    (*link).next = (*(self.request.pool())).chain;
                    (*(self.request.pool())).chain = link;
                }
            }
        }
        taken
    }

    fn recv_body(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let taken = self.take_body(buf);
            if taken > 0 {
                return Ok(taken);
            }
            let r = self.request.raw();
            // SAFETY: the request is live. The timer is ours: nginx would take
            // it for its own, client_body_timeout.
            let rc = unsafe {
                if (*r).reading_body() == 0 {
                    return Ok(0);
                }
                (*(*(*r).connection).read).set_timedout(0);
                ngx_http_read_unbuffered_request_body(r)
            };
            if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t || rc == NGX_ERROR as ngx_int_t {
                return Err(self.failure());
            }
            // SAFETY: as above.
            let nothing = unsafe { (*(*r).request_body).bufs.is_null() };
            if nothing && rc == NGX_AGAIN as ngx_int_t {
                self.shared.readable.set(false);
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Why the body cannot be read further.
    fn failure(&self) -> io::Error {
        // SAFETY: the request is live.
        let gone = unsafe {
            let c = self.connection();
            (*c).error() != 0 || (*(*c).read).eof() != 0 || (*(*c).read).pending_eof() != 0
        };
        if gone {
            io::ErrorKind::ConnectionAborted.into()
        } else {
            io::Error::from_raw_os_error(libc::EPROTO)
        }
    }

    fn recv_raw(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the request is live; what came with the header is from pos
        // to last of its buffer.
        let n = unsafe {
            let preread = (*self.request.raw()).header_in;
            let taken = if preread.is_null() {
                0
            } else {
                take(buf, preread)
            };
            if taken > 0 {
                return Ok(taken);
            }
            let c = self.connection();
            match (*c).recv {
                Some(recv) => recv(c, buf.as_mut_ptr(), buf.len()),
                None => NGX_ERROR as isize,
            }
        };
        match usize::try_from(n) {
            // The client of a raw socket that goes away has aborted.
            Ok(n) => Ok(n),
            Err(_) if n == NGX_AGAIN as isize => Err(io::ErrorKind::WouldBlock.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    fn has_preread(&self) -> bool {
        // SAFETY: the request is live.
        unsafe {
            let preread = (*self.request.raw()).header_in;
            !preread.is_null() && (*preread).pos < (*preread).last
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

fn is_open(request: Request) -> bool {
    OPEN.with_borrow(|open| open.contains_key(&request.raw()))
}

/// nginx has looked at what came with the header; reading goes on as Lua asks.
unsafe extern "C" fn on_begun(_r: *mut ngx_http_request_t) {}

fn shared_of(request: Request) -> Option<Rc<Shared>> {
    OPEN.with_borrow(|open| open.get(&request.raw()).cloned())
}

/// The request's read handler while its socket is open.
fn on_readable(request: Request) {
    if let Some(shared) = shared_of(request) {
        shared.readable.set(true);
        let waker = shared.read.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// To be called when the client's connection is writable: wakes a send of a
/// raw socket. False where there is none.
pub fn on_writable(request: Request) -> bool {
    let Some(shared) = shared_of(request) else {
        return false;
    };
    let waker = shared.write.borrow_mut().take();
    match waker {
        Some(waker) => {
            waker.wake();
            true
        }
        None => false,
    }
}

impl Transport for Downstream {
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.kind {
            Kind::Body => self.recv_body(buf),
            Kind::Raw => self.recv_raw(buf),
        }
    }

    fn send(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.kind == Kind::Body {
            return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        // SAFETY: the connection is live; nginx only reads the data.
        let n = unsafe {
            let c = self.connection();
            match (*c).send {
                Some(send) => send(c, data.as_ptr().cast_mut(), data.len()),
                None => NGX_ERROR as isize,
            }
        };
        match usize::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) if n == NGX_AGAIN as isize => Err(io::ErrorKind::WouldBlock.into()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    fn ready(&self, dir: Direction) -> bool {
        match (dir, self.kind) {
            (Direction::Read, Kind::Body) => self.shared.readable.get(),
            (Direction::Read, Kind::Raw) if self.has_preread() => true,
            // SAFETY: the connection is live.
            _ => unsafe { (*self.event(dir)).ready() != 0 },
        }
    }

    fn wait(&mut self, dir: Direction, waker: &Waker, timer: Timer) {
        *self.waker(dir).borrow_mut() = Some(waker.clone());
        let event = self.event(dir);
        let now = now_msec();
        if let Timer::Arm(timeout) = timer {
            self.deadline = now.saturating_add(timeout);
        }
        // SAFETY: the event belongs to the live connection. Reading a body,
        // nginx has set the timer to client_body_timeout: ours counts.
        unsafe {
            (*event).set_timedout(0);
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            ngx_add_timer(event, self.deadline.saturating_sub(now) as ngx_msec_t);
            let rc = match dir {
                Direction::Read => ngx_handle_read_event(event, 0),
                Direction::Write => ngx_handle_write_event(event, 0),
            };
            if rc != NGX_OK as ngx_int_t {
                (*self.connection()).set_error(1);
                ngx::ffi::ngx_post_event(event, &raw mut ngx::ffi::ngx_posted_events);
            }
        }
    }

    fn timed_out(&self, dir: Direction) -> bool {
        // SAFETY: the event belongs to the live connection.
        unsafe { (*self.event(dir)).timedout() != 0 }
    }

    fn cancel_wait(&mut self, dir: Direction) {
        let waker = self.waker(dir).borrow_mut().take();
        drop(waker);
        let event = self.event(dir);
        // SAFETY: the event belongs to the live connection.
        unsafe {
            (*event).set_timedout(0);
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
        }
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
        let shared = OPEN.with_borrow_mut(|open| open.remove(&self.request.raw()));
        drop(shared);
        // Without a waiter, a timer of these events would be nginx's own.
        for dir in [Direction::Read, Direction::Write] {
            if self.waker(dir).borrow().is_some() {
                self.cancel_wait(dir);
            }
        }
        self.request.restore_read_handler();
    }
}
