//! Headers of the response, while they can be changed.

use std::ptr::NonNull;

use ngx::ffi::{
    ngx_http_headers_out_t, ngx_http_request_t, ngx_http_time, ngx_list_push, ngx_parse_http_time,
    ngx_pcalloc, ngx_str_t, ngx_table_elt_t, time_t,
};

use super::name::safe_value;
use super::slot::{Slot, unlink};
use super::{HeaderName, Known, Lines};
use crate::sys::request::Request;

const HTTP_VERSION_20: usize = 2000;
/// Length of `Thu, 01 Jan 1970 00:00:00 GMT`.
const HTTP_TIME: usize = 29;

/// Why a header could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Memory is short.
    Memory,
    /// The value of Content-Length is not a length.
    NotALength,
}

/// The header of a response.
pub struct ResponseHeaders(Request);

impl Request {
    /// The header of the response.
    pub fn response_headers(self) -> ResponseHeaders {
        ResponseHeaders(self)
    }
}

impl ResponseHeaders {
    /// Hands each value of the header `name` to `take`.
    pub fn get(&self, name: &HeaderName, mut take: impl FnMut(&[u8])) {
        let known = name.known();
        // SAFETY: the request is live, its strings are in its memory.
        let (r, out) = unsafe { (&*self.0.raw(), &*self.out()) };
        match known {
            Some(Known::ContentType) => {
                if out.content_type.len == 0 {
                    return;
                }
                let value = out.content_type.as_bytes();
                // As nginx's header filter decides it.
                if out.charset.len > 0 && out.content_type_len == value.len() {
                    take(&[value, b"; charset=", out.charset.as_bytes()].concat());
                } else {
                    take(value);
                }
                return;
            }
            Some(Known::ContentLength) => {
                if out.content_length_n >= 0 {
                    take(out.content_length_n.to_string().as_bytes());
                }
                return;
            }
            Some(Known::Connection) if r.http_version < HTTP_VERSION_20 => {
                take(match (out.status, r.keepalive()) {
                    (101, _) => b"upgrade",
                    (_, 0) => b"close",
                    _ => b"keep-alive",
                });
            }
            _ => {}
        }
        let mut found = false;
        for line in self.lines_of(name) {
            found = true;
            // SAFETY: the line is live with the request.
            take(unsafe { line.as_ref() }.value.as_bytes());
        }
        if known == Some(Known::LastModified) && !found && out.last_modified_time != -1 {
            take(&http_time(out.last_modified_time));
        }
    }

    /// The header as it is now, with the lines that nginx writes itself: names and values.
    pub fn all(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        for name in [b"content-type".as_slice(), b"content-length", b"connection"] {
            self.get(&HeaderName::new(name, false), |value| {
                all.push((name.to_vec(), value.to_vec()));
            });
        }
        // SAFETY: the request and its list are live, and not changed here.
        unsafe {
            if (*self.0.raw()).chunked() != 0 {
                all.push((b"transfer-encoding".to_vec(), b"chunked".to_vec()));
            }
            for line in Lines::of(&raw const (*self.out()).headers) {
                let line = line.as_ref();
                let name = line.key.as_bytes();
                if line.hash != 0 && !name.eq_ignore_ascii_case(b"connection") {
                    all.push((name.to_vec(), line.value.as_bytes().to_vec()));
                }
            }
        }
        all
    }

    /// Sets the header to one value, in place of all it had. An empty value
    /// removes it.
    pub fn set(&self, name: &HeaderName, value: &[u8]) -> Result<(), HeaderError> {
        if value.is_empty() {
            return self.remove(name);
        }
        let value = &*safe_value(value);
        let Some(known) = name.known() else {
            return self.replace(name, value).map(drop);
        };
        match known {
            Known::ContentType => self.set_content_type(value),
            Known::ContentLength => self.set_content_length(name, value),
            Known::Connection => self.set_connection(name, value),
            Known::AcceptRanges if self.lets_nginx_accept_ranges(value) => {
                self.clear(name, known);
                Ok(())
            }
            _ => {
                let line = self.replace(name, value)?;
                self.note(known, value);
                let slot = self.slot(known);
                // nginx makes an address of a path that it finds there; a
                // location that Lua sets is sent as it is.
                if known == Known::Location && value.starts_with(b"/") {
                    slot.clear();
                } else if !slot.set(line, self.0.pool()) {
                    return Err(HeaderError::Memory);
                }
                Ok(())
            }
        }
    }

    /// Adds one more line of a header that may have several; for others it
    /// is [`ResponseHeaders::set`].
    pub fn add(&self, name: &HeaderName, value: &[u8]) -> Result<(), HeaderError> {
        match name.known() {
            Some(known) if !known.is_multi() => self.set(name, value),
            _ if value.is_empty() => Ok(()),
            known => {
                let line = self.push(name, &safe_value(value))?;
                match known {
                    Some(known) if !self.slot(known).add(line, self.0.pool()) => {
                        Err(HeaderError::Memory)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Removes the header.
    pub fn remove(&self, name: &HeaderName) -> Result<(), HeaderError> {
        let Some(known) = name.known() else {
            self.remove_lines(name);
            return Ok(());
        };
        // SAFETY: the request is live.
        unsafe {
            let out = self.out();
            match known {
                Known::ContentType => {
                    (*out).content_type = NO_CONTENT_TYPE;
                    (*out).content_type_len = 0;
                    (*out).charset.len = 0;
                }
                Known::ContentLength => (*out).content_length_n = -1,
                Known::LastModified => (*out).last_modified_time = -1,
                Known::AcceptRanges => (*self.0.raw()).set_allow_ranges(0),
                _ => {}
            }
        }
        self.clear(name, known);
        if matches!(known, Known::Server | Known::Date) {
            return self.hide(known);
        }
        Ok(())
    }

    fn out(&self) -> *mut ngx_http_headers_out_t {
        // SAFETY: the request is live; only the address is taken.
        unsafe { &raw mut (*self.0.raw()).headers_out }
    }

    fn slot(&self, known: Known) -> Slot {
        // SAFETY: the request is live, and the slot is used at once.
        unsafe { Slot::of(self.out(), known) }
    }

    /// The lines of the header that are to be sent.
    fn lines_of<'r>(
        &'r self,
        name: &'r HeaderName,
    ) -> impl Iterator<Item = NonNull<ngx_table_elt_t>> + 'r {
        // SAFETY: the list is as live as the request; users of the iterator
        // do not add to it.
        let lines = unsafe { Lines::of(&raw const (*self.out()).headers) };
        lines.filter(|line| {
            // SAFETY: a line of the live list.
            let line = unsafe { line.as_ref() };
            line.hash != 0 && name.is(line.key.as_bytes())
        })
    }

    fn remove_lines(&self, name: &HeaderName) {
        for line in self.lines_of(name) {
            // SAFETY: the line is live; a header without hash is not sent.
            unsafe { (*line.as_ptr()).hash = 0 }
        }
    }

    fn clear(&self, name: &HeaderName, known: Known) {
        self.remove_lines(name);
        self.slot(known).clear();
    }

    /// Gives the header's first line the value and removes the others; adds
    /// a line where there is none.
    fn replace(
        &self,
        name: &HeaderName,
        value: &[u8],
    ) -> Result<NonNull<ngx_table_elt_t>, HeaderError> {
        let mut lines = self.lines_of(name);
        let Some(first) = lines.next() else {
            return self.push(name, value);
        };
        for line in lines {
            // SAFETY: as in `remove_lines`.
            unsafe { (*line.as_ptr()).hash = 0 }
        }
        let value = self.copy(&[value])?;
        // SAFETY: the line is live.
        unsafe {
            (*first.as_ptr()).value = value;
            unlink(first.as_ptr());
        }
        Ok(first)
    }

    fn push(
        &self,
        name: &HeaderName,
        value: &[u8],
    ) -> Result<NonNull<ngx_table_elt_t>, HeaderError> {
        let text = self.copy(&[name, value])?;
        // SAFETY: the list is live; nginx's new line is written in full.
        unsafe {
            let line = ngx_list_push(&raw mut (*self.out()).headers).cast::<ngx_table_elt_t>();
            let line = NonNull::new(line).ok_or(HeaderError::Memory)?;
            let fields = line.as_ptr();
            // Any number but 0: the header is sent.
            (*fields).hash = 1;
            (*fields).key.data = text.data;
            (*fields).key.len = name.len();
            (*fields).value.data = text.data.add(name.len());
            (*fields).value.len = value.len();
            (*fields).lowcase_key = std::ptr::null_mut();
            unlink(fields);
            Ok(line)
        }
    }

    /// Copies text into the request's memory.
    fn copy(&self, parts: &[&[u8]]) -> Result<ngx_str_t, HeaderError> {
        self.0.copy(parts).ok_or(HeaderError::Memory)
    }

    fn set_content_type(&self, value: &[u8]) -> Result<(), HeaderError> {
        let value = self.copy(&[value])?;
        // SAFETY: the request is live.
        let out = unsafe { &mut *self.out() };
        let text = value.as_bytes();
        out.content_type = value;
        out.content_type_lowcase = std::ptr::null_mut();
        let main = memchr::memchr(b';', text).unwrap_or(text.len());
        // What gzip_types and the like compare.
        out.content_type_len = text[..main].trim_ascii_end().len();
        let charset = charset(&text[main..]);
        out.charset = ngx_str_t {
            data: charset.as_ptr().cast_mut(),
            len: charset.len(),
        };
        Ok(())
    }

    /// nginx writes the line itself, from the number.
    fn set_content_length(&self, name: &HeaderName, value: &[u8]) -> Result<(), HeaderError> {
        let length = std::str::from_utf8(value)
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or(HeaderError::NotALength)?;
        self.clear(name, Known::ContentLength);
        // SAFETY: the request is live.
        unsafe { (*self.out()).content_length_n = length }
        Ok(())
    }

    /// nginx writes a line about keeping the connection itself; others are
    /// sent as they are, though not in HTTP/2, which forbids them.
    fn set_connection(&self, name: &HeaderName, value: &[u8]) -> Result<(), HeaderError> {
        self.remove_lines(name);
        // SAFETY: the request is live.
        let r = unsafe { &mut *self.0.raw() };
        if value.eq_ignore_ascii_case(b"close") {
            r.set_keepalive(0);
        } else if !value.eq_ignore_ascii_case(b"keep-alive") && r.http_version < HTTP_VERSION_20 {
            self.push(name, value)?;
        }
        Ok(())
    }

    /// Whether nginx itself will write `Accept-Ranges: bytes`.
    fn lets_nginx_accept_ranges(&self, value: &[u8]) -> bool {
        // SAFETY: the request is live.
        let r = unsafe { &mut *self.0.raw() };
        if !value.eq_ignore_ascii_case(b"bytes") {
            r.set_allow_ranges(0);
        }
        r.allow_ranges() != 0
    }

    /// Takes over what else nginx reads from the header.
    fn note(&self, known: Known, value: &[u8]) {
        if known == Known::LastModified {
            // SAFETY: nginx only reads the value; the request is live.
            unsafe {
                (*self.out()).last_modified_time =
                    ngx_parse_http_time(value.as_ptr().cast_mut(), value.len());
            }
        }
    }

    /// Keeps nginx from writing a header that it would add itself: it finds
    /// one, though one that is not sent.
    fn hide(&self, known: Known) -> Result<(), HeaderError> {
        // SAFETY: the pool is live; nginx fills the memory with zeros.
        let line = unsafe { ngx_pcalloc(self.0.pool(), size_of::<ngx_table_elt_t>()) };
        let line = NonNull::new(line.cast()).ok_or(HeaderError::Memory)?;
        if self.slot(known).set(line, self.0.pool()) {
            Ok(())
        } else {
            Err(HeaderError::Memory)
        }
    }
}

/// Content-Type was removed: unlike one that was never set, it has an address.
const NO_CONTENT_TYPE: ngx_str_t = ngx_str_t {
    data: NonNull::dangling().as_ptr(),
    len: 0,
};

/// Whether the response has no Content-Type because nobody thought of it.
///
/// # Safety
/// `r` must be a live request.
pub(in crate::sys) unsafe fn wants_default_type(r: *const ngx_http_request_t) -> bool {
    // SAFETY: the caller's promise.
    let content_type = unsafe { (*r).headers_out.content_type };
    content_type.len == 0 && content_type.data.is_null()
}

/// The charset among the parameters of a Content-Type.
fn charset(parameters: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"charset=";
    for parameter in parameters.split(|&b| b == b';') {
        let parameter = parameter.trim_ascii();
        match parameter.split_at_checked(NAME.len()) {
            Some((name, value)) if name.eq_ignore_ascii_case(NAME) => {
                let value = value.strip_prefix(b"\"").unwrap_or(value);
                return value.strip_suffix(b"\"").unwrap_or(value);
            }
            _ => {}
        }
    }
    &[]
}

fn http_time(time: time_t) -> [u8; HTTP_TIME] {
    let mut text = [0; HTTP_TIME + 1];
    // SAFETY: nginx writes HTTP_TIME bytes and no terminating zero.
    unsafe { ngx_http_time(text.as_mut_ptr(), time) };
    std::array::from_fn(|i| text[i])
}

#[cfg(test)]
mod tests {
    use super::charset;

    #[test]
    fn charset_is_found_among_parameters() {
        let cases = [
            ("", ""),
            ("; charset=utf-8", "utf-8"),
            (";Charset=\"x y\"; a=b", "x y"),
            ("; a=b;charset=k", "k"),
            ("; mycharset=k", ""),
        ];
        for (given, expected) in cases {
            assert_eq!(charset(given.as_bytes()), expected.as_bytes(), "{given}");
        }
    }
}
