//! A Lua state with the memory of its heap: small pieces that Lua frees are kept by
//! size, and handed out again.
//!
//! They come from LuaJIT's own allocator, which joins what is free and cuts it anew.
//! That takes about 150 instructions for a piece, here it is 50.

use std::array;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::ffi;

/// Sizes are rounded up to multiples of this, as LuaJIT's allocator does by itself.
const STEP: usize = 8;
/// The largest small size. The stack of a coroutine is smaller.
const LARGEST: usize = 512;
/// At most so many bytes of each size are kept: about what a cycle of the collector
/// frees where the heap is small, see [`super::collector`]. They are not given back
/// where memory runs out: Lua would go on until nginx, too, has none, which needs some
/// to answer the request that fails.
const KEPT: usize = 1024 * 1024;

/// A free piece begins with the address of the next one.
struct Free(*mut Free);

/// Free pieces of one size. The first to come is the first to go: what is freed in
/// the order in which it was made is made again in that order, so that neighbours
/// in memory stay neighbours in the collector's lists. The other way around they
/// are shuffled after some cycles, and the processor waits for memory.
struct Queue {
    first: Cell<*mut Free>,
    /// Means nothing where there is no first one.
    last: Cell<*mut Free>,
    /// How many more may be kept.
    room: Cell<usize>,
}

impl Queue {
    fn new(class: usize) -> Queue {
        Queue {
            first: Cell::new(ptr::null_mut()),
            last: Cell::new(ptr::null_mut()),
            room: Cell::new(KEPT / size_of_class(class)),
        }
    }

    /// A piece; null where there is none.
    #[inline(always)]
    fn take(&self) -> *mut c_void {
        let first = self.first.get();
        if !first.is_null() {
            let next = if first == self.last.get() {
                ptr::null_mut()
            } else {
                // SAFETY: all pieces but the last begin with a link.
                unsafe { (*first).0 }
            };
            self.first.set(next);
            self.room.set(self.room.get() + 1);
        }
        first.cast()
    }

    /// Keeps a piece; false where there are enough.
    ///
    /// # Safety
    /// The piece has this size, and is not used any more.
    #[inline(always)]
    unsafe fn keep(&self, piece: *mut c_void) -> bool {
        let room = self.room.get();
        if room == 0 {
            return false;
        }
        self.room.set(room - 1);
        let last = self.last.replace(piece.cast());
        if self.first.get().is_null() {
            self.first.set(piece.cast());
        } else {
            // SAFETY: the piece is free, and has room for a link.
            unsafe { last.write(Free(piece.cast())) };
        }
        true
    }
}

/// The place of the queue for pieces of `size` bytes; None where that is 0, or not
/// small.
#[inline(always)]
fn class(size: usize) -> Option<usize> {
    let class = size.wrapping_sub(1) / STEP;
    (class < LARGEST / STEP).then_some(class)
}

/// How large pieces of a class are.
#[inline(always)]
fn size_of_class(class: usize) -> usize {
    (class + 1) * STEP
}

/// A Lua state, closed when this is dropped.
pub(super) struct Heap {
    l: *mut ffi::lua_State,
    /// Lies in the heap itself.
    memory: NonNull<Memory>,
}

struct Memory {
    free: [Queue; LARGEST / STEP],
    /// LuaJIT's allocator, and what it is to be called with.
    allocate: ffi::lua_Alloc,
    data: *mut c_void,
}

impl Heap {
    /// A new state; None where there is no memory for one.
    pub(super) fn new() -> Option<Heap> {
        // SAFETY: a plain constructor.
        let l = unsafe { ffi::luaL_newstate() };
        if l.is_null() {
            return None;
        }
        let mut data = ptr::null_mut();
        // SAFETY: the state is live.
        let allocate = unsafe { ffi::lua_getallocf(l, &raw mut data) };
        // SAFETY: LuaJIT's function with its data. What it makes is aligned for a word.
        let memory = unsafe {
            let size = size_of::<Memory>();
            let Some(memory) = NonNull::new(allocate(data, ptr::null_mut(), 0, size)) else {
                ffi::lua_close(l);
                return None;
            };
            let memory = memory.cast();
            memory.write(Memory {
                free: array::from_fn(Queue::new),
                allocate,
                data,
            });
            memory
        };
        // Elsewhere LuaJIT's own pieces may be smaller than their size rounded up.
        if cfg!(target_pointer_width = "64") {
            // SAFETY: the state is live, and the memory stays until that is closed.
            // Pieces that it has already came from LuaJIT's allocator, too, where
            // each has a word before it and is aligned to one.
            unsafe { ffi::lua_setallocf(l, reallocate, memory.as_ptr().cast()) };
        }
        Some(Heap { l, memory })
    }

    /// Lives as long as this does.
    pub(super) fn state(&self) -> *mut ffi::lua_State {
        self.l
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: whoever may use the state owns the heap. LuaJIT gives all its memory
        // back where it finds its own allocator, which knows every piece.
        unsafe {
            let memory = self.memory.read();
            let Memory {
                free,
                allocate,
                data,
            } = memory;
            ffi::lua_setallocf(self.l, allocate, data);
            for (class, queue) in free.iter().enumerate() {
                while let Some(piece) = NonNull::new(queue.take()) {
                    allocate(data, piece.as_ptr(), size_of_class(class), 0);
                }
            }
            allocate(data, self.memory.as_ptr().cast(), size_of::<Memory>(), 0);
            ffi::lua_close(self.l);
        }
    }
}

impl Memory {
    /// A piece of `size` bytes; null where there is no memory.
    #[inline(always)]
    fn take(&self, size: usize) -> *mut c_void {
        let class = class(size);
        let piece = class.map_or(ptr::null_mut(), |class| self.free[class].take());
        if !piece.is_null() {
            return piece;
        }
        let size = class.map_or(size, size_of_class);
        // SAFETY: LuaJIT's function with its data.
        unsafe { (self.allocate)(self.data, ptr::null_mut(), 0, size) }
    }

    /// # Safety
    /// The piece is one of `size` bytes that is not used any more.
    #[inline(always)]
    unsafe fn give(&self, piece: *mut c_void, size: usize) {
        // SAFETY: by the caller's promise; LuaJIT's function with its data.
        unsafe {
            let class = class(size);
            if !class.is_some_and(|class| self.free[class].keep(piece)) {
                (self.allocate)(self.data, piece, size, 0);
            }
        }
    }

    /// The piece, with room for `new` bytes; null, and the piece as it was, where
    /// there is no memory. To make one smaller never fails: Lua relies on it.
    ///
    /// # Safety
    /// The piece is one of `old` bytes.
    #[inline(never)]
    unsafe fn resize(&self, piece: *mut c_void, old: usize, new: usize) -> *mut c_void {
        match (class(old), class(new)) {
            // SAFETY: by the caller's promise; LuaJIT's function with its data.
            (None, None) => unsafe { (self.allocate)(self.data, piece, old, new) },
            (Some(old), Some(new)) if old == new => piece,
            _ => {
                let moved = self.take(new);
                if moved.is_null() {
                    return if new < old { piece } else { moved };
                }
                // SAFETY: both are as large as the smaller of the sizes.
                unsafe {
                    ptr::copy_nonoverlapping(piece.cast::<u8>(), moved.cast(), old.min(new));
                    self.give(piece, old);
                }
                moved
            }
        }
    }
}

/// Lua's `lua_Alloc`: makes, resizes and frees pieces.
///
/// # Safety
/// Called by Lua only, with the memory of its state.
unsafe extern "C" fn reallocate(
    memory: *mut c_void,
    piece: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: the memory lives as long as the state has this function; Lua passes
    // its pieces with their sizes.
    unsafe {
        let memory = &*memory.cast::<Memory>();
        if piece.is_null() {
            memory.take(new)
        } else if new == 0 {
            memory.give(piece, old);
            ptr::null_mut()
        } else {
            memory.resize(piece, old, new)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::array;
    use std::cell::Cell;
    use std::ffi::c_void;
    use std::ptr;

    use super::{Heap, LARGEST, Memory, Queue, reallocate};
    use crate::vm::ffi;
    use crate::vm::stack::State;

    thread_local! {
        /// Bytes that `counted` has handed out, and may have handed out at once.
        static USED: Cell<usize> = const { Cell::new(0) };
        static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// An allocator that believes what it is told of sizes, in place of LuaJIT's.
    unsafe extern "C" fn counted(
        _: *mut c_void,
        piece: *mut c_void,
        old: usize,
        new: usize,
    ) -> *mut c_void {
        let used = USED.get() - old + new;
        if used > MOST.get() && new > old {
            return ptr::null_mut();
        }
        USED.set(used);
        // SAFETY: pieces are the C library's.
        unsafe {
            if new == 0 {
                libc::free(piece);
                return ptr::null_mut();
            }
            libc::realloc(piece, new)
        }
    }

    fn memory() -> Memory {
        Memory {
            free: array::from_fn(Queue::new),
            allocate: counted,
            data: ptr::null_mut(),
        }
    }

    fn call(memory: &Memory, piece: *mut c_void, old: usize, new: usize) -> *mut c_void {
        let memory = (&raw const *memory).cast_mut().cast();
        // SAFETY: the tests pass pieces with their sizes.
        unsafe { reallocate(memory, piece, old, new) }
    }

    #[test]
    fn small_pieces_are_used_again_and_large_ones_given_back() {
        let memory = memory();
        let piece = call(&memory, ptr::null_mut(), 0, 33);
        assert_eq!(USED.get(), 40);
        call(&memory, piece, 33, 0);
        assert_eq!(USED.get(), 40);
        assert_eq!(call(&memory, ptr::null_mut(), 0, 40), piece);
        assert_eq!(call(&memory, piece, 40, 34), piece);
        let large = call(&memory, ptr::null_mut(), 0, LARGEST + 1);
        call(&memory, large, LARGEST + 1, 0);
        assert_eq!(USED.get(), 40);
    }

    #[test]
    fn contents_move_along() {
        let memory = memory();
        let (mut size, mut piece) = (1, call(&memory, ptr::null_mut(), 0, 1).cast::<u8>());
        for next in [8, 9, LARGEST, LARGEST + 1, 5 * LARGEST, LARGEST, 7, 1] {
            // SAFETY: bytes are written and read within the piece.
            unsafe {
                piece.write(42);
                piece = call(&memory, piece.cast(), size, next).cast();
                assert_eq!(piece.read(), 42);
                piece.add(next - 1).write(1);
            }
            size = next;
        }
    }

    #[test]
    fn without_memory_a_piece_stays_and_can_be_made_smaller() {
        let memory = memory();
        let piece = call(&memory, ptr::null_mut(), 0, 100);
        MOST.set(USED.get());
        assert!(call(&memory, piece, 100, 200).is_null());
        assert!(call(&memory, ptr::null_mut(), 0, 50).is_null());
        assert_eq!(call(&memory, piece, 100, 50), piece);
    }

    #[test]
    fn a_state_lives_on_recycled_memory() {
        let heap = Heap::new().expect("memory");
        // SAFETY: the state is live.
        let mut state = unsafe {
            ffi::luaL_openlibs(heap.state());
            State::from_raw(heap.state())
        };
        let code = r#"
            local kept = {}
            for round = 1, 20 do
                for i = 1, 2000 do
                    local n = i % 300
                    local text = ("x"):rep(n) .. i
                    local piece = { text, { #text }, coroutine.create(function() return n end) }
                    if i % 7 == 0 then kept[#kept + 1] = piece end
                end
                collectgarbage()
                for i = 1, #kept, 2 do
                    local piece = kept[i]
                    assert(#piece[1] == piece[2][1])
                    if coroutine.status(piece[3]) ~= "dead" then
                        assert(select(2, coroutine.resume(piece[3])) < 300)
                    end
                    kept[i] = { piece[1], { #piece[1] }, piece[3] }
                end
            end
        "#;
        assert_eq!(state.run_builtin(code, c"=test", 0, 0), Ok(()));
    }
}
