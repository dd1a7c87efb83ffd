//! What socket objects of every kind have in common: a Lua table, so that code
//! may keep fields of its own in it, with the number of the socket at index 1.

use std::cell::OnceCell;
use std::os::raw::c_int;
use std::rc::Rc;

use super::{ahead, context};
use crate::lua::text::wrong_type;
use crate::rt::{Key, worker_local};
use crate::sock::Buffers;
use crate::sys::context::Context;
use crate::sys::sockets::{self, Found, Kind};
use crate::vm::{Keeper, State, Survivors, Throw, sched};

/// Place of what the next handshake presents, once something is set.
pub const TLS_OPTIONS: c_int = 2;

/// Name of the register of socket objects in Lua's registry.
const OBJECTS: &str = "cosocket.sockets";

/// The receive buffers that all sockets of the worker share.
pub fn buffers() -> Buffers {
    worker_local! {
        static BUFFERS: OnceCell<Buffers> = OnceCell::new();
    }
    BUFFERS.with(|buffers| buffers.get_or_init(Buffers::new).clone())
}

/// Closes the sockets whose objects Lua has collected.
struct SocketKeeper;

impl Keeper for SocketKeeper {
    fn look(left: &mut Survivors<'_>) {
        sockets::close_lost(left.vm(), |place| left.has(place));
    }
}

/// Pushes the register of socket objects, which [`push_object`] needs.
pub fn push_register(state: &mut State) {
    state.raw_get_field(State::REGISTRY, OBJECTS);
    if state.is_none_or_nil(-1) {
        state.pop(1);
        state.push_register::<SocketKeeper>();
        state.push_value(-1);
        state.raw_set_field(State::REGISTRY, OBJECTS);
    }
}

/// Pushes an object for `socket`, which `context` owns from now on. Where its metatable and
/// the register stand is given as indexes.
pub fn push_object<S: Kind>(
    state: &mut State,
    context: &Rc<Context>,
    socket: S,
    metatable: c_int,
    register: c_int,
) {
    state.push_object(metatable, register, sockets::count(), || {
        let key = sockets::adopt(context, socket.into(), sched::current_vm());
        (key.to_number(), key.place())
    });
}

#[inline(always)]
fn find<S: Kind>(state: &mut State, idx: c_int) -> Found<S> {
    match state.object(idx) {
        Some(number) => {
            ahead::settle_if(number);
            sockets::find(Key::from_number(number))
        }
        None => Found::Different,
    }
}

/// Whether what was [`found`](find) at `idx` is the socket of an object there.
fn is_socket<S>(state: &mut State, idx: c_int, found: &Found<S>) -> bool {
    match found {
        Found::Own(_) | Found::Foreign(_) => true,
        // Any number in a table names something that is gone.
        Found::Gone => state.object(idx).is_some_and(Key::is_number_of_one),
        Found::Different => false,
    }
}

#[cold]
fn not_a_socket(state: &State, idx: c_int) -> Throw {
    wrong_type(state, 1, "socket object", idx)
}

/// The socket of the object at `idx`, whoever owns it.
pub fn any_socket<S: Kind>(state: &mut State, idx: c_int) -> Result<S, Throw> {
    match find(state, idx) {
        Found::Own(socket) | Found::Foreign(socket) => Ok(socket),
        found if is_socket(state, idx, &found) => Ok(S::gone(&buffers())),
        _ => Err(not_a_socket(state, idx)),
    }
}

/// The socket of the object at `idx`, which the running context must own.
#[inline(always)]
pub fn own_socket<S: Kind>(state: &mut State, idx: c_int) -> Result<S, Throw> {
    match find::<S>(state, idx) {
        Found::Own(socket) => Ok(socket),
        found => Err(not_own(state, idx, &found)),
    }
}

#[cold]
fn not_own<S>(state: &mut State, idx: c_int, found: &Found<S>) -> Throw {
    match context() {
        Err(none) => none,
        Ok(_) if is_socket(state, idx, found) => Throw::error("bad request"),
        Ok(_) => not_a_socket(state, idx),
    }
}
