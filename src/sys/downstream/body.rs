//! The request body as it arrives.
//!
//! It goes through nginx's own unbuffered reading, which knows Content-Length,
//! chunks and HTTP/2, and takes in more only when Lua has taken what came
//! before.

use std::io;
use std::ptr::fn_addr_eq;

use ngx::ffi::{
    NGX_AGAIN, NGX_HTTP_BAD_REQUEST, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, NGX_HTTP_SPECIAL_RESPONSE,
    ngx_chain_t, ngx_http_read_unbuffered_request_body, ngx_http_request_body_t,
    ngx_http_request_t, ngx_int_t,
};

use super::{Broken, Downstream, Kind, Unavailable, take};
use crate::sock::Direction;
use crate::sys::connection::disarm;
use crate::sys::request::Request;

/// nginx has looked at what came with the header; reading goes on as Lua asks.
unsafe extern "C" fn on_begun(_r: *mut ngx_http_request_t) {}

/// Whether `body` is one that a socket reads, or has read: what is in its
/// buffers is not the whole.
///
/// # Safety
/// `body` must be live.
pub(in crate::sys) unsafe fn is_streamed(body: *const ngx_http_request_body_t) -> bool {
    let ours: unsafe extern "C" fn(*mut ngx_http_request_t) = on_begun;
    // SAFETY: by the caller's promise.
    unsafe { (*body).post_handler }.is_some_and(|handler| fn_addr_eq(handler, ours))
}

/// What nginx's status for a body that it cannot read means.
///
/// # Safety
/// The request must be live.
unsafe fn broken(request: Request, rc: ngx_int_t) -> Option<Broken> {
    if rc >= 0 && rc < NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t || rc == NGX_AGAIN as ngx_int_t {
        return None;
    }
    // SAFETY: by the caller's promise.
    let gone = unsafe { (*(*request.raw()).connection).error() != 0 };
    Some(match u32::try_from(rc) {
        _ if gone => Broken::ClientAborted,
        Ok(NGX_HTTP_BAD_REQUEST) => Broken::Invalid,
        Ok(NGX_HTTP_REQUEST_ENTITY_TOO_LARGE) => Broken::TooLarge,
        _ => Broken::Internal,
    })
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
        Ok(Downstream::open(request, Kind::Body))
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

    /// Whether nginx has not seen the body's end yet.
    fn is_unfinished(&self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.request.raw()).reading_body() != 0 }
    }

    pub(super) fn recv_body(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let taken = self.take_body(buf);
            if taken > 0 {
                return Ok(taken);
            }
            if let Some(broken) = self.shared.broken.get() {
                return Err(broken.into());
            }
            if !self.is_unfinished() {
                // Of no more interest here; but whether the client goes away
                // may be.
                if self.request.reads_by(self.shared.handler) {
                    self.request.restore_read_handler();
                }
                return Ok(0);
            }
            if self.read_on() == More::Later {
                self.shared.readable.set(false);
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
    }

    /// Has nginx read what there is, once all that it has read was taken.
    fn read_on(&mut self) -> More {
        let r = self.request.raw();
        // SAFETY: the request is live. The timer that nginx sets is for a
        // reader that does nothing else; waiting has a timer of its own.
        unsafe {
            let rc = ngx_http_read_unbuffered_request_body(r);
            disarm(self.event(Direction::Read));
            // It shows after what came before it.
            let broken = broken(self.request, rc);
            self.shared.broken.set(broken);
            let nothing = (*(*r).request_body).bufs.is_null();
            if nothing && broken.is_none() && rc == NGX_AGAIN as ngx_int_t {
                More::Later
            } else {
                More::Maybe
            }
        }
    }

    /// The connection can serve another request if the body is at its end,
    /// even if Lua has not asked for that; otherwise it is closed.
    pub(super) fn finish_body(&mut self) {
        // SAFETY: the request is live.
        let (is_stream, nothing_left, failed) = unsafe {
            let r = self.request.raw();
            (
                !(*r).stream.is_null(),
                (*(*r).request_body).bufs.is_null(),
                (*(*r).connection).error() != 0,
            )
        };
        if is_stream || failed || !self.is_unfinished() {
            return;
        }
        if nothing_left && self.request.reads_by(self.shared.handler) {
            // What is missing may be the last chunk's mark only.
            self.read_on();
        }
        if self.is_unfinished() {
            self.request.close_after_response();
        }
    }
}

/// What there may be after nginx has read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Maybe,
    Later,
}
