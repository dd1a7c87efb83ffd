//! The chunk that a whole response is, made in its own buffer.
//!
//! nginx's filter for chunked coding puts the head of a chunk and its end into
//! buffers of their own: links and buffers to allocate, to send and to take back,
//! which costs more than all else of sending a short response. Where the response
//! stands in one buffer of ours when it has passed all other filters, the same
//! bytes are written around it, and nginx's filter has nothing left to do. To it
//! falls everything else.

use std::ptr;

use ngx::ffi::{
    NGX_ERROR, ngx_chain_t, ngx_http_output_body_filter_pt, ngx_http_request_t,
    ngx_http_top_body_filter, ngx_int_t,
};

use super::buffers::{HEAD_ROOM, is_intact};

/// nginx's filter for chunked coding, or others between.
static mut NEXT: ngx_http_output_body_filter_pt = None;

const HEX: &[u8; 16] = b"0123456789abcdef";
/// The end of a chunk, and the last chunk of a body without trailers.
const TAIL: &[u8; 7] = b"\r\n0\r\n\r\n";

/// Puts the filter in front of those that are installed already. For use by a
/// module that comes right after nginx's filter for chunked coding, while nginx
/// reads its configuration.
pub fn install() {
    // SAFETY: a worker has one thread, and no request runs yet.
    unsafe {
        NEXT = ngx_http_top_body_filter;
        ngx_http_top_body_filter = Some(body_filter);
    }
}

unsafe extern "C" fn body_filter(r: *mut ngx_http_request_t, input: *mut ngx_chain_t) -> ngx_int_t {
    // SAFETY: nginx passes a live request, and a chain that lives as long as
    // the call, or null. No filter ends the request.
    unsafe {
        let Some(next) = NEXT else {
            return NGX_ERROR as ngx_int_t;
        };
        if (*r).chunked() == 0 || !frame(r, input) {
            return next(r, input);
        }
        // So that nginx passes it on as it is.
        (*r).set_chunked(0);
        let rc = next(r, input);
        (*r).set_chunked(1);
        rc
    }
}

/// Makes a chunk of what `link` has, if that is a whole response in one buffer
/// of ours with room for it.
///
/// # Safety
/// The request must be live, and so must `link` with its buffer, unless it is
/// null.
unsafe fn frame(r: *const ngx_http_request_t, link: *const ngx_chain_t) -> bool {
    // SAFETY: by the caller's promise; an intact buffer has HEAD_ROOM unused
    // bytes in front, and those between last and end are nobody's.
    unsafe {
        if link.is_null() || !(*link).next.is_null() {
            return false;
        }
        let b = (*link).buf;
        let size = (*b).last.addr().wrapping_sub((*b).pos.addr());
        if (*b).last_buf() == 0
            || !is_intact(b)
            || size == 0
            || (*b).end.offset_from_unsigned((*b).last) < TAIL.len()
            || (*r).headers_out.trailers.part.nelts != 0
            || (*r).header_only() != 0
        {
            return false;
        }
        ptr::copy_nonoverlapping(TAIL.as_ptr(), (*b).last, TAIL.len());
        (*b).last = (*b).last.add(TAIL.len());
        let mut pos = (*b).pos.sub(2);
        pos.copy_from_nonoverlapping(b"\r\n".as_ptr(), 2);
        let mut rest = size;
        while rest != 0 {
            pos = pos.sub(1);
            *pos = HEX[rest % 16];
            rest /= 16;
        }
        debug_assert!((*b).pos.offset_from_unsigned(pos) <= HEAD_ROOM);
        (*b).pos = pos;
    }
    true
}
