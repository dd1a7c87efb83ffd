//! `ngx.status` and `ngx.headers_sent`.

use super::fields::{Field, VALUE};
use super::{only_request, request};
use crate::sys::log::Level;
use crate::vm::{LuaResult, Ret, State, Throw};

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

fn set_status(state: &mut State) -> LuaResult {
    let (context, request) = request()?;
    let status = state.number(VALUE).ok_or_else(|| {
        Throw::argument(
            VALUE,
            format!("number expected, got {}", state.type_name(VALUE)),
        )
    })?;
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
