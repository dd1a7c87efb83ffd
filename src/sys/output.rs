//! The response body that Lua writes.
//!
//! What `ngx.say` and `ngx.print` write is gathered in buffers and goes
//! through nginx's output filters when the handler waits, ends or flushes, or
//! when enough came together: several small writes cost one pass through the
//! filters. Sent buffers are used again, so that a handler may write for
//! hours without using more memory.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::task::{Context, Poll, Waker};

use ngx::ffi::{
    NGX_AGAIN, NGX_ERROR, NGX_HTTP_REQUEST_TIME_OUT, NGX_HTTP_VERSION_11, NGX_OK, ngx_add_timer,
    ngx_alloc_chain_link, ngx_buf_t, ngx_buf_tag_t, ngx_chain_t, ngx_chain_update_chains,
    ngx_del_timer, ngx_handle_write_event, ngx_http_output_filter, ngx_http_send_header,
    ngx_http_set_content_type, ngx_int_t, ngx_pcalloc, ngx_pnalloc,
};

use super::headers::wants_default_type;
use super::request::Request;
use crate::rt::wake_all_now;

/// Pending bytes that make [`Output::write`] hand them to the filters.
const PUSH_SIZE: usize = 16 * 1024;
/// Size of the first buffer, enough for most answers.
const FIRST_BUFFER: usize = 512;
/// Size of the buffers after the first one; more for larger writes.
const BUFFER: usize = 4000;
const LARGEST_BUFFER: usize = 64 * 1024;

/// Why output could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputError {
    /// The response is complete already (`ngx.eof`).
    Eof,
    /// A filter or the connection failed.
    Failed,
    /// Waiting for the client took longer than `send_timeout`.
    Timeout,
    /// Nothing was written yet.
    NothingToFlush,
    /// `ngx.req.socket(true)` has the client's connection.
    RawSocket,
    /// HTTP/1.0: the body is held until its length is known.
    Http10Buffering,
}

impl OutputError {
    /// The string that Lua gets.
    pub fn text(self) -> &'static str {
        match self {
            OutputError::Eof => "seen eof",
            OutputError::RawSocket => "raw request socket acquired",
            OutputError::Failed => "nginx output filter error",
            OutputError::Timeout => "timeout",
            OutputError::NothingToFlush => "nothing to flush",
            OutputError::Http10Buffering => "buffering",
        }
    }
}

/// Settings of the location that matter for output.
#[derive(Clone, Copy, Debug)]
pub struct OutputOptions {
    /// `lua_use_default_type`
    pub default_type: bool,
    /// `lua_http10_buffering`
    pub http10_buffering: bool,
}

/// Body output of one request.
pub struct Output {
    pending: Cell<Chain>,
    pending_size: Cell<usize>,
    busy: Cell<*mut ngx_chain_t>,
    free: Cell<*mut ngx_chain_t>,
    /// Lua has written something: the header cannot be changed any more,
    /// though it may not have been sent yet.
    committed: Cell<bool>,
    eof: Cell<bool>,
    handed_over: Cell<bool>,
    /// Of those who wait in [`poll_flushed`](Self::poll_flushed), each once.
    flush_wakers: RefCell<Vec<Waker>>,
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
    Output::new as *const () as ngx_buf_tag_t
}

impl Output {
    pub(super) fn new() -> Output {
        Output {
            pending: Cell::new(Chain::EMPTY),
            pending_size: Cell::new(0),
            busy: Cell::new(ptr::null_mut()),
            free: Cell::new(ptr::null_mut()),
            committed: Cell::new(false),
            eof: Cell::new(false),
            handed_over: Cell::new(false),
            flush_wakers: RefCell::default(),
        }
    }

    /// Whether the header can no longer be changed because of Lua's output.
    pub fn committed(&self) -> bool {
        self.committed.get()
    }

    /// Whether `ngx.eof` was called.
    pub fn eof(&self) -> bool {
        self.eof.get()
    }

    /// Whether [`hand_over`](Self::hand_over) was called.
    pub fn handed_over(&self) -> bool {
        self.handed_over.get()
    }

    /// The client's connection is Lua's from now on: nothing goes through
    /// nginx's filters any more.
    pub fn hand_over(&self) {
        self.handed_over.set(true);
        self.committed.set(true);
        self.eof.set(true);
    }

    /// Refuses where nothing more can be written.
    pub fn check_open(&self) -> Result<(), OutputError> {
        match (self.eof.get(), self.handed_over.get()) {
            (_, true) => Err(OutputError::RawSocket),
            (true, false) => Err(OutputError::Eof),
            (false, false) => Ok(()),
        }
    }

    /// Adds to the body.
    pub fn write(&self, r: Request, data: &[u8]) -> Result<(), OutputError> {
        self.check_open()?;
        if r.connection_failed() {
            return Err(OutputError::Failed);
        }
        self.commit(r);
        if r.header_only() {
            return Ok(());
        }
        let mut rest = data;
        while !rest.is_empty() {
            let n = self.fill(rest);
            rest = &rest[n..];
            if !rest.is_empty() && !self.add_buffer(r, rest.len()) {
                return Err(OutputError::Failed);
            }
        }
        self.pending_size.set(self.pending_size.get() + data.len());
        Ok(())
    }

    /// Hands what came together to the filters, if it is enough.
    pub fn push_if_full(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        if self.pending_size.get() < PUSH_SIZE {
            return Ok(());
        }
        self.push(r, options)
    }

    /// Hands everything written so far to nginx's filters: the handler is
    /// about to wait.
    pub fn push(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        if !self.committed.get() || self.eof.get() || self.holds_for_http10(r, options) {
            return Ok(());
        }
        self.filter(r, options, Special::None)
    }

    /// Sends the header now.
    pub fn send_header(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        self.commit(r);
        if self.holds_for_http10(r, options) {
            return Ok(());
        }
        self.start_response(r, options)
    }

    /// Sends all that was written, as far as the client takes it now.
    pub fn flush(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        self.check_open()?;
        if !self.committed.get() && !r.header_sent() {
            return Err(OutputError::NothingToFlush);
        }
        if self.holds_for_http10(r, options) {
            return Err(OutputError::Http10Buffering);
        }
        self.filter(r, options, Special::Flush)
    }

    /// Ends the body.
    pub fn finish(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        if self.eof.get() {
            return Ok(());
        }
        if self.holds_for_http10(r, options) {
            // SAFETY: the request is live.
            unsafe {
                let headers = &mut (*r.raw()).headers_out;
                if headers.content_length_n < 0 {
                    headers.content_length_n = self.pending_size.get() as _;
                }
            }
        }
        self.commit(r);
        let result = self.filter(r, options, Special::Last);
        self.eof.set(true);
        result
    }

    /// Completes when the client has taken everything written.
    ///
    /// The request's write handler must be [`on_writable`].
    pub fn poll_flushed(&self, r: Request, cx: &mut Context<'_>) -> Poll<Result<(), OutputError>> {
        // SAFETY: the request and its connection are live.
        unsafe {
            let c = (*r.raw()).connection;
            Poll::Ready(if (*c).timedout() != 0 {
                Err(OutputError::Timeout)
            } else if (*c).error() != 0 {
                Err(OutputError::Failed)
            } else if (*c).buffered() != 0 || !(*r.raw()).postponed.is_null() {
                // Filters that keep a few bytes back until more come
                // (`buffered` of the request) do not count.
                let mut wakers = self.flush_wakers.borrow_mut();
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                return Poll::Pending;
            } else {
                Ok(())
            })
        }
    }

    /// From now on the header is final, status included.
    fn commit(&self, r: Request) {
        if !self.committed.replace(true) {
            r.set_default_status(200);
        }
    }

    /// HTTP/1.0 knows no chunks: the body waits until its length is known.
    fn holds_for_http10(&self, r: Request, options: OutputOptions) -> bool {
        options.http10_buffering
            && r.http_version() < NGX_HTTP_VERSION_11 as usize
            && !r.header_sent()
            && !r.is_subrequest()
            // SAFETY: the request is live.
            && unsafe { (*r.raw()).headers_out.content_length_n } < 0
    }

    /// Copies what fits into the last pending buffer.
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

    /// A link with a new buffer; null where memory is short.
    fn new_buffer(&self, r: Request, wanted: usize) -> *mut ngx_chain_t {
        let first = self.busy.get().is_null() && self.pending.get().first.is_null();
        let size = wanted.clamp(if first { FIRST_BUFFER } else { BUFFER }, LARGEST_BUFFER);
        // SAFETY: the pool is live; what it returns is checked for null.
        unsafe {
            let link = ngx_alloc_chain_link(r.pool());
            let b = ngx_pcalloc(r.pool(), size_of::<ngx_buf_t>()).cast::<ngx_buf_t>();
            let start = ngx_pnalloc(r.pool(), size).cast::<u8>();
            if link.is_null() || b.is_null() || start.is_null() {
                return ptr::null_mut();
            }
            (*b).start = start;
            (*b).pos = start;
            (*b).last = start;
            (*b).end = start.add(size);
            (*b).set_temporary(1);
            (*b).tag = tag();
            (*link).buf = b;
            link
        }
    }

    fn start_response(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        if r.header_sent() {
            return Ok(());
        }
        // SAFETY: the request is live.
        let rc = unsafe {
            let raw = r.raw();
            if options.default_type
                && wants_default_type(raw)
                && ngx_http_set_content_type(raw) != NGX_OK as ngx_int_t
            {
                return Err(OutputError::Failed);
            }
            ngx_http_send_header(raw)
        };
        if rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t {
            return Err(OutputError::Failed);
        }
        Ok(())
    }

    /// Runs header and pending body through nginx's filters.
    fn filter(
        &self,
        r: Request,
        options: OutputOptions,
        special: Special,
    ) -> Result<(), OutputError> {
        self.start_response(r, options)?;
        if r.header_only() {
            self.discard_pending();
            return Ok(());
        }
        if special != Special::None && !self.add_special(r, special) {
            return Err(OutputError::Failed);
        }
        let mut out = self.pending.replace(Chain::EMPTY).first;
        self.pending_size.set(0);
        if out.is_null() {
            return Ok(());
        }
        let (mut busy, mut free) = (self.busy.get(), self.free.get());
        // SAFETY: the request is live and the chain's links are in its pool;
        // the lists are ours alone.
        let rc = unsafe {
            let rc = ngx_http_output_filter(r.raw(), out);
            ngx_chain_update_chains(r.pool(), &mut free, &mut busy, &mut out, tag());
            await_client(r);
            rc
        };
        self.busy.set(busy);
        self.free.set(free);
        if rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t {
            return Err(OutputError::Failed);
        }
        debug_assert!(rc == NGX_OK as ngx_int_t || rc == NGX_AGAIN as ngx_int_t || rc < 0);
        Ok(())
    }

    fn discard_pending(&self) {
        self.pending_size.set(0);
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

    /// Marks the end of what is pending.
    fn add_special(&self, r: Request, special: Special) -> bool {
        // SAFETY: links and buffers live in the request's pool.
        unsafe {
            if self.pending.get().last.is_null() {
                if !self.add_buffer(r, 0) {
                    return false;
                }
                // nginx wants buffers without bytes to say so.
                (*(*self.pending.get().last).buf).set_temporary(0);
            }
            let b = (*self.pending.get().last).buf;
            match special {
                Special::Last if r.is_subrequest() || (*r.raw()).post_action() != 0 => {
                    (*b).set_sync(u32::from((*b).pos == (*b).last));
                    (*b).set_last_in_chain(1);
                }
                Special::Last => {
                    (*b).set_last_buf(1);
                    (*b).set_last_in_chain(1);
                }
                Special::Flush => (*b).set_flush(1),
                Special::None => {}
            }
        }
        true
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    None,
    Flush,
    Last,
}

/// Has nginx tell when the client takes more, where it does not take all.
///
/// # Safety
/// The request must be live.
unsafe fn await_client(r: Request) {
    // SAFETY: by the caller's promise, and so is the connection.
    unsafe {
        let c = (*r.raw()).connection;
        let wev = (*c).write;
        // With `delayed` the timer is that of limit_rate.
        if (*c).buffered() != 0 {
            let core = r.core_location();
            if (*wev).delayed() == 0 && (*wev).timer_set() == 0 {
                ngx_add_timer(wev, (*core).send_timeout);
            }
            if ngx_handle_write_event(wev, (*core).send_lowat) != NGX_OK as ngx_int_t {
                (*c).set_error(1);
            }
        } else if (*wev).timer_set() != 0 && (*wev).delayed() == 0 {
            ngx_del_timer(wev);
        }
    }
}

/// The write handler of a request whose Lua handler runs: sends on what
/// nginx holds back, and wakes the flushes that wait for it. The request may be
/// gone afterwards.
pub fn on_writable(r: Request, output: &Output) {
    let wakers = output.flush_wakers.take();
    // SAFETY: the request and its connection are live.
    unsafe {
        let c = (*r.raw()).connection;
        let wev = (*c).write;
        if (*wev).timedout() != 0 {
            // The connection is of no use any more, as for nginx itself.
            (*wev).set_timedout(0);
            (*c).set_timedout(1);
            (*c).set_error(1);
            if wakers.is_empty() {
                return r.finalize(NGX_HTTP_REQUEST_TIME_OUT as isize);
            }
        } else if (*r.raw()).buffered() != 0
            || (*c).buffered() != 0
            || !(*r.raw()).postponed.is_null()
        {
            // A subrequest whose turn has come has `postponed` output.
            if (*wev).timer_set() != 0 && (*wev).delayed() == 0 {
                ngx_del_timer(wev);
            }
            if ngx_http_output_filter(r.raw(), ptr::null_mut()) == NGX_ERROR as ngx_int_t {
                (*c).set_error(1);
            }
            await_client(r);
        }
    }
    wake_all_now(wakers);
}
