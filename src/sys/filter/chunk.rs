//! The part of a body that `body_filter_by_lua*` works on.

use std::cell::{Cell, RefCell};

use super::chain::Chain;
use super::next_body;
use crate::sys::output::{Buffers, Mark};
use crate::sys::request::Request;

/// One part of a response body, and what Lua makes of it.
pub struct Chunk {
    input: Cell<Chain>,
    /// What Lua put in place of the input.
    text: RefCell<Option<Vec<u8>>>,
    was_last: Cell<bool>,
    is_last: Cell<bool>,
    /// Lua has ended the body.
    ended: Cell<bool>,
    /// Lua has changed the length of the body by so much.
    surplus: Cell<isize>,
    /// Bytes that were passed on, those of subrequests aside.
    passed: Cell<usize>,
    buffers: Buffers,
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk {
            input: Cell::new(Chain::EMPTY),
            text: RefCell::default(),
            was_last: Cell::new(false),
            is_last: Cell::new(false),
            ended: Cell::new(false),
            surplus: Cell::new(0),
            passed: Cell::new(0),
            buffers: Buffers::among_others(),
        }
    }
}

impl Chunk {
    /// The chunk is `input` from now on, which must stay until the next
    /// [`Chunk::pass`] or [`Chunk::move_to`].
    pub fn begin(&self, request: Request, input: Chain) {
        let last = input.is_last(request.is_subrequest());
        self.input.set(input);
        self.was_last.set(last);
        self.is_last.set(last);
        *self.text.borrow_mut() = None;
    }

    /// The same buffers are in another chain now.
    pub fn move_to(&self, input: Chain) {
        self.input.set(input);
    }

    /// Whether Lua has ended the body: nothing more of it is to be sent.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    /// Calls `f` with the bytes. None where they cannot be read.
    pub fn with_text<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let text = self.text.borrow();
        match &*text {
            Some(text) => Some(f(text)),
            None => self.input.get().with_text(f),
        }
    }

    /// Replaces the bytes.
    pub fn set_text(&self, text: Vec<u8>) {
        *self.text.borrow_mut() = Some(text);
    }

    /// Whether it is the last part.
    pub fn is_last(&self) -> bool {
        self.is_last.get()
    }

    /// Says whether it is the last part. What was the last part stays that.
    pub fn set_last(&self, last: bool) {
        self.is_last.set(last);
    }

    /// Passes on what Lua has made of the input. Returns nginx's code.
    pub fn pass(&self, request: Request) -> isize {
        let input = self.input.replace(Chain::EMPTY);
        let replaced = self.text.take();
        let ends_here = self.is_last.get() && !self.was_last.get();
        let given = input.size();
        let size = replaced.as_ref().map_or(given, Vec::len);
        self.passed.set(self.passed.get() + size);
        self.surplus
            .set(self.surplus.get() + size as isize - given as isize);
        if ends_here || self.was_last.get() && self.surplus.get() != 0 {
            request.check_length(self.passed.get());
        }
        if replaced.is_none() && !ends_here {
            return next_body(request, input);
        }
        self.ended.set(ends_here);
        let flush = input.has_flush();
        let mut ok = true;
        match replaced {
            Some(text) => ok = self.buffers.write(request, &text),
            None => ok &= input.read(|piece| ok &= self.buffers.write(request, piece)),
        }
        input.discard();
        let mark = match (ends_here || self.was_last.get(), flush) {
            (true, _) => Mark::Last,
            (false, true) => Mark::Flush,
            // nginx's own filters learn in the next call what threads have done
            // (`aio threads`): one that drops everything must not keep it from them.
            (false, false) if self.buffers.size() == 0 && request.has_unsent() => {
                return next_body(request, Chain::EMPTY);
            }
            (false, false) => Mark::None,
        };
        if !ok || !self.buffers.mark(request, mark) {
            return super::ERROR;
        }
        self.buffers.send(request, |out| {
            // SAFETY: the chain is made of links and buffers in the request's
            // memory.
            next_body(request, unsafe { Chain::from_raw(out) })
        })
    }
}
