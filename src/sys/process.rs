//! The nginx process: which one this is, and how nginx was built.

use ngx::ffi::{
    NGX_CONFIGURE, NGX_PROCESS_HELPER, NGX_PROCESS_MASTER, NGX_PROCESS_SIGNALLER,
    NGX_PROCESS_WORKER, nginx_version, ngx_core_conf_t, ngx_core_module, ngx_cycle, ngx_cycle_t,
    ngx_exiting, ngx_parent, ngx_pid, ngx_process, ngx_process_slot, ngx_processes, ngx_quit,
    ngx_worker,
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

/// The master process, seen from it or from one of its children; None
/// without one.
pub fn master_pid() -> Option<i64> {
    match kind() {
        Kind::Master => Some(pid()),
        // SAFETY: as pid.
        Kind::Worker | Kind::Helper => Some(i64::from(unsafe { ngx_parent })),
        Kind::Single | Kind::Signaller => None,
    }
}

/// What a process of nginx is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Master and worker in one.
    Single,
    Master,
    /// `nginx -s`
    Signaller,
    Worker,
    /// Looks after caches.
    Helper,
}

/// What this process is for.
pub fn kind() -> Kind {
    // SAFETY: as pid.
    match unsafe { ngx_process } as u32 {
        NGX_PROCESS_MASTER => Kind::Master,
        NGX_PROCESS_SIGNALLER => Kind::Signaller,
        NGX_PROCESS_WORKER => Kind::Worker,
        NGX_PROCESS_HELPER => Kind::Helper,
        // So is a master that reads its configuration for the first time.
        _ if core_conf().is_none_or(|core| core.master != 0) => Kind::Master,
        _ => Kind::Single,
    }
}

/// The running workers of this configuration, this one first.
pub fn worker_pids() -> Vec<i64> {
    let mut pids = vec![pid()];
    if kind() != Kind::Worker {
        return pids;
    }
    // SAFETY: plain reads of nginx's table of processes, whose messages come
    // in through the event loop that we run in.
    let others = unsafe {
        let processes = (&raw const ngx_processes).as_ref();
        let own = usize::try_from(ngx_process_slot).ok();
        // All of them: those that were started later do not count in
        // ngx_last_process here.
        processes
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|&(slot, process)| {
                process.pid > 0 && process.channel[0] != -1 && Some(slot) != own
            })
            .map(|(_, process)| i64::from(process.pid))
            .collect::<Vec<_>>()
    };
    pids.extend(others.into_iter().filter(|&pid| is_worker(pid)));
    pids
}

/// Whether a child of the master serves requests, by its title.
fn is_worker(pid: i64) -> bool {
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(title) => {
            // One that has just been forked still goes by its master's title.
            (title.starts_with(b"nginx: worker") || !title.starts_with(b"nginx: "))
                && memchr::memmem::find(&title, b"is shutting down").is_none()
        }
        Err(e) => e.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Has the worker leave as if the master had asked for it.
pub fn quit() {
    // SAFETY: nginx's signal handler does no more.
    unsafe { ngx_quit = 1 }
}

/// The worker's number, from 0; None in other processes.
pub fn worker_id() -> Option<i64> {
    // SAFETY: as pid.
    matches!(kind(), Kind::Worker | Kind::Single).then(|| unsafe { ngx_worker } as i64)
}

/// What `worker_processes` says.
pub fn worker_count() -> i64 {
    // While the configuration is being read it may not be set yet.
    core_conf().map_or(1, |core| core.worker_processes.max(1) as i64)
}

fn core_conf() -> Option<&'static ngx_core_conf_t> {
    // SAFETY: the cycle is live; its array is there once nginx reads the
    // configuration, and the core module's entry with it.
    unsafe {
        let contexts = (*ngx_cycle).conf_ctx;
        if contexts.is_null() {
            return None;
        }
        (*contexts.add(ngx_core_module.index))
            .cast::<ngx_core_conf_t>()
            .as_ref()
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
