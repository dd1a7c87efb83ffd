//! `ngx.escape_uri` and `ngx.unescape_uri`.

use std::os::raw::c_int;

use super::scratch::with_scratch;
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.set_function("escape_uri", escape_uri);
    state.set_function("unescape_uri", unescape_uri);
}

/// The bytes that one kind of escaping replaces by `%XX`.
type EscapeSet = [bool; 256];

/// The kinds by their number, which is nginx's. (nginx itself escapes more
/// bytes for the first two since 1.21.1; Lua code relies on these.)
static KINDS: [EscapeSet; 7] = [
    // A whole URI.
    control_and(b" #%?", 0x7f),
    // A query string.
    control_and(b" #%&+?", 0x7f),
    COMPONENT,
    // HTML text.
    control_and(b" \"#%'", 0x7f),
    // The address in a `Refresh` header.
    control_and(b" \"%'", 0x7f),
    // A memcached key.
    control_and(b" %", 0x100),
    // A password of the mail module's protocol.
    control_and(b" %", 0x100),
];

const URI_COMPONENT: usize = 2;

/// All but the characters that a URI leaves unreserved, and those that
/// JavaScript's `encodeURIComponent` leaves as well.
const COMPONENT: EscapeSet = {
    let mut set = [true; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = !matches!(
            byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'\'' | b'('..=b'*'
        );
        byte += 1;
    }
    set
};

/// Control characters, those in `bytes`, and those from `high` on.
const fn control_and(bytes: &[u8], high: usize) -> EscapeSet {
    let mut set = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        set[byte] = byte < 0x20 || byte >= high;
        byte += 1;
    }
    let mut index = 0;
    while index < bytes.len() {
        set[bytes[index] as usize] = true;
        index += 1;
    }
    set
}

/// `ngx.escape_uri(str, type?)`
fn escape_uri(state: &mut State) -> LuaResult {
    let kind = match state.type_of(2) {
        Type::None | Type::Nil => URI_COMPONENT,
        Type::Number => {
            let kind = state.number(2).unwrap_or_default();
            if !(0.0..KINDS.len() as f64).contains(&kind) {
                return Err(Throw::error(format!("\"type\" {kind} out of range")));
            }
            kind as usize
        }
        _ => return Err(Throw::error("\"type\" is not a number")),
    };
    convert(state, |text, to| escape(text, &KINDS[kind], to))
}

/// Appends `text` as a component of a URI.
pub fn append_escaped(text: &[u8], to: &mut Vec<u8>) {
    if !escape(text, &COMPONENT, to) {
        to.extend_from_slice(text);
    }
}

/// Appends `text`, encoding what would end a request line or split it.
pub fn append_line_safe(text: &[u8], to: &mut Vec<u8>) {
    const BREAKS_LINES: EscapeSet = control_and(b" \x7f", 0x100);
    if !escape(text, &BREAKS_LINES, to) {
        to.extend_from_slice(text);
    }
}

/// `ngx.unescape_uri(str)`
fn unescape_uri(state: &mut State) -> LuaResult {
    convert(state, unescape)
}

/// Returns argument 1 as `change` writes it; false means that it changes
/// nothing.
fn convert(state: &mut State, change: impl FnOnce(&[u8], &mut Vec<u8>) -> bool) -> LuaResult {
    make_text(state, 1)?;
    with_scratch(|to| {
        if change(state.bytes(1).unwrap_or_default(), to) {
            state.push_bytes(to);
        } else {
            state.push_value(1);
        }
    });
    Ok(Ret::Values(1))
}

/// Makes text of an argument as `tostring` does, but of nil and false an
/// empty string.
fn make_text(state: &mut State, idx: c_int) -> Result<(), Throw> {
    match state.type_of(idx) {
        Type::String => return Ok(()),
        Type::None => state.set_top(idx),
        _ => {}
    }
    if state.to_bool(idx) {
        state.push_globals();
        state.raw_get_field(-1, "tostring");
        state.remove(-2);
        state.push_value(idx);
        state.call(1, 1)?;
    } else {
        state.push_bytes(b"");
    }
    state.replace(idx);
    Ok(())
}

/// Writes the escaped form of `text`; false, with nothing written, where it
/// needs none.
fn escape(text: &[u8], set: &EscapeSet, to: &mut Vec<u8>) -> bool {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let Some(first) = text.iter().position(|&byte| set[usize::from(byte)]) else {
        return false;
    };
    to.extend_from_slice(&text[..first]);
    for &byte in &text[first..] {
        if set[usize::from(byte)] {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            to.extend_from_slice(&[b'%', HEX[high], HEX[low]]);
        } else {
            to.push(byte);
        }
    }
    true
}

/// [`append_unescaped`]; false, with nothing written, where nothing is escaped.
fn unescape(text: &[u8], to: &mut Vec<u8>) -> bool {
    let first = memchr::memchr2(b'%', b'+', text);
    if let Some(first) = first {
        append_unescaped(text, first, to);
    }
    first.is_some()
}

/// Appends the unescaped form of a URI component or query argument: `+` is a
/// space, and a `%` without two hexadecimal digits after it stands for itself.
/// Up to `first`, nothing is known to be escaped.
pub fn append_unescaped(text: &[u8], first: usize, to: &mut Vec<u8>) {
    let mut end = to.len() + first;
    // Gets shorter only: it is written over the text as it was.
    to.extend_from_slice(text);
    let mut rest = &text[first..];
    for place in &mut to[end..] {
        let [byte, tail @ ..] = rest else {
            break;
        };
        rest = tail;
        *place = match (byte, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => *byte,
        };
        end += 1;
    }
    to.truncate(end);
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8], kind: usize) -> Vec<u8> {
        let mut to = Vec::new();
        if escape(text, &KINDS[kind], &mut to) {
            to
        } else {
            text.to_vec()
        }
    }

    fn unescaped(text: &[u8]) -> Vec<u8> {
        let mut to = Vec::new();
        if unescape(text, &mut to) {
            to
        } else {
            text.to_vec()
        }
    }

    #[test]
    fn a_component_keeps_what_encode_uri_component_keeps() {
        let all: Vec<u8> = (0..=255).collect();
        let kept: Vec<u8> = all
            .iter()
            .copied()
            .filter(|&b| !COMPONENT[usize::from(b)])
            .collect();
        assert_eq!(
            kept,
            b"!'()*-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
        );
        assert_eq!(escaped("a 你/".as_bytes(), 2), b"a%20%E4%BD%A0%2F");
    }

    #[test]
    fn a_whole_uri_keeps_its_structure() {
        assert_eq!(
            escaped(b"/a b?c=d&e#f%\x00\x1f\x7f\xff\"<>\\^`{|}", 0),
            b"/a%20b%3Fc=d&e%23f%25%00%1F%7F%FF\"<>\\^`{|}"
        );
    }

    #[test]
    fn other_kinds_differ_in_single_characters() {
        assert_eq!(escaped(b"a&b+c?d", 1), b"a%26b%2Bc%3Fd");
        assert_eq!(escaped(b"\"#'", 3), b"%22%23%27");
        assert_eq!(escaped(b"\"#'", 4), b"%22#%27");
        assert_eq!(escaped(b"a b\x7f\xff", 5), b"a%20b\x7f\xff");
        assert_eq!(escaped(b"a b\x7f\xff", 6), b"a%20b\x7f\xff");
    }

    #[test]
    fn bad_sequences_stand_for_themselves() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"b%20r56+7", b"b r56 7"),
            (b"try %search%%20%again%", b"try %search% %again%"),
            (b"%", b"%"),
            (b"%4", b"%4"),
            (b"%41", b"A"),
            (b"%%41", b"%A"),
            (b"%g1%1g", b"%g1%1g"),
            (b"%ff%FF%00", b"\xff\xff\x00"),
        ];
        for (text, expected) in cases {
            assert_eq!(unescaped(text), expected);
        }
    }

    #[test]
    fn unescaping_undoes_escaping() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&escaped(&all, URI_COMPONENT)), all);
    }

    #[test]
    fn text_without_anything_to_do_is_not_copied() {
        let mut to = Vec::new();
        assert!(!escape(b"plain", &KINDS[URI_COMPONENT], &mut to));
        assert!(!unescape(b"plain", &mut to));
        assert!(to.is_empty());
    }
}
