//! The content handler.

use nginx_sys::{NGX_DECLINED, ngx_http_request_t, ngx_int_t};

/// Runs `content_by_lua*`.
///
/// # Safety
/// nginx calls it with a live request.
pub unsafe extern "C" fn handler(_request: *mut ngx_http_request_t) -> ngx_int_t {
    NGX_DECLINED as ngx_int_t
}
