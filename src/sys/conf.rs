//! nginx's configuration parser: the safe face of `ngx_conf_t`.

use core::ffi::{c_char, c_void};
use core::marker::PhantomData;
use core::ops::ControlFlow;
use core::ptr::{self, NonNull};
use core::slice;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;

use nginx_sys::{
    NGX_ERROR, NGX_LOG_EMERG, NGX_LOG_WARN, NGX_OK, ngx_buf_t, ngx_conf_file_t, ngx_conf_log_error,
    ngx_conf_t, ngx_http_compile_complex_value, ngx_http_compile_complex_value_t,
    ngx_http_complex_value, ngx_http_complex_value_t, ngx_http_request_t, ngx_pagesize, ngx_palloc,
    ngx_parse_size, ngx_parse_time, ngx_pnalloc, ngx_pool_cleanup_add, ngx_read_file, ngx_str_t,
    ngx_test_config,
};
use nginx_sys::{
    ngx_array_push, ngx_cycle, ngx_http_conf_ctx_t, ngx_http_core_main_conf_t,
    ngx_http_core_module, ngx_http_handler_pt, ngx_http_module,
    ngx_http_phases_NGX_HTTP_ACCESS_PHASE, ngx_http_phases_NGX_HTTP_LOG_PHASE,
    ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE, ngx_http_phases_NGX_HTTP_REWRITE_PHASE,
    ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE, ngx_module_t,
};

/// Bits of a directive's type: where it may stand, what it takes.
pub mod kind {
    /// In `http`.
    pub const HTTP: usize = nginx_sys::NGX_HTTP_MAIN_CONF as usize;
    /// In `server`.
    pub const SERVER: usize = nginx_sys::NGX_HTTP_SRV_CONF as usize;
    /// In `upstream`.
    pub const UPSTREAM: usize = nginx_sys::NGX_HTTP_UPS_CONF as usize;
    /// In `location`.
    pub const LOCATION: usize = nginx_sys::NGX_HTTP_LOC_CONF as usize;
    /// In `if` in `server`.
    pub const SERVER_IF: usize = nginx_sys::NGX_HTTP_SIF_CONF as usize;
    /// In `if` in `location`.
    pub const LOCATION_IF: usize = nginx_sys::NGX_HTTP_LIF_CONF as usize;
    /// A block, not a simple directive.
    pub const BLOCK: usize = nginx_sys::NGX_CONF_BLOCK as usize;
    /// Takes no argument.
    pub const NO_ARGS: usize = nginx_sys::NGX_CONF_NOARGS as usize;
    /// Takes one argument.
    pub const TAKES_ONE: usize = nginx_sys::NGX_CONF_TAKE1 as usize;
    /// Takes two arguments.
    pub const TAKES_TWO: usize = nginx_sys::NGX_CONF_TAKE2 as usize;
    /// Takes two arguments or more.
    pub const TAKES_TWO_OR_MORE: usize = nginx_sys::NGX_CONF_2MORE as usize;
    /// Takes one argument or more.
    pub const TAKES_MANY: usize = nginx_sys::NGX_CONF_1MORE as usize;
    /// Takes `on` or `off`.
    pub const FLAG: usize = nginx_sys::NGX_CONF_FLAG as usize;
}

/// How grave a message about the configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// nginx does not start.
    Emergency,
    /// nginx starts, the administrator should know.
    Warn,
}

/// A failure that is in nginx's log already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported;

/// A configuration being read, at one directive.
pub struct Conf<'cf> {
    cf: NonNull<ngx_conf_t>,
    parser: PhantomData<&'cf mut ngx_conf_t>,
}

/// Our module's configuration for what is outside of any server, if there is
/// an `http` block.
///
/// # Safety
/// `T` must be the type that the module's create_loc_conf makes.
pub unsafe fn http_location_conf<T>(module: &ngx_module_t) -> Option<&'static T> {
    // SAFETY: the cycle is live; a module without configuration has null in
    // its place, and nginx fills the array of `http` for every module.
    unsafe {
        let http =
            (*(*ngx_cycle).conf_ctx.add(ngx_http_module.index)).cast::<ngx_http_conf_ctx_t>();
        let conf = *http.as_ref()?.loc_conf.add(module.ctx_index);
        conf.cast::<T>().as_ref()
    }
}

impl<'cf> Conf<'cf> {
    /// Wraps what nginx hands to a directive or a module hook.
    ///
    /// # Safety
    /// `cf` is nginx's parser, alive and used by nobody else during `'cf`.
    pub unsafe fn new(cf: *mut ngx_conf_t) -> Self {
        let cf = NonNull::new(cf).expect("nginx passes its parser");
        Self {
            cf,
            parser: PhantomData,
        }
    }

    /// The parser for nginx's own functions.
    pub fn as_ptr(&self) -> *mut ngx_conf_t {
        self.cf.as_ptr()
    }

    /// Word `index` of the directive; 0 is its name.
    pub fn arg(&self, index: usize) -> Option<&[u8]> {
        // SAFETY: `new` promises a live parser.
        let args = unsafe { self.cf.as_ref().args.as_ref()? };
        // SAFETY: nginx keeps the words of the directive as an array of strings.
        let words = unsafe { args.as_slice::<ngx_str_t>() };
        words.get(index).map(bytes)
    }

    /// The full name of the file being read; empty outside of files.
    pub fn file_name(&self) -> &[u8] {
        match self.file() {
            // SAFETY: the file structure lives while it is being read.
            Some(file) => bytes(unsafe { &(*file.as_ptr()).file.name }),
            None => &[],
        }
    }

    /// The current line.
    pub fn line(&self) -> usize {
        match self.file() {
            // SAFETY: the file structure lives while it is being read.
            Some(file) => unsafe { (*file.as_ptr()).line },
            None => 0,
        }
    }

    /// nginx's prefix (`nginx -p`), with a slash at its end.
    pub fn prefix(&self) -> &[u8] {
        // SAFETY: the parser works for a cycle, which outlives it.
        bytes(unsafe { &(*self.cf.as_ref().cycle).prefix })
    }

    /// A path as nginx means it: relative to its prefix.
    pub fn full_path(&self, path: &[u8]) -> Vec<u8> {
        if path.starts_with(b"/") {
            path.to_vec()
        } else {
            [self.prefix(), path].concat()
        }
    }

    /// The contents of a file, if it can be read.
    pub fn read_file(&self, path: &[u8]) -> Option<Vec<u8>> {
        std::fs::read(OsStr::from_bytes(path)).ok()
    }

    /// Whether this is `nginx -t`.
    pub fn is_test(&self) -> bool {
        // SAFETY: nginx sets it once, before it reads the configuration.
        unsafe { ngx_test_config != 0 }
    }

    /// Logs about the current line; nginx adds `in FILE:LINE`.
    pub fn log(&self, level: Level, text: &str) {
        let level = match level {
            Level::Emergency => NGX_LOG_EMERG,
            Level::Warn => NGX_LOG_WARN,
        };
        // SAFETY: the parser is live; `%*s` takes a length and so many bytes.
        unsafe {
            ngx_conf_log_error(
                level as usize,
                self.cf.as_ptr(),
                0,
                c"%*s".as_ptr(),
                text.len(),
                text.as_ptr(),
            );
        }
    }

    /// Logs about another line of the current file.
    pub fn log_at(&mut self, level: Level, line: usize, text: &str) {
        let Some(file) = self.file() else {
            return self.log(level, text);
        };
        let file = file.as_ptr();
        // SAFETY: the file structure lives while it is being read, and nothing
        // else runs between the two swaps.
        let current = unsafe { ptr::replace(&raw mut (*file).line, line) };
        self.log(level, text);
        // SAFETY: as above.
        unsafe { (*file).line = current };
    }

    /// Compiles a path with variables. It evaluates to a full path: nginx puts
    /// its prefix before a relative one.
    pub fn path_value(&self, text: &[u8]) -> Result<ComplexValue, Reported> {
        self.compile(text, true)
    }

    /// Compiles text with variables.
    pub fn value(&self, text: &[u8]) -> Result<ComplexValue, Reported> {
        self.compile(text, false)
    }

    fn compile(&self, text: &[u8], is_path: bool) -> Result<ComplexValue, Reported> {
        let mut text = self.pool_string(text).ok_or(Reported)?;
        // SAFETY: the pool lives as long as the configuration.
        let value =
            unsafe { ngx_palloc(self.cf.as_ref().pool, size_of::<ngx_http_complex_value_t>()) };
        let value = NonNull::new(value.cast::<ngx_http_complex_value_t>()).ok_or(Reported)?;
        // SAFETY: all-zero is a valid value of this C structure.
        let mut compile: ngx_http_compile_complex_value_t = unsafe { core::mem::zeroed() };
        compile.cf = self.cf.as_ptr();
        compile.value = &mut text;
        compile.complex_value = value.as_ptr();
        compile.set_root_prefix(is_path.into());
        // SAFETY: the parser is live, text and result are in its pool.
        match unsafe { ngx_http_compile_complex_value(&mut compile) } {
            rc if rc == NGX_OK as isize => Ok(ComplexValue(value)),
            _ => Err(Reported),
        }
    }

    /// Hands raw text of the configuration file, from where nginx's tokenizer
    /// stands, to `take` until it breaks with the number of bytes it wants of
    /// the last piece. False is the end of the file.
    ///
    /// Pieces are what nginx's buffer holds: at most 4096 bytes.
    pub fn read_raw(
        &mut self,
        mut take: impl FnMut(&[u8]) -> ControlFlow<usize>,
    ) -> Result<bool, Reported> {
        let Some(file) = self.file() else {
            return Ok(false);
        };
        let mut source = RawText {
            file: file.as_ptr(),
        };
        loop {
            let piece = source.buffered();
            let (used, done) = match take(piece) {
                ControlFlow::Continue(()) => (piece.len(), false),
                ControlFlow::Break(used) => (used.min(piece.len()), true),
            };
            source.consume(used);
            if done {
                return Ok(true);
            }
            if !self.refill(&mut source)? {
                return Ok(false);
            }
        }
    }

    /// Reads the next part of the file into the empty buffer. False is the end.
    fn refill(&self, source: &mut RawText) -> Result<bool, Reported> {
        // SAFETY: file and buffer are live while nginx reads the configuration.
        let (file, buffer) = unsafe { (&mut *source.file, &mut *(*source.file).buffer) };
        let left = usize::try_from(file.file.info.st_size - file.file.offset).unwrap_or(0);
        let size = left.min(room(buffer));
        if size == 0 {
            return Ok(false);
        }
        let offset = file.file.offset;
        // SAFETY: `size` bytes fit between the buffer's start and end, and
        // nothing unread is in it.
        let read = unsafe { ngx_read_file(&mut file.file, buffer.start, size, offset) };
        if read == NGX_ERROR as isize {
            return Err(Reported);
        }
        if read as usize != size {
            let text = format!("pread() returned only {read} bytes instead of {size}");
            self.log(Level::Emergency, &text);
            return Err(Reported);
        }
        buffer.pos = buffer.start;
        // SAFETY: `size` is within the buffer.
        buffer.last = unsafe { buffer.start.add(size) };
        // `nginx -T` prints what went through the parser.
        if !file.dump.is_null() {
            // SAFETY: nginx made the dump buffer as large as the file.
            unsafe {
                let dump = &mut *file.dump;
                ptr::copy_nonoverlapping(buffer.start, dump.last, size);
                dump.last = dump.last.add(size);
            }
        }
        Ok(true)
    }

    /// Adds a handler to a phase of request processing.
    ///
    /// nginx runs the handlers of a phase from the last one added to the
    /// first, those of the log phase the other way round: the place in the list
    /// decides the order.
    pub fn add_phase_handler(
        &mut self,
        phase: RequestPhase,
        order: PhaseOrder,
        handler: ngx_http_handler_pt,
    ) -> Result<(), Reported> {
        let phase = match phase {
            RequestPhase::ServerRewrite => ngx_http_phases_NGX_HTTP_SERVER_REWRITE_PHASE,
            RequestPhase::Rewrite => ngx_http_phases_NGX_HTTP_REWRITE_PHASE,
            RequestPhase::Access => ngx_http_phases_NGX_HTTP_ACCESS_PHASE,
            RequestPhase::Precontent => ngx_http_phases_NGX_HTTP_PRECONTENT_PHASE,
            RequestPhase::Log => ngx_http_phases_NGX_HTTP_LOG_PHASE,
        };
        let in_front = (order == PhaseOrder::Last) != (phase == ngx_http_phases_NGX_HTTP_LOG_PHASE);
        // SAFETY: inside of `http` the parser's context is that of the HTTP
        // modules, and the core module has made its lists of handlers.
        unsafe {
            let http = (*self.cf.as_ptr()).ctx.cast::<ngx_http_conf_ctx_t>();
            let core = (*(*http).main_conf.add(ngx_http_core_module.ctx_index))
                .cast::<ngx_http_core_main_conf_t>();
            let list = &raw mut (*core).phases[phase as usize].handlers;
            let added = ngx_array_push(list).cast::<ngx_http_handler_pt>();
            if added.is_null() {
                return Err(Reported);
            }
            if in_front {
                let first = (*list).elts.cast::<ngx_http_handler_pt>();
                ptr::copy(first, first.add(1), (*list).nelts - 1);
                first.write(handler);
            } else {
                added.write(handler);
            }
        }
        Ok(())
    }

    /// The configuration that another module has for the location that is
    /// being merged. None where nginx has no HTTP module of that name.
    pub(super) fn location_conf_of(&self, module: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: nginx's list of modules, each with a name, ends with null;
        // inside of `http` the context is that of the HTTP modules.
        unsafe {
            let cf = self.cf.as_ref();
            let mut modules = (*cf.cycle).modules;
            while let Some(candidate) = (*modules).as_ref() {
                if CStr::from_ptr(candidate.name) == module {
                    let http = cf.ctx.cast::<ngx_http_conf_ctx_t>();
                    return NonNull::new(*(*http).loc_conf.add(candidate.ctx_index));
                }
                modules = modules.add(1);
            }
        }
        None
    }

    /// Gives a value to the configuration: it is dropped with it.
    pub fn keep<T>(&self, value: T) -> Option<NonNull<T>> {
        // SAFETY: the pool lives as long as the configuration.
        let cleanup = NonNull::new(unsafe { ngx_pool_cleanup_add(self.cf.as_ref().pool, 0) })?;
        let value = NonNull::from(Box::leak(Box::new(value)));
        // SAFETY: nginx just made the entry; it calls `drop_kept` once, when it
        // destroys the pool.
        unsafe {
            (*cleanup.as_ptr()).data = value.as_ptr().cast();
            (*cleanup.as_ptr()).handler = Some(drop_kept::<T>);
        }
        Some(value)
    }

    pub(super) fn pool_string(&self, text: &[u8]) -> Option<ngx_str_t> {
        // SAFETY: the pool lives as long as the configuration.
        let data = unsafe { ngx_pnalloc(self.cf.as_ref().pool, text.len() + 1) };
        let data = NonNull::new(data.cast::<u8>())?;
        // SAFETY: there is room for the text and a terminating zero.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), data.as_ptr(), text.len());
            *data.as_ptr().add(text.len()) = 0;
        }
        Some(ngx_str_t {
            len: text.len(),
            data: data.as_ptr(),
        })
    }

    fn file(&self) -> Option<NonNull<ngx_conf_file_t>> {
        // SAFETY: `new` promises a live parser.
        NonNull::new(unsafe { self.cf.as_ref().conf_file })
    }
}

/// A phase of request processing that takes handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPhase {
    ServerRewrite,
    Rewrite,
    Access,
    Precontent,
    Log,
}

/// When a handler runs within its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseOrder {
    /// Before those of the modules that were set up before.
    First,
    /// After all others.
    Last,
}

/// The part of the configuration file that nginx has read and not parsed.
struct RawText {
    file: *mut ngx_conf_file_t,
}

impl RawText {
    fn buffered(&self) -> &[u8] {
        // SAFETY: file and buffer are live while nginx reads the configuration;
        // `pos` to `last` is what the buffer holds.
        unsafe {
            let buffer = &*(*self.file).buffer;
            slice::from_raw_parts(buffer.pos, buffer.last.offset_from_unsigned(buffer.pos))
        }
    }

    /// Moves on, and counts lines as nginx does.
    fn consume(&mut self, used: usize) {
        let lines = memchr::memchr_iter(b'\n', &self.buffered()[..used]).count();
        // SAFETY: as in `buffered`; `used` is within it.
        unsafe {
            (*self.file).line += lines;
            let buffer = &mut *(*self.file).buffer;
            buffer.pos = buffer.pos.add(used);
        }
    }
}

fn room(buffer: &ngx_buf_t) -> usize {
    // SAFETY: both point into the buffer's memory.
    unsafe { buffer.end.offset_from_unsigned(buffer.start) }
}

/// A value with variables, compiled; it lives as long as the configuration.
#[derive(Debug, Clone, Copy)]
pub struct ComplexValue(NonNull<ngx_http_complex_value_t>);

impl ComplexValue {
    /// The value for a request, in the request's pool. `None` is a failure that
    /// nginx logged.
    ///
    /// # Safety
    /// The request is live, of the configuration the value was compiled for,
    /// and outlives the answer.
    pub unsafe fn evaluate<'r>(&self, request: *mut ngx_http_request_t) -> Option<&'r [u8]> {
        let mut value = ngx_str_t::empty();
        // SAFETY: the caller's promise.
        let rc = unsafe { ngx_http_complex_value(request, self.0.as_ptr(), &mut value) };
        if rc != NGX_OK as isize {
            return None;
        }
        if value.len == 0 {
            return Some(&[]);
        }
        // SAFETY: nginx put `len` bytes into the request's or configuration's pool.
        Some(unsafe { slice::from_raw_parts(value.data, value.len) })
    }
}

unsafe extern "C" fn drop_kept<T>(data: *mut c_void) {
    let drop_it = || {
        // SAFETY: `Conf::keep` leaked this box for us, and nginx calls once.
        drop(unsafe { Box::from_raw(data.cast::<T>()) });
    };
    // Nothing useful can be done about a panic in a destructor here.
    let _ = std::panic::catch_unwind(core::panic::AssertUnwindSafe(drop_it));
}

/// A time as nginx writes it (`60s`, `100ms`, `1h`), in milliseconds.
pub fn parse_time(text: &[u8]) -> Option<u64> {
    // SAFETY: nginx reads `len` bytes and changes nothing.
    let time = unsafe { ngx_parse_time(&mut borrowed(text), 0) };
    u64::try_from(time).ok()
}

/// A size as nginx writes it (`4k`, `1m`), in bytes.
pub fn parse_size(text: &[u8]) -> Option<usize> {
    // SAFETY: nginx reads `len` bytes and changes nothing.
    let size = unsafe { ngx_parse_size(&mut borrowed(text)) };
    usize::try_from(size).ok()
}

/// The size of a memory page.
pub fn page_size() -> usize {
    // SAFETY: nginx sets it once, at its very start.
    unsafe { ngx_pagesize }
}

/// The answer of a directive's handler for a failure that is logged already.
pub const DIRECTIVE_FAILED: *mut c_char = ptr::without_provenance_mut(usize::MAX);

fn borrowed(text: &[u8]) -> ngx_str_t {
    ngx_str_t {
        len: text.len(),
        data: text.as_ptr().cast_mut(),
    }
}

fn bytes(text: &ngx_str_t) -> &[u8] {
    if text.len == 0 {
        return &[];
    }
    // SAFETY: nginx strings hold `len` bytes at `data`.
    unsafe { slice::from_raw_parts(text.data, text.len) }
}
