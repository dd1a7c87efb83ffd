//! Headers of the request.

use ngx::ffi::ngx_list_part_t;

use super::Lines;
use crate::sys::request::Request;

/// One line of a header.
#[derive(Clone, Copy)]
pub struct Header<'r> {
    /// The name as the client wrote it.
    pub name: &'r [u8],
    /// The name in lower case, where nginx has it.
    pub lowercase: Option<&'r [u8]>,
    /// The value.
    pub value: &'r [u8],
}

impl Request {
    /// The lines of the request's header, in the client's order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        // SAFETY: the list is as live as the request; it does not grow while
        // the iterator is used, for that calls nothing of nginx's.
        let lines = unsafe { Lines::of(&raw const (*self.raw()).headers_in.headers) };
        lines.map(|line| {
            // SAFETY: names and values are in the request's memory, which
            // nobody frees or changes while the request lives. The name in
            // lower case is as long as the name.
            unsafe {
                let line = line.as_ref();
                Header {
                    name: line.key.as_bytes(),
                    lowercase: (!line.lowcase_key.is_null())
                        .then(|| std::slice::from_raw_parts(line.lowcase_key, line.key.len)),
                    value: line.value.as_bytes(),
                }
            }
        })
    }

    /// How many lines the request's header has.
    pub fn header_count(&self) -> usize {
        let mut count = 0;
        // SAFETY: the list is as live as the request.
        unsafe {
            let mut part: *const ngx_list_part_t = &raw const (*self.raw()).headers_in.headers.part;
            while let Some(p) = part.as_ref() {
                count += p.nelts;
                part = p.next;
            }
        }
        count
    }
}
