//! The request body.

use std::cell::RefCell;
use std::ptr::NonNull;

use ngx::ffi::{
    NGX_AGAIN, NGX_OK, ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t,
};

use super::entry::guard;
use super::request::Request;

/// What to do once a body is there.
type Then = Box<dyn FnOnce()>;

thread_local! {
    /// Who waits for which request's body; nginx's callback tells only the
    /// request.
    static WAITING: RefCell<Vec<(Request, Then)>> = const { RefCell::new(Vec::new()) };
}

impl Request {
    /// Reads the request body. `Ok(true)`: it is there, and `then` was
    /// dropped; `Ok(false)`: `then` is called once it is.
    ///
    /// # Errors
    /// The status or nginx code that the request is to end with.
    pub fn read_body(self, then: impl FnOnce() + 'static) -> Result<bool, isize> {
        // SAFETY: the request is live.
        let there = unsafe {
            let main = (*self.raw()).main;
            !(*self.raw()).request_body.is_null() || (*main).discard_body() != 0
        };
        if there {
            return Ok(true);
        }
        // SAFETY: the request is live; the callback finds the waiter by it.
        let rc = unsafe { ngx_http_read_client_request_body(self.raw(), Some(on_body)) };
        // nginx took one more reference to the request, which on_body gives
        // back, too.
        if rc == NGX_AGAIN as ngx_int_t {
            let on_end = self.on_end(move || drop(forget(self)));
            if !on_end {
                return Err(500);
            }
            WAITING.with_borrow_mut(|w| w.push((self, Box::new(then))));
            return Ok(false);
        }
        if rc == NGX_OK as ngx_int_t {
            return Ok(true);
        }
        Err(rc as isize)
    }
}

/// Takes the waiter of `request` off the list.
fn forget(request: Request) -> Option<Then> {
    WAITING.with_borrow_mut(|waiting| {
        let at = waiting.iter().position(|(r, _)| *r == request)?;
        Some(waiting.swap_remove(at).1)
    })
}

unsafe extern "C" fn on_body(r: *mut ngx_http_request_t) {
    guard((), || {
        let Some(r) = NonNull::new(r) else { return };
        // SAFETY: nginx passes the live request.
        let request = unsafe { Request::from_raw(r) };
        request.release();
        if let Some(then) = forget(request) {
            then();
        }
    });
}
