//! The ends of threads, and what becomes of their coroutines.

use std::rc::Rc;

use super::light::{Family, Member};
use super::{FREE_SLOTS, Life, SCHED, Thread, ThreadId};
use crate::vm::ffi;
use crate::vm::mark::Mark;
use crate::vm::state::Coroutine;

/// How a thread came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Returned,
    Failed,
    /// Either, and the one that has waited for it has what it left.
    Awaited,
    /// From outside.
    Cancelled,
}

/// Ends a handler with all of its threads.
#[inline]
pub(super) fn end_all(entry: &Rc<Thread>, clean: bool) {
    // Taken out first: to end them is to look here.
    let family = entry.family.borrow_mut().take();
    if let Some(family) = family {
        end_family(*family);
    }
    let end = if clean { End::Returned } else { End::Cancelled };
    finish(entry, end);
}

#[inline(never)]
fn end_family(family: Family) {
    for light in family.into_threads() {
        finish(&light, End::Cancelled);
    }
}

/// Takes the thread out of the scheduler.
pub(super) fn finish(thread: &Rc<Thread>, end: End) {
    if thread.life.get() != Life::Alive {
        return;
    }
    thread.life.set(Life::Ended);
    if thread.id.get() != ThreadId::NONE {
        SCHED.with(|s| s.forget(thread.base.l));
    }
    // Taken out of the cell first: dropping an operation may wake others.
    let parked = thread.parked.take();
    drop(parked);
    // Its own threads have nobody any more who may wait for them.
    thread.number.set(0);
    if let Some(member) = &thread.light
        && !thread.fresh.get()
    {
        member.leave();
    }
    let is_base = thread.top() == thread.base.l;
    if !is_base {
        abandon_chain(thread, end);
    }
    // One that runs is given up when it stops: Lua must not collect it before.
    if !(is_base && thread.running.get()) {
        give_up(thread, thread.base, end);
    }
}

/// Gives up the coroutines above the base of a thread that has ended, but for
/// one that runs.
#[cold]
fn abandon_chain(thread: &Rc<Thread>, end: End) {
    let mut chain = std::mem::take(&mut *thread.chain.borrow_mut());
    for co in &chain {
        thread.coroutine_ended(co.l);
        SCHED.with(|s| s.forget(co.l));
    }
    if thread.running.get() {
        thread.chain.borrow_mut().extend(chain.pop());
    }
    for co in chain {
        give_up(thread, co, end);
    }
}

/// Lets Lua collect a coroutine of a thread that has ended, or uses it again.
pub(super) fn give_up(thread: &Thread, co: Coroutine, end: End) {
    if co.l != thread.base.l {
        seal(thread, co.l, end);
        thread.vm.release_coroutine(co);
    } else if thread.light.is_none() {
        if thread.escaped.get() {
            seal(thread, co.l, end);
        }
        let reusable = end == End::Returned && !thread.escaped.get();
        thread.vm.give_coroutine(co, reusable);
    } else if end == End::Awaited {
        // It is marked, and refers to nothing: it may stay in its place until
        // that is used again.
        thread.vm.give_place(co.anchor);
    } else {
        seal(thread, co.l, end);
        // Its results, if any, stay on its stack as long as Lua has it.
        if thread.fresh.get() {
            thread.vm.give_place(co.anchor);
        } else {
            thread.vm.release_coroutine(co);
        }
    }
}

/// Sees to it that nobody resumes `l`, a coroutine of a thread that has ended:
/// code of the user may have it.
fn seal(thread: &Thread, l: *mut ffi::lua_State, end: End) {
    // SAFETY: callers hold the coroutine, or it has run till now.
    let status = unsafe { ffi::lua_status(l) };
    let is_base = l == thread.base.l;
    let mark = match (&thread.light, end) {
        (&Some(Member { parent, .. }), End::Cancelled) if is_base => Mark::Gone { parent },
        (&Some(Member { parent, .. }), _) if is_base => Mark::Zombie {
            parent,
            ok: end == End::Returned,
        },
        // One that an error has ended shows it.
        _ if status > ffi::LUA_YIELD => return,
        _ => Mark::Abandoned,
    };
    // SAFETY: as above. One that waits has room, and a short stack, too; where
    // there is none and no memory either, resuming it goes wrong with less of
    // a message.
    unsafe {
        let has_room =
            status == ffi::LUA_YIELD || status == ffi::LUA_OK && ffi::lua_gettop(l) <= FREE_SLOTS;
        if has_room || thread.vm.fits(l, Mark::SLOTS) {
            mark.set(l);
        }
    }
}
