//! From a directive's code to a chunk for the VM.

use crate::conf::{LuaCode, LuaFile, LuaSource, file_chunk_name};
use crate::sys::request::Request;
use crate::vm::{Chunk, ChunkKey};

/// Hands the code of `source` to `f`. None where the file's name has variables
/// that cannot be evaluated, or there is no `request` to do so for.
pub(super) fn with_chunk<R>(
    source: &LuaSource,
    request: Option<Request>,
    f: impl FnOnce(&Chunk<'_>) -> R,
) -> Option<R> {
    let evaluated;
    let path: &[u8] = match &source.code {
        LuaCode::Inline(code) => {
            return Some(f(&Chunk {
                key: ChunkKey::Inline(source.id, code),
                name: &source.chunk_name,
            }));
        }
        LuaCode::File(LuaFile::Fixed(path)) => path,
        LuaCode::File(LuaFile::Variable(value)) => {
            evaluated = request?.full_path(value)?;
            &evaluated
        }
    };
    Some(f(&Chunk {
        key: ChunkKey::File(&String::from_utf8_lossy(path)),
        name: &file_chunk_name(path),
    }))
}
