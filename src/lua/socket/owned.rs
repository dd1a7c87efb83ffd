//! What socket objects of every kind have in common: a Lua table that holds
//! the socket at index 1, so that code may keep fields of its own in it.

use std::cell::OnceCell;
use std::os::raw::c_int;
use std::ptr;
use std::rc::Rc;

use super::object::TcpSocket;
use super::{ahead, context};
use crate::rt::worker_local;
use crate::sock::Buffers;
use crate::sys::context::{Context, OwnedSocket, Socket};
use crate::vm::{State, Throw};

/// Place of the userdata in the object.
const SOCKET: c_int = 1;
/// Place of what the next handshake presents, once something is set.
pub const TLS_OPTIONS: c_int = 2;

/// The receive buffers that all sockets of the worker share.
pub fn buffers() -> Buffers {
    worker_local! {
        static BUFFERS: OnceCell<Buffers> = OnceCell::new();
    }
    BUFFERS.with(|buffers| buffers.get_or_init(Buffers::new).clone())
}

/// Pushes an object for `socket`, which `context` owns from now on.
pub fn push_object<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    context: &Rc<Context>,
    socket: S,
    metatable: c_int,
) {
    // Without room for anything else: nearly no code needs it.
    state.new_table(SOCKET, 0);
    state.set_userdata_in(SOCKET, context.adopt_socket(socket));
    state.push_value(metatable);
    state.set_metatable(-2);
}

fn address_of<S: Clone + Into<Socket>>(owned: &OwnedSocket<S>) -> usize {
    ptr::from_ref(owned).addr()
}

/// Address of what the object at `idx`, a TCP socket, holds; 0 for other values.
pub fn address(state: &mut State, idx: c_int) -> usize {
    state
        .with_userdata_in(idx, SOCKET, address_of::<TcpSocket>)
        .unwrap_or_default()
}

/// The socket of the object at `idx`, whoever owns it.
pub fn any_socket<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    idx: c_int,
) -> Result<S, Throw> {
    let found = state.with_userdata_in(idx, SOCKET, |owned: &OwnedSocket<S>| {
        ahead::settle_if(address_of(owned));
        owned.socket().clone()
    });
    found.ok_or_else(|| not_a_socket(state, idx))
}

#[cold]
fn not_a_socket(state: &State, idx: c_int) -> Throw {
    Throw::argument(
        1,
        format!("socket object expected, got {}", state.type_name(idx)),
    )
}

/// The socket of the object at `idx`, which the running context must own.
#[inline(always)]
pub fn own_socket<S: Clone + Into<Socket> + 'static>(
    state: &mut State,
    idx: c_int,
) -> Result<S, Throw> {
    let own = |owned: &OwnedSocket<S>| {
        ahead::settle_if(address_of(owned));
        owned.own().cloned()
    };
    match state.with_userdata_in(idx, SOCKET, own) {
        Some(Some(socket)) => Ok(socket),
        found => Err(not_own(state, idx, found.is_some())),
    }
}

#[cold]
fn not_own(state: &State, idx: c_int, is_socket: bool) -> Throw {
    match context() {
        Ok(_) if is_socket => Throw::error("bad request"),
        Ok(_) => not_a_socket(state, idx),
        Err(none) => none,
    }
}
