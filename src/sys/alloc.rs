//! The allocator of the module's own memory.
//!
//! A request, a socket, an operation that waits: each is a few small pieces of
//! memory that come and go by the million, always on the same thread. They come
//! from lists of free blocks, one list for each size, at a few instructions; the
//! allocator of libc, which has to find out sizes and threads, takes a hundred
//! to give and take back. A block has no header of its own, and what was used
//! once is kept for the next request. Larger pieces are libc's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// Sizes are rounded up to multiples of this, which all blocks are aligned to.
const STEP: usize = 16;
/// The largest size that comes from a list.
const LARGEST: usize = 512;
/// How much is taken from libc at a time.
const SLAB: usize = 4096;

/// The allocator; see the module.
pub struct Blocks {
    free: [Cell<*mut Free>; LARGEST / STEP],
}

struct Free {
    next: *mut Free,
}

// SAFETY: all code of the module runs on the one thread of nginx's event loop,
// as `rt::WorkerLocal` explains.
unsafe impl Sync for Blocks {}

impl Blocks {
    /// An allocator without any memory.
    pub const fn empty() -> Blocks {
        Blocks {
            free: [const { Cell::new(ptr::null_mut()) }; LARGEST / STEP],
        }
    }

    /// The list for a piece of memory; None for libc's.
    #[inline(always)]
    fn list(&self, size: usize, align: usize) -> Option<&Cell<*mut Free>> {
        if align > STEP {
            return None;
        }
        // Nobody asks for no bytes.
        self.free.get(size.wrapping_sub(1) / STEP)
    }

    /// Fills an empty list; returns one of the new blocks, or null.
    #[cold]
    fn refill(&self, size: usize) -> *mut u8 {
        let size = size.next_multiple_of(STEP);
        let count = SLAB / size;
        // SAFETY: the layout is one; libc aligns to STEP. All blocks lie in
        // the slab, which is never given back.
        unsafe {
            let slab = System.alloc(Layout::from_size_align_unchecked(count * size, STEP));
            if slab.is_null() {
                return slab;
            }
            for i in 1..count {
                let block = slab.add(i * size);
                self.dealloc(block, Layout::from_size_align_unchecked(size, STEP));
            }
            slab
        }
    }
}

// SAFETY: a block is either in one list or in use; blocks of a list have its
// size and the alignment STEP, and what asks for more is libc's business.
unsafe impl GlobalAlloc for Blocks {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = self.list(layout.size(), layout.align()) else {
            // SAFETY: by the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        let block = list.get();
        if block.is_null() {
            return self.refill(layout.size());
        }
        // SAFETY: blocks in a list hold the address of the next one.
        list.set(unsafe { (*block).next });
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(list) = self.list(layout.size(), layout.align()) else {
            // SAFETY: by the caller's promise; it is what alloc() did.
            return unsafe { System.dealloc(block, layout) };
        };
        let block = block.cast::<Free>();
        // SAFETY: the block is nobody's any more, and large enough.
        unsafe { block.write(Free { next: list.get() }) };
        list.set(block);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (from, to) = (
            self.list(layout.size(), layout.align()),
            self.list(size, layout.align()),
        );
        // SAFETY: by the caller's promise; both are as large as is copied.
        unsafe {
            match (from, to) {
                (None, None) => System.realloc(block, layout, size),
                (Some(from), Some(to)) if ptr::eq(from, to) => block,
                _ => {
                    let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Blocks, LARGEST, STEP};
    use std::alloc::{GlobalAlloc, Layout};

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a layout")
    }

    #[test]
    fn blocks_do_not_overlap_and_are_used_again() {
        let blocks = Blocks::empty();
        // SAFETY: layouts are the same at both ends.
        unsafe {
            let mut held = Vec::new();
            for size in (1..2 * LARGEST).chain([100_000]) {
                let block = blocks.alloc(layout(size));
                assert!(block.addr().is_multiple_of(STEP));
                block.write_bytes(size as u8, size);
                held.push((block, size));
            }
            for &(block, size) in &held {
                for i in 0..size {
                    assert_eq!(block.add(i).read(), size as u8);
                }
            }
            let (last, size) = held[99];
            blocks.dealloc(last, layout(size));
            assert_eq!(blocks.alloc(layout(size)), last);
            for (block, size) in held {
                blocks.dealloc(block, layout(size));
            }
        }
    }

    #[test]
    fn contents_move_along_when_they_grow_and_shrink() {
        let blocks = Blocks::empty();
        // SAFETY: each size given is the one asked for before.
        unsafe {
            let mut size = 3;
            let mut block = blocks.alloc(layout(size));
            block.copy_from_nonoverlapping(b"abc".as_ptr(), 3);
            for new in [10, 16, 17, 500, 513, 5000, 600, 512, 40, 3] {
                block = blocks.realloc(block, layout(size), new);
                size = new;
                assert_eq!(std::slice::from_raw_parts(block, 3), b"abc", "{new}");
            }
            blocks.dealloc(block, layout(size));
        }
    }
}
