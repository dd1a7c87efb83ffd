//! The worker's memory: small pieces that were freed are kept by size, and handed
//! out again.
//!
//! The C library's `malloc` does the same for a handful of pieces only. A worker
//! needs more: Lua's collector drops hundreds of sockets in a row, and the
//! requests that follow make hundreds of new ones.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

use super::local::worker_local;

/// Sizes are rounded up to multiples of this, which is also how they are aligned.
const STEP: usize = 16;
/// The largest small size.
const LARGEST: usize = 1024;
/// At most so many bytes of each size are kept.
const KEPT: usize = 128 * 1024;

/// A free piece begins with the address of the next one.
struct Free(*mut Free);

struct Kept {
    first: Cell<*mut Free>,
    bytes: Cell<usize>,
}

worker_local! {
    static FREE: [Kept; LARGEST / STEP] = [const {
        Kept {
            first: Cell::new(ptr::null_mut()),
            bytes: Cell::new(0),
        }
    }; LARGEST / STEP];
}

/// The allocator of a worker, which has one thread; see [`worker_local`].
pub struct WorkerMemory;

/// The place in `FREE` of pieces for `layout`; None where that is not small.
#[inline(always)]
fn class(layout: Layout) -> Option<usize> {
    // A size is never 0 here; if it were, the place would be none.
    let class = layout.size().wrapping_sub(1) / STEP;
    (class < LARGEST / STEP && layout.align() <= STEP).then_some(class)
}

/// Bytes that a small piece takes.
#[inline(always)]
fn size(class: usize) -> usize {
    (class + 1) * STEP
}

/// What is asked of the system for a small piece.
#[inline(always)]
fn rounded(class: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and the size small.
    unsafe { Layout::from_size_align_unchecked(size(class), STEP) }
}

// SAFETY: a piece is handed out either by the system or off a list, to which it
// was given back; it is as large as its class says, and aligned to STEP.
unsafe impl GlobalAlloc for WorkerMemory {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else {
            // SAFETY: the caller's layout, passed on.
            return unsafe { System.alloc(layout) };
        };
        FREE.with(|free| {
            let kept = &free[class];
            let first = kept.first.get();
            if first.is_null() {
                // SAFETY: the size is not 0.
                return unsafe { System.alloc(rounded(class)) };
            }
            // SAFETY: pieces on the list are free, and begin with a link.
            kept.first.set(unsafe { (*first).0 });
            kept.bytes.set(kept.bytes.get() - size(class));
            first.cast()
        })
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(class) = class(layout) else {
            // SAFETY: as it was allocated.
            return unsafe { System.dealloc(piece, layout) };
        };
        FREE.with(|free| {
            let kept = &free[class];
            let bytes = kept.bytes.get() + size(class);
            if bytes > KEPT {
                // SAFETY: as it was allocated.
                return unsafe { System.dealloc(piece, rounded(class)) };
            }
            let piece = piece.cast::<Free>();
            // SAFETY: the piece is free now, and has room for a link.
            unsafe { piece.write(Free(kept.first.get())) };
            kept.first.set(piece);
            kept.bytes.set(bytes);
        });
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's promise, the new size fits a layout.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class(layout), class(new)) {
            // SAFETY: the system's own piece.
            (None, None) => unsafe { System.realloc(piece, layout, size) },
            (Some(old), Some(new)) if old == new => piece,
            // SAFETY: both are as large as the smaller of the sizes.
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    ptr::copy_nonoverlapping(piece, moved, layout.size().min(size));
                    self.dealloc(piece, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::{LARGEST, STEP, WorkerMemory};

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).unwrap()
    }

    #[test]
    fn a_freed_piece_is_used_again_for_its_size() {
        // SAFETY: pieces are freed once, as they were allocated.
        unsafe {
            let piece = WorkerMemory.alloc(layout(33));
            WorkerMemory.dealloc(piece, layout(33));
            let other = WorkerMemory.alloc(layout(49));
            assert_ne!(other, piece);
            assert_eq!(WorkerMemory.alloc(layout(48)), piece);
            WorkerMemory.dealloc(piece, layout(48));
            WorkerMemory.dealloc(other, layout(49));
        }
    }

    #[test]
    fn contents_move_along() {
        let sizes = [
            1,
            STEP,
            STEP + 1,
            LARGEST,
            LARGEST + 1,
            5 * LARGEST,
            LARGEST,
            7,
        ];
        // SAFETY: as above; bytes are written within the piece.
        unsafe {
            let mut size = 1;
            let mut piece = WorkerMemory.alloc(layout(size));
            *piece = 42;
            for next in sizes {
                piece = WorkerMemory.realloc(piece, layout(size), next);
                size = next;
                assert_eq!(*piece, 42);
                piece.add(size - 1).write(42);
                assert_eq!(piece.addr() % 8, 0);
            }
            WorkerMemory.dealloc(piece, layout(size));
        }
    }

    #[test]
    fn large_alignments_are_the_systems() {
        let layout = Layout::from_size_align(64, 64).unwrap();
        // SAFETY: as above.
        unsafe {
            let piece = WorkerMemory.alloc(layout);
            assert_eq!(piece.addr() % 64, 0);
            WorkerMemory.dealloc(piece, layout);
        }
    }
}
