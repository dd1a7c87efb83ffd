//! Settings of the whole `http` block.

use std::rc::Rc;

use super::source::{CodePhase, LuaSource};

/// Configuration of the `http` block.
#[derive(Debug, Default)]
pub struct MainConf {
    /// `init_by_lua*`
    pub init: Option<Rc<LuaSource>>,
    /// `init_worker_by_lua*`
    pub init_worker: Option<Rc<LuaSource>>,
    /// `lua_package_path`, `$prefix` replaced, `;;` kept.
    pub package_path: Option<Vec<u8>>,
    /// `lua_package_cpath`, likewise.
    pub package_cpath: Option<Vec<u8>>,
    /// `rewrite_by_lua_no_postpone`
    pub rewrite_no_postpone: Option<bool>,
    /// `access_by_lua_no_postpone`
    pub access_no_postpone: Option<bool>,
    /// `lua_regex_cache_max_entries`
    pub regex_cache_max_entries: Option<usize>,
    /// `lua_regex_match_limit`
    pub regex_match_limit: Option<usize>,
    /// `lua_max_pending_timers`
    pub max_pending_timers: Option<usize>,
    /// `lua_max_running_timers`
    pub max_running_timers: Option<usize>,
    /// The request phases that have Lua code somewhere.
    pub phases: PhasesUsed,
    sources: u32,
}

/// The request phases for which a handler must be installed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PhasesUsed {
    /// There is a `rewrite_by_lua*`.
    pub rewrite: bool,
    /// There is an `access_by_lua*`.
    pub access: bool,
    /// There is a `content_by_lua*`.
    pub content: bool,
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

    /// Whether rewrite handlers keep their place in the phase instead of moving
    /// behind all others.
    pub fn rewrite_no_postpone(&self) -> bool {
        self.rewrite_no_postpone.unwrap_or(false)
    }

    /// The same for access handlers.
    pub fn access_no_postpone(&self) -> bool {
        self.access_no_postpone.unwrap_or(false)
    }

    /// How many timers may wait for their time, in one worker.
    pub fn max_pending_timers(&self) -> usize {
        self.max_pending_timers.unwrap_or(1024)
    }

    /// How many timers may run at once, in one worker.
    pub fn max_running_timers(&self) -> usize {
        self.max_running_timers.unwrap_or(256)
    }

    /// Notes that `phase` has code somewhere.
    pub(super) fn use_phase(&mut self, phase: CodePhase) {
        match phase {
            CodePhase::Init | CodePhase::InitWorker => {}
            CodePhase::Rewrite => self.phases.rewrite = true,
            CodePhase::Access => self.phases.access = true,
            CodePhase::Content => self.phases.content = true,
        }
    }
}
