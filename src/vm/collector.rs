//! When Lua's collector begins a cycle.
//!
//! By default Lua waits until its heap is twice as large as what the last cycle
//! has left. The heap of a worker that has just a few handlers is small: cycles
//! come all the time, and go through the same API tables and compiled chunks
//! again and again. So they wait for at least [`FLOOR`] of garbage here.
//!
//! The pause is a percentage, so it has to follow the size of the heap. A userdata
//! that nobody refers to, the sentinel, has its finalizer called at the end of each
//! cycle, just before Lua works out when the next one begins. It sets the pause
//! and leaves a new sentinel for the next cycle, unless somebody else has set
//! the pause meanwhile (`collectgarbage("setpause", …)`): then that one stays.
//!
//! Sockets are another matter, and so are certificates, keys and TLS sessions: Lua
//! knows nothing of the memory that they take outside of its heap, and of
//! connections, of which nginx has not so many. A cycle begins when there are
//! [`MANY_MORE`] sockets more than before, or when [`MANY`] new ones were made, however
//! small they are to Lua; not so where somebody else has set the pause. Sockets that end
//! with their request, as nearly all do, leave little behind to be collected soon.

use std::cell::Cell;
use std::os::raw::c_int;

use super::ffi;
use super::stack::State;
use crate::rt::worker_local;

/// Garbage that may pile up before a cycle begins, in kilobytes.
const FLOOR: c_int = 1024;

/// New objects after which a cycle begins.
const MANY: i64 = 2048;

/// More sockets than before, after which one begins.
const MANY_MORE: usize = 768;

/// No number of sockets: [`count`] takes the next one.
const UNKNOWN: usize = usize::MAX - MANY_MORE;

/// What takes kilobytes outside of Lua's heap counts as so many objects.
const HEAVY: i64 = 10;

/// Lua's own: a cycle begins when the heap has doubled.
const DEFAULT_PAUSE: c_int = 200;

worker_local! {
    /// Objects that were made since a cycle ended. Far below 0 where the
    /// pause is the user's.
    static NEW: Cell<i64> = Cell::new(0);
    /// The fewest sockets there were since a cycle ended.
    static FEWEST: Cell<usize> = Cell::new(UNKNOWN);
}

/// Begins with the first sentinel.
pub(super) fn install(state: &mut State) {
    state.new_table(0, 2);
    // SAFETY: the state is live and `cycle_ends` a lua_CFunction.
    unsafe { ffi::lua_pushcclosure(state.raw(), cycle_ends, 0) };
    state.raw_set_field(-2, "__gc");
    state.push_bool(false);
    state.raw_set_field(-2, "__metatable");
    leave_sentinel(state);
}

/// To be told, when a socket is made, how many there are.
#[inline]
pub(super) fn count(state: &State, sockets: usize) {
    NEW.set(NEW.get() + 1);
    if NEW.get() >= MANY || are_many_more(sockets) {
        begin_cycle(state);
    }
}

#[inline]
fn are_many_more(sockets: usize) -> bool {
    let fewest = FEWEST.get().min(sockets);
    FEWEST.set(fewest);
    sockets >= fewest + MANY_MORE
}

impl State {
    /// To be called for each value that takes kilobytes outside of Lua's heap as long as
    /// Lua has it, such as a certificate.
    pub fn count_heavy(&self) {
        NEW.set(NEW.get() + HEAVY);
        if NEW.get() >= MANY {
            begin_cycle(self);
        }
    }
}

#[cold]
fn begin_cycle(state: &State) {
    FEWEST.set(UNKNOWN);
    if NEW.get() < 0 {
        return;
    }
    NEW.set(0);
    // SAFETY: the state is live. A collector that was stopped stays so; what
    // "restart" does to one that runs is to begin.
    unsafe {
        if ffi::lua_gc(state.raw(), ffi::LUA_GCISRUNNING, 0) != 0 {
            ffi::lua_gc(state.raw(), ffi::LUA_GCRESTART, 0);
        }
    }
}

/// The pause for a heap of this many kilobytes.
fn pause_for(heap: c_int) -> c_int {
    DEFAULT_PAUSE.max(100 + FLOOR * 100 / heap.max(1))
}

/// Sets the pause, and leaves a sentinel, with the metatable on the top, that
/// knows it. May raise Lua's memory error; the pause is the default one then.
fn leave_sentinel(state: &mut State) {
    let l = state.raw();
    // SAFETY: the state is live, and the memory that the sentinel owns is written
    // before anything can read it.
    unsafe {
        ffi::lua_gc(l, ffi::LUA_GCSETPAUSE, DEFAULT_PAUSE);
        let known = ffi::lua_newuserdata(l, size_of::<c_int>()).cast::<c_int>();
        let pause = pause_for(ffi::lua_gc(l, ffi::LUA_GCCOUNT, 0));
        known.write(pause);
        state.insert(-2);
        state.set_metatable(-2);
        ffi::lua_gc(l, ffi::LUA_GCSETPAUSE, pause);
    }
    state.pop(1);
}

/// # Safety
/// Called by Lua only, as `__gc` of a sentinel.
unsafe extern "C-unwind" fn cycle_ends(l: *mut ffi::lua_State) -> c_int {
    NEW.set(0);
    FEWEST.set(UNKNOWN);
    // SAFETY: Lua passes the running state, with the sentinel, which has held a
    // number since it was made, and a metatable.
    unsafe {
        let known = *ffi::lua_touserdata(l, 1).cast::<c_int>();
        let pause = ffi::lua_gc(l, ffi::LUA_GCSETPAUSE, DEFAULT_PAUSE);
        if pause != known {
            ffi::lua_gc(l, ffi::LUA_GCSETPAUSE, pause);
            NEW.set(i64::MIN);
        } else if ffi::lua_getmetatable(l, 1) != 0 {
            leave_sentinel(&mut State::from_raw(l));
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_PAUSE, FEWEST, FLOOR, MANY_MORE, UNKNOWN, are_many_more};
    use super::{install, pause_for};
    use crate::vm::ffi;
    use crate::vm::stack::State;

    /// Runs `code` in a state of its own with sentinels.
    fn run(code: &str) {
        // SAFETY: a state of our own, closed at the end.
        unsafe {
            let l = ffi::luaL_newstate();
            ffi::luaL_openlibs(l);
            let mut state = State::from_raw(l);
            install(&mut state);
            assert_eq!(state.top(), 0);
            assert_eq!(state.run_builtin(code, c"=test", 0, 0), Ok(()));
            ffi::lua_close(l);
        }
    }

    #[test]
    fn the_pause_follows_the_heap() {
        assert_eq!(pause_for(0), 100 + FLOOR * 100);
        assert_eq!(pause_for(FLOOR / 4), 500);
        assert_eq!(pause_for(FLOOR * 4), DEFAULT_PAUSE);
        run(r#"
            local function pause()
                collectgarbage()
                local pause = collectgarbage("setpause", 200)
                collectgarbage("setpause", pause)
                return pause
            end
            for _ = 1, 3 do assert(pause() > 200) end
            local much = {}
            for i = 1, 100000 do much[i] = { i } end
            assert(pause() == 200)
            much = nil
            assert(pause() > 200)
        "#);
    }

    #[test]
    fn a_pause_that_the_user_sets_stays() {
        run(r#"
            collectgarbage("setpause", 123)
            for _ = 1, 3 do
                collectgarbage()
                assert(collectgarbage("setpause", 123) == 123)
            end
        "#);
    }

    #[test]
    fn sockets_that_end_by_themselves_begin_no_cycle() {
        let many = MANY_MORE;
        // Left by a cycle; then those of 100 requests at a time come and go.
        assert!(!are_many_more(many * 3));
        for _ in 0..many {
            assert!(!are_many_more(5));
            assert!(!are_many_more(105));
        }
        assert!(!are_many_more(5 + many - 1));
        assert!(are_many_more(5 + many));
        FEWEST.set(UNKNOWN);
        assert!(!are_many_more(5 + many));
        assert!(are_many_more(5 + 2 * many));
    }

    #[test]
    fn garbage_is_bounded() {
        run(r#"
            collectgarbage()
            local before, most = collectgarbage("count"), 0
            for i = 1, 200000 do
                local garbage = { i, {}, ("x"):rep(100) .. i }
                most = math.max(most, collectgarbage("count"))
            end
            -- Beyond the floor: what is made while a cycle goes on.
            assert(most > before + 900 and most < before + 3000, most - before)
        "#);
    }
}
