//! Compiled Lua chunks and where they come from.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::raw::c_char;

use super::ffi;
use super::stack::State;

/// A piece of Lua to load.
pub struct Chunk<'a> {
    /// Key of the compiled function in the cache; the same key must always
    /// mean the same code.
    pub key: ChunkKey<'a>,
    /// `=name(file:line)` or `@/path`.
    pub name: &'a CStr,
}

/// Where the code is.
pub enum ChunkKey<'a> {
    /// Code in the configuration, with its dense number.
    Inline(u32, &'a [u8]),
    /// A file, by its full path.
    File(&'a str),
}

/// Why a chunk could not be loaded.
#[derive(Debug)]
pub struct LoadError {
    /// The whole text for error.log, as OpenResty words it.
    pub text: String,
    /// The file could not be read: why.
    pub unreadable: Option<io::ErrorKind>,
}

impl From<String> for LoadError {
    fn from(text: String) -> Self {
        LoadError {
            text,
            unreadable: None,
        }
    }
}

/// Compiled chunks by key, as anchors in the Lua registry.
#[derive(Default)]
pub(super) struct Cache {
    inline: Vec<Option<i32>>,
    files: HashMap<Box<str>, i32>,
}

impl Cache {
    /// Anchor of a chunk that was compiled before.
    #[inline]
    pub(super) fn find(&self, chunk: &Chunk<'_>) -> Option<i32> {
        match chunk.key {
            ChunkKey::Inline(id, _) => *self.inline.get(id as usize)?,
            ChunkKey::File(path) => self.find_file(path),
        }
    }

    #[inline(never)]
    fn find_file(&self, path: &str) -> Option<i32> {
        self.files.get(path).copied()
    }

    /// Anchor of the compiled chunk; compiles on the first call.
    ///
    /// # Errors
    /// What is wrong with the file or the code in it.
    pub(super) fn get(&mut self, state: &mut State, chunk: &Chunk<'_>) -> Result<i32, LoadError> {
        if let Some(anchor) = self.find(chunk) {
            return Ok(anchor);
        }
        match chunk.key {
            ChunkKey::Inline(id, code) => {
                let id = id as usize;
                let anchor = load(state, code, chunk.name)
                    .map_err(|e| format!("failed to load inlined Lua code: {e}"))?;
                if self.inline.len() <= id {
                    self.inline.resize(id + 1, None);
                }
                self.inline[id] = Some(anchor);
                Ok(anchor)
            }
            ChunkKey::File(path) => {
                let describe = |e| format!("failed to load external Lua file \"{path}\": {e}");
                let code = read_file(path).map_err(|(kind, e)| LoadError {
                    text: describe(e),
                    unreadable: Some(kind),
                })?;
                let anchor = load(state, &code, chunk.name).map_err(describe)?;
                self.files.insert(path.into(), anchor);
                Ok(anchor)
            }
        }
    }
}

/// Reads a Lua file, without a leading `#!` line as `lua` itself does; the
/// line break stays so that line numbers are right.
fn read_file(path: &str) -> Result<Vec<u8>, (io::ErrorKind, String)> {
    let mut code = std::fs::read(path).map_err(|e| {
        let text = e.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        (e.kind(), format!("cannot open {path}: {text}"))
    })?;
    if code.starts_with(b"#") {
        let end = memchr::memchr(b'\n', &code).unwrap_or(code.len());
        code.drain(..end);
    }
    Ok(code)
}

fn load(state: &mut State, code: &[u8], name: &CStr) -> Result<i32, String> {
    // SAFETY: the state is live; code and name outlive the call.
    let status = unsafe {
        ffi::luaL_loadbuffer(
            state.raw(),
            code.as_ptr().cast::<c_char>(),
            code.len(),
            name.as_ptr(),
        )
    };
    if status == ffi::LUA_OK {
        return Ok(state.anchor());
    }
    let message = String::from_utf8_lossy(state.bytes(-1).unwrap_or(b"unknown error")).into_owned();
    state.pop(1);
    Err(message)
}
