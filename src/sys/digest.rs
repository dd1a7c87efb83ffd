//! nginx's own digests and encodings.

use std::os::raw::c_void;

use ngx::ffi::{NGX_OK, ngx_decode_base64, ngx_encode_base64, ngx_int_t, ngx_str_t};

/// A digest under way: nginx's structures are of about 100 bytes.
type State = [u64; 32];

// nginx-sys leaves these out.
unsafe extern "C" {
    fn ngx_md5_init(state: *mut State);
    fn ngx_md5_update(state: *mut State, data: *const c_void, size: usize);
    fn ngx_md5_final(result: *mut [u8; 16], state: *mut State);
    fn ngx_sha1_init(state: *mut State);
    fn ngx_sha1_update(state: *mut State, data: *const c_void, size: usize);
    fn ngx_sha1_final(result: *mut [u8; 20], state: *mut State);
}

/// MD5 of `data`.
pub fn md5(data: &[u8]) -> [u8; 16] {
    let (mut state, mut result) = ([0; 32], [0; 16]);
    // SAFETY: the state has more room than nginx uses; data and result are as
    // large as they say.
    unsafe {
        ngx_md5_init(&mut state);
        ngx_md5_update(&mut state, data.as_ptr().cast(), data.len());
        ngx_md5_final(&mut result, &mut state);
    }
    result
}

/// SHA-1 of all `parts` together.
pub fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let (mut state, mut result) = ([0; 32], [0; 20]);
    // SAFETY: as in md5.
    unsafe {
        ngx_sha1_init(&mut state);
        for part in parts {
            ngx_sha1_update(&mut state, part.as_ptr().cast(), part.len());
        }
        ngx_sha1_final(&mut result, &mut state);
    }
    result
}

/// Appends the Base64 form of `data`, padded, to the empty buffer `to`.
pub fn encode_base64(data: &[u8], to: &mut Vec<u8>) {
    convert(data, to, data.len().div_ceil(3) * 4, |to, from| {
        // SAFETY: `to` has room for the result; nginx only reads `from`.
        unsafe { ngx_encode_base64(to, from) };
        true
    });
}

/// Appends what `text` is the Base64 form of to the empty buffer `to`. False
/// where it is none.
pub fn decode_base64(text: &[u8], to: &mut Vec<u8>) -> bool {
    convert(text, to, text.len().div_ceil(4) * 3, |to, from| {
        // SAFETY: as in encode_base64.
        unsafe { ngx_decode_base64(to, from) == NGX_OK as ngx_int_t }
    })
}

/// Calls `f` with nginx's kind of strings for `to`, which gets room for `size`
/// bytes, and `from`.
fn convert(
    from: &[u8],
    to: &mut Vec<u8>,
    size: usize,
    f: impl FnOnce(&mut ngx_str_t, &mut ngx_str_t) -> bool,
) -> bool {
    to.clear();
    to.resize(size, 0);
    let mut source = ngx_str_t {
        len: from.len(),
        data: from.as_ptr().cast_mut(),
    };
    let mut target = ngx_str_t {
        len: 0,
        data: to.as_mut_ptr(),
    };
    let done = f(&mut target, &mut source);
    to.truncate(if done { target.len } else { 0 });
    done
}
