//! `ngx.exit`, `ngx.get_phase`, `ngx.null` and the constants.

use super::status::{MAX_STATUS, invalid_status};
use super::text::wrong_type;
use super::{context, disabled};
use crate::sys::context::current;
use crate::sys::log::Level;
use crate::sys::phase::{Phase, Phases};
use crate::vm::{LuaResult, Ret, State, Throw, sched};

/// Where `ngx.exit` means something.
const MAY_EXIT: Phases = Phases::BEFORE_RESPONSE
    .and(Phase::Timer)
    .and(Phase::ProxySslCertificate)
    .and(Phase::ProxySslVerify)
    .and(Phase::HeaderFilter)
    .and(Phase::Balancer)
    .and(Phase::SslClientHello)
    .and(Phase::SslSessionFetch)
    .and(Phase::SslCertificate)
    .and(Phase::SslSessionStore);

const AGAIN: i32 = -2;
const DONE: i32 = -4;

const CORE: [(&str, i64); 5] = [
    ("OK", 0),
    ("ERROR", -1),
    ("AGAIN", AGAIN as i64),
    ("DONE", DONE as i64),
    ("DECLINED", -5),
];

/// Constants for methods, with nginx's numbers.
pub const METHODS: [(&str, i64); 15] = [
    ("HTTP_GET", 0x0002),
    ("HTTP_HEAD", 0x0004),
    ("HTTP_POST", 0x0008),
    ("HTTP_PUT", 0x0010),
    ("HTTP_DELETE", 0x0020),
    ("HTTP_MKCOL", 0x0040),
    ("HTTP_COPY", 0x0080),
    ("HTTP_MOVE", 0x0100),
    ("HTTP_OPTIONS", 0x0200),
    ("HTTP_PROPFIND", 0x0400),
    ("HTTP_PROPPATCH", 0x0800),
    ("HTTP_LOCK", 0x1000),
    ("HTTP_UNLOCK", 0x2000),
    ("HTTP_PATCH", 0x4000),
    ("HTTP_TRACE", 0x8000),
];

const STATUSES: [(&str, i64); 42] = [
    ("HTTP_CONTINUE", 100),
    ("HTTP_SWITCHING_PROTOCOLS", 101),
    ("HTTP_OK", 200),
    ("HTTP_CREATED", 201),
    ("HTTP_ACCEPTED", 202),
    ("HTTP_NO_CONTENT", 204),
    ("HTTP_PARTIAL_CONTENT", 206),
    ("HTTP_SPECIAL_RESPONSE", 300),
    ("HTTP_MOVED_PERMANENTLY", 301),
    ("HTTP_MOVED_TEMPORARILY", 302),
    ("HTTP_SEE_OTHER", 303),
    ("HTTP_NOT_MODIFIED", 304),
    ("HTTP_TEMPORARY_REDIRECT", 307),
    ("HTTP_PERMANENT_REDIRECT", 308),
    ("HTTP_BAD_REQUEST", 400),
    ("HTTP_UNAUTHORIZED", 401),
    ("HTTP_PAYMENT_REQUIRED", 402),
    ("HTTP_FORBIDDEN", 403),
    ("HTTP_NOT_FOUND", 404),
    ("HTTP_NOT_ALLOWED", 405),
    ("HTTP_NOT_ACCEPTABLE", 406),
    ("HTTP_REQUEST_TIMEOUT", 408),
    ("HTTP_CONFLICT", 409),
    ("HTTP_GONE", 410),
    ("HTTP_PRECONDITION_FAILED", 412),
    ("HTTP_REQUEST_ENTITY_TOO_LARGE", 413),
    ("HTTP_REQUEST_URI_TOO_LARGE", 414),
    ("HTTP_UNSUPPORTED_MEDIA_TYPE", 415),
    ("HTTP_RANGE_NOT_SATISFIABLE", 416),
    ("HTTP_UPGRADE_REQUIRED", 426),
    ("HTTP_TOO_MANY_REQUESTS", 429),
    ("HTTP_CLOSE", 444),
    ("HTTP_ILLEGAL", 451),
    ("HTTP_CLIENT_CLOSED_REQUEST", 499),
    ("HTTP_INTERNAL_SERVER_ERROR", 500),
    ("HTTP_NOT_IMPLEMENTED", 501),
    ("HTTP_METHOD_NOT_IMPLEMENTED", 501),
    ("HTTP_BAD_GATEWAY", 502),
    ("HTTP_SERVICE_UNAVAILABLE", 503),
    ("HTTP_GATEWAY_TIMEOUT", 504),
    ("HTTP_VERSION_NOT_SUPPORTED", 505),
    ("HTTP_INSUFFICIENT_STORAGE", 507),
];

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    for (name, value) in CORE.into_iter().chain(METHODS).chain(STATUSES) {
        state.push_int(value);
        state.raw_set_field(-2, name);
    }
    state.push_null();
    state.raw_set_field(-2, "null");
    state.set_function("exit", exit);
    state.set_function("get_phase", |state| {
        // Outside of any handler the configuration is being read.
        state.push_bytes(current().map_or(Phase::Init, |c| c.phase()).name());
        Ok(Ret::Values(1))
    });
}

/// `ngx.exit(status)`
fn exit(state: &mut State) -> LuaResult {
    if state.top() != 1 {
        return Err(Throw::error(format!(
            "expecting 1 argument, but got {}",
            state.top()
        )));
    }
    let status = state
        .number(1)
        .ok_or_else(|| wrong_type(state, 1, "number", 1))? as i32;
    if matches!(status, AGAIN | DONE) {
        return Err(Throw::error(
            "bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE",
        ));
    }
    if status > MAX_STATUS as i32 {
        return Err(invalid_status(1, state));
    }
    let context = context()?;
    if !MAY_EXIT.contains(context.phase()) {
        return Err(disabled(&context));
    }
    let request = context.request();
    let mut code = status;
    // Connection-level codes still make sense after the header was sent.
    if let Some(request) = request.filter(|&request| context.header_is_final(request))
        && status >= 300
        && !matches!(status, 408 | 444 | 499)
    {
        if status as usize != request.status() {
            context.log(
                Level::Error,
                format!(
                    "attempt to set status {status} via ngx.exit after sending out the response status {}",
                    request.status()
                ),
            );
        }
        code = 200;
    }
    if !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    sched::request_exit(code);
    Ok(Ret::Yield(0))
}
