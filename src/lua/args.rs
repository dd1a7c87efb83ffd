//! Query arguments: from text to a Lua table, and back.

use std::os::raw::c_int;

use super::scratch::with_scratch;
use super::seen::Seen;
use super::text::wrong_type;
use super::uri::{append_escaped, append_line_safe, append_unescaped};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// How many arguments are taken unless Lua says otherwise.
const DEFAULT_MAX: usize = 100;

/// The limit that argument `idx` sets; 0 is none.
#[inline]
pub fn max_argument(state: &State, idx: c_int) -> Result<usize, Throw> {
    if state.top() < idx {
        return Ok(DEFAULT_MAX);
    }
    given_max(state, idx)
}

fn given_max(state: &State, idx: c_int) -> Result<usize, Throw> {
    if state.is_none_or_nil(idx) {
        return Ok(DEFAULT_MAX);
    }
    match state.number(idx) {
        Some(0.0) => Ok(usize::MAX),
        Some(max) if max > 0.0 => Ok(max as usize),
        Some(_) => Ok(DEFAULT_MAX),
        None => Err(wrong_type(state, idx, "number", idx)),
    }
}

/// What `f(max?, table?)` returns, with the limit `max`, for the arguments in `text`.
pub fn reply(state: &mut State, text: &[u8], max: usize) -> LuaResult {
    let table = match state.top() {
        0 | 1 => Type::None,
        _ => state.type_of(2),
    };
    match table {
        Type::None | Type::Nil => new_table(state, text),
        Type::Table => {
            state.set_top(2);
            state.clear_table(2);
        }
        _ => {
            return Err(wrong_type(state, 2, "table", 2));
        }
    }
    if !decode(state, text, max) {
        return Ok(Ret::Values(1));
    }
    state.push_bytes("truncated");
    Ok(Ret::Values(2))
}

/// Pushes a table for the arguments in `text`, with room for those that there
/// may be, up to a limit: others decide what the text is.
pub fn new_table(state: &State, text: &[u8]) {
    // In pieces of which a byte can count the bytes, many at once.
    let count = |piece: &[u8]| piece.iter().map(|&b| u8::from(b == b'&')).sum::<u8>();
    let ends: usize = text
        .chunks(128)
        .map(|piece| usize::from(count(piece)))
        .sum();
    state.new_table(0, (ends + 1).min(DEFAULT_MAX) as c_int);
}

/// Adds the arguments in `text` to the empty table on the top; at most `max`
/// of them. Tells whether there were more.
pub fn decode(state: &mut State, text: &[u8], max: usize) -> bool {
    let table = state.top();
    let mut seen = Seen::default();
    let mut room = max;
    !for_each(text, |key, value| {
        if room == 0 {
            return false;
        }
        room -= 1;
        let may_be_there = match key.escaped {
            false => seen.add(key.text),
            true => seen.add_any(),
        };
        key.push(state);
        match value {
            Some(value) => value.push(state),
            None => state.push_bool(true),
        }
        if may_be_there {
            add(state, table);
        } else {
            state.raw_set(table);
        }
        true
    })
}

/// A key or a value, as it stands in the text.
struct Piece<'t> {
    text: &'t [u8],
    /// Whether it has to be unescaped.
    escaped: bool,
}

impl<'t> Piece<'t> {
    /// What stands in `text` from `start` to the first byte that is one of
    /// `ends`, and where that is.
    #[inline(always)]
    fn cut(text: &'t [u8], start: usize, ends: u8) -> (Piece<'t>, usize) {
        let (mut end, mut found) = (start, 0);
        while let Some(&byte) = text.get(end) {
            let kind = KINDS[usize::from(byte)];
            if kind & ends != 0 {
                break;
            }
            found |= kind;
            end += 1;
        }
        let piece = Piece {
            text: &text[start..end],
            escaped: found & ESCAPE != 0,
        };
        (piece, end)
    }

    #[inline]
    fn push(&self, state: &State) {
        if !self.escaped {
            return state.push_bytes(self.text);
        }
        with_scratch(|to| {
            append_unescaped(self.text, 0, to);
            state.push_bytes(to);
        });
    }
}

/// Hands the keys of a text with their values, None for a key without `=`, to
/// `take` until that says no; false if it did. An argument without a key is none.
#[inline(always)]
fn for_each<'t>(
    text: &'t [u8],
    mut take: impl FnMut(Piece<'t>, Option<Piece<'t>>) -> bool,
) -> bool {
    let mut at = 0;
    while at < text.len() {
        let (key, mut end) = Piece::cut(text, at, NEXT | VALUE);
        let mut value = None;
        if text.get(end) == Some(&b'=') {
            let (found, value_end) = Piece::cut(text, end + 1, NEXT);
            (value, end) = (Some(found), value_end);
        }
        at = end + 1;
        if !key.text.is_empty() && !take(key, value) {
            return false;
        }
    }
    true
}

/// Begins the next argument.
const NEXT: u8 = 1;
/// Begins the value.
const VALUE: u8 = 2;
/// Stands for another byte.
const ESCAPE: u8 = 4;

/// What each byte means.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    kinds[b'&' as usize] = NEXT;
    kinds[b'=' as usize] = VALUE;
    kinds[b'%' as usize] = ESCAPE;
    kinds[b'+' as usize] = ESCAPE;
    kinds
};

/// Pops value and key into `table`; the values of a key that is there
/// already become an array.
fn add(state: &mut State, table: c_int) {
    state.push_value(-2);
    state.raw_get(table);
    match state.type_of(-1) {
        Type::Nil => {
            state.pop(1);
            state.raw_set(table);
        }
        Type::Table => {
            let length = state.len(-1) as c_int;
            state.insert(-2);
            state.raw_seti(-2, length + 1);
            state.pop(2);
        }
        _ => {
            // key, value, first value
            state.new_table(4, 0);
            state.insert(-2);
            state.raw_seti(-2, 1);
            state.insert(-2);
            state.raw_seti(-2, 2);
            state.raw_set(table);
        }
    }
}

/// Appends the arguments in the table at `idx` to `text`.
///
/// # Errors
/// Keys and values that cannot be arguments.
pub fn encode(state: &mut State, idx: c_int, text: &mut Vec<u8>) -> Result<(), Throw> {
    let start = text.len();
    let mut key = Vec::new();
    state.push_nil();
    while state.next(idx) {
        if state.type_of(-2) != Type::String {
            return Err(Throw::error(
                "attempt to use a non-string key in the \"args\" option table",
            ));
        }
        key.clear();
        append_escaped(state.bytes(-2).unwrap_or_default(), &mut key);
        if state.type_of(-1) == Type::Table {
            for i in 1..=c_int::try_from(state.len(-1)).unwrap_or(c_int::MAX) {
                state.raw_geti(-1, i);
                encode_one(state, &key, start, text)?;
                state.pop(1);
            }
        } else {
            encode_one(state, &key, start, text)?;
        }
        state.pop(1);
    }
    Ok(())
}

/// Appends the arguments in a text or table to `text`. Bytes of a text that
/// cannot be in a request line are percent-encoded.
///
/// # Errors
/// As [`encode`], and other types.
pub fn take_args(state: &mut State, idx: c_int, text: &mut Vec<u8>) -> Result<(), Throw> {
    match state.type_of(idx) {
        Type::Table => encode(state, idx, text),
        Type::String | Type::Number => {
            append_line_safe(state.bytes(idx).unwrap_or_default(), text);
            Ok(())
        }
        _ => Err(Throw::argument(
            idx,
            format!(
                "string, number, or table expected, but got {}",
                state.type_name(idx)
            ),
        )),
    }
}

/// Appends an argument with the value on the top; text before `start` is
/// none of the arguments.
fn encode_one(state: &State, key: &[u8], start: usize, text: &mut Vec<u8>) -> Result<(), Throw> {
    let value = match state.type_of(-1) {
        Type::String | Type::Number => state.bytes(-1),
        Type::Boolean if state.to_bool(-1) => None,
        Type::Boolean => return Ok(()),
        _ => {
            return Err(Throw::error(format!(
                "attempt to use {} as query arg value",
                state.type_name(-1)
            )));
        }
    };
    if text.len() > start {
        text.push(b'&');
    }
    text.extend_from_slice(key);
    if let Some(value) = value {
        text.push(b'=');
        append_escaped(value, text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::for_each;

    type Pair<'t> = (&'t [u8], Option<&'t [u8]>);

    fn pairs(text: &[u8]) -> Vec<Pair<'_>> {
        let mut found = Vec::new();
        for_each(text, |key, value| {
            found.push((key.text, value.map(|value| value.text)));
            true
        });
        found
    }

    #[test]
    fn arguments_are_split_at_the_first_equals_sign() {
        let found = pairs(b"a=1&b&c=&=x&&d=e=f&=");
        let expected: [(&[u8], Option<&[u8]>); 4] = [
            (b"a", Some(b"1")),
            (b"b", None),
            (b"c", Some(b"")),
            (b"d", Some(b"e=f")),
        ];
        assert_eq!(found, expected);
        assert_eq!(pairs(b""), []);
        assert_eq!(pairs(b"a="), [(&b"a"[..], Some(&b""[..]))]);
    }

    #[test]
    fn what_has_to_be_unescaped_is_known() {
        let mut found = Vec::new();
        for_each(b"a=b&%61=b&a=%41+&a+=b", |key, value| {
            found.push((key.escaped, value.is_some_and(|value| value.escaped)));
            true
        });
        let expected = [(false, false), (true, false), (false, true), (true, false)];
        assert_eq!(found, expected);
    }
}
