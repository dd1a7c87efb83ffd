//! Compiles Lua without running it, so that `nginx -t` finds syntax errors.

use core::ffi::CStr;
use core::ptr::{self, NonNull};
use core::slice;

use mlua::ffi;

/// Compiles `code` in a Lua state of its own and answers with Lua's message
/// (`chunk:line: what`) when it does not compile.
///
/// A first line that starts with `#` is skipped, as Lua does for files.
pub fn syntax_check(code: &[u8], chunk_name: &CStr) -> Result<(), String> {
    let state = Scratch::new().ok_or("cannot create a Lua state: out of memory")?;
    state.compile(skip_shebang(code), chunk_name)
}

/// The newline stays, so that line numbers are right.
fn skip_shebang(code: &[u8]) -> &[u8] {
    if code.first() != Some(&b'#') {
        return code;
    }
    let end = memchr::memchr(b'\n', code).unwrap_or(code.len());
    &code[end..]
}

/// A bare Lua state, closed on drop.
struct Scratch(NonNull<ffi::lua_State>);

impl Scratch {
    fn new() -> Option<Self> {
        // SAFETY: no preconditions; null (out of memory) becomes `None`.
        NonNull::new(unsafe { ffi::luaL_newstate() }).map(Self)
    }

    fn compile(&self, code: &[u8], chunk_name: &CStr) -> Result<(), String> {
        let lua = self.0.as_ptr();
        // SAFETY: the state is live, the buffer and the name outlive the call,
        // and loading is protected: errors come back as a status.
        let status = unsafe {
            ffi::luaL_loadbufferx(
                lua,
                code.as_ptr().cast(),
                code.len(),
                chunk_name.as_ptr(),
                ptr::null(),
            )
        };
        if status == ffi::LUA_OK {
            return Ok(());
        }
        let mut len = 0;
        // SAFETY: a failed load leaves its message, a string, on top of the
        // stack; `lua_tolstring` converts nothing then, so it cannot raise.
        let text = unsafe { ffi::lua_tolstring(lua, -1, &mut len) };
        if text.is_null() {
            return Err("unknown error".into());
        }
        // SAFETY: Lua answered with `len` bytes that live while the string is
        // on the stack, and it stays there until the state is closed.
        let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), len) };
        Err(String::from_utf8_lossy(bytes).into_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the state is ours and nothing refers to it any more.
        unsafe { ffi::lua_close(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_code_passes() {
        assert_eq!(syntax_check(b"return {1, 2}", c"=x"), Ok(()));
        assert_eq!(syntax_check(b"", c"=x"), Ok(()));
    }

    #[test]
    fn bad_code_is_reported_with_chunk_and_line() {
        let error = syntax_check(b"\nlocal = 1", c"=content_by_lua(nginx.conf:4)").unwrap_err();
        assert!(
            error.starts_with("content_by_lua(nginx.conf:4):2:"),
            "{error}"
        );
    }

    #[test]
    fn a_shebang_line_is_skipped() {
        assert_eq!(syntax_check(b"#!/usr/bin/lua\nreturn 1", c"@x"), Ok(()));
        assert_eq!(syntax_check(b"#!/usr/bin/lua", c"@x"), Ok(()));
        let error = syntax_check(b"#!/usr/bin/lua\nreturn return", c"@x").unwrap_err();
        assert!(error.starts_with("x:2:"), "{error}");
    }
}
