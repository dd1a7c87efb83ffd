//! A buffer for text on its way to or from Lua, used again and again.

use std::cell::Cell;

use crate::rt::worker_local;

/// The most that stays allocated between two uses.
const KEPT: usize = 256 * 1024;

worker_local! {
    static BUFFER: Cell<Vec<u8>> = Cell::new(Vec::new());
}

/// Calls `f` with an empty buffer. A use within `f` gets a buffer of its own.
pub fn with_scratch<R>(f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut buffer = BUFFER.take();
    buffer.clear();
    let result = f(&mut buffer);
    if buffer.capacity() <= KEPT {
        BUFFER.set(buffer);
    }
    result
}
