//! From a directive's code to a chunk for the VM.

use std::io::ErrorKind;
use std::rc::Rc;

use crate::conf::{LuaCode, LuaFile, LuaSource, file_chunk_name};
use crate::sys::log::Level;
use crate::sys::request::Request;
use crate::vm::{Chunk, ChunkKey, Host, LoadError, Outcome, Thread, Vm, sched};

const HTTP_NOT_FOUND: isize = 404;
const HTTP_INTERNAL_SERVER_ERROR: isize = 500;
const HTTP_SERVICE_UNAVAILABLE: isize = 503;

/// Starts a handler of `request` that runs the code of `source`; returns its
/// entry thread, and how it ended unless it waits.
///
/// # Errors
/// The status to answer with; what is wrong is in error.log.
#[inline(always)]
pub(super) fn start(
    source: &LuaSource,
    request: Request,
    vm: &Rc<Vm>,
    host: Rc<dyn Host>,
) -> Result<(Rc<Thread>, Option<Outcome>), isize> {
    with_chunk(source, Some(request), |chunk| sched::start(vm, host, chunk))
        .ok_or(HTTP_INTERNAL_SERVER_ERROR)?
        .map_err(|error| report(request, error))
}

/// Writes to error.log what is wrong with the code; returns the status to
/// answer with.
#[cold]
fn report(request: Request, error: LoadError) -> isize {
    request.log(Level::Error, error.text);
    // As OpenResty: a file that is not there is not found.
    match error.unreadable {
        Some(ErrorKind::NotFound) => HTTP_NOT_FOUND,
        Some(_) => HTTP_SERVICE_UNAVAILABLE,
        None => HTTP_INTERNAL_SERVER_ERROR,
    }
}

/// Hands the code of `source` to `f`. None where the file's name has variables
/// that cannot be evaluated, or there is no `request` to do so for.
#[inline(always)]
pub(super) fn with_chunk<R>(
    source: &LuaSource,
    request: Option<Request>,
    f: impl FnOnce(&Chunk<'_>) -> R,
) -> Option<R> {
    match &source.code {
        LuaCode::Inline(code) => Some(f(&Chunk {
            key: ChunkKey::Inline(source.id, code),
            name: &source.chunk_name,
        })),
        LuaCode::File(LuaFile::Fixed(path)) => Some(with_file(path, f)),
        LuaCode::File(LuaFile::Variable(value)) => Some(with_file(&request?.full_path(value)?, f)),
    }
}

/// Hands the code of the file at `path` to `f`.
#[inline(never)]
fn with_file<R>(path: &[u8], f: impl FnOnce(&Chunk<'_>) -> R) -> R {
    f(&Chunk {
        key: ChunkKey::File(&String::from_utf8_lossy(path)),
        name: &file_chunk_name(path),
    })
}
