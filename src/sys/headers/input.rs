//! Changes to the header of the request.
//!
//! A change writes a new list: a subrequest shares the lines of the request
//! that made it, and must not change that one's. The old lines stay where
//! they are, in the request's memory, so what nginx keeps of headers that do
//! not change stays right.

#[cfg(not(nginx_1_23))]
use std::mem::offset_of;
use std::ptr;
#[cfg(not(nginx_1_23))]
use std::ptr::NonNull;
use std::slice;

#[cfg(not(nginx_1_23))]
use ngx::ffi::ngx_array_t;
use ngx::ffi::{
    ngx_hash_find, ngx_http_header_t, ngx_http_headers_in_t, ngx_list_part_t, ngx_list_t,
    ngx_palloc, ngx_pool_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t,
};

use super::name::safe_value;
#[cfg(not(nginx_1_23))]
use super::slot;
use super::{HeaderError, HeaderName, Lines};
use crate::sys::request::Request;

/// How many lines a list has room for at least.
const ROOM: usize = 8;

impl Request {
    /// Gives the header `name` these values, in place of all it had. Empty
    /// values are left out, so that none at all removes the header; of one that
    /// nginx keeps in a single place, the last counts.
    ///
    /// # Errors
    /// Memory; a Content-Length that is none.
    pub fn set_header(self, name: &HeaderName, values: &[&[u8]]) -> Result<(), HeaderError> {
        let lowercase = name.lowercase();
        let first = match values.iter().rposition(|value| !value.is_empty()) {
            Some(last @ 1..) if self.has_one_value(name) => last,
            _ => 0,
        };
        let values = || values[first..].iter().filter(|value| !value.is_empty());
        let length = match lowercase {
            b"content-length" => values()
                .next_back()
                .map(|value| length(value))
                .transpose()?,
            _ => None,
        };
        // SAFETY: the request is live; the new list is made of its memory,
        // which has room for all lines that are written to it.
        unsafe {
            let room = (self.header_count() + values().count()).max(ROOM);
            let size = size_of::<ngx_table_elt_t>();
            let lines = ngx_palloc(self.pool(), room * size).cast::<ngx_table_elt_t>();
            if lines.is_null() {
                return Err(HeaderError::Memory);
            }
            let mut kept = 0;
            Lines::of(&raw const (*self.raw()).headers_in.headers).for_each(|line| {
                let line = line.as_ref();
                if !name.is(line.key.as_bytes()) {
                    lines.add(kept).write(*line);
                    kept += 1;
                }
            });
            let mut count = kept;
            for value in values() {
                let line = self.new_line(name, &safe_value(value))?;
                lines.add(count).write(line);
                count += 1;
            }
            let list = &raw mut (*self.raw()).headers_in.headers;
            list.write(ngx_list_t {
                // The list knows where it stands: its last part is in itself.
                last: &raw mut (*list).part,
                part: ngx_list_part_t {
                    elts: lines.cast(),
                    nelts: count,
                    next: ptr::null_mut(),
                },
                size,
                nalloc: room,
                pool: self.pool(),
            });
            let added = slice::from_raw_parts_mut(lines.add(kept), count - kept);
            self.tell_nginx(name, added, length);
        }
        Ok(())
    }

    /// A line as nginx makes them: texts end with a zero, which some of its
    /// functions need.
    fn new_line(self, name: &HeaderName, value: &[u8]) -> Result<ngx_table_elt_t, HeaderError> {
        let lowercase = name.lowercase();
        let parts: [&[u8]; 6] = [name, b"\0", lowercase, b"\0", value, b"\0"];
        let text = self.copy(&parts).ok_or(HeaderError::Memory)?;
        // SAFETY: zeros are an empty line; the offsets are within the copy.
        unsafe {
            let mut line: ngx_table_elt_t = std::mem::zeroed();
            line.hash = name.hash();
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
        name: &HeaderName,
        lines: &mut [ngx_table_elt_t],
        length: Option<i64>,
    ) {
        let lowercase = name.lowercase();
        // SAFETY: the request is live; see each step.
        unsafe {
            let r = self.raw();
            let headers = &raw mut (*r).headers_in;
            let others = dependents(lowercase);
            self.forget_variables(|name| {
                is_variable_of(name, lowercase) || others.is_some_and(|is| is(name, lowercase))
            });
            match lowercase {
                b"content-length" => (*headers).content_length_n = length.unwrap_or(-1),
                b"connection" => (*headers).set_connection_type(0),
                b"keep-alive" => (*headers).keep_alive_n = -1,
                b"user-agent" => forget_browser(&mut *headers),
                _ => {}
            }
            let Some(known) = self.known_header(name) else {
                return;
            };
            let place = Place::of(headers, known.offset);
            place.clear();
            let Some(first) = lines.first_mut() else {
                if lowercase == b"host" {
                    // $host is the server's name then.
                    (*headers).server = ngx_str_t::default();
                }
                return;
            };
            if lowercase == b"host" {
                // nginx's handler would end the request for a bad name.
                (*headers).host = first;
                if let Some(server) = self.server_name(first.value.as_bytes()) {
                    (*headers).server = server;
                }
                return;
            }
            if matches!(lowercase, b"connection" | b"user-agent")
                && let Some(handler) = known.handler
            {
                // It looks for words in the value.
                handler(r, first, known.offset);
                return;
            }
            place.fill(lines, self.pool());
        }
    }

    /// Whether nginx knows the header, and not as a list.
    fn has_one_value(self, name: &HeaderName) -> bool {
        const LISTS: [&[u8]; 5] = [
            b"accept",
            b"accept-language",
            b"cookie",
            b"te",
            b"x-forwarded-for",
        ];
        !LISTS.contains(&name.lowercase()) && self.known_header(name).is_some()
    }

    /// nginx's entry for a header that it knows.
    fn known_header(&self, name: &HeaderName) -> Option<&ngx_http_header_t> {
        let lowercase = name.lowercase();
        // SAFETY: the configuration's hash is live, and only read.
        unsafe {
            ngx_hash_find(
                &raw mut (*self.core_main()).headers_in_hash,
                name.hash(),
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

fn length(value: &[u8]) -> Result<i64, HeaderError> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or(HeaderError::NotALength)
}

/// Whether the variable is `http_` and the header's name.
fn is_variable_of(variable: &[u8], header: &[u8]) -> bool {
    // The length alone rules most of them out.
    variable.len() == PREFIX.len() + header.len()
        && variable.starts_with(PREFIX)
        && is_named(&variable[PREFIX.len()..], header)
}

const PREFIX: &[u8] = b"http_";

fn is_named(variable: &[u8], header: &[u8]) -> bool {
    let header = header.iter().map(|&b| if b == b'-' { b'_' } else { b });
    header.eq(variable.iter().copied())
}

/// Tells whether a variable is about a header.
type Depends = fn(variable: &[u8], header: &[u8]) -> bool;

/// What tells which other variables are about the header.
fn dependents(header: &[u8]) -> Option<Depends> {
    match header {
        b"cookie" => Some(|variable, _| variable.starts_with(b"cookie_")),
        b"host" | b"content-length" | b"content-type" => Some(is_named),
        b"authorization" => Some(|variable, _| variable == b"remote_user"),
        _ => None,
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
    unsafe fn fill(&self, lines: &mut [ngx_table_elt_t], pool: *mut ngx_pool_t) {
        // SAFETY: the place is in the live request.
        unsafe {
            match *self {
                #[cfg(not(nginx_1_23))]
                Place::Pointer(place) => {
                    let _ = pool;
                    if let Some(first) = lines.first_mut() {
                        *place = first;
                    }
                }
                #[cfg(nginx_1_23)]
                Place::Pointer(mut place) => {
                    let _ = pool;
                    for line in lines {
                        *place = line;
                        place = &raw mut line.next;
                    }
                }
                #[cfg(not(nginx_1_23))]
                Place::Array(array) => {
                    for line in lines {
                        slot::push(array, NonNull::from(line), pool);
                    }
                }
            }
        }
    }
}
