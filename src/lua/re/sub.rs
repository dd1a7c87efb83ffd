//! `ngx.re.sub` and `ngx.re.gsub`.

use std::cell::Cell;
use std::os::raw::c_int;
use std::rc::Rc;

use super::template::{Piece, Pieces};
use super::{SUBJECT, add, compiled, error_text, fill, push_table, report, take_text, take_texts};
use crate::lua::scratch::with_scratch;
use crate::sys::log::{self, Level};
use crate::sys::regex::{Match, Regex};
use crate::vm::{LuaResult, Ret, State};

const REPLACEMENT: c_int = 3;
const OPTIONS: c_int = 4;

/// Lets `sub` and `gsub` take functions. Arguments: the table they are in, and [`begin`]. What is
/// wrong with theirs, the functions for templates say.
const SOURCE: &str = r#"
local re, begin = ...
local type, tostring = type, tostring
local function with_functions(by_template, max)
    return function(subject, regex, replace, options)
        local step = type(replace) == "function" and begin(subject, regex, options, max)
        if not step then
            return by_template(subject, regex, replace, options)
        end
        local match, newstr, n, err = step()
        while match do
            match, newstr, n, err = step(tostring((replace(match))))
        end
        if err then
            return nil, nil, err
        end
        return newstr, n
    end
end
re.sub, re.gsub = with_functions(re.sub, 1), with_functions(re.gsub, math.huge)
"#;

/// Adds `ngx.re.sub` and `ngx.re.gsub` to the table below cache and count, which they get.
pub fn open(state: &mut State) {
    add(state, "sub", |state| replace(state, 1));
    add(state, "gsub", |state| replace(state, usize::MAX));
    state.push_value(-3);
    state.push_value(-3);
    state.push_value(-3);
    state.push_closure(begin, 2);
    if let Err(message) = state.run_builtin(SOURCE, c"=ngx.re", 2, 0) {
        log::cycle(Level::Error, message);
    }
}

/// `newstr, n, err = ngx.re.sub(subject, regex, template, options?)`: replaces the first `max`
/// matches.
fn replace(state: &mut State, max: usize) -> LuaResult {
    state.set_top(OPTIONS);
    take_texts(state)?;
    let regex = match compiled(state, OPTIONS)? {
        Ok(regex) => regex,
        Err(error) => return Ok(failed(state, &error)),
    };
    take_text(state, REPLACEMENT)?;
    let result = with_scratch(|to| {
        let replaced = insert_for_each(state, &regex, max, to);
        if let Ok(1..) = replaced {
            state.push_bytes(to);
        }
        replaced
    });
    match result {
        Ok(count) => {
            if count == 0 {
                state.push_value(SUBJECT);
            }
            state.push_int(count as i64);
            Ok(Ret::Values(2))
        }
        Err(error) => Ok(failed(state, &error)),
    }
}

/// `nil, nil, err`
fn failed(state: &State, error: &str) -> Ret {
    state.push_nil();
    Ret::Values(1 + state.push_nil_err(error))
}

/// Puts the template, filled in, in the place of matches.
fn insert_for_each(
    state: &State,
    regex: &Regex,
    max: usize,
    to: &mut Vec<u8>,
) -> Result<usize, String> {
    let subject = state.bytes(SUBJECT).unwrap_or_default();
    let template = state.bytes(REPLACEMENT).unwrap_or_default();
    if let Some(reason) = Pieces::of(template).find_map(Result::err) {
        report(Level::Error, &reason);
        return Err("failed to compile the replacement template".into());
    }
    let mut matches = regex.scan(subject);
    let mut copied = 0;
    let mut count = 0;
    while count < max
        && let Some(found) = matches.next_match().map_err(|e| error_text(&e, &[]))?
    {
        let (from, behind) = found.whole();
        copy(subject, copied, from, to);
        for piece in Pieces::of(template).flatten() {
            match piece {
                Piece::Text(text) => to.extend_from_slice(text),
                Piece::Group(n) => append_group(subject, &found, n, to),
            }
        }
        copied = behind.max(copied);
        count += 1;
    }
    copy(subject, copied, subject.len(), to);
    Ok(count)
}

fn append_group(subject: &[u8], found: &Match, n: usize, to: &mut Vec<u8>) {
    if let Some((from, behind)) = found.group(n) {
        copy(subject, from, behind, to);
    }
}

/// Texts that a function makes of matches, on their way into the subject. The function runs between
/// two [`step`]s, called by Lua, so that it may wait.
struct Replacing {
    regex: Rc<Regex>,
    /// How many matches may still be replaced.
    room: usize,
    /// How many have been.
    count: i64,
    /// Where the next search starts.
    start: usize,
    /// How much of the subject has been copied or replaced.
    done: usize,
    to: Vec<u8>,
}

/// Upvalues of [`step`].
const TEXT: c_int = 1;
const REPLACING: c_int = 2;

/// `step = begin(subject, regex, options, max)`; nil where an argument is bad.
fn begin(state: &mut State) -> LuaResult {
    let Ok(Ok(regex)) = take_texts(state).and_then(|()| compiled(state, 3)) else {
        state.push_nil();
        return Ok(Ret::Values(1));
    };
    let room = state.number(4).unwrap_or_default() as usize;
    state.push_value(SUBJECT);
    state.push_userdata(Cell::new(Some(Replacing {
        regex,
        room,
        count: 0,
        start: 0,
        done: 0,
        to: Vec::new(),
    })));
    state.push_closure(step, 2);
    Ok(Ret::Values(1))
}

/// `match, newstr, n, err = step(replacement?)`: puts a text in the place of the match that was
/// returned last; returns the next, or the result.
fn step(state: &mut State) -> LuaResult {
    let subject = State::upvalue(TEXT);
    let work = state.userdata::<Cell<Option<Replacing>>>(State::upvalue(REPLACING));
    let Some(mut work) = work.and_then(Cell::take) else {
        return Ok(Ret::Values(0));
    };
    work.to
        .extend_from_slice(state.bytes(1).unwrap_or_default());
    // Leaves the stack as `fill` wants it.
    state.set_top(0);
    let text = state.bytes(subject).unwrap_or_default();
    let found = match work.room {
        0 => Ok(None),
        _ => work.regex.find(text, work.start),
    };
    match found {
        Ok(Some(found)) => {
            let (from, behind) = found.whole();
            copy(text, work.done, from, &mut work.to);
            work.start = work.regex.next_start(text, work.start, &found);
            work.done = behind.max(work.done);
            work.room -= 1;
            work.count += 1;
            push_table(state, &work.regex);
            fill(state, subject, 1, &work.regex, &found);
            if let Some(place) =
                state.userdata::<Cell<Option<Replacing>>>(State::upvalue(REPLACING))
            {
                place.set(Some(work));
            }
            Ok(Ret::Values(1))
        }
        Ok(None) => {
            state.push_nil();
            if work.count == 0 {
                state.push_value(subject);
            } else {
                copy(text, work.done, text.len(), &mut work.to);
                state.push_bytes(&work.to);
            }
            state.push_int(work.count);
            Ok(Ret::Values(3))
        }
        Err(error) => {
            state.push_nil();
            state.push_nil();
            state.push_nil();
            state.push_bytes(error_text(&error, &[]));
            Ok(Ret::Values(4))
        }
    }
}

/// Appends a part of the subject; nothing where there is none, for a match
/// with `\K` may begin before the end of the one before.
fn copy(subject: &[u8], from: usize, behind: usize, to: &mut Vec<u8>) {
    to.extend_from_slice(subject.get(from..behind).unwrap_or_default());
}
