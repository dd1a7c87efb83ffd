//! Load balancing by our own code: the `peer` hooks of an upstream.
//!
//! The round robin of nginx stands underneath, for the servers that the
//! `upstream` block names: it is asked where our code chooses nobody.

mod choice;
mod keepalive;

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nginx_sys::{
    NGX_DONE, NGX_ERROR, NGX_HTTP_UPSTREAM_BACKUP, NGX_HTTP_UPSTREAM_CREATE,
    NGX_HTTP_UPSTREAM_DOWN, NGX_HTTP_UPSTREAM_FAIL_TIMEOUT, NGX_HTTP_UPSTREAM_MAX_CONNS,
    NGX_HTTP_UPSTREAM_MAX_FAILS, NGX_HTTP_UPSTREAM_WEIGHT, NGX_OK, NGX_PEER_FAILED, NGX_PEER_NEXT,
    ngx_conf_t, ngx_http_conf_ctx_t, ngx_http_request_t, ngx_http_upstream_free_round_robin_peer,
    ngx_http_upstream_get_round_robin_peer, ngx_http_upstream_init_round_robin,
    ngx_http_upstream_init_round_robin_peer, ngx_http_upstream_module,
    ngx_http_upstream_rr_peer_data_t, ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t,
    ngx_module_t, ngx_palloc, ngx_pcalloc, ngx_peer_connection_t, ngx_str_t, ngx_uint_t,
};

use super::address::RawAddress;
use super::conf::{Conf, Level};
use super::entry::{guard, on_pool_destroyed};
use super::request::Request;

pub use choice::{BalancerError, Timeouts};
use keepalive::{IdlePeers, KeepaliveOptions};

/// Chooses a peer for a request: [`Balancer`] takes the choice. Err: there is
/// none, and nginx answers 500.
pub type Chooser = Box<dyn Fn(Request, &Rc<Balancer>) -> Result<(), NoPeer>>;

/// Our code did not choose; it has logged why.
pub struct NoPeer;

/// What we keep for an `upstream` block: the module's configuration there.
#[derive(Default)]
pub struct Upstream {
    chooser: Option<Chooser>,
    idle: IdlePeers,
}

/// A peer that was chosen.
struct Peer {
    address: RawAddress,
    /// As log messages have it: `127.0.0.1:80`.
    name: Vec<u8>,
    /// Its name for TLS.
    host: Option<Vec<u8>>,
    keepalive: Option<KeepaliveOptions>,
}

impl Peer {
    /// What an idle connection must have in common with one that is wanted:
    /// peer, name for TLS, and whether and how TLS protects it.
    ///
    /// # Safety
    /// `upstream` is live and has its settings.
    unsafe fn pool_key(&self, upstream: *const ngx_http_upstream_t) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or_default();
        // SAFETY: by the caller's promise.
        let tls = unsafe { tls_of(upstream) };
        [&self.name[..], b"/", host, b"/", &tls].concat()
    }
}

/// Tells connections with and without TLS apart, and those with TLS by their
/// settings: a location that verifies peers must not get a connection of one
/// that does not.
///
/// # Safety
/// As [`Peer::pool_key`].
#[cfg(ngx_feature = "http_ssl")]
unsafe fn tls_of(upstream: *const ngx_http_upstream_t) -> Vec<u8> {
    // SAFETY: by the caller's promise; settings live as long as the
    // configuration, and so do the idle connections.
    unsafe {
        let conf = &*(*upstream).conf;
        match conf.ssl.as_ref() {
            Some(ssl) if (*upstream).ssl() != 0 => {
                let context = ssl.ctx.addr().to_ne_bytes();
                let verifies = u8::from(conf.ssl_verify != 0);
                [&context[..], &[verifies]].concat()
            }
            _ => Vec::new(),
        }
    }
}

/// An nginx without TLS has one kind of connection only.
///
/// # Safety
/// None to keep.
#[cfg(not(ngx_feature = "http_ssl"))]
unsafe fn tls_of(_upstream: *const ngx_http_upstream_t) -> Vec<u8> {
    Vec::new()
}

/// How the attempt before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The peer answered, with a status that is tried elsewhere.
    Next,
    /// There was no sane answer.
    Failed,
}

/// The choice of a peer for one request, over all of its attempts.
#[derive(Default)]
pub struct Balancer {
    peer: RefCell<Option<Peer>>,
    /// Attempts so far, with the one that is being made.
    attempts: Cell<usize>,
    more_tries: Cell<Option<usize>>,
    last_failure: Cell<Option<Failure>>,
    /// The request has settings of its own, not those of its location.
    owns_settings: Cell<bool>,
}

/// nginx's data of the load balancer of a request: that of round robin first,
/// whose functions are called with it, too.
#[repr(C)]
struct PeerData {
    round_robin: ngx_http_upstream_rr_peer_data_t,
    request: *mut ngx_http_request_t,
    balancer: *const Balancer,
    upstream: *const Upstream,
    /// The last attempt's peer was chosen by us.
    is_ours: bool,
}

impl Conf<'_> {
    /// Has `chooser` choose the peers of the `upstream` block being read.
    ///
    /// # Safety
    /// `module` is ours, and [`Upstream`] what its create_srv_conf makes.
    pub unsafe fn set_balancer(&mut self, module: &'static ngx_module_t, chooser: Chooser) {
        // SAFETY: inside of an `upstream` block the parser's context has the
        // configurations that all modules made for it.
        let (nginx, ours) = unsafe {
            let http = (*self.as_ptr()).ctx.cast::<ngx_http_conf_ctx_t>();
            let conf = |module: &ngx_module_t| *(*http).srv_conf.add(module.ctx_index);
            let nginx = &raw const ngx_http_upstream_module;
            (
                &mut *conf(&*nginx).cast::<ngx_http_upstream_srv_conf_t>(),
                &mut *conf(module).cast::<Upstream>(),
            )
        };
        ours.chooser = Some(chooser);
        if nginx.peer.init_upstream.is_some() {
            self.log(Level::Warn, "load balancing method redefined");
        }
        nginx.peer.init_upstream = Some(init_upstream);
        nginx.flags = FLAGS as ngx_uint_t;
        PLACE.store(module.ctx_index, Ordering::Relaxed);
    }

    /// Sets how many connections to peers of the `upstream` block may be idle
    /// in a worker.
    ///
    /// # Safety
    /// As [`Conf::set_balancer`].
    pub unsafe fn set_idle_peers(&mut self, module: &'static ngx_module_t, limit: usize) {
        // SAFETY: as above.
        let ours = unsafe {
            let http = (*self.as_ptr()).ctx.cast::<ngx_http_conf_ctx_t>();
            &mut *(*(*http).srv_conf.add(module.ctx_index)).cast::<Upstream>()
        };
        ours.idle.set_limit(limit);
    }
}

/// The parameters of `server` that our code leaves to round robin.
const FLAGS: u32 = NGX_HTTP_UPSTREAM_CREATE
    | NGX_HTTP_UPSTREAM_WEIGHT
    | NGX_HTTP_UPSTREAM_MAX_CONNS
    | NGX_HTTP_UPSTREAM_MAX_FAILS
    | NGX_HTTP_UPSTREAM_FAIL_TIMEOUT
    | NGX_HTTP_UPSTREAM_DOWN
    | NGX_HTTP_UPSTREAM_BACKUP;

/// Where the hooks below find [`Upstream`] among the modules' configurations.
static PLACE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn init_upstream(
    cf: *mut ngx_conf_t,
    upstream: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: nginx passes its live parser and upstream.
    unsafe {
        let rc = ngx_http_upstream_init_round_robin(cf, upstream);
        if rc == NGX_OK as ngx_int_t {
            (*upstream).peer.init = Some(init_peer);
        }
        rc
    }
}

/// A request is to be sent upstream.
unsafe extern "C" fn init_peer(
    r: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx passes a live request that has an upstream, and the
        // upstream's configuration, which outlives it. Round robin uses the
        // data that it finds, whose first member is its own.
        unsafe {
            let data = ngx_pcalloc((*r).pool, size_of::<PeerData>()).cast::<PeerData>();
            let balancer = Rc::new(Balancer::default());
            if data.is_null() {
                return NGX_ERROR as ngx_int_t;
            }
            (*data).request = r;
            (*data).balancer = Rc::as_ptr(&balancer);
            (*data).upstream = (*(*upstream).srv_conf.add(PLACE.load(Ordering::Relaxed))).cast();
            if !on_pool_destroyed((*r).pool, move || drop(balancer)) {
                return NGX_ERROR as ngx_int_t;
            }
            let peer = &raw mut (*(*r).upstream).peer;
            (*peer).data = data.cast();
            if ngx_http_upstream_init_round_robin_peer(r, upstream) != NGX_OK as ngx_int_t {
                return NGX_ERROR as ngx_int_t;
            }
            (*peer).get = Some(get);
            (*peer).free = Some(free);
            #[cfg(ngx_feature = "http_ssl")]
            {
                (*peer).set_session = Some(set_session);
                (*peer).save_session = Some(save_session);
            }
        }
        NGX_OK as ngx_int_t
    })
}

/// An attempt begins: nginx wants a peer, or a connection to one.
unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        let data = data.cast::<PeerData>();
        // SAFETY: `init_peer` made the data, in the memory of the request,
        // which is live while nginx asks for peers of it, and keeps the
        // balancer as long.
        unsafe {
            let request = Request::from_raw(NonNull::new_unchecked((*data).request));
            let balancer = (*data).balancer;
            Rc::increment_strong_count(balancer);
            let balancer = Rc::from_raw(balancer);
            let upstream = &*(*data).upstream;
            balancer.attempts.set(balancer.attempts.get() + 1);
            (*data).is_ours = false;
            let chosen = upstream.chooser.as_ref().map(|f| f(request, &balancer));
            if !matches!(chosen, Some(Ok(()))) {
                return NGX_ERROR as ngx_int_t;
            }
            if let Some(more) = balancer.more_tries.take() {
                (*pc).tries = more + 1;
            }
            let peer = balancer.peer.take();
            let Some(peer) = peer else {
                return ngx_http_upstream_get_round_robin_peer(pc, data.cast());
            };
            (*data).is_ours = true;
            let rc = connect_to(request, pc, &peer, &upstream.idle);
            *balancer.peer.borrow_mut() = Some(peer);
            rc
        }
    })
}

/// Tells nginx where to connect to, or hands it an idle connection.
///
/// # Safety
/// `pc` is the live peer connection of the request.
unsafe fn connect_to(
    request: Request,
    pc: *mut ngx_peer_connection_t,
    peer: &Peer,
    idle: &IdlePeers,
) -> ngx_int_t {
    let (address, len) = peer.address.parts();
    // SAFETY: the request is live; nginx needs address and name as long as it
    // is, and gets them in its memory.
    unsafe {
        let copy = ngx_palloc(request.pool(), len as usize).cast::<u8>();
        let name = ngx_palloc(request.pool(), size_of::<ngx_str_t>()).cast::<ngx_str_t>();
        let text = request.copy(&[&peer.name]);
        let (Some(text), false, false) = (text, copy.is_null(), name.is_null()) else {
            return NGX_ERROR as ngx_int_t;
        };
        ptr::copy_nonoverlapping(address.cast::<u8>(), copy, len as usize);
        name.write(text);
        (*pc).sockaddr = copy.cast();
        (*pc).socklen = len;
        (*pc).name = name;
        (*pc).connection = ptr::null_mut();
        (*pc).set_cached(0);
        if let Some(host) = &peer.host {
            let Some(host) = request.copy(&[host]) else {
                return NGX_ERROR as ngx_int_t;
            };
            (*(*request.raw()).upstream).ssl_name = host;
        }
        if peer.keepalive.is_some() && idle.take(pc, &peer.pool_key((*request.raw()).upstream)) {
            return NGX_DONE as ngx_int_t;
        }
    }
    NGX_OK as ngx_int_t
}

/// An attempt has ended.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    guard((), || {
        let data = data.cast::<PeerData>();
        // SAFETY: as in `get`.
        unsafe {
            let balancer = &*(*data).balancer;
            let failed = state & NGX_PEER_FAILED as usize != 0;
            if failed {
                balancer.last_failure.set(Some(Failure::Failed));
            } else if state & NGX_PEER_NEXT as usize != 0 {
                balancer.last_failure.set(Some(Failure::Next));
            }
            if !(*data).is_ours {
                ngx_http_upstream_free_round_robin_peer(pc, data.cast(), state);
                return;
            }
            let peer = balancer.peer.take();
            if let Some(peer) = peer
                && let Some(options) = peer.keepalive
                && !failed
            {
                let upstream = (*(*data).request).upstream;
                (*(*data).upstream)
                    .idle
                    .put(pc, upstream, peer.pool_key(upstream), options);
            }
            if (*pc).tries > 0 {
                (*pc).tries -= 1;
            }
        }
    });
}

/// TLS sessions are kept by round robin, for its own peers.
#[cfg(ngx_feature = "http_ssl")]
unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: as in `get`.
    unsafe {
        if (*data.cast::<PeerData>()).is_ours {
            return NGX_OK as ngx_int_t;
        }
        nginx_sys::ngx_http_upstream_set_round_robin_peer_session(pc, data)
    }
}

#[cfg(ngx_feature = "http_ssl")]
unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: as in `get`.
    unsafe {
        if !(*data.cast::<PeerData>()).is_ours {
            nginx_sys::ngx_http_upstream_save_round_robin_peer_session(pc, data);
        }
    }
}
