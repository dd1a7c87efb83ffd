//! The nginx process: which one this is, and how nginx was built.

use ngx::ffi::{
    NGX_CONFIGURE, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, nginx_version, ngx_core_conf_t,
    ngx_core_module, ngx_cycle, ngx_cycle_t, ngx_exiting, ngx_pid, ngx_process, ngx_worker,
};

use super::conf::Conf;

/// Whether nginx was built with `--with-debug`.
pub const DEBUG: bool = cfg!(ngx_feature = "debug");
/// nginx's version: 1022001 for 1.22.1.
pub const NGINX_VERSION: u32 = nginx_version;
/// The arguments of nginx's `configure`.
pub const CONFIGURE: &[u8] = NGX_CONFIGURE.to_bytes();

/// nginx's prefix, with a slash at its end.
pub fn prefix() -> &'static [u8] {
    // SAFETY: there is a cycle from nginx's start on; the bytes of its prefix
    // are never freed: later cycles take them over.
    unsafe {
        let prefix = (*ngx_cycle).prefix;
        std::slice::from_raw_parts(prefix.data, prefix.len)
    }
}

/// This process.
pub fn pid() -> i64 {
    // SAFETY: written by nginx before it runs anything of ours.
    i64::from(unsafe { ngx_pid })
}

/// The worker's number, from 0; None in other processes.
pub fn worker_id() -> Option<i64> {
    // SAFETY: as pid.
    let (process, worker) = unsafe { (ngx_process, ngx_worker) };
    (process == NGX_PROCESS_WORKER as usize || process == NGX_PROCESS_SINGLE as usize)
        .then_some(worker as i64)
}

/// What `worker_processes` says.
pub fn worker_count() -> i64 {
    // SAFETY: the cycle is live; its array is there once nginx reads the
    // configuration, and the core module's entry with it.
    unsafe {
        let contexts = (*ngx_cycle).conf_ctx;
        if contexts.is_null() {
            return 1;
        }
        let core = (*contexts.add(ngx_core_module.index)).cast::<ngx_core_conf_t>();
        // While the configuration is being read it may not be set yet.
        (*core).worker_processes.max(1) as i64
    }
}

/// Whether this process serves requests, and is not one of nginx's helpers.
pub fn serves() -> bool {
    worker_id().is_some()
}

/// Whether the worker is shutting down.
pub fn exiting() -> bool {
    // SAFETY: as pid.
    unsafe { ngx_exiting != 0 }
}

impl Conf<'_> {
    /// Runs `f` with the cycle that is being set up as the current one.
    pub fn in_new_cycle<R>(&mut self, f: impl FnOnce() -> R) -> R {
        struct Restore(*mut ngx_cycle_t);
        impl Drop for Restore {
            fn drop(&mut self) {
                // SAFETY: nginx is single-threaded; this is the cycle that
                // was current before.
                unsafe { ngx_cycle = self.0 }
            }
        }
        // SAFETY: the parser and the cycle that it fills are live; the old
        // cycle comes back before anyone else looks.
        let _restore = unsafe {
            let restore = Restore(ngx_cycle);
            ngx_cycle = (*self.as_ptr()).cycle;
            restore
        };
        f()
    }
}
