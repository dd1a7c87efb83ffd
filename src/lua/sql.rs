//! `ngx.quote_sql_str`.

use super::scratch::with_scratch;
use super::text::wrong_type;
use crate::vm::{LuaResult, Ret, State, Throw};

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    state.set_function("quote_sql_str", quote);
}

/// `quoted = ngx.quote_sql_str(raw)`, a literal as MySQL reads it.
fn quote(state: &mut State) -> LuaResult {
    if state.top() != 1 {
        return Err(Throw::error("expecting one argument"));
    }
    let Some(raw) = state.bytes(1) else {
        return Err(wrong_type(state, 1, "string", 1));
    };
    with_scratch(|to| {
        append_quoted(raw, to);
        state.push_bytes(to);
    });
    Ok(Ret::Values(1))
}

fn append_quoted(raw: &[u8], to: &mut Vec<u8>) {
    to.push(b'\'');
    for &byte in raw {
        let letter = match byte {
            0 => b'0',
            b'\n' => b'n',
            b'\r' => b'r',
            0x08 => b'b',
            b'\t' => b't',
            0x1a => b'Z',
            b'\\' | b'\'' | b'"' => byte,
            _ => {
                to.push(byte);
                continue;
            }
        };
        to.extend_from_slice(&[b'\\', letter]);
    }
    to.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::append_quoted;

    #[test]
    fn what_ends_a_literal_or_upsets_mysql_is_escaped() {
        let cases: [(&[u8], &[u8]); 4] = [
            (b"", b"''"),
            (b"hello", b"'hello'"),
            (
                b"a\0\n\r\x08\t\x1a\\'\"b",
                b"'a\\0\\n\\r\\b\\t\\Z\\\\\\'\\\"b'",
            ),
            ("你$%\x7f".as_bytes(), "'你$%\x7f'".as_bytes()),
        ];
        for (raw, expected) in cases {
            let mut to = Vec::new();
            append_quoted(raw, &mut to);
            assert_eq!(to, expected);
        }
    }
}
