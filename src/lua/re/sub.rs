//! `ngx.re.sub` and `ngx.re.gsub`.

use std::os::raw::c_int;

use super::template::{Piece, Pieces};
use super::{
    PATTERN, SUBJECT, compiled, error_text, fill, push_table, report, take_text, take_texts,
};
use crate::lua::scratch::with_scratch;
use crate::sys::log::Level;
use crate::sys::regex::{Match, Regex};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

const REPLACEMENT: c_int = 3;
const OPTIONS: c_int = 4;

/// `newstr, n, err = ngx.re.sub(subject, regex, replace, options?)`
pub fn sub(state: &mut State) -> LuaResult {
    replace(state, 1)
}

/// `newstr, n, err = ngx.re.gsub(subject, regex, replace, options?)`
pub fn gsub(state: &mut State) -> LuaResult {
    replace(state, usize::MAX)
}

/// Why nothing was replaced.
enum Failure {
    /// What the function returns.
    Error(String),
    /// What it raises.
    Throw(Throw),
}

impl From<Throw> for Failure {
    fn from(throw: Throw) -> Failure {
        Failure::Throw(throw)
    }
}

/// Replaces the first `max` matches.
fn replace(state: &mut State, max: usize) -> LuaResult {
    state.set_top(OPTIONS);
    take_texts(state)?;
    let by_function = state.type_of(REPLACEMENT) == Type::Function;
    if !by_function {
        take_text(state, REPLACEMENT)?;
    }
    let regex = match compiled(state, OPTIONS)? {
        Ok(regex) => regex,
        Err(error) => return Ok(failed(state, &error)),
    };
    let result = with_scratch(|to| {
        let replaced = if by_function {
            call_for_each(state, &regex, max, to)
        } else {
            insert_for_each(state, &regex, max, to)
        };
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
        Err(Failure::Error(error)) => Ok(failed(state, &error)),
        Err(Failure::Throw(throw)) => Err(throw),
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
) -> Result<usize, Failure> {
    let subject = state.bytes(SUBJECT).unwrap_or_default();
    let template = state.bytes(REPLACEMENT).unwrap_or_default();
    if let Some(reason) = Pieces::of(template).find_map(Result::err) {
        report(Level::Error, &reason);
        return Err(Failure::Error(
            "failed to compile the replacement template".into(),
        ));
    }
    let mut matches = regex.scan(subject);
    let mut copied = 0;
    let mut count = 0;
    while count < max
        && let Some(found) = matches.next_match().map_err(|e| search_error(state, &e))?
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

/// Puts what the function returns in the place of matches.
fn call_for_each(
    state: &mut State,
    regex: &Regex,
    max: usize,
    to: &mut Vec<u8>,
) -> Result<usize, Failure> {
    let mut start = 0;
    let mut copied = 0;
    let mut count = 0;
    while count < max {
        // The function may search, too: nothing of the match outlives this.
        let Some(behind) = push_call(state, regex, &mut start, copied, to)? else {
            break;
        };
        state.call(1, 1)?;
        if !matches!(state.type_of(-1), Type::String | Type::Number) {
            return Err(Failure::Throw(Throw::argument(
                REPLACEMENT,
                format!(
                    "string or number expected to be returned by the replace function, got {}",
                    state.type_name(-1)
                ),
            )));
        }
        to.extend_from_slice(state.bytes(-1).unwrap_or_default());
        state.pop(1);
        copied = behind.max(copied);
        count += 1;
    }
    let subject = state.bytes(SUBJECT).unwrap_or_default();
    copy(subject, copied, subject.len(), to);
    Ok(count)
}

/// Pushes the function and the next match from `start` on, and appends what
/// lies before that. Returns where the match ends; None where there is none.
fn push_call(
    state: &mut State,
    regex: &Regex,
    start: &mut usize,
    copied: usize,
    to: &mut Vec<u8>,
) -> Result<Option<usize>, Failure> {
    let subject = state.bytes(SUBJECT).unwrap_or_default();
    let found = regex.find(subject, *start);
    let Some(found) = found.map_err(|e| search_error(state, &e))? else {
        return Ok(None);
    };
    let (from, behind) = found.whole();
    copy(subject, copied, from, to);
    *start = regex.next_start(subject, *start, &found);
    state.push_value(REPLACEMENT);
    push_table(state, regex);
    let table = state.top();
    fill(state, SUBJECT, table, regex, &found);
    Ok(Some(behind))
}

fn search_error(state: &State, error: &crate::sys::regex::RegexError) -> Failure {
    let pattern = state.bytes(PATTERN).unwrap_or_default();
    Failure::Error(error_text(error, pattern))
}

/// Appends a part of the subject; nothing where there is none, for a match
/// with `\K` may begin before the end of the one before.
fn copy(subject: &[u8], from: usize, behind: usize, to: &mut Vec<u8>) {
    to.extend_from_slice(subject.get(from..behind).unwrap_or_default());
}
