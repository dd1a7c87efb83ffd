//! `ngx.status` and `ngx.headers_sent`.

use std::os::raw::c_int;

use super::fields::{Field, VALUE};
use super::text::wrong_type;
use super::{only_request, request};
use crate::sys::log::Level;
use crate::vm::{LuaResult, Ret, State, Throw};

/// A status line has three digits for it.
pub const MAX_STATUS: usize = 999;

/// `ngx.status`: status of the response, 0 while nobody has set it.
pub const STATUS: Field = Field {
    name: "status",
    get: |state| {
        let request = only_request()?;
        state.push_int(request.status() as i64);
        Ok(Ret::Values(1))
    },
    set: Some(set_status),
};

/// `ngx.headers_sent`: whether it is too late to change the header.
pub const HEADERS_SENT: Field = Field {
    name: "headers_sent",
    get: |state| {
        let (context, request) = request()?;
        state.push_bool(context.header_is_final(request));
        Ok(Ret::Values(1))
    },
    set: None,
};

/// The error for the argument `idx`, a number that is no status.
pub fn invalid_status(idx: c_int, state: &State) -> Throw {
    let text = String::from_utf8_lossy(state.bytes(idx).unwrap_or_default());
    Throw::argument(idx, format!("invalid status {text}"))
}

fn set_status(state: &mut State) -> LuaResult {
    let (context, request) = request()?;
    let status = state
        .number(VALUE)
        .ok_or_else(|| wrong_type(state, VALUE, "number", VALUE))?;
    if !(0.0..=MAX_STATUS as f64).contains(&status) {
        return Err(invalid_status(VALUE, state));
    }
    if context.header_is_final(request) {
        context.log(
            Level::Error,
            "attempt to set ngx.status after sending out response headers",
        );
    } else {
        request.set_status(status as usize);
    }
    Ok(Ret::Values(0))
}
