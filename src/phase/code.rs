//! From a directive's code to a chunk for the VM.

use std::io::ErrorKind;
use std::rc::Rc;

use crate::conf::{LuaCode, LuaFile, LuaSource, file_chunk_name};
use crate::sys::log::Level;
use crate::sys::request::Request;
use crate::vm::{Chunk, ChunkKey, Host, Outcome, Thread, Vm, sched};

const HTTP_NOT_FOUND: isize = 404;
const HTTP_INTERNAL_SERVER_ERROR: isize = 500;
const HTTP_SERVICE_UNAVAILABLE: isize = 503;

/// Starts a handler of `request` that runs the code of `source`; returns its
/// entry thread, and how it ended unless it waits.
///
/// # Errors
/// The status to answer with; what is wrong is in error.log.
pub(super) fn start(
    source: &LuaSource,
    request: Request,
    vm: &Rc<Vm>,
    host: Rc<dyn Host>,
) -> Result<(Rc<Thread>, Option<Outcome>), isize> {
    with_chunk(source, Some(request), |chunk| sched::start(vm, host, chunk))
        .ok_or(HTTP_INTERNAL_SERVER_ERROR)?
        .map_err(|error| {
            request.log(Level::Error, error.text);
            // As OpenResty: a file that is not there is not found.
            match error.unreadable {
                Some(ErrorKind::NotFound) => HTTP_NOT_FOUND,
                Some(_) => HTTP_SERVICE_UNAVAILABLE,
                None => HTTP_INTERNAL_SERVER_ERROR,
            }
        })
}

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
