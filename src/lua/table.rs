//! Arrays of strings, nested at will, as text: what `send`, `say` and `print`
//! accept.

use std::fmt;
use std::os::raw::c_int;

use crate::vm::{State, Type};

/// What stands in the way of taking a table as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotText {
    /// A value of this type is in it.
    Type(&'static str),
    /// It has keys that are not 1, 2, 3, …
    NotArray,
    /// It contains itself, or might as well.
    TooDeep,
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(found) => write!(f, "bad data type {found} found"),
            Self::NotArray => f.write_str("non-array table found"),
            Self::TooDeep => f.write_str("table nested too deeply"),
        }
    }
}

/// What an array may hold besides tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Strings and numbers.
    Text,
    /// Booleans, nil and `ngx.null` as well.
    Loose,
}

/// How deep an array may be nested: one that contains itself must not use up
/// the C stack.
const MAX_DEPTH: usize = 1000;

/// Appends the strings of the array at `idx` to `text`; tables in it are
/// arrays as well.
pub fn flatten(
    state: &mut State,
    idx: c_int,
    text: &mut Vec<u8>,
    strictness: Strictness,
) -> Result<(), NotText> {
    flatten_level(state, idx, text, strictness, MAX_DEPTH)
}

fn flatten_level(
    state: &mut State,
    idx: c_int,
    text: &mut Vec<u8>,
    strictness: Strictness,
    depth: usize,
) -> Result<(), NotText> {
    if depth == 0 || !state.reserve(4) {
        return Err(NotText::TooDeep);
    }
    let idx = state.abs(idx);
    let length = array_length(state, idx, strictness)?;
    for i in 1..=length {
        state.raw_geti(idx, i);
        match state.type_of(-1) {
            Type::Table => flatten_level(state, -1, text, strictness, depth - 1)?,
            Type::String | Type::Number => {
                text.extend_from_slice(state.bytes(-1).unwrap_or_default());
            }
            _ if strictness == Strictness::Text => {
                return Err(NotText::Type(state.type_name(-1)));
            }
            Type::Nil => text.extend_from_slice(b"nil"),
            Type::Boolean if state.to_bool(-1) => text.extend_from_slice(b"true"),
            Type::Boolean => text.extend_from_slice(b"false"),
            _ if state.is_null(-1) => text.extend_from_slice(b"null"),
            _ => return Err(NotText::Type(state.type_name(-1))),
        }
        state.pop(1);
    }
    Ok(())
}

/// More holes than this make a table no array: a single huge key must not keep
/// the worker counting.
const MAX_HOLES: c_int = 1 << 20;

/// The largest key of a table whose keys are all positive whole numbers.
fn array_length(state: &mut State, idx: c_int, strictness: Strictness) -> Result<c_int, NotText> {
    let (mut length, mut count) = (0, 0);
    state.push_nil();
    while state.next(idx) {
        // The key must not be converted, so its type is asked first.
        let key = match state.type_of(-2) {
            Type::Number => state.number(-2),
            _ => None,
        };
        match key {
            Some(n) if n >= 1.0 && n.fract() == 0.0 && n <= f64::from(c_int::MAX) => {
                length = length.max(n as c_int);
                count += 1;
            }
            _ => return Err(NotText::NotArray),
        }
        state.pop(1);
    }
    // Strict callers stop at the first hole themselves.
    if strictness == Strictness::Loose && length - count > MAX_HOLES {
        return Err(NotText::NotArray);
    }
    Ok(length)
}
