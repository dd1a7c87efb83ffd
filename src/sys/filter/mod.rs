//! nginx's output filters: taking a place among them, and holding back what
//! passes.
//!
//! A filter calls the one after it. What it does not pass on at once it marks in
//! the request's `buffered`, so that nginx does not end the request, and what it
//! refers to in the meantime is not used again by whoever made it: that is all
//! the back-pressure there is, and the same that a slow client causes.

mod chain;
mod chunk;
mod hold;

pub use chain::{Chain, Queue, release};
pub use chunk::Chunk;

use std::ptr::{self, NonNull};

use ngx::ffi::{
    NGX_ERROR, ngx_chain_t, ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt,
    ngx_http_request_t, ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_int_t,
};

use super::entry::guard;
use super::request::Request;

const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;

/// The header filter after ours.
static mut NEXT_HEADER: ngx_http_output_header_filter_pt = None;
/// The body filter after ours.
static mut NEXT_BODY: ngx_http_output_body_filter_pt = None;
/// The body filter after the one that comes first of all.
static mut NEXT_AFTER_FIRST: ngx_http_output_body_filter_pt = None;

/// Puts filters in front of those that are installed already: in the place that
/// the module has among nginx's modules. For use while nginx reads its
/// configuration.
pub fn install<H, B>(_header: H, _body: B)
where
    H: Fn(Request) -> isize + Copy + 'static,
    B: Fn(Request, Chain) -> isize + Copy + 'static,
{
    const { assert!(size_of::<H>() == 0, "a filter cannot capture") };
    // SAFETY: a worker has one thread, and no request runs yet.
    unsafe {
        NEXT_HEADER = ngx_http_top_header_filter;
        ngx_http_top_header_filter = Some(header_filter::<H>);
        NEXT_BODY = ngx_http_top_body_filter;
        ngx_http_top_body_filter = Some(body_filter::<B>);
    }
}

/// Puts a body filter in front of all others. For use by a module that comes
/// last, while nginx reads its configuration.
pub fn install_first<B: Fn(Request, Chain) -> isize + Copy + 'static>(_body: B) {
    // SAFETY: as in `install`.
    unsafe {
        NEXT_AFTER_FIRST = ngx_http_top_body_filter;
        ngx_http_top_body_filter = Some(body_filter::<B>);
    }
}

unsafe extern "C" fn header_filter<F: Fn(Request) -> isize + Copy>(
    r: *mut ngx_http_request_t,
) -> ngx_int_t {
    guard(ERROR, || {
        let Some(r) = NonNull::new(r) else {
            return ERROR;
        };
        // SAFETY: nginx passes a live request; F has no size, so that its value
        // needs no bits.
        let (request, f) = unsafe { (Request::from_raw(r), NonNull::<F>::dangling().read()) };
        f(request)
    })
}

unsafe extern "C" fn body_filter<F: Fn(Request, Chain) -> isize + Copy>(
    r: *mut ngx_http_request_t,
    input: *mut ngx_chain_t,
) -> ngx_int_t {
    const { assert!(size_of::<F>() == 0, "a filter cannot capture") };
    guard(ERROR, || {
        let Some(r) = NonNull::new(r) else {
            return ERROR;
        };
        // SAFETY: as in `header_filter`; the chain lives as long as the call.
        unsafe {
            let (request, f) = (Request::from_raw(r), NonNull::<F>::dangling().read());
            f(request, Chain::from_raw(input))
        }
    })
}

/// Passes the header on to the filter after ours.
pub fn next_header(request: Request) -> isize {
    // SAFETY: nginx's own functions, for a live request.
    unsafe { NEXT_HEADER.map_or(ERROR, |next| next(request.raw())) }
}

/// Passes a part of the body on to the filter after ours; an empty chain has it
/// send what it can.
pub fn next_body(request: Request, chain: Chain) -> isize {
    // SAFETY: as in `next_header`; the chain is live.
    unsafe { NEXT_BODY.map_or(ERROR, |next| next(request.raw(), chain.raw())) }
}

/// Passes a part of the body on to the filter after the very first one.
pub fn next_after_first(request: Request, chain: Chain) -> isize {
    // SAFETY: as in `next_body`.
    unsafe { NEXT_AFTER_FIRST.map_or(ERROR, |next| next(request.raw(), chain.raw())) }
}

impl Request {
    /// Has nginx read files before their contents come to our body filter.
    pub fn need_body_in_memory(self) {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).set_filter_need_in_memory(1) }
    }

    /// The status of the error that nginx is answering; 0 where it is none.
    pub fn error_status(self) -> usize {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).err_status }
    }

    /// Whether a filter of nginx's has answered the request with an error, in
    /// place of its content.
    pub fn is_answered_by_filter(self) -> bool {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).filter_finalize() != 0 }
    }

    /// Has the error that nginx is answering be another one.
    pub fn change_error_status(self, status: usize) {
        self.set_status(status);
        // SAFETY: the request is live.
        unsafe { (*self.raw()).err_status = status }
    }

    /// A body of `sent` bytes has ended. A client that was promised another length waits for
    /// more, or takes the rest for the next response: the connection has to end with this one,
    /// as it does where an upstream's falls short.
    pub(super) fn check_length(self, sent: usize) {
        // SAFETY: the request is live.
        unsafe {
            let promised = (*self.raw()).headers_out.content_length_n;
            let wrong = usize::try_from(promised).is_ok_and(|promised| promised != sent);
            if wrong && !self.header_only() && !self.is_subrequest() {
                (*self.raw()).set_keepalive(0);
            }
        }
    }

    /// Marks the client's connection as of no use: whatever is written to it
    /// fails, and nginx ends the request without completing the response.
    pub fn fail_connection(self) {
        // SAFETY: a live request has a connection.
        unsafe { (*(*self.raw()).connection).set_error(1) }
    }

    /// Whether nginx is to hand the client's connection over to an upstream as
    /// soon as the header has passed.
    pub fn is_upgraded(self) -> bool {
        // SAFETY: the request is live, and so is what it has of an upstream.
        unsafe { (*self.raw()).upstream.as_ref() }.is_some_and(|u| u.upgrade() != 0)
    }

    /// Cuts off the upstream that makes the content. False where there is none,
    /// or it has ended.
    pub fn abort_upstream(self) -> bool {
        // SAFETY: the request is live; as nginx does when it replaces an
        // upstream by another one, the clean-up gets a count of its own to give
        // back.
        unsafe {
            let Some(upstream) = (*self.raw()).upstream.as_ref() else {
                return false;
            };
            let Some(cleanup) = upstream.cleanup.as_ref().copied().flatten() else {
                return false;
            };
            self.hold();
            cleanup(self.raw().cast());
        }
        true
    }

    /// Has whoever makes the response go on, as when the client's connection has
    /// become writable. The request may be gone afterwards.
    pub fn go_on_writing(self) {
        let client = self.client();
        // SAFETY: the request is live, and so is its connection; nothing of
        // them is used after the call.
        unsafe {
            let r = self.raw();
            if (*r).done() != 0 {
                // Nobody waits for this one any more: one in the background.
                let event = (*(*r).connection).write;
                if let Some(handler) = (*event).handler {
                    handler(event);
                }
                return;
            }
            if let Some(handler) = (*r).write_event_handler {
                handler(r);
            }
        }
        client.run_posted();
    }
}

/// No chain at all.
const NONE: *mut ngx_chain_t = ptr::null_mut();
