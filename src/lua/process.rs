//! `require "ngx.process"`.

use super::preload;
use crate::sys::context;
use crate::sys::process::{self, Kind};
use crate::vm::{LuaResult, Ret, State};

/// Makes the module available to `require`.
pub fn open(state: &mut State) {
    preload(state, "ngx.process", load);
}

fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 5);
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "version");
    state.set_function("type", |state| {
        state.push_bytes(match process::kind() {
            Kind::Single => "single",
            Kind::Master => "master",
            Kind::Signaller => "signaller",
            Kind::Worker => "worker",
            Kind::Helper => "helper",
        });
        Ok(Ret::Values(1))
    });
    state.set_function("get_master_pid", |state| {
        match process::master_pid() {
            Some(pid) => state.push_int(pid),
            None => state.push_nil(),
        }
        Ok(Ret::Values(1))
    });
    state.set_function("signal_graceful_exit", |_| {
        process::quit();
        Ok(Ret::Values(0))
    });
    state.set_function("enable_privileged_agent", |state| {
        let why = match context::current() {
            // nginx forks workers and cache helpers only.
            None => "this nginx has no privileged agent",
            Some(_) => "API disabled in the current context",
        };
        Ok(Ret::Values(state.push_nil_err(why)))
    });
    Ok(Ret::Values(1))
}
