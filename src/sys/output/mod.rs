//! The response body that Lua writes.
//!
//! What `ngx.say` and `ngx.print` write is gathered in buffers and goes
//! through nginx's output filters when the handler waits, ends or flushes, or
//! when enough came together: several small writes cost one pass through the
//! filters. Sent buffers are used again, so that a handler may write for
//! hours without using more memory.

mod buffers;
pub mod frame;

use std::cell::{Cell, OnceCell, RefCell};
use std::ptr;
use std::task::{Context, Poll, Waker};

use ngx::ffi::{
    NGX_AGAIN, NGX_ERROR, NGX_HTTP_OK, NGX_HTTP_REQUEST_TIME_OUT, NGX_HTTP_VERSION_11,
    NGX_HTTP_WRITE_BUFFERED, NGX_LOWLEVEL_BUFFERED, NGX_OK, ngx_add_timer, ngx_connection_t,
    ngx_del_timer, ngx_handle_write_event, ngx_http_output_filter, ngx_http_send_header,
    ngx_http_set_content_type, ngx_int_t,
};

use super::headers::wants_default_type;
use super::request::Request;
use crate::rt::wake_all_now;
pub(super) use buffers::{Buffers, Mark};

/// Pending bytes that make [`Output::write`] hand them to the filters.
const PUSH_SIZE: usize = 32 * 1024;

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
    buffers: Buffers,
    /// Lua has written something: the header cannot be changed any more,
    /// though it may not have been sent yet.
    committed: Cell<bool>,
    eof: Cell<bool>,
    /// Bytes that the filters were given.
    filtered: Cell<usize>,
    handed_over: Cell<bool>,
    /// The status that a filter wants the client to get in place of the
    /// response.
    refusal: Cell<Option<isize>>,
    /// Of those who wait in [`poll_flushed`](Self::poll_flushed), each once;
    /// made with the first one.
    flush_wakers: OnceCell<Box<RefCell<Vec<Waker>>>>,
}

impl Output {
    pub(super) fn new() -> Output {
        Output {
            buffers: Buffers::new(),
            committed: Cell::new(false),
            eof: Cell::new(false),
            filtered: Cell::new(0),
            handed_over: Cell::new(false),
            refusal: Cell::new(None),
            flush_wakers: OnceCell::new(),
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

    /// The status that a header filter wants the client to get in place of
    /// what Lua has written; then none of that goes out.
    pub fn refusal(&self) -> Option<isize> {
        self.refusal.get()
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

    /// Adds to the body; with nothing to add, the header is final all the same.
    pub fn write<'t>(
        &self,
        r: Request,
        mut texts: impl Iterator<Item = &'t [u8]>,
    ) -> Result<(), OutputError> {
        self.check_open()?;
        if r.connection_failed() {
            return Err(OutputError::Failed);
        }
        self.commit(r);
        if r.header_only() {
            return Ok(());
        }
        match texts.all(|text| self.buffers.write(r, text)) {
            true => Ok(()),
            false => Err(OutputError::Failed),
        }
    }

    /// Hands what came together to the filters, if it is enough.
    pub fn push_if_full(
        &self,
        r: Request,
        options: impl FnOnce() -> OutputOptions,
    ) -> Result<(), OutputError> {
        if self.buffers.size() < PUSH_SIZE {
            return Ok(());
        }
        self.push(r, options())
    }

    /// Hands everything written so far to nginx's filters: the handler is
    /// about to wait.
    pub fn push(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        if !self.committed.get() || self.eof.get() || self.holds_for_http10(r, options) {
            return Ok(());
        }
        self.filter(r, options, Mark::None)
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
        self.filter(r, options, Mark::Flush)
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
                    headers.content_length_n = self.buffers.size() as _;
                }
            }
        }
        self.commit(r);
        let result = self.filter(r, options, Mark::Last);
        self.check_length(r);
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
            } else if awaits_client(c) || !(*r.raw()).postponed.is_null() || r.is_held() {
                // Filters that keep a few bytes back until more come, gzip
                // among them, do not count: a filter may have dropped the flush.
                let mut wakers = self.flush_wakers.get_or_init(Box::default).borrow_mut();
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                return Poll::Pending;
            } else {
                Ok(())
            })
        }
    }

    /// Whether the length that was promised is the length of what was written. Where filters work
    /// on the bytes, or the header is still with one, it is theirs to get right.
    fn check_length(&self, r: Request) {
        // SAFETY: the request is live.
        let filtered = unsafe { (*r.raw()).filter_need_in_memory() != 0 };
        if !filtered && !r.is_held() {
            r.check_length(self.filtered.get());
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

    fn start_response(&self, r: Request, options: OutputOptions) -> Result<(), OutputError> {
        if r.header_sent() {
            return Ok(());
        }
        if self.refusal.get().is_some() {
            return Err(OutputError::Failed);
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
            // The client waits for another response after one of these: what it gets is the end.
            if (*raw).headers_out.status < NGX_HTTP_OK as usize && !r.is_subrequest() {
                r.close_after_response();
            }
            ngx_http_send_header(raw)
        };
        if rc > NGX_OK as ngx_int_t {
            self.refusal.set(Some(rc));
        }
        if rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t {
            return Err(OutputError::Failed);
        }
        Ok(())
    }

    /// Runs header and pending body through nginx's filters.
    fn filter(&self, r: Request, options: OutputOptions, mark: Mark) -> Result<(), OutputError> {
        self.start_response(r, options)?;
        if r.header_only() {
            self.buffers.discard();
            return Ok(());
        }
        self.filtered.set(self.filtered.get() + self.buffers.size());
        if !self.buffers.mark(r, mark) {
            return Err(OutputError::Failed);
        }
        let rc = self.buffers.send(r, |out| {
            // SAFETY: the request is live and the chain's links are in its pool.
            unsafe {
                let rc = ngx_http_output_filter(r.raw(), out);
                await_client(r);
                rc
            }
        });
        if rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t {
            return Err(OutputError::Failed);
        }
        debug_assert!(rc == NGX_OK as ngx_int_t || rc == NGX_AGAIN as ngx_int_t || rc < 0);
        Ok(())
    }
}

/// Whether something is on its way out that the client has not taken, as
/// opposed to what filters keep back until more comes.
///
/// # Safety
/// The connection must be live.
pub(super) unsafe fn awaits_client(c: *const ngx_connection_t) -> bool {
    // SAFETY: by the caller's promise.
    let buffered = unsafe { (*c).buffered() };
    buffered & (NGX_LOWLEVEL_BUFFERED | NGX_HTTP_WRITE_BUFFERED) != 0
}

impl Request {
    /// Whether filters, or nginx, keep back something of the response, so that
    /// a call without buffers may send some of it.
    pub fn has_pending_output(self) -> bool {
        // SAFETY: the request and its connection are live. A subrequest whose
        // turn has come has `postponed` output.
        unsafe {
            let r = self.raw();
            (*r).buffered() != 0 || (*(*r).connection).buffered() != 0 || !(*r).postponed.is_null()
        }
    }
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
        if awaits_client(c) {
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
    let wakers = output.flush_wakers.get().map(|wakers| wakers.take());
    let wakers = wakers.unwrap_or_default();
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
        } else if r.has_pending_output() {
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
