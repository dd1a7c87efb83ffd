//! `require "ngx.re"`.

use std::os::raw::c_int;

use super::{PATTERN, SUBJECT, add, compiled, error_text, take_texts};
use crate::lua::text::wrong_type;
use crate::sys::regex::Match;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

const OPTIONS: c_int = 3;
const CTX: c_int = 4;
const MAX: c_int = 5;
const RESULT: c_int = 6;

/// Makes the module of the functions below; cache and count are its upvalues.
pub fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 3);
    state.push_value(State::upvalue(super::CACHE));
    state.push_value(State::upvalue(super::COUNT));
    add(state, "split", split);
    add(state, "opt", opt);
    state.pop(2);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "version");
    Ok(Ret::Values(1))
}

/// `opt(name, value)`: the JIT's stack needs no setting, it grows.
fn opt(state: &mut State) -> LuaResult {
    match state.bytes(1) {
        Some(b"jit_stack_size") if state.number(2).is_some() => Ok(Ret::Values(0)),
        Some(b"jit_stack_size") => Err(wrong_type(state, 2, "number", 2)),
        _ => Err(Throw::error("unrecognized option name")),
    }
}

/// `pieces, err = split(subject, regex, options?, ctx?, max?, res?)`: as Perl's function does it,
/// the first group is put between the pieces.
fn split(state: &mut State) -> LuaResult {
    state.set_top(RESULT);
    take_texts(state)?;
    let mut start = match state.type_of(CTX) {
        Type::Nil => 0,
        Type::Table => {
            state.raw_get_field(CTX, "pos");
            let pos = state.number(-1).unwrap_or(1.0);
            state.pop(1);
            (pos - 1.0) as usize
        }
        _ => return Err(wrong_type(state, CTX, "table", CTX)),
    };
    let max = match state.type_of(MAX) {
        Type::Nil => 0.0,
        _ => state
            .number(MAX)
            .ok_or_else(|| wrong_type(state, MAX, "number", MAX))?,
    };
    match state.type_of(RESULT) {
        Type::Table => {}
        Type::Nil => {
            state.new_table(4, 0);
            state.replace(RESULT);
        }
        _ => return Err(Throw::error("res is not a table")),
    }
    let regex = match compiled(state, OPTIONS)? {
        Ok(regex) => regex,
        Err(error) => return Ok(Ret::Values(state.push_nil_err(error))),
    };
    let length = text(state).len();
    let limited = max > 0.0;
    let mut room = if limited { max as usize } else { usize::MAX };
    let mut list = List::default();
    // From where the next match is looked for: after one that does not divide, further on.
    let mut from = start;
    while start < length && room > 1 {
        let found = match regex.find(text(state), from) {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(error) => {
                let error = error_text(&error, state.bytes(PATTERN).unwrap_or_default());
                return Ok(Ret::Values(state.push_nil_err(error)));
            }
        };
        from = regex.next_start(text(state), from, &found);
        if divides(&found, start, length) {
            let (end, behind) = found.whole();
            list.push(state, start, end);
            if let Some((from, to)) = found.group(1) {
                list.push(state, from, to);
                list.filled = list.count;
            }
            start = behind;
            room -= 1;
        }
    }
    if start <= length && length > 0 {
        list.push(state, start, length);
    }
    let count = if limited { list.count } else { list.filled };
    for at in count..=list.count {
        state.push_nil();
        state.raw_seti(RESULT, at + 1);
    }
    state.push_value(RESULT);
    Ok(Ret::Values(1))
}

fn text(state: &State) -> &[u8] {
    state.bytes(SUBJECT).unwrap_or_default()
}

/// Whether a piece that begins at `start` ends with the match. A match of nothing does not divide
/// where no piece would be left on one side of it.
fn divides(found: &Match, start: usize, length: usize) -> bool {
    let (from, behind) = found.whole();
    from >= start && (behind > from || (from > start && from < length))
}

/// The pieces in the table for the result.
#[derive(Default)]
struct List {
    count: c_int,
    /// How many there are up to the last one that is not empty, or is a group's.
    filled: c_int,
}

impl List {
    /// Adds a part of the subject.
    fn push(&mut self, state: &mut State, from: usize, to: usize) {
        self.count += 1;
        state.push_bytes(text(state).get(from..to).unwrap_or_default());
        state.raw_seti(RESULT, self.count);
        if to > from {
            self.filled = self.count;
        }
    }
}
