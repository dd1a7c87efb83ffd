//! `ngx_http_cosocket_module`: OpenResty's Lua API with cosockets for a stock
//! nginx. This file holds what nginx looks up by name, nothing else.

use core::ffi::c_void;

use nginx_sys::{NGX_HTTP_MODULE, ngx_module_t};

pub mod conf;
pub mod lua;
pub mod phase;
pub mod rt;
pub mod sock;
pub mod sys;
pub mod vm;

#[cfg(not(test))]
#[global_allocator]
static MEMORY: rt::WorkerMemory = rt::WorkerMemory;

/// The module as nginx knows it. nginx writes its indexes into it while it
/// loads the module, hence `mut`.
///
/// It and the names below are exported only outside of `cargo test`: a test
/// binary has no nginx to resolve what they reach.
#[allow(non_upper_case_globals)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub static mut ngx_http_cosocket_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const phase::module::CONTEXT)
        .cast_mut()
        .cast::<c_void>(),
    commands: (&raw mut phase::commands::COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as usize,
    init_process: Some(phase::worker::init_process),
    exit_process: Some(phase::worker::exit_process),
    ..ngx_module_t::default()
};

/// A second one, which stands behind all others: the output filter that it
/// installs must be the first to run.
#[allow(non_upper_case_globals)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub static mut ngx_http_cosocket_last_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const phase::module::LAST_CONTEXT)
        .cast_mut()
        .cast::<c_void>(),
    type_: NGX_HTTP_MODULE as usize,
    ..ngx_module_t::default()
};

/// A third one, which stands right after nginx's filter for chunked coding: the
/// output filter that it installs runs right before that.
#[allow(non_upper_case_globals)]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub static mut ngx_http_cosocket_frame_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const phase::module::FRAME_CONTEXT)
        .cast_mut()
        .cast::<c_void>(),
    type_: NGX_HTTP_MODULE as usize,
    ..ngx_module_t::default()
};

/// What nginx looks up in a shared object to learn which modules it holds.
#[cfg(not(test))]
#[allow(non_upper_case_globals)]
mod exports {
    use core::ffi::c_char;
    use core::ptr;

    use nginx_sys::ngx_module_t;

    #[unsafe(no_mangle)]
    static mut ngx_modules: [*const ngx_module_t; 4] = [
        &raw const super::ngx_http_cosocket_module,
        &raw const super::ngx_http_cosocket_last_module,
        &raw const super::ngx_http_cosocket_frame_module,
        ptr::null(),
    ];

    #[unsafe(no_mangle)]
    static mut ngx_module_names: [*const c_char; 4] = [
        c"ngx_http_cosocket_module".as_ptr(),
        c"ngx_http_cosocket_last_module".as_ptr(),
        c"ngx_http_cosocket_frame_module".as_ptr(),
        ptr::null(),
    ];

    /// The first module stands where nginx puts the filters of others, as
    /// OpenResty's does: its filters see what the content handler has made
    /// before nginx's own do, but for those that cut ranges and read files. The
    /// third one's place is before the first of the modules named that there is.
    #[unsafe(no_mangle)]
    static mut ngx_module_order: [*const c_char; 7] = [
        c"ngx_http_cosocket_frame_module".as_ptr(),
        c"ngx_http_v2_filter_module".as_ptr(),
        c"ngx_http_v3_filter_module".as_ptr(),
        c"ngx_http_range_header_filter_module".as_ptr(),
        c"ngx_http_cosocket_module".as_ptr(),
        c"ngx_http_copy_filter_module".as_ptr(),
        ptr::null(),
    ];
}
