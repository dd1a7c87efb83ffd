//! Hearing of a client that goes away, instead of having that end the request.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ngx::ffi::{ngx_handle_read_event, ngx_http_request_t};

use super::entry::guard;
use super::log::{self, Level};
use super::request::Request;
use crate::rt::{AddressMap, wake_now, worker_local};

const HTTP_2: usize = 2000;

#[derive(Default)]
struct Shared {
    gone: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

worker_local! {
    static LISTENERS: RefCell<AddressMap<Rc<Shared>>> = RefCell::new(AddressMap::new());
}

/// Completes when the client has gone, provided that the request watches for
/// that. While there is one, and after it has completed, nginx does not end
/// the request; see [`forget`].
pub struct ClientGone {
    request: *mut ngx_http_request_t,
    shared: Rc<Shared>,
}

impl ClientGone {
    /// For `request`, which must not end before this is dropped. None where
    /// there is one already.
    pub fn new(request: Request) -> Option<ClientGone> {
        let shared = Rc::<Shared>::default();
        let request = request.raw();
        LISTENERS.with_borrow_mut(|listeners| {
            if listeners.contains(request) {
                return None;
            }
            listeners.insert(request, shared.clone());
            Some(ClientGone { request, shared })
        })
    }
}

impl Future for ClientGone {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.gone.get() {
            return Poll::Ready(());
        }
        let previous = self.shared.waker.replace(Some(cx.waker().clone()));
        drop(previous);
        Poll::Pending
    }
}

impl Drop for ClientGone {
    fn drop(&mut self) {
        // Once the client has gone, the handler goes on without it.
        if !self.shared.gone.get() {
            remove(self.request);
        }
    }
}

/// The handler that may have heard of the client has ended.
#[inline]
pub fn forget(request: Request) {
    if LISTENERS.with_borrow(|listeners| !listeners.is_empty()) {
        remove(request.raw());
    }
}

fn remove(request: *mut ngx_http_request_t) {
    let shared = LISTENERS.with_borrow_mut(|listeners| listeners.remove(request));
    drop(shared);
}

/// Whether somebody wants to hear of the client.
pub(super) fn is_awaited(request: Request) -> bool {
    LISTENERS.with_borrow(|listeners| listeners.contains(request.raw()))
}

/// A read handler for requests with a [`ClientGone`].
pub(super) unsafe extern "C" fn on_readable(r: *mut ngx_http_request_t) {
    guard((), || {
        if let Some(r) = NonNull::new(r) {
            // SAFETY: nginx passes a live request.
            tell(unsafe { Request::from_raw(r) });
        }
    });
}

/// Looks whether the client has gone, and wakes the one who waits for that:
/// the last act of an event handler. False where nobody does.
pub(super) fn tell(request: Request) -> bool {
    let listener = LISTENERS.with_borrow(|listeners| listeners.get(request.raw()).cloned());
    let Some(shared) = listener else { return false };
    if !shared.gone.get() && client_is_gone(request) {
        shared.gone.set(true);
        let waker = shared.waker.borrow_mut().take();
        drop(shared);
        if let Some(waker) = waker {
            wake_now(waker);
        }
    }
    true
}

/// As `ngx_http_test_reading` finds out; marks the connection likewise.
fn client_is_gone(request: Request) -> bool {
    // SAFETY: the request and its connection are live; a peek changes nothing.
    unsafe {
        let c = (*request.raw()).connection;
        if request.http_version() >= HTTP_2 {
            return (*c).error() != 0;
        }
        let mut errno = 0;
        if (*(*c).read).pending_eof() == 0 {
            let mut byte = 0u8;
            let n = libc::recv((*c).fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK);
            if n < 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::WouldBlock {
                    return false;
                }
                errno = error.raw_os_error().unwrap_or(0);
            }
            // Level-triggered events would report what is there for ever.
            let _: isize = ngx_handle_read_event((*c).read, 0);
            if n > 0 {
                return false;
            }
        }
        (*(*c).read).set_eof(1);
        (*c).set_error(1);
        log::write(
            (*c).log,
            Level::Info,
            errno,
            b"client prematurely closed connection",
        );
    }
    true
}
