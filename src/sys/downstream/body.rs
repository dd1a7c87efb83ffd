//! The request body as it arrives.
//!
//! It goes through nginx's own unbuffered reading, which knows Content-Length,
//! chunks and HTTP/2, and takes in more only when Lua has taken what came
//! before.

use std::cell::Cell;
use std::io;
use std::ptr;

use ngx::ffi::{
    NGX_AGAIN, NGX_HTTP_BAD_REQUEST, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, NGX_HTTP_SPECIAL_RESPONSE,
    ngx_chain_t, ngx_http_read_unbuffered_request_body, ngx_http_request_body_t,
    ngx_http_request_t, ngx_int_t, off_t,
};

use super::{Broken, Downstream, Kind, Unavailable, shared_of, take};
use crate::sock::Direction;
use crate::sys::request::Request;
use crate::sys::side::disarm;

/// Where the reading stands.
pub(super) struct Body {
    /// What nginx has read and Lua has not taken.
    rest: Cell<*mut ngx_chain_t>,
    /// nginx has not seen the end yet.
    unfinished: Cell<bool>,
    /// What nginx reads into.
    described: Cell<*const ngx_http_request_body_t>,
    /// There will be no more, and this is why.
    broken: Cell<Option<Broken>>,
    /// What the request says about its length, while [`Downstream::hide_body`]
    /// has it say something else.
    hidden_length: Cell<Option<off_t>>,
}

impl Default for Body {
    fn default() -> Body {
        Body {
            rest: Cell::new(ptr::null_mut()),
            unfinished: Cell::new(false),
            described: Cell::new(ptr::null()),
            broken: Cell::new(None),
            hidden_length: Cell::new(None),
        }
    }
}

impl Body {
    /// Whether there is, or may be, something that Lua has not taken.
    pub(super) fn is_unread(&self) -> bool {
        let mut link = self.rest.get();
        let mut is_unread = self.unfinished.get();
        // SAFETY: the chain lives in the request's pool. The mark of the end may
        // be a buffer of its own, with nothing in it.
        unsafe {
            while !is_unread && let Some(first) = link.as_ref() {
                is_unread = (*first.buf).pos < (*first.buf).last;
                link = first.next;
            }
        }
        is_unread
    }
}

/// nginx has looked at what came with the header; reading goes on as Lua asks.
unsafe extern "C" fn on_begun(_r: *mut ngx_http_request_t) {}

/// What nginx's status for a body that it cannot read means.
fn broken(request: Request, rc: ngx_int_t) -> Option<Broken> {
    if rc >= 0 && rc < NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t || rc == NGX_AGAIN as ngx_int_t {
        return None;
    }
    // SAFETY: the request is live.
    let gone = unsafe { (*(*request.raw()).connection).error() != 0 };
    Some(match u32::try_from(rc) {
        _ if gone => Broken::ClientAborted,
        Ok(NGX_HTTP_BAD_REQUEST) => Broken::Invalid,
        Ok(NGX_HTTP_REQUEST_ENTITY_TOO_LARGE) => Broken::TooLarge,
        _ => Broken::Internal,
    })
}

impl Request {
    /// Whether a request socket has still to read what nginx may find of the body.
    pub fn has_unread_socket(self) -> bool {
        shared_of(self)
            .is_some_and(|shared| shared.kind == Kind::Body && shared.body.unfinished.get())
    }
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
            // It would take a short body to a file even so.
            (*r).set_request_body_in_file_only(0);
            let rc = request.begin_body(on_begun);
            if let Some(broken) = broken(request, rc) {
                (*r).set_request_body_no_buffering(0);
                request.close_after_response();
                return Err(Unavailable::Broken(broken));
            }
        }
        let socket = Downstream::open(request, Kind::Body);
        socket.absorb();
        Ok(socket)
    }

    /// Takes over what nginx has read: other handlers find an empty body.
    fn absorb(&self) {
        let r = self.request.raw();
        let body = &self.shared.body;
        // SAFETY: the request and its body structure are live.
        unsafe {
            let bufs = ptr::replace(&raw mut (*(*r).request_body).bufs, ptr::null_mut());
            body.rest.set(bufs);
            body.described.set((*r).request_body);
            body.unfinished.set((*r).reading_body() != 0);
        }
    }

    /// Copies what nginx has read of the body.
    fn take_body(&self, buf: &mut [u8]) -> usize {
        let rest = &self.shared.body.rest;
        let mut taken = 0;
        // SAFETY: the chain lives in the request's pool; pos to last is what
        // a buffer holds.
        unsafe {
            while taken < buf.len() && !rest.get().is_null() {
                let link: *mut ngx_chain_t = rest.get();
                taken += take(&mut buf[taken..], (*link).buf);
                if (*(*link).buf).pos == (*(*link).buf).last {
                    rest.set((*link).next);
                    (*link).next = (*(self.request.pool())).chain;
                    (*(self.request.pool())).chain = link;
                }
            }
        }
        taken
    }

    pub(super) fn recv_body(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let taken = self.take_body(buf);
            if taken > 0 {
                return Ok(taken);
            }
            let body = &self.shared.body;
            if let Some(broken) = body.broken.get() {
                return Err(broken.into());
            }
            if !body.unfinished.get() {
                // Of no more interest here; but whether the client goes away
                // may be.
                if self.request.reads_by(self.shared.handler) {
                    self.request.restore_read_handler();
                }
                return Ok(0);
            }
            if !self.read_on() {
                self.shared.readable.set(false);
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Has nginx read what there is, once all that it has read was taken.
    /// False where only an event can bring news.
    fn read_on(&self) -> bool {
        let r = self.request.raw();
        let body = &self.shared.body;
        // SAFETY: the request is live. The timer that nginx sets is for a
        // reader that does nothing else; waiting has a timer of its own.
        let rc = unsafe {
            if let Some(length) = body.hidden_length.take() {
                (*r).headers_in.content_length_n = length;
                (*r).set_reading_body(1);
            }
            ngx_http_read_unbuffered_request_body(r)
        };
        disarm(self.event(Direction::Read));
        self.absorb();
        // It shows after what came before it.
        body.broken.set(broken(self.request, rc));
        body.broken.get().is_some() || !body.rest.get().is_null() || rc != NGX_AGAIN as ngx_int_t
    }

    /// Whoever has the request next finds an empty body. The client's
    /// connection can serve another request if the body is at its end, even
    /// if Lua has not asked for that.
    pub(super) fn settle_body(&self) {
        let r = self.request.raw();
        let body = &self.shared.body;
        // SAFETY: the request is live.
        let (is_stream, failed) = unsafe {
            (
                !(*r).stream.is_null(),
                (*(*r).connection).error() != 0 || body.broken.get().is_some(),
            )
        };
        let settled = !body.unfinished.get() || failed || is_stream;
        if !settled && body.rest.get().is_null() && self.request.reads_by(self.shared.handler) {
            // What is missing may be the last chunk's mark only.
            self.read_on();
        }
        self.hide_body();
    }

    /// Has the request say that its body is empty.
    pub(super) fn hide_body(&self) {
        let r = self.request.raw();
        let body = &self.shared.body;
        if body.unfinished.get() {
            self.request.close_after_response();
        }
        // SAFETY: the request is live.
        unsafe {
            if !ptr::eq((*r).request_body, body.described.get()) {
                // Lua has put another one in its place.
                return;
            }
            if body.hidden_length.get().is_none() && body.unfinished.get() {
                // nginx's reading needs it, should Lua go on.
                body.hidden_length
                    .set(Some((*r).headers_in.content_length_n));
            }
            (*r).headers_in.content_length_n = 0;
            (*r).set_reading_body(0);
        }
    }
}
