//! `ngx.config` and `ngx.worker`.

use std::os::raw::c_int;

use super::preload;
use crate::sys::{context, process};
use crate::vm::{Ret, State};

/// The version of OpenResty's Lua module whose API this one offers: 0.10.28.
const NGX_LUA_VERSION: i64 = 10_028;

/// The version of lua-resty-core that goes with it.
const RESTY_CORE_VERSION: &str = "0.1.31";

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    // What lua-resty-core would add is there already; code that requires it first still runs.
    preload(state, "resty.core", |state| {
        state.new_table(0, 1);
        state.push_bytes(RESTY_CORE_VERSION);
        state.raw_set_field(-2, "version");
        Ok(Ret::Values(1))
    });
    state.new_table(0, 6);
    state.push_bytes("http");
    state.raw_set_field(-2, "subsystem");
    state.push_bool(process::DEBUG);
    state.raw_set_field(-2, "debug");
    state.push_int(i64::from(process::NGINX_VERSION));
    state.raw_set_field(-2, "nginx_version");
    state.push_int(NGX_LUA_VERSION);
    state.raw_set_field(-2, "ngx_lua_version");
    state.set_function("prefix", |state| {
        state.push_bytes(process::prefix());
        Ok(Ret::Values(1))
    });
    state.set_function("nginx_configure", |state| {
        state.push_bytes(process::CONFIGURE);
        Ok(Ret::Values(1))
    });
    state.raw_set_field(-2, "config");

    state.new_table(0, 5);
    state.set_function("pid", |state| {
        state.push_int(process::pid());
        Ok(Ret::Values(1))
    });
    state.set_function("id", |state| {
        match process::worker_id() {
            Some(id) => state.push_int(id),
            None => state.push_nil(),
        }
        Ok(Ret::Values(1))
    });
    state.set_function("count", |state| {
        state.push_int(process::worker_count());
        Ok(Ret::Values(1))
    });
    state.set_function("pids", |state| {
        // There are none yet while the configuration is being read.
        if !process::serves() || context::current().is_none() {
            state.push_nil();
            return Ok(Ret::Values(1));
        }
        let pids = process::worker_pids();
        state.new_table(pids.len() as c_int, 0);
        for (idx, pid) in (1..).zip(pids) {
            state.push_int(pid);
            state.raw_seti(-2, idx);
        }
        Ok(Ret::Values(1))
    });
    state.set_function("exiting", |state| {
        state.push_bool(process::exiting());
        Ok(Ret::Values(1))
    });
    state.raw_set_field(-2, "worker");
}
