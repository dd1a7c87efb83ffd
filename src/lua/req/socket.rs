//! `ngx.req.socket`.

use std::rc::Rc;

use crate::lua::output::options;
use crate::lua::request;
use crate::lua::socket::push_request_socket;
use crate::sys::context::Context;
use crate::sys::downstream::{Downstream, Unavailable};
use crate::vm::{LuaResult, Ret, State, Throw};

/// Adds to the `ngx.req` table on the top.
pub fn open(state: &mut State) {
    crate::lua::socket::push_request_metatable(state);
    state.push_closure(socket, 1);
    state.raw_set_field(-2, "socket");
}

/// `ngx.req.socket([raw])`
fn socket(state: &mut State) -> LuaResult {
    let n = state.top();
    if n > 1 {
        return Err(Throw::error(format!(
            "expecting 0 or 1 argument, but got {n}"
        )));
    }
    let raw = state.to_bool(1);
    let (context, request) = request()?;
    if request.is_subrequest() {
        return Err(Throw::error(
            "attempt to read the request body in a subrequest",
        ));
    }
    if !raw {
        return Ok(finish(state, &context, Downstream::body(request)));
    }
    match request.http_version() {
        2000 => return Err(Throw::error("http v2 not supported yet")),
        3000 => return Err(Throw::error("http v3 not supported yet")),
        _ => {}
    }
    if context.output.committed() && !context.output.eof() {
        // What nginx still holds back would come after what Lua sends.
        if let Err(error) = context.output.flush(request, options()) {
            return Ok(Ret::Values(state.push_nil_err(error.text())));
        }
    }
    let made = Downstream::raw(request);
    if made.is_ok() {
        context.output.hand_over();
    }
    Ok(finish(state, &context, made))
}

fn finish(state: &mut State, context: &Rc<Context>, made: Result<Downstream, Unavailable>) -> Ret {
    Ret::Values(match made {
        Ok(stream) => {
            push_request_socket(state, context, stream, State::upvalue(1));
            1
        }
        Err(why) => state.push_nil_err(why.text()),
    })
}
