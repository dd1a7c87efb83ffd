//! Coroutines that nobody may resume any more say so themselves: by a value
//! that no Lua code can have, on the top of their own stacks. Nothing else has
//! to know of them, and it goes when they do.

use std::os::raw::c_int;
use std::ptr;

use super::ffi;

/// Why a coroutine is over that does not look like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its thread ended while it waited.
    Abandoned,
    /// A light thread that has returned (or failed, and left its error), while
    /// nobody has asked for that.
    Zombie { parent: i64, ok: bool },
    /// A light thread that was killed, or waited for.
    Gone { parent: i64 },
}

/// The addresses tell the marks from all other light userdata.
static TAGS: [u8; 3] = [0; 3];

fn tag(i: usize) -> *mut std::ffi::c_void {
    (&raw const TAGS[i]).cast_mut().cast()
}

impl Mark {
    /// How many slots of the stack a mark takes, at the most.
    pub(super) const SLOTS: c_int = 3;

    /// Puts the mark on the top.
    ///
    /// # Safety
    /// `l` must be a live coroutine that does not run, with room for it.
    pub(super) unsafe fn set(self, l: *mut ffi::lua_State) {
        // SAFETY: by the caller's promise. Numbers of threads are exact in a
        // double.
        unsafe {
            match self {
                Mark::Abandoned => ffi::lua_pushlightuserdata(l, tag(0)),
                Mark::Zombie { parent, ok } => {
                    ffi::lua_pushnumber(l, parent as f64);
                    ffi::lua_pushboolean(l, ok.into());
                    ffi::lua_pushlightuserdata(l, tag(1));
                }
                Mark::Gone { parent } => {
                    ffi::lua_pushnumber(l, parent as f64);
                    ffi::lua_pushlightuserdata(l, tag(2));
                }
            }
        }
    }

    /// The mark on the top, if there is one.
    ///
    /// # Safety
    /// `l` must be a live coroutine.
    pub(super) unsafe fn of(l: *mut ffi::lua_State) -> Option<Mark> {
        // SAFETY: by the caller's promise; below its tag stands what `set`
        // has put there.
        unsafe {
            if ffi::lua_gettop(l) == 0 {
                return None;
            }
            let value = ffi::lua_touserdata(l, -1);
            if value.is_null() {
                None
            } else if ptr::eq(value, tag(0)) {
                Some(Mark::Abandoned)
            } else if ptr::eq(value, tag(1)) {
                Some(Mark::Zombie {
                    parent: ffi::lua_tonumber(l, -3) as i64,
                    ok: ffi::lua_toboolean(l, -2) != 0,
                })
            } else if ptr::eq(value, tag(2)) {
                let parent = ffi::lua_tonumber(l, -2) as i64;
                Some(Mark::Gone { parent })
            } else {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mark;
    use crate::vm::ffi;

    #[test]
    fn marks_are_read_as_they_were_set() {
        // SAFETY: a state of our own; its coroutine is anchored on its stack.
        unsafe {
            let main = ffi::luaL_newstate();
            let l = ffi::lua_newthread(main);
            assert_eq!(Mark::of(l), None);
            ffi::lua_pushlightuserdata(l, std::ptr::dangling_mut());
            assert_eq!(Mark::of(l), None);
            for mark in [
                Mark::Abandoned,
                Mark::Gone { parent: 7 },
                Mark::Zombie {
                    parent: 1 << 40,
                    ok: true,
                },
                Mark::Zombie {
                    parent: 1,
                    ok: false,
                },
            ] {
                let top = ffi::lua_gettop(l);
                mark.set(l);
                assert_eq!(Mark::of(l), Some(mark));
                assert!(ffi::lua_gettop(l) - top <= Mark::SLOTS);
            }
            ffi::lua_close(main);
        }
    }
}
