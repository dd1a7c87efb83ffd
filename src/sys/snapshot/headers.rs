//! Headers of a copy, those of an upstream's response among them.

use std::ptr::NonNull;

use ngx::ffi::{
    NGX_OK, ngx_http_request_t, ngx_http_upstream_t, ngx_list_init, ngx_list_push, ngx_list_t,
    ngx_table_elt_t,
};
#[cfg(not(nginx_1_23))]
use ngx::ffi::{ngx_array_t, ngx_pool_t};

use super::Pool;
use crate::sys::headers::Lines;
#[cfg(not(nginx_1_23))]
use crate::sys::headers::push;

/// How many lines a list has room for at least.
const ROOM: usize = 4;

/// nginx's own place for the lines of a header that may have several.
#[cfg(not(nginx_1_23))]
type Several = ngx_array_t;
#[cfg(nginx_1_23)]
type Several = *mut ngx_table_elt_t;

/// Copies all headers of a request and its response.
///
/// # Safety
/// `from` must be a live request, `to` its zeroed copy.
pub(super) unsafe fn copy(
    pool: &Pool,
    from: *mut ngx_http_request_t,
    to: *mut ngx_http_request_t,
) -> Option<()> {
    // SAFETY: by the caller's promise.
    unsafe {
        let (input, new) = (&raw const (*from).headers_in, &raw mut (*to).headers_in);
        copy_list(pool, &raw const (*input).headers, &raw mut (*new).headers)?;
        copy_lowercase(pool, &raw const (*input).headers, &raw mut (*new).headers)?;
        (*new).content_length_n = (*input).content_length_n;
        (*new).server = pool.text((*input).server)?;
        // What nginx's messages tell.
        (*new).host = first(&raw const (*new).headers, b"host");
        (*new).referer = first(&raw const (*new).headers, b"referer");
        #[cfg(not(nginx_1_23))]
        let cookies = &raw mut (*new).cookies;
        #[cfg(nginx_1_23)]
        let cookies = &raw mut (*new).cookie;
        gather(pool, &raw const (*new).headers, b"cookie", cookies)?;

        let (output, new) = (&raw const (*from).headers_out, &raw mut (*to).headers_out);
        copy_list(pool, &raw const (*output).headers, &raw mut (*new).headers)?;
        copy_list(
            pool,
            &raw const (*output).trailers,
            &raw mut (*new).trailers,
        )?;
        (*new).status = (*output).status;
        (*new).status_line = pool.text((*output).status_line)?;
        (*new).content_type = pool.text((*output).content_type)?;
        (*new).content_type_len = (*output).content_type_len;
        (*new).charset = pool.text((*output).charset)?;
        (*new).content_length_n = (*output).content_length_n;
        (*new).content_offset = (*output).content_offset;
        (*new).date_time = (*output).date_time;
        (*new).last_modified_time = (*output).last_modified_time;

        if !(*from).upstream.is_null() {
            (*to).upstream = pool.zeroed::<ngx_http_upstream_t>(1)?;
            let input = &raw const (*(*from).upstream).headers_in;
            let new = &raw mut (*(*to).upstream).headers_in;
            copy_list(pool, &raw const (*input).headers, &raw mut (*new).headers)?;
            #[cfg(not(nginx_1_23))]
            let cookies = &raw mut (*new).cookies;
            #[cfg(nginx_1_23)]
            let cookies = &raw mut (*new).set_cookie;
            gather(pool, &raw const (*new).headers, b"set-cookie", cookies)?;
        }
    }
    Some(())
}

/// Copies the lines of a list that may never have been made.
///
/// # Safety
/// `from` must be a live list of headers or zeros, `to` the place of another.
unsafe fn copy_list(pool: &Pool, from: *const ngx_list_t, to: *mut ngx_list_t) -> Option<()> {
    // SAFETY: by the caller's promise; each new line is written in full.
    unsafe {
        let count = Lines::of(from).count();
        let size = size_of::<ngx_table_elt_t>();
        if ngx_list_init(to, pool.raw(), count.max(ROOM), size) != NGX_OK as isize {
            return None;
        }
        for line in Lines::of(from) {
            let line = line.as_ref();
            let new = ngx_list_push(to).cast::<ngx_table_elt_t>();
            if new.is_null() {
                return None;
            }
            let mut copy: ngx_table_elt_t = std::mem::zeroed();
            copy.hash = line.hash;
            copy.key = pool.text(line.key)?;
            copy.value = pool.text(line.value)?;
            new.write(copy);
        }
    }
    Some(())
}

/// Copies names in lower case, which nginx makes for lines of requests. In
/// those of responses the place is not always filled in.
///
/// # Safety
/// `to` must be the copy of `from`, the header of a live request.
unsafe fn copy_lowercase(pool: &Pool, from: *const ngx_list_t, to: *mut ngx_list_t) -> Option<()> {
    // SAFETY: by the caller's promise; the name in lower case is as long as
    // the name.
    unsafe {
        for (old, new) in Lines::of(from).zip(Lines::of(to)) {
            let old = old.as_ref();
            if !old.lowcase_key.is_null() {
                let lowercase = std::slice::from_raw_parts(old.lowcase_key, old.key.len);
                (*new.as_ptr()).lowcase_key = pool.bytes(lowercase)?;
            }
        }
    }
    Some(())
}

/// The lines of `list` with that name.
///
/// # Safety
/// `list` must be a live list of headers.
unsafe fn named<'l>(
    list: *const ngx_list_t,
    name: &'l [u8],
) -> impl Iterator<Item = NonNull<ngx_table_elt_t>> + 'l {
    // SAFETY: by the caller's promise.
    let lines = unsafe { Lines::of(list) };
    lines.filter(move |line| {
        // SAFETY: a line of the live list.
        let line = unsafe { line.as_ref() };
        line.hash != 0 && line.key.as_bytes().eq_ignore_ascii_case(name)
    })
}

/// # Safety
/// As `named`.
unsafe fn first(list: *const ngx_list_t, name: &[u8]) -> *mut ngx_table_elt_t {
    // SAFETY: by the caller's promise.
    let line = unsafe { named(list, name) }.next();
    line.map_or(std::ptr::null_mut(), NonNull::as_ptr)
}

/// Has nginx's own place refer to the lines with that name.
///
/// # Safety
/// `list` must be a live list of headers, `place` zeros.
unsafe fn gather(
    pool: &Pool,
    list: *const ngx_list_t,
    name: &[u8],
    place: *mut Several,
) -> Option<()> {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(not(nginx_1_23))]
        for line in named(list, name) {
            let pool: *mut ngx_pool_t = pool.raw();
            if !push(place, line, pool) {
                return None;
            }
        }
        #[cfg(nginx_1_23)]
        {
            let _ = pool;
            let mut end = place;
            for line in named(list, name) {
                *end = line.as_ptr();
                end = &raw mut (*line.as_ptr()).next;
            }
        }
    }
    Some(())
}
