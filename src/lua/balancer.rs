//! The module ngx.balancer: which peer of an upstream gets the request.

use std::rc::Rc;
use std::time::Duration;

use super::text::wrong_type;
use super::{context, disabled, preload};
use crate::sock::{HostPort, Target};
use crate::sys::address::RawAddress;
use crate::sys::balancer::{Balancer, BalancerError, Failure, Timeouts};
use crate::sys::net::parse_bind_address;
use crate::sys::request::Request;
use crate::vm::{LuaResult, Ret, State, Throw};

/// Has `require "ngx.balancer"` find the module.
pub fn open(state: &mut State) {
    preload(state, "ngx.balancer", |state| {
        state.new_table(0, 8);
        state.set_function("set_current_peer", set_current_peer);
        state.set_function("set_more_tries", set_more_tries);
        state.set_function("get_last_failure", get_last_failure);
        state.set_function("set_timeouts", set_timeouts);
        state.set_function("recreate_request", recreate_request);
        state.set_function("enable_keepalive", enable_keepalive);
        state.set_function("bind_to_local_addr", bind_to_local_addr);
        state.set_function("set_upstream_tls", set_upstream_tls);
        Ok(Ret::Values(1))
    });
}

/// The running code's balancer, and the request that it works for.
fn balancer() -> Result<(Rc<Balancer>, Request), Throw> {
    let context = context()?;
    match (context.subject::<Balancer>(), context.request()) {
        (Some(balancer), Some(request)) => Ok((balancer, request)),
        _ => Err(disabled(&context)),
    }
}

/// true, or nil and why not.
fn report(state: &State, result: Result<(), impl AsRef<str>>) -> LuaResult {
    Ok(Ret::Values(match result {
        Ok(()) => {
            state.push_bool(true);
            1
        }
        Err(e) => state.push_nil_err(e.as_ref()),
    }))
}

/// `ok, err = set_current_peer(address, port?, host?)`: `host` is the peer's
/// name for TLS.
fn set_current_peer(state: &mut State) -> LuaResult {
    let (balancer, _) = balancer()?;
    let Some(host) = state.bytes(1) else {
        return Err(wrong_type(state, 1, "string", 1));
    };
    let port = match state.number(2) {
        Some(port) if (0.0..=65535.0).contains(&port) => port as u16,
        Some(_) => return report(state, Err("bad port number")),
        None if state.is_none_or_nil(2) => 0,
        None => return Err(wrong_type(state, 2, "number", 2)),
    };
    let name = match state.bytes(3) {
        None if !state.is_none_or_nil(3) => return Err(wrong_type(state, 3, "string", 3)),
        name => name.map(<[u8]>::to_vec),
    };
    let target = match host.starts_with(b"unix:") {
        true => Target::Unix(host.into()),
        false => Target::Host {
            host: host.into(),
            port,
        },
    };
    let address = match target.parse() {
        Ok(HostPort::Address(address)) => address,
        Ok(HostPort::Name { .. }) => return report(state, Err("no host allowed")),
        Err(e) => return report(state, Err(e)),
    };
    let Some(raw) = RawAddress::of(&address) else {
        return report(state, Err("too long path in the unix domain socket"));
    };
    balancer.choose(raw, address.to_string().into_bytes(), name);
    report(state, Ok::<_, &str>(()))
}

/// `ok, err = set_more_tries(count)`
fn set_more_tries(state: &mut State) -> LuaResult {
    let (balancer, request) = balancer()?;
    let wanted = match state.number(1) {
        Some(n) if n >= 0.0 => n as usize,
        Some(_) => return Err(Throw::argument(1, "a number of tries expected")),
        None => return Err(wrong_type(state, 1, "number", 1)),
    };
    let granted = balancer.set_more_tries(request, wanted);
    state.push_bool(true);
    if granted == wanted {
        return Ok(Ret::Values(1));
    }
    state.push_bytes("reduced tries due to limit");
    Ok(Ret::Values(2))
}

/// `state, status = get_last_failure()`
fn get_last_failure(state: &mut State) -> LuaResult {
    let (balancer, request) = balancer()?;
    let Some((failure, status)) = balancer.last_failure(request) else {
        state.push_nil();
        return Ok(Ret::Values(1));
    };
    state.push_bytes(match failure {
        Failure::Next => "next",
        Failure::Failed => "failed",
    });
    state.push_int(status as i64);
    Ok(Ret::Values(2))
}

/// `ok, err = set_timeouts(connect?, send?, read?)`, in seconds.
fn set_timeouts(state: &mut State) -> LuaResult {
    let (balancer, request) = balancer()?;
    let timeout = |n, what| -> Result<Option<Duration>, Throw> {
        if state.is_none_or_nil(n) {
            return Ok(None);
        }
        let seconds = state.number(n);
        let seconds = seconds.ok_or_else(|| wrong_type(state, n, "number", n))?;
        // Whole milliseconds, as nginx has it; it wraps after some weeks.
        let msec = (seconds * 1000.0).round();
        if !(1.0..2_147_483_648.0).contains(&msec) {
            return Err(Throw::error(format!("bad {what} timeout")));
        }
        Ok(Some(Duration::from_millis(msec as u64)))
    };
    let timeouts = Timeouts {
        connect: timeout(1, "connect")?,
        send: timeout(2, "send")?,
        read: timeout(3, "read")?,
    };
    let result = balancer.set_timeouts(request, &timeouts);
    report(state, result.map_err(BalancerError::text))
}

/// `ok, err = recreate_request()`
fn recreate_request(state: &mut State) -> LuaResult {
    let (balancer, request) = balancer()?;
    let result = balancer.recreate_request(request);
    report(state, result.map_err(BalancerError::text))
}

/// Seconds and requests where `enable_keepalive` is not told.
const KEEPALIVE: (f64, f64) = (60.0, 100.0);

/// `ok, err = enable_keepalive(idle_timeout?, max_requests?)`; 0 is no limit.
fn enable_keepalive(state: &mut State) -> LuaResult {
    let (balancer, _) = balancer()?;
    let limit = |n, default| match state.number(n) {
        Some(limit) if limit >= 0.0 => Ok(limit),
        Some(_) => Err(Throw::argument(n, "must not be negative")),
        None if state.is_none_or_nil(n) => Ok(default),
        None => Err(wrong_type(state, n, "number", n)),
    };
    let (seconds, requests) = (limit(1, KEEPALIVE.0)?, limit(2, KEEPALIVE.1)?);
    // More than some weeks is no limit, too: nginx's timers wrap.
    let idle = (seconds > 0.0 && seconds < 2_147_483.0)
        .then(|| Duration::from_secs_f64(seconds.max(0.001)));
    let requests = (requests >= 1.0).then_some(requests as usize);
    let result = balancer.keep_alive(idle, requests);
    report(state, result.map_err(BalancerError::text))
}

/// `ok, err = bind_to_local_addr(address)`
fn bind_to_local_addr(state: &mut State) -> LuaResult {
    let (balancer, request) = balancer()?;
    let Some(text) = state.bytes(1) else {
        return Err(wrong_type(state, 1, "string", 1));
    };
    let Some(address) = str::from_utf8(text).ok().and_then(parse_bind_address) else {
        return report(state, Err("bad address"));
    };
    let result = balancer.bind_to(request, &RawAddress::inet(address), text);
    report(state, result.map_err(BalancerError::text))
}

/// `ok, err = set_upstream_tls(on)`
fn set_upstream_tls(state: &mut State) -> LuaResult {
    let (balancer, request) = balancer()?;
    let result = balancer.set_tls(request, state.to_bool(1));
    report(state, result.map_err(BalancerError::text))
}
