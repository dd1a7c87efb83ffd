//! Chains of buffers on their way through the filters.

use std::cell::Cell;
use std::ptr;
use std::slice;

use ngx::ffi::{ngx_alloc_chain_link, ngx_buf_t, ngx_chain_t, ngx_palloc};

use super::NONE;
use crate::sys::request::Request;

/// A part of a response body on its way through the filters. Used only during
/// the call that passes it, or while a [`Queue`] keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(*mut ngx_chain_t);

impl Chain {
    /// No buffer: filters are to send what they have.
    pub const EMPTY: Chain = Chain(NONE);

    /// Wraps nginx's chain.
    ///
    /// # Safety
    /// It must be live, with its buffers, as long as the value is used.
    pub(super) unsafe fn from_raw(first: *mut ngx_chain_t) -> Chain {
        Chain(first)
    }

    /// nginx's chain.
    pub(in crate::sys) fn raw(self) -> *mut ngx_chain_t {
        self.0
    }

    /// Whether there is no buffer in it.
    pub fn is_empty(self) -> bool {
        self.0.is_null()
    }

    fn buffers(self) -> impl Iterator<Item = *mut ngx_buf_t> {
        let mut link = self.0;
        std::iter::from_fn(move || {
            // SAFETY: the links are live (type invariant).
            unsafe {
                let buffer = link.as_ref()?.buf;
                link = (*link).next;
                Some(buffer)
            }
        })
    }

    /// Whether the response ends with it: that of the main request, or of a
    /// subrequest.
    pub fn is_last(self, of_subrequest: bool) -> bool {
        // SAFETY: the buffers are live.
        self.buffers().any(|b| unsafe {
            match of_subrequest {
                true => (*b).last_in_chain() != 0,
                false => (*b).last_buf() != 0,
            }
        })
    }

    /// Whether it is to be sent at once.
    pub fn has_flush(self) -> bool {
        // SAFETY: the buffers are live.
        self.buffers().any(|b| unsafe { (*b).flush() != 0 })
    }

    /// Whether there are bytes in it, in memory or in a file.
    pub fn has_bytes(self) -> bool {
        // SAFETY: the buffers are live.
        self.buffers().any(|b| unsafe { !is_special(b) })
    }

    /// How many bytes it has in memory.
    pub fn size(self) -> usize {
        let mut size = 0;
        self.read(|piece| size += piece.len());
        size
    }

    /// Hands its bytes to `take`, piece by piece. False where some are not in
    /// memory.
    pub fn read(self, mut take: impl FnMut(&[u8])) -> bool {
        for b in self.buffers() {
            // SAFETY: the buffer is live; pos to last is what it holds.
            unsafe {
                let in_memory = (*b).temporary() != 0 || (*b).memory() != 0 || (*b).mmap() != 0;
                if in_memory {
                    let length = (*b).last.offset_from_unsigned((*b).pos);
                    take(slice::from_raw_parts((*b).pos, length));
                } else if (*b).in_file() != 0 && (*b).file_last > (*b).file_pos {
                    return false;
                }
            }
        }
        true
    }

    /// Calls `f` with all its bytes. None where some are not in memory.
    pub fn with_text<R>(self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut buffers = self.buffers();
        if let (Some(_), None) = (buffers.next(), buffers.next()) {
            let (mut f, mut result) = (Some(f), None);
            let complete = self.read(|text| result = f.take().map(|f| f(text)));
            return match f {
                // There was nothing to read.
                Some(f) => complete.then(|| f(&[])),
                None => result,
            };
        }
        let mut text = Vec::new();
        let complete = self.read(|piece| text.extend_from_slice(piece));
        complete.then(|| f(&text))
    }

    /// Takes its bytes out, so that whoever made the buffers can use them
    /// again.
    pub fn discard(self) {
        for b in self.buffers() {
            // SAFETY: the buffer is live.
            unsafe {
                (*b).pos = (*b).last;
                (*b).file_pos = (*b).file_last;
            }
        }
    }
}

/// Parts of a body that wait for their turn, in order. The bytes stay where they
/// are.
pub struct Queue {
    first: Cell<*mut ngx_chain_t>,
    last: Cell<*mut ngx_chain_t>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            first: Cell::new(NONE),
            last: Cell::new(NONE),
        }
    }
}

impl Queue {
    /// Appends `chain`, which is the caller's again afterwards, though its
    /// buffers are in use. False where memory is short.
    pub fn add(&self, request: Request, chain: Chain) -> bool {
        for b in chain.buffers() {
            // SAFETY: the request's memory outlives the queue; a new link is
            // written in full.
            unsafe {
                let link = ngx_alloc_chain_link(request.pool());
                let b = keep(request, b);
                if link.is_null() || b.is_null() {
                    return false;
                }
                (*link).buf = b;
                (*link).next = NONE;
                match self.last.replace(link).as_mut() {
                    Some(last) => last.next = link,
                    None => self.first.set(link),
                }
            }
        }
        true
    }

    /// All there is, which stays in the queue.
    pub fn peek(&self) -> Chain {
        Chain(self.first.get())
    }

    /// Puts `chain`, which came out of a queue, into this one, which is empty.
    pub fn put_back(&self, chain: Chain) {
        self.first.set(chain.0);
        let mut last = chain.0;
        // SAFETY: the links are live (type invariant).
        unsafe {
            while let Some(next) = last.as_ref().map(|link| link.next).filter(|n| !n.is_null()) {
                last = next;
            }
        }
        self.last.set(last);
    }

    /// Takes out all there is; the links are to be given to [`release`].
    pub fn take(&self) -> Chain {
        self.last.set(NONE);
        Chain(self.first.replace(NONE))
    }

    /// Forgets all there is.
    pub fn discard(&self, request: Request) {
        let chain = self.take();
        chain.discard();
        release(request, chain);
    }
}

/// Gives back the links that came out of a [`Queue`].
pub fn release(request: Request, chain: Chain) {
    let mut link = chain.0;
    // SAFETY: the links were allocated in `add`, from the request's pool, and
    // filters keep links of their own.
    unsafe {
        while !link.is_null() {
            let next = (*link).next;
            (*link).next = (*request.pool()).chain;
            (*request.pool()).chain = link;
            link = next;
        }
    }
}

/// Whether the buffer has no bytes, in memory or in a file.
///
/// # Safety
/// It must be live.
unsafe fn is_special(b: *const ngx_buf_t) -> bool {
    // SAFETY: the caller's promise.
    unsafe { (*b).pos == (*b).last && (*b).file_pos == (*b).file_last }
}

/// What stands for the buffer in a queue: itself; but a copy of one without
/// bytes, which its maker takes for sent.
///
/// # Safety
/// The buffer must be live.
unsafe fn keep(request: Request, b: *mut ngx_buf_t) -> *mut ngx_buf_t {
    // SAFETY: the caller's promise; the copy is of a plain structure.
    unsafe {
        if !is_special(b) {
            return b;
        }
        let copy = ngx_palloc(request.pool(), size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
        if !copy.is_null() {
            ptr::copy_nonoverlapping(b, copy, 1);
        }
        copy
    }
}
