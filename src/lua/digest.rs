//! `ngx.md5` and other digests; `ngx.encode_base64`, `ngx.decode_base64`.

use std::os::raw::c_int;

use super::preload;
use super::scratch::with_scratch;
use super::text::{make_text, wrong_type};
use crate::sys::digest::{decode_base64, encode_base64, md5, sha1};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

/// Adds to the `ngx` table on the top, and has `require` find the module `ngx.base64`.
pub fn open(state: &mut State) {
    state.set_function("md5", |state| {
        digest(state, |text, state| state.push_bytes(hex(&md5(text))))
    });
    state.set_function("md5_bin", |state| {
        digest(state, |text, state| state.push_bytes(md5(text)))
    });
    state.set_function("sha1_bin", |state| {
        digest(state, |text, state| state.push_bytes(sha1(&[text])))
    });
    for name in ["crc32_short", "crc32_long"] {
        state.set_function(name, |state| {
            digest(state, |text, state| state.push_int(crc32(text).into()))
        });
    }
    state.set_function("hmac_sha1", hmac_sha1);
    state.set_function("encode_base64", encode);
    state.set_function("decode_base64", decode);
    state.set_function("decode_base64mime", decode_mime);
    preload(state, "ngx.base64", |state| {
        state.new_table(0, 3);
        state.set_function("encode_base64url", encode_url);
        state.set_function("decode_base64url", decode_url);
        state.push_bytes("0.1.0");
        state.raw_set_field(-2, "version");
        Ok(Ret::Values(1))
    });
}

/// Refuses a call with less than `expected` arguments. More are ignored, such as the count that
/// `text:gsub(…)` returns as well.
fn expect_arguments(state: &State, expected: c_int) -> Result<(), Throw> {
    match (state.top() >= expected, expected) {
        (true, _) => Ok(()),
        (false, 1) => Err(Throw::error("expecting one argument")),
        (false, _) => Err(Throw::error("expecting two arguments")),
    }
}

/// Makes text of argument 1; nil is empty.
fn text_argument(state: &mut State) -> Result<(), Throw> {
    if state.type_of(1) == Type::Nil {
        state.push_bytes("");
        state.replace(1);
    } else if !make_text(state, 1)? {
        return Err(wrong_type(state, 1, "string", 1));
    }
    Ok(())
}

/// Pushes what `push` makes of the only argument; nil and false are empty texts.
fn digest(state: &mut State, push: impl FnOnce(&[u8], &State)) -> LuaResult {
    expect_arguments(state, 1)?;
    if !state.to_bool(1) {
        state.push_nil();
        state.replace(1);
    }
    text_argument(state)?;
    push(state.bytes(1).unwrap_or_default(), state);
    Ok(Ret::Values(1))
}

fn hex<const N: usize>(bytes: &[u8; N]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|&byte| [byte >> 4, byte & 15])
        .map(|digit| DIGITS[usize::from(digit)])
        .collect()
}

/// `digest = ngx.hmac_sha1(secret_key, text)`
fn hmac_sha1(state: &mut State) -> LuaResult {
    const BLOCK: usize = 64;
    expect_arguments(state, 2)?;
    for idx in 1..=2 {
        if state.bytes(idx).is_none() {
            return Err(wrong_type(state, idx, "string", idx));
        }
    }
    let key = state.bytes(1).unwrap_or_default();
    let mut inner = [0x36; BLOCK];
    let mut outer = [0x5c; BLOCK];
    let hashed = sha1(&[key]);
    let key = if key.len() > BLOCK { &hashed } else { key };
    for ((inner, outer), byte) in inner.iter_mut().zip(&mut outer).zip(key) {
        *inner ^= byte;
        *outer ^= byte;
    }
    let text = state.bytes(2).unwrap_or_default();
    state.push_bytes(sha1(&[&outer, &sha1(&[&inner, text])]));
    Ok(Ret::Values(1))
}

/// CRC-32 as in zip files.
fn crc32(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32_table();
    !data.iter().fold(!0, |crc: u32, &byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ TABLE[usize::from(low ^ byte)]
    })
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut n = 0;
    while n < table.len() {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
}

/// `text = ngx.encode_base64(str, no_padding?)`
fn encode(state: &mut State) -> LuaResult {
    let n = state.top();
    if !(1..=2).contains(&n) {
        return Err(Throw::error("expecting one argument"));
    }
    text_argument(state)?;
    if !matches!(state.type_of(2), Type::None | Type::Nil | Type::Boolean) {
        return Err(Throw::error(format!(
            "bad no_padding: boolean expected, got {}",
            state.type_name(2)
        )));
    }
    let no_padding = state.to_bool(2);
    with_scratch(|to| {
        encode_base64(state.bytes(1).unwrap_or_default(), to);
        if no_padding {
            while to.last() == Some(&b'=') {
                to.pop();
            }
        }
        state.push_bytes(to);
    });
    Ok(Ret::Values(1))
}

/// The argument of the decoding functions.
fn encoded(state: &State) -> Result<&[u8], Throw> {
    expect_arguments(state, 1)?;
    match state.type_of(1) {
        Type::String => Ok(state.bytes(1).unwrap_or_default()),
        _ => Err(Throw::error("string argument only")),
    }
}

/// Pushes what `digits` stand for; false, and nothing, where they are not Base64.
fn push_decoded(state: &State, digits: &[u8]) -> bool {
    with_scratch(|to| {
        let decoded = decode_base64(digits, to);
        if decoded {
            state.push_bytes(to);
        }
        decoded
    })
}

/// `str = ngx.decode_base64(text)`, nil where that is not Base64.
fn decode(state: &mut State) -> LuaResult {
    let text = encoded(state)?;
    if !push_decoded(state, text) {
        state.push_nil();
    }
    Ok(Ret::Values(1))
}

/// `str, err = ngx.decode_base64mime(text)`: whatever is not of Base64, such
/// as line ends, is skipped.
fn decode_mime(state: &mut State) -> LuaResult {
    let text = encoded(state)?;
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let pushed = with_scratch(|digits| {
        let body = text.iter().take_while(|&&byte| byte != b'=');
        digits.extend(body.copied().filter(is_digit));
        push_decoded(state, digits)
    });
    Ok(Ret::Values(if pushed {
        1
    } else {
        state.push_nil_err("invalid base64 string")
    }))
}

/// The argument of the functions for URLs; the error is what they return.
fn url_argument(state: &State) -> Result<&[u8], Ret> {
    match state.type_of(1) {
        Type::String => Ok(state.bytes(1).unwrap_or_default()),
        _ => Err(Ret::Values(state.push_nil_err("must provide a string"))),
    }
}

/// `text, err = encode_base64url(str)`: Base64 that stands in URLs as it is, without padding.
fn encode_url(state: &mut State) -> LuaResult {
    let data = match url_argument(state) {
        Ok(data) => data,
        Err(failed) => return Ok(failed),
    };
    with_scratch(|to| {
        encode_base64(data, to);
        while to.last() == Some(&b'=') {
            to.pop();
        }
        for byte in to.iter_mut() {
            match byte {
                b'+' => *byte = b'-',
                b'/' => *byte = b'_',
                _ => {}
            }
        }
        state.push_bytes(to);
    });
    Ok(Ret::Values(1))
}

/// `str, err = decode_base64url(text)`
fn decode_url(state: &mut State) -> LuaResult {
    let text = match url_argument(state) {
        Ok(text) => text,
        Err(failed) => return Ok(failed),
    };
    let plain = |&byte: &u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'+' | b'/' => None,
        byte => Some(byte),
    };
    let pushed = with_scratch(|digits| {
        for byte in text.iter().map(plain) {
            match byte {
                Some(byte) => digits.push(byte),
                None => return false,
            }
        }
        push_decoded(state, digits)
    });
    Ok(Ret::Values(match pushed {
        true => 1,
        false => state.push_nil_err("invalid input"),
    }))
}

#[cfg(test)]
mod tests {
    use super::{crc32, hex};

    #[test]
    fn crc32_of_the_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn hex_is_lower_case() {
        assert_eq!(hex(&[0x0a, 0xff]), b"0aff");
    }
}
