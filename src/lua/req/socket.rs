//! `ngx.req.socket`.

use crate::lua::output::options;
use crate::lua::request_in;
use crate::lua::socket::{push_register, push_request_metatables, push_request_socket};
use crate::sock::Error;
use crate::sys::context::Context;
use crate::sys::downstream::{Downstream, Unavailable};
use crate::sys::output::OutputError;
use crate::sys::phase::Phases;
use crate::sys::request::Request;
use crate::vm::{LuaResult, Ret, State, Throw};

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    push_request_metatables(state);
    push_register(state);
    state.push_closure(socket, 3);
    state.raw_set_field(-2, "socket");
}

/// `ngx.req.socket([raw])`; upvalues: the metatables of body and raw sockets, the
/// register of objects.
fn socket(state: &mut State) -> LuaResult {
    let n = state.top();
    if n > 1 {
        return Err(Throw::error(format!(
            "expecting 0 or 1 argument, but got {n}"
        )));
    }
    let raw = state.to_bool(1);
    let (context, request) = request_in(Phases::BEFORE_RESPONSE)?;
    if request.is_subrequest() {
        return Err(Throw::error(
            "attempt to read the request body in a subrequest",
        ));
    }
    let (made, metatable) = if raw {
        match request.http_version() {
            2000 => return Err(Throw::error("http v2 not supported yet")),
            3000 => return Err(Throw::error("http v3 not supported yet")),
            _ => (raw_socket(&context, request), State::upvalue(2)),
        }
    } else {
        let made = Downstream::body(request).map_err(Unavailable::text);
        (made, State::upvalue(1))
    };
    Ok(Ret::Values(match made {
        Ok(stream) => {
            push_request_socket(state, &context, stream, metatable, State::upvalue(3));
            1
        }
        Err(why) => state.push_nil_err(why),
    }))
}

fn raw_socket(context: &Context, request: Request) -> Result<Downstream, &'static str> {
    let output = &context.output;
    if output.handed_over() {
        return Err(Unavailable::Duplicate.text());
    }
    if output.committed() && !output.eof() {
        // What nginx still holds back would come after what Lua sends.
        output
            .flush(request, options())
            .map_err(|error| match error {
                OutputError::Http10Buffering => "http 1.0 buffering",
                error => error.text(),
            })?;
    }
    // A socket that has read the body gives way, unless a thread waits for it or
    // has not taken all.
    let body = match context.request_socket().map(|body| body.exclusive()) {
        Some(Err(Error::Busy(_))) => return Err(Unavailable::BodyBeingRead.text()),
        Some(Ok(body)) if body.has_unread() => return Err(Unavailable::BodyBeingRead.text()),
        Some(Ok(body)) => Some(body),
        Some(Err(_)) | None => None,
    };
    let stream = Downstream::raw(request).map_err(Unavailable::text)?;
    if let Some(body) = body {
        body.close();
    }
    output.hand_over();
    Ok(stream)
}
