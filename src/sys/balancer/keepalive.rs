//! Connections to peers that wait for a next request.

use core::ptr;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use nginx_sys::{
    NGX_OK, ngx_add_timer, ngx_close_connection, ngx_connection_t, ngx_del_timer, ngx_destroy_pool,
    ngx_event_t, ngx_exiting, ngx_handle_read_event, ngx_http_upstream_t, ngx_int_t, ngx_log_t,
    ngx_msec_t, ngx_peer_connection_t, ngx_terminate,
};

use crate::sys::entry::{cycle_log, guard};

/// How many connections wait in a worker where nothing is configured.
const DEFAULT_LIMIT: usize = 32;

/// How long, and for how many requests, a connection is kept; None is no limit.
#[derive(Clone, Copy)]
pub(super) struct KeepaliveOptions {
    pub idle: Option<Duration>,
    pub requests: Option<usize>,
}

struct Idle {
    c: *mut ngx_connection_t,
    /// Who is at the other end: address, and name for TLS.
    key: Vec<u8>,
}

/// Idle connections to the peers of one upstream, the one used last in front.
pub(super) struct IdlePeers {
    list: RefCell<VecDeque<Idle>>,
    limit: Cell<usize>,
}

impl Default for IdlePeers {
    fn default() -> IdlePeers {
        IdlePeers {
            list: RefCell::default(),
            limit: Cell::new(DEFAULT_LIMIT),
        }
    }
}

impl IdlePeers {
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Hands an idle connection to `key` to nginx, if there is one.
    ///
    /// # Safety
    /// `pc` is live and has no connection.
    pub(super) unsafe fn take(&self, pc: *mut ngx_peer_connection_t, key: &[u8]) -> bool {
        let found = {
            let mut list = self.list.borrow_mut();
            let at = list.iter().position(|idle| idle.key == key);
            at.and_then(|at| list.remove(at))
        };
        let Some(Idle { c, .. }) = found else {
            return false;
        };
        // SAFETY: a connection in the list is live and nobody else's.
        unsafe {
            (*c).set_idle(0);
            (*c).sent = 0;
            (*c).data = ptr::null_mut();
            set_log(c, (*pc).log);
            if (*(*c).read).timer_set() != 0 {
                ngx_del_timer((*c).read);
            }
            (*pc).connection = c;
            (*pc).set_cached(1);
        }
        true
    }

    /// Keeps the connection of an attempt, if it can serve another request.
    /// `self` must not move from now on.
    ///
    /// # Safety
    /// `pc` and `upstream` are live and belong together.
    pub(super) unsafe fn put(
        &self,
        pc: *mut ngx_peer_connection_t,
        upstream: *const ngx_http_upstream_t,
        key: Vec<u8>,
        options: KeepaliveOptions,
    ) {
        // SAFETY: the caller's promise; what nginx leaves to us it does not
        // use any more.
        unsafe {
            let c = (*pc).connection;
            if c.is_null() || self.limit.get() == 0 || ngx_terminate != 0 || ngx_exiting != 0 {
                return;
            }
            let (read, write) = ((*c).read, (*c).write);
            let is_broken = (*read).eof() != 0
                || (*read).error() != 0
                || (*read).timedout() != 0
                || (*write).error() != 0
                || (*write).timedout() != 0;
            let is_used_up = options.requests.is_some_and(|most| (*c).requests >= most);
            let is_clean = (*upstream).keepalive() != 0 && (*upstream).request_body_sent() != 0;
            if is_broken || is_used_up || !is_clean {
                return;
            }
            if ngx_handle_read_event(read, 0) != NGX_OK as ngx_int_t {
                return;
            }
            (*pc).connection = ptr::null_mut();
            (*read).set_delayed(0);
            if (*write).timer_set() != 0 {
                ngx_del_timer(write);
            }
            if (*read).timer_set() != 0 {
                ngx_del_timer(read);
            }
            if let Some(idle) = options.idle {
                ngx_add_timer(read, idle.as_millis() as ngx_msec_t);
            }
            (*read).handler = Some(on_event);
            (*write).handler = Some(on_nothing);
            (*c).data = ptr::from_ref(self).cast_mut().cast();
            (*c).set_idle(1);
            set_log(c, cycle_log());
            let oldest = {
                let mut list = self.list.borrow_mut();
                list.push_front(Idle { c, key });
                (list.len() > self.limit.get()).then(|| list.pop_back())
            };
            if let Some(Some(oldest)) = oldest {
                close(oldest.c);
            }
            // What came while nobody looked.
            if (*read).ready() != 0 {
                on_event(read);
            }
        }
    }

    fn forget(&self, c: *mut ngx_connection_t) {
        self.list.borrow_mut().retain(|idle| idle.c != c);
    }
}

impl Drop for IdlePeers {
    fn drop(&mut self) {
        // SAFETY: set by nginx's signal handlers.
        if unsafe { ngx_terminate != 0 || ngx_exiting != 0 } {
            // The process ends, and with it its connections.
            return;
        }
        for idle in self.list.get_mut().drain(..) {
            // SAFETY: a connection in the list is live and nobody else's.
            unsafe { close(idle.c) };
        }
    }
}

/// Something happened on an idle connection. It is closed: the peer or nginx
/// wants that, its time is over, or data came that nobody asked for.
unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    guard((), || {
        // SAFETY: nginx passes the event of a connection in our list, which
        // `put` gave the list's address.
        unsafe {
            let c = (*event).data.cast::<ngx_connection_t>();
            if (*c).close() == 0 && (*event).timedout() == 0 {
                let mut byte = 0u8;
                let n = libc::recv((*c).fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK);
                if n < 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN) {
                    (*event).set_ready(0);
                    if ngx_handle_read_event(event, 0) == NGX_OK as ngx_int_t {
                        return;
                    }
                }
            }
            let peers = &*(*c).data.cast::<IdlePeers>();
            peers.forget(c);
            close(c);
        }
    });
}

unsafe extern "C" fn on_nothing(_event: *mut ngx_event_t) {}

/// # Safety
/// The connection is live and nobody uses it.
unsafe fn close(c: *mut ngx_connection_t) {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(ngx_feature = "http_ssl")]
        if !(*c).ssl.is_null() {
            // The peer is told; its answer is not waited for.
            (*(*c).ssl).set_no_wait_shutdown(1);
            let _: ngx_int_t = nginx_sys::ngx_ssl_shutdown(c);
        }
        let pool = (*c).pool;
        ngx_close_connection(c);
        if !pool.is_null() {
            ngx_destroy_pool(pool);
        }
    }
}

/// # Safety
/// Connection and log are live.
unsafe fn set_log(c: *mut ngx_connection_t, log: *mut ngx_log_t) {
    // SAFETY: by the caller's promise.
    unsafe {
        (*c).log = log;
        (*(*c).read).log = log;
        (*(*c).write).log = log;
        if !(*c).pool.is_null() {
            (*(*c).pool).log = log;
        }
    }
}
