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

/// Pushes the userdata of the object at `idx`.
fn push_socket<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    idx: c_int,
) -> Result<(), Throw> {
    let bad = |state: &State| {
        Throw::argument(
            1,
            format!("socket object expected, got {}", state.type_name(idx)),
        )
    };
    if state.type_of(idx) != Type::Table {
        return Err(bad(state));
    }
    state.raw_geti(idx, SOCKET);
    if state.userdata::<OwnedSocket<S>>(-1).is_none() {
        return Err(bad(state));
    }
    Ok(())
}

/// The socket of the object at `idx`, whoever owns it. Leaves one more value
/// on the stack.
pub fn any_socket<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    idx: c_int,
) -> Result<S, Throw> {
    push_socket::<S>(state, idx)?;
    state
        .userdata::<OwnedSocket<S>>(-1)
        .map(|owned| owned.socket().clone())
        .ok_or_else(|| Throw::error("bad request"))
}

/// The socket of the object at `idx` and the running context, which must own
/// it. Leaves one more value on the stack.
pub fn own_socket<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    idx: c_int,
) -> Result<(S, Rc<Context>), Throw> {
    let context = context()?;
    push_socket::<S>(state, idx)?;
    let socket = state
        .userdata::<OwnedSocket<S>>(-1)
        .and_then(|owned| owned.of(&context))
        .cloned()
        .ok_or_else(|| Throw::error("bad request"))?;
    Ok((socket, context))
}
