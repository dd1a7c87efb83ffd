//! The whole connection, raw. nginx sends nothing more of its own.

use std::io;

use ngx::ffi::{
    NGX_ERROR, NGX_OK, ngx_connection_t, ngx_http_request_body_t, ngx_int_t, ngx_pcalloc,
    ngx_tcp_nodelay,
};

use super::{Broken, Downstream, Kind, Unavailable, shared_of, take};
use crate::sock::Direction;
use crate::sys::connection::{MAX_TRANSFER, clear_errno, from_nginx};
use crate::sys::request::Request;
use crate::sys::side::disarm;
use crate::sys::ssl;

impl Downstream {
    /// The whole connection. A socket that has read the request's body to its end loses it.
    pub fn raw(request: Request) -> Result<Downstream, Unavailable> {
        match shared_of(request) {
            Some(open) if open.kind == Kind::Raw => return Err(Unavailable::Duplicate),
            Some(open) if open.body.is_unread() => return Err(Unavailable::BodyBeingRead),
            Some(_) | None => {}
        }
        let r = request.raw();
        // SAFETY: the request is live, and so is its connection.
        unsafe {
            let c = (*r).connection;
            if request.is_reading_body() || (*r).reading_body() != 0 {
                return Err(Unavailable::BodyBeingRead);
            }
            if (*r).discard_body() != 0 {
                return Err(Unavailable::BodyDiscarded);
            }
            let is_pending = (*c).buffered() != 0 || request.is_held();
            if is_pending || !(*r).out.is_null() || !(*r).postponed.is_null() {
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
            if (*request.core_location()).tcp_nodelay != 0
                && ngx_tcp_nodelay(c) != NGX_OK as ngx_int_t
            {
                (*c).set_error(1);
            }
            if !(*c).ssl.is_null() {
                ssl::allow_partial_writes((*(*c).ssl).connection);
            }
            // No limit_rate holds up what does not go through nginx's filters.
            if (*(*c).write).delayed() != 0 {
                (*(*c).write).set_delayed(0);
                disarm((*c).write);
            }
            (*r).set_header_sent(1);
        }
        request.close_after_response();
        Ok(Downstream::open(request, Kind::Raw))
    }

    pub(super) fn recv_raw(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.has_preread() {
            // SAFETY: the request is live; what came with the header is from
            // pos to last of its buffer.
            return Ok(unsafe { take(buf, (*self.request.raw()).header_in) });
        }
        let max = buf.len().min(MAX_TRANSFER);
        self.transfer(Direction::Read, |c| {
            // SAFETY: the connection is live and its recv the one that fits
            // it; the buffer has room for `max` bytes.
            unsafe {
                match (*c).recv {
                    Some(recv) => recv(c, buf.as_mut_ptr(), max),
                    None => NGX_ERROR as isize,
                }
            }
        })
    }

    pub(super) fn send_raw(&mut self, data: &[u8]) -> io::Result<usize> {
        let max = data.len().min(MAX_TRANSFER);
        self.transfer(Direction::Write, |c| {
            // SAFETY: as recv_raw; nginx only reads the data.
            unsafe {
                match (*c).send {
                    Some(send) => send(c, data.as_ptr().cast_mut(), max),
                    None => NGX_ERROR as isize,
                }
            }
        })
    }

    /// Runs one of nginx's I/O functions. With TLS it may swap event handlers
    /// to wait for the other kind of event, which fits one operation at a time
    /// only: they are put back.
    fn transfer(
        &self,
        dir: Direction,
        f: impl FnOnce(*mut ngx_connection_t) -> isize,
    ) -> io::Result<usize> {
        let c = self.connection();
        clear_errno();
        // SAFETY: the connection is live.
        let handlers = unsafe {
            if (*c).error() != 0 {
                return Err(Broken::ClientAborted.into());
            }
            ((*(*c).read).handler, (*(*c).write).handler)
        };
        let result = from_nginx(f(c));
        // SAFETY: as above.
        unsafe {
            if !(*c).ssl.is_null() {
                let crossed = ssl::uncross(c);
                if crossed {
                    ((*(*c).read).handler, (*(*c).write).handler) = handlers;
                }
                self.shared.half(dir).crossed.set(crossed);
            }
        }
        result
    }

    /// Whether something that came with the header was not taken yet.
    pub(super) fn has_preread(&self) -> bool {
        // SAFETY: the request is live.
        unsafe {
            let preread = (*self.request.raw()).header_in;
            !preread.is_null() && (*preread).pos < (*preread).last
        }
    }
}
