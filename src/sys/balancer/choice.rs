//! What the code of a balancer decides: the peer, and settings of the attempt.

use core::ptr;
use std::time::Duration;

use nginx_sys::{
    NGX_OK, ngx_addr_t, ngx_http_upstream_conf_t, ngx_http_upstream_state_t, ngx_http_upstream_t,
    ngx_msec_t, ngx_palloc, ngx_pcalloc,
};

use super::keepalive::KeepaliveOptions;
use super::{Balancer, Failure, Peer};
use crate::sys::address::RawAddress;
use crate::sys::request::Request;

/// Why a decision could not be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BalancerError {
    /// No peer was chosen before.
    NoPeer,
    /// nginx has prepared no TLS: the scheme is `http`.
    NoTls,
    /// The request could not be made anew.
    NoRequest,
    /// Memory is short.
    Memory,
}

impl BalancerError {
    /// The text for Lua.
    pub fn text(self) -> &'static str {
        match self {
            BalancerError::NoPeer => "no current peer set",
            BalancerError::NoTls => "the upstream has no TLS configured",
            BalancerError::NoRequest => "failed to recreate the request",
            BalancerError::Memory => "no memory",
        }
    }
}

/// Timeouts of an attempt; None keeps what applies.
pub struct Timeouts {
    pub connect: Option<Duration>,
    pub send: Option<Duration>,
    pub read: Option<Duration>,
}

impl Balancer {
    /// Sends the attempt to `address`, which log messages call `name`; `host`
    /// is its name for TLS.
    pub fn choose(&self, address: RawAddress, name: Vec<u8>, host: Option<Vec<u8>>) {
        let peer = Peer {
            address,
            name,
            host,
            keepalive: None,
        };
        *self.peer.borrow_mut() = Some(peer);
    }

    /// Keeps the connection of the attempt for a later request: idle for at
    /// most that long, for at most so many requests; None is no limit.
    ///
    /// # Errors
    /// No peer was chosen.
    pub fn keep_alive(
        &self,
        idle: Option<Duration>,
        requests: Option<usize>,
    ) -> Result<(), BalancerError> {
        let mut peer = self.peer.borrow_mut();
        let peer = peer.as_mut().ok_or(BalancerError::NoPeer)?;
        peer.keepalive = Some(KeepaliveOptions { idle, requests });
        Ok(())
    }

    /// How often other attempts may follow this one. Returns how often they
    /// really may: `proxy_next_upstream_tries` limits all of them together.
    pub fn set_more_tries(&self, request: Request, count: usize) -> usize {
        // SAFETY: the upstream of the live request, with its settings.
        let limit = unsafe { (*(*upstream(request)).conf).next_upstream_tries };
        let count = match limit {
            0 => count,
            limit => count.min(limit.saturating_sub(self.attempts.get())),
        };
        self.more_tries.set(Some(count));
        count
    }

    /// How the attempt before this one failed, and with which status; None for
    /// the first one.
    pub fn last_failure(&self, request: Request) -> Option<(Failure, usize)> {
        let failure = self.last_failure.get()?;
        // SAFETY: the live request has a list of its attempts, with this one.
        let status = unsafe {
            let states = (*request.raw()).upstream_states.as_ref()?;
            let states = states.as_slice::<ngx_http_upstream_state_t>();
            states.get(states.len().checked_sub(2)?)?.status
        };
        Some((failure, status))
    }

    /// Sets the timeouts of this attempt and those after it.
    ///
    /// # Errors
    /// Memory is short.
    pub fn set_timeouts(&self, request: Request, timeouts: &Timeouts) -> Result<(), BalancerError> {
        let conf = self.own_settings(request)?;
        let msec = |time: Duration| time.as_millis() as ngx_msec_t;
        // SAFETY: the copy belongs to the live request alone.
        unsafe {
            if let Some(time) = timeouts.connect {
                (*conf).connect_timeout = msec(time);
            }
            if let Some(time) = timeouts.send {
                (*conf).send_timeout = msec(time);
            }
            if let Some(time) = timeouts.read {
                (*conf).read_timeout = msec(time);
            }
        }
        Ok(())
    }

    /// Connects from `address`.
    ///
    /// # Errors
    /// Memory is short.
    pub fn bind_to(
        &self,
        request: Request,
        address: &RawAddress,
        name: &[u8],
    ) -> Result<(), BalancerError> {
        let (sockaddr, len) = address.parts();
        let name = request.copy(&[name]).ok_or(BalancerError::Memory)?;
        // SAFETY: the live request keeps its copies as long as nginx needs
        // them.
        unsafe {
            let copy = ngx_palloc(request.pool(), len as usize).cast::<u8>();
            let local = ngx_pcalloc(request.pool(), size_of::<ngx_addr_t>()).cast::<ngx_addr_t>();
            if copy.is_null() || local.is_null() {
                return Err(BalancerError::Memory);
            }
            ptr::copy_nonoverlapping(sockaddr.cast::<u8>(), copy, len as usize);
            (*local).sockaddr = copy.cast();
            (*local).socklen = len;
            (*local).name = name;
            (*upstream(request)).peer.local = local;
        }
        Ok(())
    }

    /// Makes the request for the upstream again, with what has changed since.
    ///
    /// # Errors
    /// nginx could not.
    pub fn recreate_request(&self, request: Request) -> Result<(), BalancerError> {
        let u = upstream(request);
        // SAFETY: as nginx does it for the first attempt: the body, if any, is
        // what the new request is made around.
        unsafe {
            if let Some(body) = (*request.raw()).request_body.as_ref() {
                (*u).request_bufs = body.bufs;
            }
            let create = (*u).create_request.ok_or(BalancerError::NoRequest)?;
            if create(request.raw()) != NGX_OK as isize {
                return Err(BalancerError::NoRequest);
            }
        }
        Ok(())
    }

    /// Turns TLS to the peer off, or on again.
    ///
    /// # Errors
    /// nginx has prepared no TLS for the location.
    #[cfg(ngx_feature = "http_ssl")]
    pub fn set_tls(&self, request: Request, on: bool) -> Result<(), BalancerError> {
        let u = upstream(request);
        // SAFETY: the upstream of the live request, with its settings.
        unsafe {
            if on && ((*(*u).conf).ssl.is_null() || (*(*(*u).conf).ssl).ctx.is_null()) {
                return Err(BalancerError::NoTls);
            }
            (*u).set_ssl(on.into());
        }
        Ok(())
    }

    /// Settings that can be changed for this request only.
    fn own_settings(
        &self,
        request: Request,
    ) -> Result<*mut ngx_http_upstream_conf_t, BalancerError> {
        let u = upstream(request);
        // SAFETY: the upstream of the live request; nginx reads its settings
        // through this pointer only, and the copy lives as long.
        unsafe {
            if !self.owns_settings.get() {
                let size = size_of::<ngx_http_upstream_conf_t>();
                let copy = ngx_palloc(request.pool(), size).cast::<ngx_http_upstream_conf_t>();
                if copy.is_null() {
                    return Err(BalancerError::Memory);
                }
                ptr::copy_nonoverlapping((*u).conf, copy, 1);
                (*u).conf = copy;
                self.owns_settings.set(true);
            }
            Ok((*u).conf)
        }
    }
}

/// The upstream of a request that a balancer works for.
fn upstream(request: Request) -> *mut ngx_http_upstream_t {
    // SAFETY: the request is live. nginx has made its upstream before it asks
    // for a peer.
    unsafe { (*request.raw()).upstream }
}
