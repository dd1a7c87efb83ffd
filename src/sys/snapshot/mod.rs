//! A request's copy, for code that goes on after nginx has freed the request.
//!
//! It looks like a request of nginx's, in memory of its own, so that whatever
//! reads one reads the other as well. Only what is read that way is in it; a
//! signature tells it from a request that lives.

mod headers;
mod pool;
mod variables;

pub use variables::forget_configuration;

use std::ptr::{self, NonNull};

use ngx::ffi::{
    ngx_buf_t, ngx_chain_t, ngx_connection_t, ngx_http_log_ctx_t, ngx_http_max_module,
    ngx_http_request_body_t, ngx_http_request_t, ngx_log_t,
};

use super::log::Silenced;
use super::request::Request;
use pool::Pool;
use variables::Value;

/// What copies have where nginx's requests have `HTTP`.
const SIGNATURE: u32 = u32::from_le_bytes(*b"COPY");

/// The copy, which lives in a pool of its own.
#[repr(C)]
struct Copy {
    /// First, so that its address is that of the whole.
    request: ngx_http_request_t,
    /// By the address of the variable.
    values: *mut Value,
    count: usize,
    log_context: ngx_http_log_ctx_t,
}

/// Owns a copy.
pub struct Snapshot {
    copy: NonNull<Copy>,
    // Frees the copy.
    _pool: Pool,
}

impl Snapshot {
    /// Copies `request`. `log`, which must be one of its own that outlives the
    /// copy, tells about the copy from now on. None where memory is short.
    ///
    /// All variables are evaluated, but for those that take system calls: of
    /// these, values are copied that are there already. What nginx has to say
    /// about variables that nobody asked for is not logged.
    pub(super) fn of(request: Request, log: *mut ngx_log_t) -> Option<Snapshot> {
        let pool = Pool::new()?;
        let copy = NonNull::new(pool.zeroed::<Copy>(1)?)?;
        let connection = pool.zeroed::<ngx_connection_t>(1)?;
        // SAFETY: the request is live. The new structures are zeroed, which is
        // a value of each, and nobody else knows them yet.
        unsafe {
            let (from, to) = (request.raw(), copy.as_ptr());
            let r = &raw mut (*to).request;
            copy_connection(&pool, (*from).connection, connection, log)?;
            (*r).connection = connection;
            copy_request(&pool, from, r)?;
            headers::copy(&pool, from, r)?;
            copy_body(&pool, request, r)?;
            copy_captures(&pool, from, r)?;
            let silenced = Silenced::new(request.log_ptr());
            let values = variables::values(&pool, request, copy.cast())?;
            drop(silenced);
            (*to).count = values.len();
            (*to).values = pool.array(&values)?;
            (*to).log_context = ngx_http_log_ctx_t {
                connection,
                request: r,
                current_request: r,
            };
            (*log).data = (&raw mut (*to).log_context).cast();
        }
        Some(Snapshot { copy, _pool: pool })
    }

    /// The copy, which lives as long as this value.
    pub(super) fn request(&self) -> Request {
        // SAFETY: the copy begins with the request, and is live.
        unsafe { Request::from_raw(self.copy.cast()) }
    }
}

impl Request {
    /// Whether this is a copy of a request that may have ended.
    pub(super) fn is_copy(self) -> bool {
        // SAFETY: both kinds of request are live and have a signature.
        unsafe { (*self.raw()).signature == SIGNATURE }
    }

    /// The values of the variables of a copy.
    fn values(self) -> *mut [Value] {
        if !self.is_copy() {
            return ptr::slice_from_raw_parts_mut(NonNull::dangling().as_ptr(), 0);
        }
        // SAFETY: the copy is live and begins with the request, whose address
        // was made from that of the whole.
        unsafe {
            let copy = self.raw().cast::<Copy>();
            ptr::slice_from_raw_parts_mut((*copy).values, (*copy).count)
        }
    }
}

/// # Safety
/// `from` must be a live connection, `to` a zeroed one.
unsafe fn copy_connection(
    pool: &Pool,
    from: *const ngx_connection_t,
    to: *mut ngx_connection_t,
    log: *mut ngx_log_t,
) -> Option<()> {
    // SAFETY: by the caller's promise; an address has as many bytes as it says.
    unsafe {
        (*to).fd = -1;
        (*to).log = log;
        (*to).pool = pool.raw();
        (*to).sent = (*from).sent;
        (*to).number = (*from).number;
        (*to).requests = (*from).requests;
        (*to).start_time = (*from).start_time;
        (*to).set_error((*from).error());
        (*to).addr_text = pool.text((*from).addr_text)?;
        if !(*from).sockaddr.is_null() {
            let len = (*from).socklen as usize;
            let bytes = std::slice::from_raw_parts((*from).sockaddr.cast::<u8>(), len);
            (*to).sockaddr = pool.array(bytes)?.cast();
            (*to).socklen = (*from).socklen;
        }
    }
    Some(())
}

/// Copies what belongs to the request itself.
///
/// # Safety
/// `from` must be a live request, `to` a zeroed one.
unsafe fn copy_request(
    pool: &Pool,
    from: *mut ngx_http_request_t,
    to: *mut ngx_http_request_t,
) -> Option<()> {
    // SAFETY: by the caller's promise. The configuration outlives requests.
    unsafe {
        (*to).signature = SIGNATURE;
        (*to).pool = pool.raw();
        (*to).ctx = pool.zeroed(ngx_http_max_module)?;
        (*to).main_conf = (*from).main_conf;
        (*to).srv_conf = (*from).srv_conf;
        (*to).loc_conf = (*from).loc_conf;
        (*to).log_handler = (*from).log_handler;
        (*to).main = to;
        if (*from).main != from {
            // It is compared only.
            (*to).main = pool.zeroed(1)?;
            (*(*to).main).main = (*to).main;
            (*to).parent = (*to).main;
        }
        (*to).set_count(1);
        (*to).start_sec = (*from).start_sec;
        (*to).start_msec = (*from).start_msec;
        (*to).method = (*from).method;
        (*to).http_version = (*from).http_version;
        (*to).header_size = (*from).header_size;
        (*to).request_length = (*from).request_length;
        (*to).err_status = (*from).err_status;
        (*to).limit_rate = (*from).limit_rate;
        (*to).limit_rate_after = (*from).limit_rate_after;
        (*to).set_header_sent((*from).header_sent());
        (*to).set_header_only((*from).header_only());
        (*to).set_keepalive((*from).keepalive());
        (*to).set_internal((*from).internal());
        (*to).set_allow_ranges((*from).allow_ranges());
        (*to).request_line = pool.text((*from).request_line)?;
        (*to).uri = pool.text((*from).uri)?;
        (*to).args = pool.text((*from).args)?;
        (*to).exten = pool.text((*from).exten)?;
        (*to).unparsed_uri = pool.text((*from).unparsed_uri)?;
        (*to).method_name = pool.text((*from).method_name)?;
        (*to).http_protocol = pool.text((*from).http_protocol)?;
        (*to).schema = pool.text((*from).schema)?;
    }
    Some(())
}

/// Copies a body that is in memory, into one piece.
///
/// # Safety
/// `to` must be the zeroed copy of `request`, which is live.
unsafe fn copy_body(pool: &Pool, request: Request, to: *mut ngx_http_request_t) -> Option<()> {
    let Some(chunks) = request.body_in_memory() else {
        return Some(());
    };
    let size = chunks.size();
    let start = pool.zeroed::<u8>(size)?;
    let mut end = start;
    // SAFETY: there is room for all chunks; the new structures are zeroed,
    // which is a value of each.
    unsafe {
        for chunk in chunks {
            ptr::copy_nonoverlapping(chunk.as_ptr(), end, chunk.len());
            end = end.add(chunk.len());
        }
        let buf = pool.zeroed::<ngx_buf_t>(1)?;
        (*buf).start = start;
        (*buf).pos = start;
        (*buf).last = end;
        (*buf).end = end;
        (*buf).set_memory(1);
        let chain = pool.zeroed::<ngx_chain_t>(1)?;
        (*chain).buf = buf;
        let body = pool.zeroed::<ngx_http_request_body_t>(1)?;
        (*body).bufs = chain;
        (*to).request_body = body;
    }
    Some(())
}

/// Copies the groups of the last regular expression: what `$1` refers to.
///
/// # Safety
/// `from` must be a live request, `to` its zeroed copy.
#[cfg(ngx_feature = "pcre")]
unsafe fn copy_captures(
    pool: &Pool,
    from: *const ngx_http_request_t,
    to: *mut ngx_http_request_t,
) -> Option<()> {
    // SAFETY: by the caller's promise; nginx keeps offsets into the subject,
    // -1 for groups without a part of it.
    unsafe {
        if (*from).ncaptures == 0 || (*from).captures.is_null() || (*from).captures_data.is_null() {
            return Some(());
        }
        let offsets = std::slice::from_raw_parts((*from).captures, (*from).ncaptures);
        let end = offsets.iter().copied().max().unwrap_or(0).max(0) as usize;
        let subject = std::slice::from_raw_parts((*from).captures_data, end);
        (*to).captures = pool.array(offsets)?;
        (*to).captures_data = pool.bytes(subject)?;
        (*to).ncaptures = offsets.len();
    }
    Some(())
}

/// An nginx without regular expressions has no groups.
///
/// # Safety
/// None to keep.
#[cfg(not(ngx_feature = "pcre"))]
unsafe fn copy_captures(
    _pool: &Pool,
    _from: *const ngx_http_request_t,
    _to: *mut ngx_http_request_t,
) -> Option<()> {
    Some(())
}
