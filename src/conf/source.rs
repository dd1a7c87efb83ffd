//! One piece of Lua that the configuration names: inline code or a file.

use std::ffi::CString;

use crate::sys::conf::ComplexValue;

/// Lua shows at most this much of a chunk's name in an error message
/// (`LUA_IDSIZE`, less the terminating zero).
const SHOWN_NAME: usize = 59;

/// Lua code of one directive.
#[derive(Debug)]
pub struct LuaSource {
    /// Counts from 0 within one configuration cycle, without gaps: an index
    /// into a cache of compiled chunks.
    pub id: u32,
    /// Where the code is.
    pub code: LuaCode,
    /// The chunk's name for Lua: `=content_by_lua(nginx.conf:12)`, or
    /// `@/path/to/file.lua`. For a path with variables it names the directive;
    /// the file's name is known per request only ([`file_chunk_name`]).
    pub chunk_name: CString,
}

/// Where a [`LuaSource`]'s code is.
#[derive(Debug)]
pub enum LuaCode {
    /// In the configuration itself.
    Inline(Box<[u8]>),
    /// In a file.
    File(LuaFile),
}

/// The path of a Lua file.
#[derive(Debug)]
pub enum LuaFile {
    /// The full path.
    Fixed(Box<[u8]>),
    /// A path with variables; it evaluates to a full path.
    Variable(ComplexValue),
}

/// One `set_by_lua*`.
#[derive(Debug)]
pub struct SetVariable {
    /// The variable's name, without its dollar.
    pub name: Box<[u8]>,
    /// What gives its value.
    pub source: LuaSource,
    /// What `ngx.arg` holds.
    pub args: Vec<ComplexValue>,
}

/// The name of an inline chunk: `=content_by_lua(nginx.conf:12)`. A file name
/// too long for Lua's messages loses its start, so that the line stays visible.
pub(super) fn inline_chunk_name(directive: &str, file: &[u8], line: usize) -> CString {
    let base = match memchr::memrchr(b'/', file) {
        Some(slash) => &file[slash + 1..],
        None => file,
    };
    let tail = format!(":{line})");
    let room = SHOWN_NAME.saturating_sub(directive.len() + 1 + tail.len());
    let mut name = format!("={directive}(").into_bytes();
    if base.len() > room {
        name.extend_from_slice(b"...");
        name.extend_from_slice(&base[base.len() - room.saturating_sub(3)..]);
    } else {
        name.extend_from_slice(base);
    }
    name.extend_from_slice(tail.as_bytes());
    c_string(name)
}

/// The name of a chunk loaded from the file at `path`: `@/path/to/file.lua`.
pub fn file_chunk_name(path: &[u8]) -> CString {
    let mut name = vec![b'@'];
    name.extend_from_slice(path);
    c_string(name)
}

/// Names end at their first zero byte for Lua anyway.
fn c_string(mut name: Vec<u8>) -> CString {
    if let Some(zero) = memchr::memchr(0, &name) {
        name.truncate(zero);
    }
    CString::new(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_chunks_are_named_after_file_and_line() {
        let name = inline_chunk_name("content_by_lua", b"/etc/nginx/nginx.conf", 12);
        assert_eq!(name.as_c_str(), c"=content_by_lua(nginx.conf:12)");
        let name = inline_chunk_name("init_by_lua", b"plain.conf", 3);
        assert_eq!(name.as_c_str(), c"=init_by_lua(plain.conf:3)");
    }

    #[test]
    fn long_file_names_keep_their_end() {
        let file = format!("/etc/{}-tail.conf", "x".repeat(80));
        let name = inline_chunk_name("content_by_lua", file.as_bytes(), 12);
        let name = name.to_str().unwrap();
        assert_eq!(name.len(), 1 + SHOWN_NAME);
        assert!(name.starts_with("=content_by_lua(...x"), "{name}");
        assert!(name.ends_with("-tail.conf:12)"), "{name}");
    }

    #[test]
    fn files_are_named_by_path() {
        assert_eq!(file_chunk_name(b"/a/b.lua").as_c_str(), c"@/a/b.lua");
    }
}
