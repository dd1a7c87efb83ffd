//! The request body.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::slice;

use ngx::ffi::{
    NGX_AGAIN, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SPECIAL_RESPONSE, NGX_OK, ngx_chain_t,
    ngx_http_discard_request_body, ngx_http_read_client_request_body, ngx_http_request_t,
    ngx_int_t,
};

use super::entry::guard;
use super::request::Request;
use crate::rt::{AddressMap, worker_local};

worker_local! {
    /// Bodies that are being read, by request: all that nginx tells on_body.
    static READING: RefCell<AddressMap<Rc<Reading>>> = RefCell::new(AddressMap::new());
}

/// What nginx calls when it has read a body.
type OnBody = unsafe extern "C" fn(*mut ngx_http_request_t);

/// A body that is being read.
#[derive(Default)]
pub struct Reading {
    done: Cell<bool>,
    waiters: RefCell<Vec<Box<dyn FnOnce()>>>,
}

impl Reading {
    /// Whether the body is there.
    pub fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Calls `f` once the body is there; drops it when the request ends
    /// before.
    pub fn then(&self, f: impl FnOnce() + 'static) {
        self.waiters.borrow_mut().push(Box::new(f));
    }
}

/// Where a request's body is.
pub enum Body {
    /// Read, or there is none.
    There,
    /// On its way.
    Reading(Rc<Reading>),
}

impl Request {
    /// Has nginx read the request body.
    ///
    /// When reading fails later, nginx ends the request itself.
    ///
    /// # Errors
    /// The status that the request is to end with.
    pub fn read_body(self) -> Result<Body, isize> {
        if let Some(reading) = READING.with_borrow(|all| all.get(self.raw()).cloned()) {
            return Ok(Body::Reading(reading));
        }
        // SAFETY: the request is live; the callback finds the waiters by it.
        let rc = unsafe {
            let main = (*self.raw()).main;
            if !(*self.raw()).request_body.is_null() || (*main).discard_body() != 0 {
                return Ok(Body::There);
            }
            if (*self.raw()).request_body_in_persistent_file() == 0 {
                // A file that Lua can open by its name, which nginx deletes with the request.
                (*self.raw()).set_request_body_in_persistent_file(1);
                (*self.raw()).set_request_body_in_clean_file(1);
            }
            self.begin_body(on_body)
        };
        if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
            return Err(rc);
        }
        if rc == NGX_OK as ngx_int_t {
            return Ok(Body::There);
        }
        debug_assert_eq!(rc, NGX_AGAIN as ngx_int_t);
        if !self.on_end(move || self.forget_reading()) {
            return Err(NGX_HTTP_INTERNAL_SERVER_ERROR as isize);
        }
        let reading = Rc::<Reading>::default();
        READING.with_borrow_mut(|all| all.insert(self.raw(), reading.clone()));
        Ok(Body::Reading(reading))
    }

    /// Has nginx begin to read the body and call `then` once it is there.
    ///
    /// # Safety
    /// The request must be live and its body untouched.
    pub(super) unsafe fn begin_body(self, then: OnBody) -> ngx_int_t {
        // SAFETY: by the caller's promise.
        unsafe {
            let r = self.raw();
            if self.header_sent() {
                // Too late to tell a client that it may send the body.
                (*r).set_expect_tested(1);
            }
            // nginx takes it away, for the sake of content handlers that do
            // nothing but read.
            let on_writable = (*r).write_event_handler;
            let rc = ngx_http_read_client_request_body(r, Some(then));
            (*r).write_event_handler = on_writable;
            if rc < NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
                // For their sake nginx has also counted one more user of the
                // request. Lua's handlers count themselves; and when nginx
                // ends the request over a bad body, one count must be all.
                self.release();
            }
            rc
        }
    }

    /// Whether `ngx.req.read_body` is under way.
    pub(super) fn is_reading_body(self) -> bool {
        READING.with_borrow(|all| all.contains(self.raw()))
    }

    /// Lets go of those who wait for the body: their handler is over.
    #[inline]
    pub fn forget_reading(self) {
        let reading = READING.with_borrow_mut(|all| all.remove(self.raw()));
        drop(reading);
    }

    /// Has nginx take in and throw away a body that nobody has read, so that
    /// the connection can serve another request. For when the response is
    /// decided: a client that asks whether to send the body is not told to.
    pub fn discard_unread_body(self) {
        // SAFETY: the request is live.
        unsafe {
            let main = (*self.raw()).main;
            if main != self.raw() || !(*main).request_body.is_null() || (*main).discard_body() != 0
            {
                return;
            }
            (*main).set_expect_tested(1);
            if ngx_http_discard_request_body(main) != NGX_OK as ngx_int_t {
                (*main).set_keepalive(0);
            }
        }
    }

    /// The body, where it was read and is in memory. None for an empty one.
    pub fn body_in_memory(&self) -> Option<BodyChunks<'_>> {
        // SAFETY: the request is live; nginx links only live buffers, in whose
        // memory the bytes from pos to last lie.
        unsafe {
            let body = (*self.raw()).request_body;
            if body.is_null() || READING.with_borrow(|all| all.contains(self.raw())) {
                return None;
            }
            let first = (*body).bufs;
            let mut link = first;
            let mut size = 0;
            while !link.is_null() {
                let b = (*link).buf;
                if (*b).in_file() != 0 {
                    return None;
                }
                size += (*b).last.offset_from_unsigned((*b).pos);
                link = (*link).next;
            }
            (size > 0).then_some(BodyChunks {
                link: first,
                size,
                _request: self,
            })
        }
    }
}

/// The pieces of a body in memory.
pub struct BodyChunks<'a> {
    link: *const ngx_chain_t,
    size: usize,
    _request: &'a Request,
}

impl BodyChunks<'_> {
    /// Bytes in all pieces together.
    pub fn size(&self) -> usize {
        self.size
    }
}

impl<'a> Iterator for BodyChunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.link.is_null() {
            return None;
        }
        // SAFETY: as in body_in_memory; the body stays as long as the request,
        // and only code of ours could change it.
        unsafe {
            let b = (*self.link).buf;
            self.link = (*self.link).next;
            let length = (*b).last.offset_from_unsigned((*b).pos);
            Some(if length == 0 {
                &[]
            } else {
                slice::from_raw_parts((*b).pos, length)
            })
        }
    }
}

/// nginx has read a body; at once (then nobody waits yet) or from an event.
unsafe extern "C" fn on_body(r: *mut ngx_http_request_t) {
    guard((), || {
        let Some(reading) = READING.with_borrow_mut(|all| all.remove(r)) else {
            return;
        };
        reading.done.set(true);
        for waiter in reading.waiters.take() {
            waiter();
        }
    });
}
