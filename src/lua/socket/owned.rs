//! What socket objects of every kind have in common: a Lua table that holds
//! the socket at index 1, so that code may keep fields of its own in it.

use std::os::raw::c_int;
use std::rc::Rc;

use super::context;
use crate::sock::Buffers;
use crate::sys::context::{Context, OwnedSocket, Socket};
use crate::vm::{State, Throw, Type};

/// Place of the userdata in the object.
const SOCKET: c_int = 1;
/// Place of what the next handshake presents, once something is set.
pub const TLS_OPTIONS: c_int = 2;

/// The receive buffers that all sockets of the worker share.
pub fn buffers() -> Buffers {
    thread_local! {
        static BUFFERS: Buffers = Buffers::new();
    }
    BUFFERS.with(Clone::clone)
}

/// Pushes an object for `socket`, which `context` owns from now on.
pub fn push_object<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    context: &Rc<Context>,
    socket: S,
    metatable: c_int,
) {
    state.new_table(1, 2);
    state.push_userdata(context.adopt_socket(socket));
    state.raw_seti(-2, SOCKET);
    state.push_value(metatable);
    state.set_metatable(-2);
}

/// What `f` makes of the socket in the object at `idx`.
fn with_socket<S: Clone + Into<Socket> + 'static, R>(
    state: &mut State,
    idx: c_int,
    f: impl FnOnce(&OwnedSocket<S>) -> R,
) -> Result<R, Throw> {
    let found = if state.type_of(idx) == Type::Table {
        state.raw_geti(idx, SOCKET);
        let found = state.userdata::<OwnedSocket<S>>(-1).map(f);
        state.pop(1);
        found
    } else {
        None
    };
    found.ok_or_else(|| {
        Throw::argument(
            1,
            format!("socket object expected, got {}", state.type_name(idx)),
        )
    })
}

/// The socket of the object at `idx`, whoever owns it.
pub fn any_socket<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    idx: c_int,
) -> Result<S, Throw> {
    with_socket(state, idx, |owned: &OwnedSocket<S>| owned.socket().clone())
}

/// The socket of the object at `idx` and the running context, which must own
/// it.
pub fn own_socket<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    idx: c_int,
) -> Result<(S, Rc<Context>), Throw> {
    let context = context()?;
    match with_socket(state, idx, |owned: &OwnedSocket<S>| {
        owned.of(&context).cloned()
    })? {
        Some(socket) => Ok((socket, context)),
        None => Err(Throw::error("bad request")),
    }
}
