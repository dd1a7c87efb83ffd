//! Changes to the header of the request.
//!
//! A change writes a new list: a subrequest shares the lines of the request
//! that made it, and must not change that one's. The old lines stay where
//! they are, in the request's memory, so what nginx keeps of headers that do
//! not change stays right.

#[cfg(not(nginx_1_23))]
use std::mem::offset_of;
use std::ptr::{self, NonNull};

#[cfg(not(nginx_1_23))]
use ngx::ffi::ngx_array_t;
use ngx::ffi::{
    NGX_OK, ngx_hash_find, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_header_t,
    ngx_http_headers_in_t, ngx_list_init, ngx_list_push, ngx_list_t, ngx_pool_t, ngx_str_t,
    ngx_table_elt_t, ngx_uint_t,
};

use super::name::safe_value;
#[cfg(not(nginx_1_23))]
use super::slot;
use super::{HeaderError, HeaderName, Lines};
use crate::sys::request::Request;
use crate::sys::text::{ShortText, hash_key};

/// How many lines a list has room for at least.
const ROOM: usize = 8;

impl Request {
    /// Gives the header `name` these values, in place of all it had. Empty
    /// values are left out, so that none at all removes the header.
    ///
    /// # Errors
    /// Memory; a Content-Length that is none.
    pub fn set_header(
        self,
        name: &HeaderName<'_>,
        values: &[impl AsRef<[u8]>],
    ) -> Result<(), HeaderError> {
        let lowercase = ShortText::mapped(name, |b| b.to_ascii_lowercase());
        let values = || {
            let values = values.iter().map(AsRef::as_ref);
            values.filter(|value: &&[u8]| !value.is_empty())
        };
        let length = match &*lowercase {
            b"content-length" => values().last().map(length).transpose()?,
            _ => None,
        };
        // SAFETY: the request is live; the new list is made of its memory.
        unsafe {
            let mut list: ngx_list_t = std::mem::zeroed();
            let room = (self.header_count() + values().count()).max(ROOM);
            let size = size_of::<ngx_table_elt_t>();
            if ngx_list_init(&mut list, self.pool(), room, size) != NGX_OK as isize {
                return Err(HeaderError::Memory);
            }
            for line in Lines::of(&raw const (*self.raw()).headers_in.headers) {
                let line = line.as_ref();
                if !line.key.as_bytes().eq_ignore_ascii_case(name) {
                    push(&mut list)?.write(*line);
                }
            }
            let mut added = Vec::new();
            for value in values() {
                let line = push(&mut list)?;
                line.write(self.new_line(name, &lowercase, &safe_value(value))?);
                added.push(line);
            }
            let headers = &raw mut (*self.raw()).headers_in;
            // The list knows where it stands: its last part is in itself.
            (*headers).headers = list;
            if ptr::eq(list.last, &raw const list.part) {
                (*headers).headers.last = &raw mut (*headers).headers.part;
            }
            self.tell_nginx(&lowercase, &added, length);
        }
        Ok(())
    }

    /// A line as nginx makes them: texts end with a zero, which some of its
    /// functions need.
    fn new_line(
        self,
        name: &[u8],
        lowercase: &[u8],
        value: &[u8],
    ) -> Result<ngx_table_elt_t, HeaderError> {
        let parts: [&[u8]; 6] = [name, b"\0", lowercase, b"\0", value, b"\0"];
        let text = self.copy(&parts).ok_or(HeaderError::Memory)?;
        // SAFETY: zeros are an empty line; the offsets are within the copy.
        unsafe {
            let mut line: ngx_table_elt_t = std::mem::zeroed();
            line.hash = hash_key(lowercase);
            line.key = ngx_str_t {
                data: text.data,
                len: name.len(),
            };
            line.lowcase_key = text.data.add(name.len() + 1);
            line.value = ngx_str_t {
                data: line.lowcase_key.add(lowercase.len() + 1),
                len: value.len(),
            };
            Ok(line)
        }
    }

    /// Updates what nginx keeps of headers that it knows.
    ///
    /// # Safety
    /// The lines must be those of the header in the request's list.
    unsafe fn tell_nginx(
        self,
        lowercase: &[u8],
        lines: &[NonNull<ngx_table_elt_t>],
        length: Option<i64>,
    ) {
        // SAFETY: the request is live; see each step.
        unsafe {
            let r = self.raw();
            let headers = &raw mut (*r).headers_in;
            self.forget_variables(|name| depends_on(name, lowercase));
            match lowercase {
                b"content-length" => (*headers).content_length_n = length.unwrap_or(-1),
                b"connection" => (*headers).set_connection_type(0),
                b"keep-alive" => (*headers).keep_alive_n = -1,
                b"user-agent" => forget_browser(&mut *headers),
                _ => {}
            }
            let Some(known) = self.known_header(lowercase) else {
                return;
            };
            let place = Place::of(headers, known.offset);
            place.clear();
            let Some(&first) = lines.first() else {
                return;
            };
            if lowercase == b"host" {
                // nginx's handler would end the request for a bad name.
                (*headers).host = first.as_ptr();
                if let Some(server) = self.server_name(first.as_ref().value.as_bytes()) {
                    (*headers).server = server;
                }
                return;
            }
            if matches!(lowercase, b"connection" | b"user-agent")
                && let Some(handler) = known.handler
            {
                // It looks for words in the value.
                handler(r, first.as_ptr(), known.offset);
                return;
            }
            place.fill(lines, self.pool());
        }
    }

    /// nginx's entry for a header that it knows.
    fn known_header(&self, lowercase: &[u8]) -> Option<&ngx_http_header_t> {
        // SAFETY: the configuration's hash is live, and only read.
        unsafe {
            let core = (*(*self.raw()).main_conf.add(ngx_http_core_module.ctx_index))
                .cast::<ngx_http_core_main_conf_t>();
            ngx_hash_find(
                &raw mut (*core).headers_in_hash,
                hash_key(lowercase),
                lowercase.as_ptr().cast_mut(),
                lowercase.len(),
            )
            .cast::<ngx_http_header_t>()
            .as_ref()
        }
    }

    /// The host's name as `$host` gives it: without port, in lower case.
    fn server_name(self, host: &[u8]) -> Option<ngx_str_t> {
        let end = match host.first() {
            Some(b'[') => memchr::memchr(b']', host)? + 1,
            _ => memchr::memchr(b':', host).unwrap_or(host.len()),
        };
        let name = host[..end].strip_suffix(b".").unwrap_or(&host[..end]);
        let usable = |b: &u8| b.is_ascii_graphic() && *b != b'/';
        if name.is_empty() || !name.iter().all(usable) {
            return None;
        }
        self.copy(&[&name.to_ascii_lowercase()])
    }
}

/// # Safety
/// The list must be live.
unsafe fn push(list: *mut ngx_list_t) -> Result<NonNull<ngx_table_elt_t>, HeaderError> {
    // SAFETY: the caller's promise.
    let line = unsafe { ngx_list_push(list) };
    NonNull::new(line.cast()).ok_or(HeaderError::Memory)
}

fn length(value: &[u8]) -> Result<i64, HeaderError> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(HeaderError::NotALength)
}

/// Whether the variable `name` is about the header.
fn depends_on(name: &[u8], header: &[u8]) -> bool {
    let same = |name: &[u8]| {
        let header = header.iter().map(|&b| if b == b'-' { b'_' } else { b });
        name.len() == header.len() && header.eq(name.iter().copied())
    };
    if let Some(name) = name.strip_prefix(b"http_") {
        return same(name);
    }
    match header {
        b"cookie" => name.starts_with(b"cookie_"),
        b"host" | b"content-length" | b"content-type" => same(name),
        b"authorization" => name == b"remote_user",
        _ => false,
    }
}

fn forget_browser(headers: &mut ngx_http_headers_in_t) {
    headers.set_msie(0);
    headers.set_msie6(0);
    headers.set_opera(0);
    headers.set_gecko(0);
    headers.set_chrome(0);
    headers.set_safari(0);
    headers.set_konqueror(0);
}

/// Where nginx points to the lines of a header that it knows.
enum Place {
    Pointer(*mut *mut ngx_table_elt_t),
    /// Before 1.23.0, two headers have arrays.
    #[cfg(not(nginx_1_23))]
    Array(*mut ngx_array_t),
}

impl Place {
    /// # Safety
    /// `offset` must be nginx's own, for one of its headers.
    unsafe fn of(headers: *mut ngx_http_headers_in_t, offset: ngx_uint_t) -> Place {
        // SAFETY: the caller's promise.
        let place = unsafe { headers.byte_add(offset) };
        #[cfg(not(nginx_1_23))]
        if offset == offset_of!(ngx_http_headers_in_t, cookies)
            || offset == offset_of!(ngx_http_headers_in_t, x_forwarded_for)
        {
            return Place::Array(place.cast());
        }
        Place::Pointer(place.cast())
    }

    /// # Safety
    /// The request must be live.
    unsafe fn clear(&self) {
        // SAFETY: the place is in the live request.
        unsafe {
            match *self {
                Place::Pointer(place) => *place = ptr::null_mut(),
                #[cfg(not(nginx_1_23))]
                Place::Array(array) => {
                    (*array).elts = ptr::null_mut();
                    (*array).nelts = 0;
                }
            }
        }
    }

    /// # Safety
    /// The request must be live, and `lines` its own.
    unsafe fn fill(&self, lines: &[NonNull<ngx_table_elt_t>], pool: *mut ngx_pool_t) {
        #[cfg(nginx_1_23)]
        let _ = pool;
        // SAFETY: the place is in the live request.
        unsafe {
            match *self {
                Place::Pointer(place) => {
                    if let Some(first) = lines.first() {
                        *place = first.as_ptr();
                    }
                    #[cfg(nginx_1_23)]
                    for pair in lines.windows(2) {
                        (*pair[0].as_ptr()).next = pair[1].as_ptr();
                    }
                }
                #[cfg(not(nginx_1_23))]
                Place::Array(array) => {
                    for line in lines {
                        slot::push(array, *line, pool);
                    }
                }
            }
        }
    }
}
