//! `ngx.re.match`, `ngx.re.find`, `ngx.re.gmatch`.

use std::cell::Cell;
use std::os::raw::c_int;
use std::rc::Rc;

use super::{PATTERN, SUBJECT, compiled, error_text, fill, push_table, take_texts};
use crate::lua::text::wrong_type;
use crate::sys::regex::{Match, Regex};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

const OPTIONS: c_int = 3;
const CTX: c_int = 4;
/// `match`: the table for the result. `find`: the group that is asked for.
const FIFTH: c_int = 5;

/// `captures, err = ngx.re.match(subject, regex, options?, ctx?, res_table?)`
pub fn find_captures(state: &mut State) -> LuaResult {
    state.set_top(FIFTH);
    take_texts(state)?;
    check_table(state, CTX)?;
    check_table(state, FIFTH)?;
    let regex = match compiled(state, OPTIONS)? {
        Ok(regex) => regex,
        Err(error) => return Ok(Ret::Values(state.push_nil_err(error))),
    };
    match search(state, &regex)? {
        Err(error) => Ok(Ret::Values(state.push_nil_err(error))),
        Ok(None) => {
            state.push_nil();
            Ok(Ret::Values(1))
        }
        Ok(Some(found)) => {
            if state.type_of(FIFTH) == Type::Nil {
                push_table(state, &regex);
                state.replace(FIFTH);
            }
            fill(state, SUBJECT, FIFTH, &regex, &found);
            Ok(Ret::Values(1))
        }
    }
}

/// `from, to, err = ngx.re.find(subject, regex, options?, ctx?, nth?)`
pub fn find_position(state: &mut State) -> LuaResult {
    state.set_top(FIFTH);
    take_texts(state)?;
    check_table(state, CTX)?;
    let group = match state.type_of(FIFTH) {
        Type::Nil => 0,
        _ => match state.number(FIFTH) {
            Some(n) if n >= 0.0 => n as usize,
            Some(_) => usize::MAX,
            None => return Err(wrong_type(state, FIFTH, "number", FIFTH)),
        },
    };
    let regex = match compiled(state, OPTIONS)? {
        Ok(regex) => regex,
        Err(error) => return Ok(nothing_but(state, error)),
    };
    match search(state, &regex)? {
        Err(error) => Ok(nothing_but(state, error)),
        Ok(None) => {
            state.push_nil();
            Ok(Ret::Values(1))
        }
        Ok(Some(_)) if group > regex.groups() => Ok(nothing_but(state, "nth out of bound")),
        Ok(Some(found)) => {
            match found.group(group) {
                Some((from, to)) => {
                    state.push_int(from as i64 + 1);
                    state.push_int(to as i64);
                }
                None => {
                    state.push_nil();
                    state.push_nil();
                }
            }
            Ok(Ret::Values(2))
        }
    }
}

/// `nil, nil, err`
fn nothing_but(state: &State, error: impl AsRef<[u8]>) -> Ret {
    state.push_nil();
    Ret::Values(1 + state.push_nil_err(error))
}

fn check_table(state: &State, idx: c_int) -> Result<(), Throw> {
    match state.type_of(idx) {
        Type::Nil | Type::Table => Ok(()),
        _ => Err(wrong_type(state, idx, "table", idx)),
    }
}

/// Looks for the first match from `ctx.pos` on, and sets that to behind it.
fn search(state: &mut State, regex: &Regex) -> Result<Result<Option<Match>, String>, Throw> {
    let has_ctx = state.type_of(CTX) == Type::Table;
    let start = if has_ctx { position(state)? } else { 0 };
    let found = match regex.find(state.bytes(SUBJECT).unwrap_or_default(), start) {
        Ok(found) => found,
        Err(error) => {
            let pattern = state.bytes(PATTERN).unwrap_or_default();
            return Ok(Err(error_text(&error, pattern)));
        }
    };
    if let Some(found) = &found
        && has_ctx
    {
        state.push_int(found.whole().1 as i64 + 1);
        state.raw_set_field(CTX, "pos");
    }
    Ok(Ok(found))
}

/// The offset that `ctx.pos` means.
fn position(state: &mut State) -> Result<usize, Throw> {
    state.raw_get_field(CTX, "pos");
    let position = match state.type_of(-1) {
        Type::Nil => 1.0,
        _ => state.number(-1).ok_or_else(|| {
            let actual = state.type_name(-1);
            Throw::argument(
                CTX,
                format!("number expected for the pos field, got {actual}"),
            )
        })?,
    };
    state.pop(1);
    // What is before the beginning is the beginning.
    Ok((position - 1.0) as usize)
}

/// What is left to do for an iterator.
struct Rest {
    /// None at the end.
    regex: Cell<Option<Rc<Regex>>>,
    start: Cell<usize>,
}

/// Upvalues of an iterator.
const TEXT: c_int = 1;
const REST: c_int = 2;

/// `iterator, err = ngx.re.gmatch(subject, regex, options?)`
pub fn iterate(state: &mut State) -> LuaResult {
    state.set_top(OPTIONS);
    take_texts(state)?;
    let regex = match compiled(state, OPTIONS)? {
        Ok(regex) => regex,
        Err(error) => return Ok(Ret::Values(state.push_nil_err(error))),
    };
    state.push_value(SUBJECT);
    state.push_userdata(Rest {
        regex: Cell::new(Some(regex)),
        start: Cell::new(0),
    });
    state.push_closure(next_match, 2);
    Ok(Ret::Values(1))
}

fn next_match(state: &mut State) -> LuaResult {
    let subject = State::upvalue(TEXT);
    // A call without arguments leaves the stack as `fill` wants it.
    state.set_top(0);
    let rest = state.userdata::<Rest>(State::upvalue(REST));
    let taken = rest.and_then(|rest| Some((rest.regex.take()?, rest.start.get())));
    let Some((regex, start)) = taken else {
        state.push_nil();
        return Ok(Ret::Values(1));
    };
    let text = state.bytes(subject).unwrap_or_default();
    let found = match regex.find(text, start) {
        Ok(Some(found)) => found,
        Ok(None) => {
            state.push_nil();
            return Ok(Ret::Values(1));
        }
        // Only what a search says of itself, not of the pattern.
        Err(error) => return Ok(Ret::Values(state.push_nil_err(error_text(&error, &[])))),
    };
    if let Some(rest) = state.userdata::<Rest>(State::upvalue(REST)) {
        rest.start.set(regex.next_start(text, start, &found));
        rest.regex.set(Some(regex.clone()));
    }
    push_table(state, &regex);
    fill(state, subject, 1, &regex, &found);
    Ok(Ret::Values(1))
}
