//! Lines cut ahead of the calls that ask for them.
//!
//! Code that reads line by line calls `receive()` thousands of times in a row, and each call out
//! of compiled code costs more than the line. Once it has called often enough, as many of the
//! lines that follow as it has read in a row are put into a Lua table, and the object gets a
//! `receive` of its own, in Lua, that takes them from there.
//!
//! Nobody can tell the difference: the engine's buffer keeps every byte until [`settle`] finds
//! out which lines were taken. It does so before any other method of the socket does anything, and
//! before code of another context runs; till then nothing else can touch the socket, for it was
//! idle. One socket of the worker at a time is read ahead.

use std::cell::Cell;
use std::os::raw::c_int;
use std::rc::Rc;

use super::object::TcpSocket;
use super::receive;
use crate::rt::worker_local;
use crate::sys::context;
use crate::vm::{State, Type, Vm, sched};

/// After this many lines in a row it is worth it.
const MANY: isize = 16;
/// For each line that was cut in vain, so many more.
const IN_VAIN: isize = 8;
/// No more than this many are cut at a time.
const MOST: usize = 64;

/// Places in the table: the object, the place of the next line, the lines.
const OBJECT: c_int = 1;
const NEXT: c_int = 2;
const FIRST: c_int = 3;
/// Fields of the table: the function without lines ahead, what takes its place.
const RECEIVE: &str = "receive";
const INSTEAD: &str = "instead";

/// Arguments: the table, the function without lines ahead.
///
/// Finalizers of the user's may run wherever compiled code is left, and read from the same
/// socket: then what stands at a place that was looked up before is no line any more.
const SOURCE: &str = r#"
local ahead, receive = ...

return function(...)
    local sock, how, more = ...
    local lines = ahead
    if lines[1] == sock and (how == nil or how == "*l") and more == nil then
        local at = lines[2]
        local line = lines[at]
        if line then
            lines[at] = false
            lines[2] = at + 1
            return line
        end
    end
    return receive(...)
end
"#;

/// Lines that are both in the table and in the buffer.
struct Ahead {
    socket: TcpSocket,
    vm: Rc<Vm>,
    lines: usize,
    /// What they take up in the buffer.
    bytes: usize,
}

/// The number of no object.
const NONE: f64 = 0.0;

worker_local! {
    /// How many lines were read in a row, less those to wait for after some were
    /// cut in vain, and from which socket, by its address.
    static ROW: Cell<isize> = Cell::new(0);
    static ROW_OF: Cell<usize> = Cell::new(0);
    static AHEAD: Cell<Option<Ahead>> = Cell::new(None);
    /// The number of that socket's object.
    static NUMBER: Cell<f64> = Cell::new(NONE);
}

/// Pushes `sock.receive`, the same in all methods tables of a VM.
pub fn push_receive(state: &mut State) {
    push_table(state);
    if state.is_none_or_nil(-1) {
        state.pop(1);
        make_table(state);
    }
    state.raw_get_field(-1, RECEIVE);
    state.remove(-2);
}

fn push_table(state: &mut State) {
    // An address that nobody else uses.
    state.push_light(settle as *const () as usize);
    state.raw_get(State::REGISTRY);
}

fn make_table(state: &mut State) {
    state.new_table(FIRST + MOST as c_int, 2);
    state.set_function(RECEIVE, receive::receive);
    let table = state.top();
    state.push_value(table);
    state.raw_get_field(table, RECEIVE);
    // Without it, which takes memory to be short, no lines are cut.
    if state.run_builtin(SOURCE, c"=receive", 2, 1).is_ok() {
        state.raw_set_field(table, INSTEAD);
    }
    state.set_top(table);
    state.push_light(settle as *const () as usize);
    state.push_value(-2);
    state.raw_set(State::REGISTRY);
}

/// A line of `socket`, whose object is argument 1, was received and stands on the
/// top.
#[inline(always)]
pub fn after_line(state: &mut State, socket: &TcpSocket) {
    let of = ROW_OF.replace(socket.address());
    let row = if of == socket.address() { ROW.get() } else { 0 } + 1;
    ROW.set(row);
    if row >= MANY {
        cut(state, socket, row as usize);
    }
}

/// Something else than a line is received.
#[inline(always)]
pub fn row_ends() {
    if ROW.get() > 0 {
        ROW.set(0);
    }
}

/// Cuts lines, as many as were read in a row.
#[inline(never)]
fn cut(state: &mut State, socket: &TcpSocket, row: usize) {
    if socket.look_at_lines(1, |_| ()).0 == 0 {
        return;
    }
    let top = state.top();
    if !put_lines(state, socket, row.min(MOST)) {
        row_ends();
    }
    state.set_top(top);
}

fn put_lines(state: &mut State, socket: &TcpSocket, most: usize) -> bool {
    let Some(thread) = sched::current() else {
        return false;
    };
    push_table(state);
    let table = state.top();
    // Not in a finalizer, for which see the Lua code above.
    let usable = state.is_yieldable() && state.reserve(most as c_int + 8);
    if !usable || !replace_receive(state, table) {
        return false;
    }
    // On the stack first: to make strings may collect garbage, and what finalizers of the
    // user's do must not find half of them.
    let (lines, bytes) = socket.look_at_lines(most, |line| state.push_bytes(line));
    settle();
    if lines < MOST {
        state.push_nil();
        state.raw_seti(table, FIRST + lines as c_int);
    }
    for at in (0..lines).rev() {
        state.raw_seti(table, FIRST + at as c_int);
    }
    state.push_int(FIRST.into());
    state.raw_seti(table, NEXT);
    state.push_value(1);
    state.raw_seti(table, OBJECT);
    AHEAD.set(Some(Ahead {
        socket: socket.clone(),
        vm: thread.vm().clone(),
        lines,
        bytes,
    }));
    NUMBER.set(state.object(1).unwrap_or(NONE));
    context::before_switch(settle);
    true
}

/// Sees to it that argument 1 has the Lua function as its `receive`. False where
/// somebody has put another one in the way.
fn replace_receive(state: &mut State, table: c_int) -> bool {
    state.raw_get_field(table, INSTEAD);
    state.raw_get_field(1, RECEIVE);
    if state.raw_equal(-1, -2) {
        return state.type_of(-1) == Type::Function;
    }
    if !state.is_none_or_nil(-1) || !state.metatable(1) {
        return false;
    }
    for field in ["__index", RECEIVE] {
        if state.type_of(-1) != Type::Table {
            return false;
        }
        state.raw_get_field(-1, field);
    }
    state.raw_get_field(table, RECEIVE);
    if !state.raw_equal(-1, -2) {
        return false;
    }
    state.raw_get_field(table, INSTEAD);
    state.raw_set_field(1, RECEIVE);
    true
}

/// Settles if `number` is that of the object with lines ahead.
#[inline(always)]
pub fn settle_if(number: f64) {
    if number == NUMBER.get() {
        settle();
    }
}

/// Takes those lines out of the buffer that Lua has taken, and the others back.
#[cold]
fn settle() {
    let Some(ahead) = AHEAD.take() else { return };
    NUMBER.set(NONE);
    // Nothing here allocates or runs Lua.
    let mut state = ahead.vm.state();
    push_table(&mut state);
    state.raw_geti(-1, NEXT);
    let next = state.number(-1).unwrap_or_default();
    let taken = ((next as usize).saturating_sub(FIRST as usize)).min(ahead.lines);
    state.pop(1);
    for at in taken..ahead.lines {
        state.push_nil();
        state.raw_seti(-2, FIRST + at as c_int);
    }
    state.push_nil();
    state.raw_seti(-2, OBJECT);
    state.pop(1);
    let bytes = if taken == ahead.lines {
        ROW.set(ROW.get() + taken as isize);
        ahead.bytes
    } else {
        ROW.set((taken as isize - ahead.lines as isize) * IN_VAIN);
        ahead.socket.look_at_lines(taken, |_| ()).1
    };
    ahead.socket.skip(bytes);
}
