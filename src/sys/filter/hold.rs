//! Requests whose response is held back.

use std::cell::RefCell;

use ngx::ffi::{NGX_HTTP_HEAD, ngx_del_timer, ngx_http_state_e_NGX_HTTP_WRITING_REQUEST_STATE};

use crate::sys::event::{Posted, Turn};
use crate::sys::output::awaits_client;
use crate::sys::request::Request;

/// Our bit in the request's `buffered`, which nginx's own filters leave free.
const HELD: u32 = 0x08;

thread_local! {
    /// Those that nginx may have given a time limit for being sent.
    static LIMITED: RefCell<Vec<Request>> = const { RefCell::new(Vec::new()) };
    static LIFT: Posted = Posted::new(lift_limits);
}

impl Request {
    /// Whether a filter of ours holds back something of the response.
    pub fn is_held(self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).buffered() & HELD != 0 }
    }

    /// Whether something of the request has reached nginx's last filter and not
    /// the client.
    pub(super) fn has_unsent(self) -> bool {
        // SAFETY: the request is live.
        unsafe { !(*self.raw()).out.is_null() }
    }

    /// nginx must not end the request: something of its response is held back.
    /// To be called whenever more is.
    pub fn hold_response(self) {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).set_buffered((*self.raw()).buffered() | HELD) }
        let is_new = LIMITED.with_borrow_mut(|limited| {
            let is_new = !limited.contains(&self);
            if is_new {
                limited.push(self);
            }
            is_new
        });
        if is_new {
            LIFT.with(|lift| lift.post(Turn::This));
        }
    }

    /// Nothing of the response is held back any more, or the request ends.
    pub fn release_response(self) {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).set_buffered((*self.raw()).buffered() & !HELD) }
        LIMITED.with_borrow_mut(|limited| limited.retain(|&other| other != self));
    }

    /// The header is held back. Whoever makes the response takes it for sent.
    pub fn hold_header(self) {
        self.hold_response();
        // SAFETY: the request is live.
        unsafe {
            let r = self.raw();
            (*r).set_header_sent(1);
            if (*r).method == NGX_HTTP_HEAD as usize && !self.is_subrequest() {
                // nginx's last filter would say so, and no body come.
                (*r).set_header_only(1);
            }
        }
    }

    /// The header can be passed on now.
    pub fn release_header(self) {
        self.release_response();
        // SAFETY: the request is live.
        unsafe { (*self.raw()).set_header_sent(0) }
    }

    /// Whether the response is complete, and only waits to be sent.
    pub fn is_being_written(self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).http_state() == ngx_http_state_e_NGX_HTTP_WRITING_REQUEST_STATE }
    }
}

/// nginx gives the client `send_timeout` to take a response that is complete.
/// While we hold it back the time would be up without any fault of the client's.
fn lift_limits() {
    for request in LIMITED.take() {
        // SAFETY: requests that end are released.
        unsafe {
            let c = (*request.raw()).connection;
            let wev = (*c).write;
            // With `delayed` the timer is that of limit_rate.
            if (*wev).timer_set() != 0 && (*wev).delayed() == 0 && !awaits_client(c) {
                ngx_del_timer(wev);
            }
        }
    }
}
