//! nginx's resolver as a future.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ngx::ffi::{
    NGX_OK, ngx_cycle, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_module, ngx_int_t, ngx_msec_t, ngx_resolve_name, ngx_resolve_name_done,
    ngx_resolve_start, ngx_resolver_ctx_t, ngx_resolver_strerror, ngx_resolver_t, ngx_str_t,
};

use super::entry::guard;
use crate::sock::ResolveError;

/// nginx's `resolver_timeout` where none is set.
const DEFAULT_TIMEOUT: ngx_msec_t = 30_000;

/// Bytes of a name, and of one of its parts, in DNS.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

type Answer = Result<Vec<IpAddr>, ResolveError>;

/// The `resolver` directive of a location, with its timeout.
#[derive(Clone, Copy)]
pub struct Resolver {
    /// May be null where the context has no resolver.
    pub(super) resolver: *mut ngx_resolver_t,
    /// `resolver_timeout` in milliseconds.
    pub(super) timeout: ngx_msec_t,
}

struct Shared {
    /// The query, while nginx works on it.
    query: Cell<*mut ngx_resolver_ctx_t>,
    answer: RefCell<Option<Answer>>,
    waker: RefCell<Option<Waker>>,
}

/// A running query. Dropping it cancels it.
struct Query {
    shared: Rc<Shared>,
    // nginx refers to the name until the query is done.
    _name: Box<[u8]>,
}

impl Resolver {
    /// The directive at the `http` level, for handlers without a request.
    pub(super) fn of_worker() -> Option<Resolver> {
        // SAFETY: the cycle is live; a module without configuration has null
        // in its place, and `http` has one for the core module.
        unsafe {
            let http =
                (*(*ngx_cycle).conf_ctx.add(ngx_http_module.index)).cast::<ngx_http_conf_ctx_t>();
            let http = http.as_ref()?;
            let core = (*http.loc_conf.add(ngx_http_core_module.ctx_index))
                .cast::<ngx_http_core_loc_conf_t>()
                .as_ref()?;
            (!core.resolver.is_null()).then_some(Resolver {
                resolver: core.resolver,
                // nginx fills in defaults for locations only.
                timeout: match core.resolver_timeout {
                    ngx_msec_t::MAX => DEFAULT_TIMEOUT,
                    timeout => timeout,
                },
            })
        }
    }

    /// Resolves `host` to addresses, IPv4 and IPv6 as the directive says.
    pub async fn resolve(self, host: &str) -> Answer {
        Query::start(self, host)?.await
    }
}

impl Query {
    fn start(resolver: Resolver, host: &str) -> Result<Query, ResolveError> {
        // SAFETY: it is null or belongs to the live configuration. Without the
        // directive nginx makes one that has no server.
        let servers = unsafe { resolver.resolver.as_ref() }.map_or(0, |r| r.connections.nelts);
        if servers == 0 {
            return Err(ResolveError::NoResolver);
        }
        if !is_name(host) {
            return Err(ResolveError::host_not_found());
        }
        // nginx turns it to lower case in place.
        let mut name: Box<[u8]> = host.as_bytes().into();
        let name_str = ngx_str_t {
            len: name.len(),
            data: name.as_mut_ptr(),
        };
        // SAFETY: zeros are nginx's initial state; the resolver belongs to
        // the live configuration.
        let query = unsafe {
            let mut template: ngx_resolver_ctx_t = std::mem::zeroed();
            template.name = name_str;
            ngx_resolve_start(resolver.resolver, &mut template)
        };
        if query.is_null() {
            return Err(ResolveError::NotStarted);
        }
        let shared = Rc::new(Shared {
            query: Cell::new(query),
            answer: RefCell::new(None),
            waker: RefCell::new(None),
        });
        // SAFETY: the query is live until done or failed; the name outlives
        // it. The handler finds `shared`, which stays until Drop has ended
        // the query.
        let rc = unsafe {
            (*query).name = name_str;
            (*query).handler = Some(on_answer);
            (*query).data = Rc::as_ptr(&shared).cast_mut().cast();
            (*query).timeout = resolver.timeout;
            ngx_resolve_name(query)
        };
        if rc != NGX_OK as ngx_int_t {
            // nginx has freed the query.
            shared.query.set(ptr::null_mut());
            return Err(ResolveError::NotStarted);
        }
        Ok(Query {
            shared,
            _name: name,
        })
    }
}

/// Whether `host` fits into a DNS query; nginx would send nonsense for a part
/// that is too long.
fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    name.len() <= MAX_NAME && name.split('.').all(|l| (1..=MAX_LABEL).contains(&l.len()))
}

/// nginx's callback; it may come before `ngx_resolve_name` has returned.
unsafe extern "C" fn on_answer(query: *mut ngx_resolver_ctx_t) {
    guard((), || {
        // SAFETY: nginx passes the live query; its data is the Shared that
        // the Query keeps until it has ended the query.
        let waker = unsafe {
            let shared = &*(*query).data.cast::<Shared>();
            *shared.answer.borrow_mut() = Some(read_answer(query));
            shared.query.set(ptr::null_mut());
            ngx_resolve_name_done(query);
            shared.waker.borrow_mut().take()
        };
        // Not at once: nginx walks a list of those who wait for the same name, and Lua
        // may cancel the next of them.
        if let Some(waker) = waker {
            waker.wake();
        }
    });
}

/// # Safety
/// `query` must be live and answered.
unsafe fn read_answer(query: *mut ngx_resolver_ctx_t) -> Answer {
    // SAFETY: by the caller's promise; nginx's text is a static C string, and
    // `addrs` points to `naddrs` addresses.
    unsafe {
        let state = (*query).state;
        if state != 0 {
            let text = CStr::from_ptr(ngx_resolver_strerror(state));
            return Err(ResolveError::Failed {
                code: state as i32,
                text: text.to_string_lossy().into(),
            });
        }
        let mut addresses = Vec::with_capacity((*query).naddrs);
        for i in 0..(*query).naddrs {
            let sockaddr = (*(*query).addrs.add(i)).sockaddr;
            match i32::from((*sockaddr).sa_family) {
                libc::AF_INET => {
                    let v4 = sockaddr.cast::<libc::sockaddr_in>();
                    let octets = (*v4).sin_addr.s_addr.to_ne_bytes();
                    addresses.push(IpAddr::V4(Ipv4Addr::from(octets)));
                }
                libc::AF_INET6 => {
                    let v6 = sockaddr.cast::<libc::sockaddr_in6>();
                    addresses.push(IpAddr::V6(Ipv6Addr::from((*v6).sin6_addr.s6_addr)));
                }
                _ => {}
            }
        }
        Ok(addresses)
    }
}

impl Future for Query {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        if let Some(answer) = self.shared.answer.borrow_mut().take() {
            return Poll::Ready(answer);
        }
        *self.shared.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        let query = self.shared.query.replace(ptr::null_mut());
        if !query.is_null() {
            // SAFETY: the query is still running; this ends it and keeps
            // nginx from calling on_answer.
            unsafe { ngx_resolve_name_done(query) };
        }
    }
}
