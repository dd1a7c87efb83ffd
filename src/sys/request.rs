//! The HTTP request.

use std::any::TypeId;
use std::mem::ManuallyDrop;
use std::os::raw::c_void;
use std::ptr::{self, NonNull, fn_addr_eq};
use std::rc::Rc;

use ngx::ffi::{
    ngx_connection_t, ngx_cycle, ngx_http_block_reading, ngx_http_cleanup_add, ngx_http_cleanup_t,
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_core_run_phases,
    ngx_http_event_handler_pt, ngx_http_finalize_request, ngx_http_log_ctx_t, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_http_test_reading, ngx_int_t, ngx_log_t, ngx_module_t,
    ngx_palloc, ngx_pnalloc, ngx_pool_cleanup_t, ngx_pool_t, ngx_post_event, ngx_posted_events,
    ngx_str_t,
};

use super::abort;
use super::conf::ComplexValue;
use super::entry::guard;
use super::log::{self, Level};
use super::resolver::Resolver;
use super::ssl::server::Client;

const SWITCHING_PROTOCOLS: usize = 101;

/// A live request. Copies are only kept where the request's own clean-up
/// takes them away, so whoever has one may use it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Request(NonNull<ngx_http_request_t>);

impl Request {
    /// Wraps nginx's request.
    ///
    /// # Safety
    /// The request must be live, and stay so while the value is used.
    pub unsafe fn from_raw(r: NonNull<ngx_http_request_t>) -> Request {
        Request(r)
    }

    /// nginx's request.
    pub(super) fn raw(self) -> *mut ngx_http_request_t {
        self.0.as_ptr()
    }

    fn get<'a>(self) -> &'a ngx_http_request_t {
        // SAFETY: the request is live (type invariant); references are not
        // kept across calls into nginx.
        unsafe { self.0.as_ref() }
    }

    /// The request's memory pool.
    pub(super) fn pool(self) -> *mut ngx_pool_t {
        self.get().pool
    }

    /// Copies text into the request's memory. None where that is short.
    pub(super) fn copy(self, parts: &[&[u8]]) -> Option<ngx_str_t> {
        let len = parts.iter().map(|part| part.len()).sum();
        // SAFETY: the pool is live, and what it gives has room for all parts.
        unsafe {
            let data = ngx_pnalloc(self.pool(), len).cast::<u8>();
            if data.is_null() {
                return None;
            }
            let mut end = data;
            for part in parts {
                ptr::copy_nonoverlapping(part.as_ptr(), end, part.len());
                end = end.add(part.len());
            }
            Some(ngx_str_t { len, data })
        }
    }

    pub(super) fn log_ptr(self) -> *mut ngx_log_t {
        // SAFETY: a live request has a connection with a log.
        unsafe { (*self.get().connection).log }
    }

    /// Writes to error.log, with the request's context.
    pub fn log(self, level: Level, message: impl AsRef<[u8]>) {
        // SAFETY: the log lives as long as the request.
        unsafe { log::write(self.log_ptr(), level, 0, message.as_ref()) }
    }

    /// The main request, of which this one may be a subrequest.
    pub fn main(self) -> Request {
        NonNull::new(self.get().main).map_or(self, Request)
    }

    /// Whether this is a subrequest.
    pub fn is_subrequest(self) -> bool {
        self.main() != self
    }

    /// Whether the response header is on its way.
    pub fn header_sent(self) -> bool {
        self.get().header_sent() != 0
    }

    /// Whether nginx is about to choose the location anew, for another URI.
    pub fn uri_changed(self) -> bool {
        self.get().uri_changed() != 0
    }

    /// Whether only a header is to be sent (HEAD, 204, 304).
    pub fn header_only(self) -> bool {
        self.get().header_only() != 0
    }

    /// Status of the response; 0 while it is open.
    pub fn status(self) -> usize {
        let r = self.get();
        if r.err_status != 0 {
            r.err_status
        } else {
            r.headers_out.status
        }
    }

    /// Name of the request method.
    pub fn method(&self) -> &[u8] {
        self.get().method_name.as_bytes()
    }

    /// Changes the method: nginx's number, and its name.
    pub fn set_method(self, id: usize, name: &'static str) {
        // SAFETY: the request is live; nginx only reads the text.
        let r = unsafe { &mut *self.raw() };
        r.method = id;
        r.method_name = ngx_str_t {
            data: name.as_ptr().cast_mut(),
            len: name.len(),
        };
    }

    /// The request line, as it came.
    pub fn line(&self) -> &[u8] {
        self.get().request_line.as_bytes()
    }

    /// Whether nginx itself made the request of another one.
    pub fn is_internal(self) -> bool {
        self.get().internal() != 0
    }

    /// The query string, as it came.
    pub fn args(&self) -> &[u8] {
        self.get().args.as_bytes()
    }

    /// Sets the status of the response, in place of any error's.
    pub fn set_status(self, status: usize) {
        // SAFETY: the request is live; the text is static, and nginx only
        // reads it.
        unsafe {
            let r = &mut *self.raw();
            r.headers_out.status = status;
            r.err_status = 0;
            // The line that came from an upstream says another status; for
            // 101 nginx has no text of its own.
            r.headers_out.status_line = ngx_str_t::empty();
            if status == SWITCHING_PROTOCOLS {
                let line = b"101 Switching Protocols";
                r.headers_out.status_line.data = line.as_ptr().cast_mut();
                r.headers_out.status_line.len = line.len();
            }
        }
    }

    /// HTTP version as nginx counts it: 9, 1000, 1001, 2000, 3000.
    pub fn http_version(self) -> usize {
        self.get().http_version
    }

    /// Whether the client's connection had an error.
    pub fn connection_failed(self) -> bool {
        // SAFETY: a live request has a connection.
        unsafe { (*self.get().connection).error() != 0 }
    }

    /// Takes one more reference to the request: it stays until
    /// [`Request::finalize`] gives it back.
    pub fn hold(self) {
        // SAFETY: the main request lives at least as long as this one.
        unsafe {
            let main = self.get().main;
            (*main).set_count((*main).count() + 1);
        }
    }

    /// Gives back a reference without ending anything.
    pub fn release(self) {
        // SAFETY: as hold; callers have held before, so the count stays > 0.
        unsafe {
            let main = self.get().main;
            (*main).set_count((*main).count() - 1);
        }
    }

    /// Ends the request's content with `rc`, an nginx code or a status.
    /// The request may be gone afterwards.
    pub fn finalize(self, rc: isize) {
        // SAFETY: the request is live; it is not used after the call.
        unsafe { ngx_http_finalize_request(self.raw(), rc as ngx_int_t) }
    }

    /// Goes on with the phases after one that waited. The request may be
    /// gone afterwards.
    pub fn run_phases(self) {
        // SAFETY: as finalize.
        unsafe { ngx_http_core_run_phases(self.raw()) }
    }

    /// Has nginx run what filters posted (the subrequests of an SSI page),
    /// soon: it does so itself only after events of the client's own socket.
    pub fn wake_posted(self) {
        // SAFETY: the request, its main request and its connection are live;
        // a closed connection takes its events off the queue.
        unsafe {
            if !(*self.get().main).posted_requests.is_null() {
                ngx_post_event((*self.get().connection).write, &raw mut ngx_posted_events);
            }
        }
    }

    /// The client's connection, for [`ClientConnection::run_posted`] after
    /// the request may be gone.
    pub fn client(self) -> ClientConnection {
        ClientConnection(self.get().connection)
    }

    /// Messages of the connection are about this request from now on: it may
    /// be a subrequest.
    pub fn set_log_request(self) {
        // SAFETY: an HTTP connection's log data is nginx's log context.
        unsafe {
            let context = (*self.log_ptr()).data.cast::<ngx_http_log_ctx_t>();
            if !context.is_null() {
                (*context).current_request = self.raw();
            }
        }
    }

    /// Sets what happens when the client's socket becomes writable.
    pub fn set_write_handler<F: Fn(Request) + Copy + 'static>(self, f: F) {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).write_event_handler = event_handler(f) }
    }

    /// Sets what happens when the client's socket becomes readable.
    pub(super) fn set_read_handler<F: Fn(Request) + Copy + 'static>(self, f: F) {
        // SAFETY: the request is live.
        unsafe { (*self.raw()).read_event_handler = event_handler(f) }
    }

    /// What happens when the client's socket becomes readable.
    pub(super) fn read_handler(self) -> ngx_http_event_handler_pt {
        self.get().read_event_handler
    }

    /// Whether that is still `handler`.
    pub(super) fn reads_by(self, handler: ngx_http_event_handler_pt) -> bool {
        match (self.read_handler(), handler) {
            (Some(current), Some(handler)) => fn_addr_eq(current, handler),
            _ => false,
        }
    }

    /// Nobody reads from the client any more.
    pub(super) fn restore_read_handler(self) {
        // SAFETY: the request is live; the handler is nginx's own.
        unsafe { (*self.raw()).read_event_handler = Some(ngx_http_block_reading) }
    }

    /// Whether the header announces a body.
    pub fn may_have_body(self) -> bool {
        let headers = &self.get().headers_in;
        headers.content_length_n > 0
            || headers.chunked() != 0
            // HTTP/2 need not announce a length.
            || headers.content_length_n < 0 && self.has_open_stream()
    }

    /// Whether the client can still send on the request's HTTP/2 stream.
    #[cfg(ngx_feature = "http_v2")]
    fn has_open_stream(self) -> bool {
        // SAFETY: a stream is as live as its request.
        unsafe { self.get().stream.as_ref() }.is_some_and(|stream| stream.in_closed() == 0)
    }

    #[cfg(not(ngx_feature = "http_v2"))]
    fn has_open_stream(self) -> bool {
        false
    }

    /// Whether there is a [`abort::ClientGone`] for the request.
    pub fn is_awaited(self) -> bool {
        abort::is_awaited(self)
    }

    /// Watches for the client going away while the request waits; nginx then
    /// ends the request with 499, unless somebody [awaits](abort::ClientGone)
    /// that. Does nothing while the body is being read: that notices, too.
    pub fn watch_client(self) {
        type Handler = unsafe extern "C" fn(*mut ngx_http_request_t);
        let nobody: Handler = ngx_http_block_reading;
        let nginx: Handler = ngx_http_test_reading;
        let watch = if abort::is_awaited(self) {
            abort::on_readable
        } else {
            nginx
        };
        // SAFETY: the request and its connection are live; the handlers are
        // nginx's own.
        unsafe {
            let r = self.raw();
            let is_free = |handler| {
                fn_addr_eq(handler, nobody)
                    || fn_addr_eq(handler, nginx) && !fn_addr_eq(watch, nginx)
                    || fn_addr_eq(handler, abort::on_readable as Handler)
                        && fn_addr_eq(watch, nginx)
            };
            if (*r).read_event_handler.is_some_and(is_free) {
                (*r).read_event_handler = Some(watch);
                let event = (*(*r).connection).read;
                if (*event).pending_eof() != 0 {
                    // It has gone already; there will be no other event.
                    ngx_post_event(event, &raw mut ngx_posted_events);
                }
            }
        }
    }

    /// Ends the request with 499 if the client has gone away and left nothing
    /// to read. The request may be gone afterwards.
    pub(super) fn test_client(self) {
        if abort::tell(self) {
            return;
        }
        // SAFETY: the request and its connection are live; nothing of them
        // is used after nginx's function.
        unsafe {
            let c = (*self.raw()).connection;
            if self.http_version() < 2000 && (*c).ssl.is_null() {
                let mut byte = 0u8;
                if libc::recv((*c).fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK) > 0 {
                    return;
                }
            }
            ngx_http_test_reading(self.raw());
        }
    }

    /// The client's connection is not for another request. nginx takes in
    /// what may still come before it closes it, or the response could be lost.
    pub(super) fn close_after_response(self) {
        // SAFETY: the request is live.
        unsafe {
            (*self.raw()).set_keepalive(0);
            (*self.raw()).set_lingering_close(1);
        }
    }

    /// Has the phases go on when the client's socket becomes writable, as
    /// nginx itself sets it up.
    pub fn restore_write_handler(self) {
        // SAFETY: the request is live; the handler is nginx's own.
        unsafe { (*self.raw()).write_event_handler = Some(ngx_http_core_run_phases) }
    }

    /// Calls `f` when the request ends, before its log phase. False where
    /// memory is short.
    pub fn on_end<F: FnOnce() + 'static>(self, f: F) -> bool {
        unsafe extern "C" fn run<F: FnOnce()>(data: *mut c_void) {
            // SAFETY: the value was written below; nginx runs a clean-up once.
            let f = unsafe { data.cast::<F>().read() };
            guard((), f);
        }
        const { assert!(align_of::<F>() <= align_of::<usize>()) };
        // SAFETY: the request is live; nginx allocates word-aligned.
        unsafe {
            let cleanup = ngx_http_cleanup_add(self.raw(), size_of::<F>().max(1));
            if cleanup.is_null() {
                return false;
            }
            (*cleanup).data.cast::<F>().write(f);
            (*cleanup).handler = Some(run::<F>);
        }
        true
    }

    /// Attaches a value to the request, in our module's place. It hears when the
    /// request ends, and is dropped with the request's memory; an internal
    /// redirect detaches it before. False where memory is short.
    pub fn attach<T: Attached>(self, module: &ngx_module_t, value: Rc<T>) -> bool {
        const { assert!(align_of::<Attachment<T>>() <= align_of::<usize>()) };
        // SAFETY: the request is live, and so are its main request and pool;
        // nginx allocates word-aligned. The attachment is written in full and
        // in the lists, which are plain lists, as nginx's own functions would
        // put it there. The place in `ctx` belongs to our module.
        unsafe {
            let slot = ngx_palloc(self.pool(), size_of::<Attachment<T>>()).cast::<Attachment<T>>();
            if slot.is_null() {
                return false;
            }
            let main = self.get().main;
            slot.write(Attachment {
                kind: TypeId::of::<T>(),
                at_end: ngx_http_cleanup_t {
                    handler: Some(Attachment::<T>::at_end),
                    data: slot.cast(),
                    next: (*main).cleanup,
                },
                at_free: ngx_pool_cleanup_t {
                    handler: Some(Attachment::<T>::at_free),
                    data: slot.cast(),
                    next: (*self.pool()).cleanup,
                },
                value: ManuallyDrop::new(value),
            });
            (*main).cleanup = &raw mut (*slot).at_end;
            (*self.pool()).cleanup = &raw mut (*slot).at_free;
            *self.get().ctx.add(module.ctx_index) = slot.cast();
        }
        true
    }

    /// The attached value, if it is a `T`.
    #[inline]
    pub fn attached<T: Attached>(self, module: &ngx_module_t) -> Option<Rc<T>> {
        // SAFETY: the place holds null or what attach() put there, which
        // lives as long as the request's memory and begins with its type.
        unsafe {
            let slot = *self.get().ctx.add(module.ctx_index);
            if slot.is_null() || *slot.cast::<TypeId>() != TypeId::of::<T>() {
                return None;
            }
            Some(Rc::clone(&(*slot.cast::<Attachment<T>>()).value))
        }
    }

    /// Our module's configuration for the request's location.
    ///
    /// # Safety
    /// `T` must be the type that the module's create_loc_conf makes.
    pub unsafe fn location_conf<T>(self, module: &ngx_module_t) -> &'static T {
        // SAFETY: nginx fills the array for every module; the configuration
        // outlives the requests that use it.
        unsafe { &*(*self.get().loc_conf.add(module.ctx_index)).cast::<T>() }
    }

    /// Our module's main configuration.
    ///
    /// # Safety
    /// `T` must be the type that the module's create_main_conf makes.
    pub unsafe fn main_conf<T>(self, module: &ngx_module_t) -> &'static T {
        // SAFETY: as location_conf.
        unsafe { &*(*self.get().main_conf.add(module.ctx_index)).cast::<T>() }
    }

    /// Sets the status of the response unless Lua has chosen one.
    pub fn set_default_status(self, status: usize) {
        // SAFETY: the request is live.
        unsafe {
            let headers = &mut (*self.raw()).headers_out;
            if headers.status == 0 {
                headers.status = status;
            }
        }
    }

    /// The text of a value with variables. None where memory is short.
    pub fn evaluate(self, value: &ComplexValue) -> Option<Vec<u8>> {
        // SAFETY: the request is live and of the value's configuration.
        unsafe { value.evaluate(self.raw()) }.map(<[u8]>::to_vec)
    }

    /// Evaluates a file name with variables; a relative one is under nginx's
    /// prefix. None where nginx could not (it has logged why).
    pub fn full_path(self, value: &ComplexValue) -> Option<Vec<u8>> {
        // SAFETY: the request is live and the result copied at once; the
        // cycle's prefix is live.
        unsafe {
            let path = value.evaluate(self.raw())?;
            Some(if path.starts_with(b"/") {
                path.to_vec()
            } else {
                [(*ngx_cycle).prefix.as_bytes(), path].concat()
            })
        }
    }

    /// The `resolver` directive that applies to the request.
    pub fn resolver(self) -> Resolver {
        // SAFETY: the core module's configuration is live.
        unsafe {
            let core = self.core_location();
            Resolver {
                resolver: (*core).resolver,
                timeout: (*core).resolver_timeout,
            }
        }
    }

    /// TLS of the client's connection, if there is any.
    pub(super) fn client_tls(self) -> Option<Client> {
        // SAFETY: the connection lives as long as the request.
        unsafe { Client::of_connection(self.get().connection) }
    }

    /// Where the location's `error_log` writes.
    pub(super) fn error_log(self) -> *mut ngx_log_t {
        // SAFETY: the core module's configuration is live, and has a log.
        unsafe { (*self.core_location()).error_log }
    }

    pub(super) fn core_location(self) -> *mut ngx_http_core_loc_conf_t {
        // SAFETY: the core module has a configuration in every location.
        unsafe {
            (*self.get().loc_conf.add(ngx_http_core_module.ctx_index))
                .cast::<ngx_http_core_loc_conf_t>()
        }
    }
}

/// What can be attached to a request.
pub trait Attached: 'static {
    /// The request ends; its log phase is yet to come.
    fn request_ended(&self);
}

/// An attached value, and what tells of the request's end: in one piece, since
/// there is one for each request that has to do with Lua.
#[repr(C)]
struct Attachment<T> {
    kind: TypeId,
    at_end: ngx_http_cleanup_t,
    at_free: ngx_pool_cleanup_t,
    value: ManuallyDrop<Rc<T>>,
}

impl<T: Attached> Attachment<T> {
    /// # Safety
    /// Called by nginx only, once, with the attachment.
    unsafe extern "C" fn at_end(slot: *mut c_void) {
        // SAFETY: the attachment lives in the request's pool, which is freed
        // later, and so does its value.
        guard((), || unsafe {
            (*slot.cast::<Attachment<T>>()).value.request_ended()
        });
    }

    /// # Safety
    /// As `at_end`; nothing uses the value afterwards.
    unsafe extern "C" fn at_free(slot: *mut c_void) {
        // SAFETY: the pool's blocks are freed after its clean-ups.
        guard((), || unsafe {
            ManuallyDrop::drop(&mut (*slot.cast::<Attachment<T>>()).value);
        });
    }
}

/// The client's connection of a request that may have ended.
#[derive(Clone, Copy)]
pub struct ClientConnection(*mut ngx_connection_t);

impl ClientConnection {
    /// Runs what the end of a request or its phases posted to the connection.
    /// nginx does so itself only after events of the client's own socket.
    pub fn run_posted(self) {
        // SAFETY: nginx keeps the memory of closed connections; the function
        // itself checks whether the connection is gone.
        unsafe { ngx_http_run_posted_requests(self.0) }
    }
}

/// A C event handler that calls the Rust function `f`.
fn event_handler<F: Fn(Request) + Copy + 'static>(_f: F) -> ngx_http_event_handler_pt {
    unsafe extern "C" fn handler<F: Fn(Request) + Copy>(r: *mut ngx_http_request_t) {
        guard((), || {
            if let Some(r) = NonNull::new(r) {
                // SAFETY: nginx passes a live request; F has no size (checked
                // below), so that its value needs no bits.
                let (request, f) =
                    unsafe { (Request::from_raw(r), NonNull::<F>::dangling().read()) };
                f(request);
            }
        });
    }
    const { assert!(size_of::<F>() == 0, "a handler cannot capture") };
    Some(handler::<F>)
}
