//! `ngx.socket`: cosockets.

mod ahead;
mod connect;
mod object;
mod options;
mod owned;
mod receive;
mod send;
mod tls;
mod udp;

pub use object::{push_request_metatables, push_request_socket};
pub use owned::push_register;

use std::rc::Rc;

use super::{context, waiting_context};
use crate::conf;
use crate::sock::Error;
use crate::sys::context::Context;
use crate::sys::log::Level;
use crate::vm::{LuaResult, Ret, State, Throw};

/// Adds `ngx.socket` to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.new_table(0, 4);
    object::push_metatable(state);
    owned::push_register(state);
    state.push_value(-2);
    state.push_value(-2);
    state.push_closure(connect::socket_connect, 2);
    state.raw_set_field(-4, "connect");
    state.push_closure(tcp, 2);
    state.push_value(-1);
    state.raw_set_field(-3, "tcp");
    state.raw_set_field(-2, "stream");
    udp::push_metatable(state);
    owned::push_register(state);
    state.push_closure(udp::new, 2);
    state.raw_set_field(-2, "udp");
    state.raw_set_field(-2, "socket");
}

/// `ngx.socket.tcp()`; upvalues: the metatable, the register of objects.
fn tcp(state: &mut State) -> LuaResult {
    let context = constructor_context(state)?;
    object::push_new(state, &context, State::upvalue(1), State::upvalue(2));
    Ok(Ret::Values(1))
}

/// The running context, for a constructor: it takes no arguments.
fn constructor_context(state: &State) -> Result<Rc<Context>, Throw> {
    let n = state.top();
    if n != 0 {
        return Err(Throw::error(format!(
            "expecting zero arguments, but got {n}"
        )));
    }
    cosocket_context()
}

/// The running context, if cosockets may be used in it.
fn cosocket_context() -> Result<Rc<Context>, Throw> {
    waiting_context()
}

/// Whether `lua_socket_log_errors` is on where the handler runs.
fn log_errors() -> bool {
    conf::current().is_none_or(|conf| conf.socket.log_errors())
}

/// Logs a failed operation on a stream as `lua_socket_log_errors` says.
fn log_failure(error: &Error) {
    // What recv and send failed with, nginx itself has logged.
    if !matches!(error, Error::System { .. }) {
        log_line(error.log_line(None));
    }
}

/// Writes to error.log as `lua_socket_log_errors` says.
fn log_line(line: Option<String>) {
    if let Some(line) = line.filter(|_| log_errors())
        && let Ok(context) = context()
    {
        context.log(Level::Error, line);
    }
}
