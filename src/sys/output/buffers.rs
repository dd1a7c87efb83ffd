//! Buffers for a response body, used again when nginx is done with them.

use std::cell::Cell;
use std::ptr;

use ngx::ffi::{
    NGX_OK, ngx_buf_t, ngx_buf_tag_t, ngx_chain_t, ngx_chain_update_chains, ngx_int_t, ngx_palloc,
};

use crate::sys::request::Request;

/// Size of the first buffer, enough for most answers.
const FIRST_BUFFER: usize = 512;
/// Size of the buffers after the first one; more for larger writes.
const BUFFER: usize = 3900;
const LARGEST_BUFFER: usize = 64 * 1024;
/// Room in front of the bytes of a buffer that was never sent, for the head of
/// a chunk; see [`super::frame`].
pub(super) const HEAD_ROOM: usize = 8;
/// What is asked for behind the bytes, for the end of the body. Bytes may use it
/// as well, such as the line break of `ngx.say`.
pub(super) const TAIL_ROOM: usize = 8;

/// What the end of the bytes written so far is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sys) enum Mark {
    /// Nothing special.
    None,
    /// They are to be sent now.
    Flush,
    /// The end of the response.
    Last,
}

/// What was written for one request and what its filters have not sent yet.
pub(in crate::sys) struct Buffers {
    pending: Cell<Chain>,
    size: Cell<usize>,
    busy: Cell<*mut ngx_chain_t>,
    free: Cell<*mut ngx_chain_t>,
    /// Nothing will be written any more.
    ended: Cell<bool>,
    /// What others have written goes out between.
    among_others: bool,
}

#[derive(Clone, Copy)]
struct Chain {
    first: *mut ngx_chain_t,
    last: *mut ngx_chain_t,
}

impl Chain {
    const EMPTY: Chain = Chain {
        first: ptr::null_mut(),
        last: ptr::null_mut(),
    };
}

fn tag() -> ngx_buf_tag_t {
    Buffers::new as *const () as ngx_buf_tag_t
}

/// A link with its buffer, which the bytes follow.
#[repr(C)]
struct Head {
    link: ngx_chain_t,
    buf: ngx_buf_t,
}

/// Whether `b` is a buffer that was made here, and has its room in front still
/// unused. Copies that filters make of it are told from it by their place.
///
/// # Safety
/// `b` must be live.
pub(super) unsafe fn is_intact(b: *mut ngx_buf_t) -> bool {
    // SAFETY: by the caller's promise; addresses are only compared.
    unsafe {
        (*b).tag == tag()
            && (*b).start == b.wrapping_add(1).cast()
            && (*b).pos == (*b).start.wrapping_add(HEAD_ROOM)
    }
}

impl Buffers {
    /// Buffers for all of a response.
    pub(in crate::sys) const fn new() -> Buffers {
        Buffers::with(false)
    }

    /// Buffers for a part of what a request sends.
    pub(in crate::sys) const fn among_others() -> Buffers {
        Buffers::with(true)
    }

    const fn with(among_others: bool) -> Buffers {
        Buffers {
            among_others,
            pending: Cell::new(Chain::EMPTY),
            size: Cell::new(0),
            busy: Cell::new(ptr::null_mut()),
            free: Cell::new(ptr::null_mut()),
            ended: Cell::new(false),
        }
    }

    /// Bytes written since the last [`Buffers::send`].
    pub(in crate::sys) fn size(&self) -> usize {
        self.size.get()
    }

    /// Appends. False where memory is short.
    #[inline]
    pub(in crate::sys) fn write(&self, r: Request, data: &[u8]) -> bool {
        self.size.set(self.size.get() + data.len());
        let n = self.fill(data);
        n == data.len() || self.write_rest(r, &data[n..])
    }

    /// Appends what the last buffer has no room for.
    #[inline(never)]
    fn write_rest(&self, r: Request, mut rest: &[u8]) -> bool {
        while !rest.is_empty() {
            if !self.add_buffer(r, rest.len()) {
                return false;
            }
            rest = &rest[self.fill(rest)..];
        }
        true
    }

    /// Marks the end of what was written. False where memory is short.
    #[inline(always)]
    pub(in crate::sys) fn mark(&self, r: Request, mark: Mark) -> bool {
        if mark == Mark::None {
            return true;
        }
        // SAFETY: links and buffers live in the request's pool.
        unsafe {
            if self.pending.get().last.is_null() && !self.add_empty(r) {
                return false;
            }
            let b = (*self.pending.get().last).buf;
            self.ended.set(mark == Mark::Last);
            match mark {
                Mark::Last if r.is_subrequest() || (*r.raw()).post_action() != 0 => {
                    (*b).set_sync(u32::from((*b).pos == (*b).last));
                    (*b).set_last_in_chain(1);
                }
                Mark::Last => {
                    (*b).set_last_buf(1);
                    (*b).set_last_in_chain(1);
                }
                Mark::Flush => (*b).set_flush(1),
                Mark::None => {}
            }
        }
        true
    }

    /// Hands what was written to `pass`, which returns nginx's code; OK where
    /// there is nothing.
    pub(in crate::sys) fn send(
        &self,
        r: Request,
        pass: impl FnOnce(*mut ngx_chain_t) -> ngx_int_t,
    ) -> ngx_int_t {
        let mut out = self.pending.replace(Chain::EMPTY).first;
        self.size.set(0);
        if out.is_null() {
            return NGX_OK as ngx_int_t;
        }
        let rc = pass(out);
        if self.ended.get() {
            // Nobody is going to need these buffers again.
            return rc;
        }
        let (mut busy, mut free) = (self.busy.get(), self.free.get());
        // SAFETY: the request is live and the links are in its pool; the
        // lists are ours alone.
        unsafe { ngx_chain_update_chains(r.pool(), &mut free, &mut busy, &mut out, tag()) };
        self.busy.set(busy);
        self.free.set(free);
        rc
    }

    /// Forgets what was written.
    pub(in crate::sys) fn discard(&self) {
        self.size.set(0);
        let chain = self.pending.replace(Chain::EMPTY);
        if chain.first.is_null() {
            return;
        }
        // SAFETY: the links are ours; nothing else refers to the buffers.
        unsafe {
            let mut link = chain.first;
            while !link.is_null() {
                let b = (*link).buf;
                (*b).pos = (*b).start;
                (*b).last = (*b).start;
                link = (*link).next;
            }
            (*chain.last).next = self.free.get();
        }
        self.free.set(chain.first);
    }

    /// Copies what fits into the last pending buffer.
    #[inline]
    fn fill(&self, data: &[u8]) -> usize {
        let Chain { last, .. } = self.pending.get();
        if last.is_null() {
            return 0;
        }
        // SAFETY: the chain and its buffer live in the request's pool; last
        // and end bound the free room of a buffer that is ours alone.
        unsafe {
            let b = (*last).buf;
            let room = (*b).end.offset_from_unsigned((*b).last);
            let n = room.min(data.len());
            ptr::copy_nonoverlapping(data.as_ptr(), (*b).last, n);
            (*b).last = (*b).last.add(n);
            n
        }
    }

    /// Appends an empty buffer to the pending chain.
    fn add_buffer(&self, r: Request, wanted: usize) -> bool {
        let link = self
            .take_free()
            .unwrap_or_else(|| self.new_buffer(r, wanted));
        if link.is_null() {
            return false;
        }
        let mut chain = self.pending.get();
        // SAFETY: links are live in the request's pool.
        unsafe {
            (*link).next = ptr::null_mut();
            if chain.first.is_null() {
                chain.first = link;
            } else {
                (*chain.last).next = link;
            }
        }
        chain.last = link;
        self.pending.set(chain);
        true
    }

    /// Appends a buffer that will have a mark and no bytes.
    ///
    /// nginx takes it for sent at once. Used again while it still stands behind
    /// the bytes of others, it would be sent twice.
    fn add_empty(&self, r: Request) -> bool {
        if !self.add_buffer(r, 0) {
            return false;
        }
        // SAFETY: the buffer was just made or taken, and lives in the
        // request's pool.
        unsafe {
            let b = (*self.pending.get().last).buf;
            // nginx wants buffers without bytes to say so.
            (*b).set_temporary(0);
            if self.among_others {
                (*b).tag = ptr::null_mut();
            }
        }
        true
    }

    fn take_free(&self) -> Option<*mut ngx_chain_t> {
        let link = self.free.get();
        if link.is_null() {
            return None;
        }
        // SAFETY: the link and its buffer are ours and fully sent.
        unsafe {
            self.free.set((*link).next);
            (*(*link).buf).set_flush(0);
            (*(*link).buf).set_temporary(1);
        }
        Some(link)
    }

    /// A link with a new buffer, in one piece; null where memory is short.
    fn new_buffer(&self, r: Request, wanted: usize) -> *mut ngx_chain_t {
        let first = self.busy.get().is_null() && self.pending.get().first.is_null();
        let size = wanted.clamp(if first { FIRST_BUFFER } else { BUFFER }, LARGEST_BUFFER);
        // SAFETY: the pool is live, and what it returns is checked for null;
        // zeros are an empty buffer. The bytes follow the head.
        unsafe {
            let room = HEAD_ROOM + size + TAIL_ROOM;
            let head = ngx_palloc(r.pool(), size_of::<Head>() + room).cast::<Head>();
            if head.is_null() {
                return ptr::null_mut();
            }
            let start = head.add(1).cast::<u8>();
            let buf = &raw mut (*head).buf;
            buf.write(std::mem::zeroed());
            (*buf).start = start;
            (*buf).pos = start.add(HEAD_ROOM);
            (*buf).last = (*buf).pos;
            (*buf).end = start.add(room);
            (*buf).set_temporary(1);
            (*buf).tag = tag();
            (*head).link.buf = buf;
            &raw mut (*head).link
        }
    }
}
