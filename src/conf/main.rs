//! Settings of the whole `http` block.

use std::rc::Rc;

use super::source::LuaSource;
use crate::sys::phase::{Phase, Phases};

/// Configuration of the `http` block.
#[derive(Debug, Default)]
pub struct MainConf {
    /// `init_by_lua*`
    pub init: Option<Rc<LuaSource>>,
    /// `init_worker_by_lua*`
    pub init_worker: Option<Rc<LuaSource>>,
    /// `exit_worker_by_lua*`
    pub exit_worker: Option<Rc<LuaSource>>,
    /// `lua_package_path`, `$prefix` replaced, `;;` kept.
    pub package_path: Option<Vec<u8>>,
    /// `lua_package_cpath`, likewise.
    pub package_cpath: Option<Vec<u8>>,
    /// `rewrite_by_lua_no_postpone`
    pub rewrite_no_postpone: Option<bool>,
    /// `access_by_lua_no_postpone`
    pub access_no_postpone: Option<bool>,
    /// `precontent_by_lua_no_postpone`
    pub precontent_no_postpone: Option<bool>,
    /// `lua_regex_cache_max_entries`
    pub regex_cache_max_entries: Option<usize>,
    /// `lua_regex_match_limit`
    pub regex_match_limit: Option<usize>,
    /// `lua_max_pending_timers`
    pub max_pending_timers: Option<usize>,
    /// `lua_max_running_timers`
    pub max_running_timers: Option<usize>,
    /// `lua_max_waiting_logs`
    pub max_waiting_logs: Option<usize>,
    /// `lua_exit_worker_timeout`
    pub exit_worker_timeout: Option<u64>,
    /// The phases that have Lua code somewhere.
    pub phases: Phases,
    sources: u32,
}

impl MainConf {
    /// The id for the next [`LuaSource`].
    pub(super) fn next_source_id(&mut self) -> u32 {
        let id = self.sources;
        self.sources += 1;
        id
    }

    /// How many sources there are: their ids are below this.
    pub fn source_count(&self) -> u32 {
        self.sources
    }

    /// Whether the handlers of `phase` keep their place in it instead of moving
    /// behind all others.
    pub fn no_postpone(&self, phase: Phase) -> bool {
        let setting = match phase {
            Phase::Rewrite => self.rewrite_no_postpone,
            Phase::Access => self.access_no_postpone,
            Phase::Precontent => self.precontent_no_postpone,
            _ => None,
        };
        setting.unwrap_or(false)
    }

    /// How many timers may wait for their time, in one worker.
    pub fn max_pending_timers(&self) -> usize {
        self.max_pending_timers.unwrap_or(1024)
    }

    /// How many timers may run at once, in one worker.
    pub fn max_running_timers(&self) -> usize {
        self.max_running_timers.unwrap_or(256)
    }

    /// How many handlers of the log phase may wait at once, in one worker.
    pub fn max_waiting_logs(&self) -> usize {
        self.max_waiting_logs.unwrap_or(4096)
    }

    /// How many milliseconds the handler of a worker's end may wait.
    pub fn exit_worker_timeout(&self) -> u64 {
        self.exit_worker_timeout.unwrap_or(1000)
    }

    /// Notes that `phase` has code somewhere.
    pub(super) fn use_phase(&mut self, phase: Phase) {
        self.phases = self.phases.and(phase);
    }
}
