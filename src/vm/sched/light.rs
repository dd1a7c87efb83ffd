//! Light threads: `ngx.thread.spawn`, `ngx.thread.wait`, `ngx.thread.kill`.
//!
//! To Lua a light thread is its coroutine, and the scheduler finds it by that as
//! long as it lives. What it returned stays on its own stack, below a [`Mark`]:
//! one that nobody waits for costs nothing any more once the collector has taken
//! its coroutine.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::end::{End, finish};
use super::run::run_inside;
use super::{FREE_SLOTS, SCHED, Thread, ThreadId, current};
use crate::rt::AddressMap;
use crate::vm::ffi;
use crate::vm::function::{LuaResult, Ret, Throw};
use crate::vm::mark::Mark;
use crate::vm::op::{Parked, suspend};
use crate::vm::stack::{State, Type};
use crate::vm::state::{Coroutine, Vm};

/// One `ngx.thread.wait` that had to wait; a thread may wait again and again.
#[derive(Clone, Copy)]
pub(super) struct WaitId {
    pub(super) thread: ThreadId,
    pub(super) number: i64,
}

/// What makes a thread a light one.
pub(super) struct Member {
    pub(super) entry: Rc<Thread>,
    /// The coroutine that spawned it, by the number that the family gave it.
    pub(super) parent: i64,
    /// Who waits for it.
    waiter: Cell<Option<WaitId>>,
    /// The handler ends without waiting for it.
    background: Cell<bool>,
    /// Its place among the family's threads.
    place: Cell<usize>,
}

impl Member {
    /// Who waits for it, now that it has ended?
    pub(super) fn take_waiter(&self) -> Option<WaitId> {
        self.waiter.take()
    }

    /// The thread has ended.
    pub(super) fn leave(&self) {
        let left = match self.entry.family.borrow_mut().as_mut() {
            Some(family) => {
                if !self.background.get() {
                    family.awaited -= 1;
                }
                family.remove(self.place.get())
            }
            None => return,
        };
        drop(left);
    }
}

/// The light threads of a handler.
#[derive(Default)]
pub(super) struct Family {
    /// Those that have not ended.
    threads: Vec<Rc<Thread>>,
    /// How many of them the handler's end waits for.
    awaited: usize,
    /// Coroutines that have spawned some and not ended, with their numbers:
    /// an address may come to be that of another coroutine. Those of threads
    /// are not among them.
    parents: AddressMap<i64>,
    /// Those that have spawned others, and go on when these have had their turn.
    spawners: VecDeque<Rc<Thread>>,
}

impl Family {
    /// Whether the handler's end waits for none of them.
    pub(super) fn is_idle(&self) -> bool {
        self.awaited == 0
    }

    /// A coroutine has ended: nobody can wait for its threads any more.
    pub(super) fn forget_parent(&mut self, l: *mut ffi::lua_State) {
        self.parents.remove(l);
    }

    /// All threads that have not ended.
    pub(super) fn into_threads(self) -> Vec<Rc<Thread>> {
        self.threads
    }

    /// Has `thread`, which has spawned another one, go on later.
    pub(super) fn go_on_later(&mut self, thread: Rc<Thread>) {
        self.spawners.push_back(thread);
    }

    /// The first one that is to go on.
    pub(super) fn next_spawner(&mut self) -> Option<Rc<Thread>> {
        self.spawners.pop_front()
    }

    /// Whether the coroutine with `number` may still wait for its threads.
    fn has_parent(&self, entry: &Thread, number: i64) -> bool {
        let is_parent = |thread: &Thread| thread.number.get() == number;
        is_parent(entry)
            || self.threads.iter().any(|thread| is_parent(thread))
            || self.parents.values().any(|&parent| parent == number)
    }

    fn add(&mut self, thread: Rc<Thread>) {
        if let Some(member) = &thread.light {
            member.place.set(self.threads.len());
            self.awaited += usize::from(!member.background.get());
            self.threads.push(thread);
        }
    }

    fn remove(&mut self, place: usize) -> Rc<Thread> {
        let left = self.threads.swap_remove(place);
        if let Some(Some(member)) = self.threads.get(place).map(|moved| &moved.light) {
            member.place.set(place);
        }
        left
    }
}

/// Whether `l`, the running coroutine of `thread`, is the one with `number`.
fn is_parent(thread: &Rc<Thread>, l: *mut ffi::lua_State, number: i64) -> bool {
    if l == thread.base.l {
        return thread.number.get() == number;
    }
    let family = thread.entry().family.borrow();
    family
        .as_ref()
        .is_some_and(|family| family.parents.get(l) == Some(&number))
}

/// `ngx.thread.spawn(f, ...)`
pub fn spawn(state: &mut State) -> LuaResult {
    spawn_as(state, false)
}

/// Spawns a thread for which the handler's end does not wait, until that
/// calls [`join_handler`].
pub fn spawn_in_background(state: &mut State) -> LuaResult {
    spawn_as(state, true)
}

#[inline(always)]
fn spawn_as(state: &mut State, background: bool) -> LuaResult {
    if state.type_of(1) != Type::Function {
        return Err(Throw::argument(
            1,
            format!("function expected, got {}", state.type_name(1)),
        ));
    }
    let Some(parent) = current() else {
        return Err(Throw::error("no request found"));
    };
    if !state.is_yieldable() {
        return Err(Throw::error("attempt to yield across C-call boundary"));
    }
    let n = state.top();
    // SAFETY: the state is live; the new coroutine stands on its stack.
    let l = unsafe { ffi::lua_newthread(state.raw()) };
    if n > FREE_SLOTS && !parent.vm().fits(l, n + Mark::SLOTS) {
        return Err(Throw::error("too many arguments to spawn"));
    }
    state.insert(1);
    // SAFETY: both are live coroutines of one VM, and the new one has room.
    unsafe { ffi::lua_xmove(state.raw(), l, n) };
    let anchor = parent.vm().take_place(state);
    let member = Member {
        parent: parent_number(&parent, state.raw()),
        entry: parent.entry().clone(),
        waiter: Cell::new(None),
        background: Cell::new(background),
        place: Cell::new(0),
    };
    let base = Coroutine { l, anchor };
    let thread = Thread::new(&parent.vm, parent.host.clone(), base, Some(member));
    let nargs = n - 1;
    if !background && !parent.fresh.get() {
        return Ok(run_inside(state, &parent, &thread, nargs));
    }
    settle(state, &thread);
    // One that runs inside of its own parent goes on after that.
    if !parent.fresh.get() {
        parent.go_on_later();
    }
    super::request_spawn(thread, nargs);
    Ok(Ret::Yield(1))
}

/// A fresh thread will be known from now on; its coroutine stands at index 1.
/// Raises no error.
pub(super) fn settle(state: &mut State, thread: &Rc<Thread>) {
    thread.fresh.set(false);
    state.push_value(1);
    state.raw_seti(ffi::LUA_REGISTRYINDEX, thread.base.anchor);
    thread.id();
    if let Some(family) = thread.entry().family.borrow_mut().as_mut() {
        family.add(thread.clone());
    }
}

/// The number of `l`, the running coroutine of `thread`, which spawns another
/// one.
#[inline]
fn parent_number(thread: &Rc<Thread>, l: *mut ffi::lua_State) -> i64 {
    match thread.number.get() {
        number if number != 0 && l == thread.base.l => number,
        _ => find_parent_number(thread, l),
    }
}

#[inline(never)]
fn find_parent_number(thread: &Rc<Thread>, l: *mut ffi::lua_State) -> i64 {
    let mut family = thread.entry().family.borrow_mut();
    let family = family.get_or_insert_default();
    let is_base = l == thread.base.l;
    let known = family.parents.get(l).filter(|_| !is_base).copied();
    known.unwrap_or_else(|| {
        let number = SCHED.with(|s| next(&s.parents));
        match is_base {
            true => thread.number.set(number),
            false => drop(family.parents.insert(l, number)),
        }
        number
    })
}

fn next(counter: &Cell<i64>) -> i64 {
    counter.set(counter.get() + 1);
    counter.get()
}

/// What a coroutine is as a light thread.
enum Found {
    Running(Rc<Thread>),
    /// It has ended, and how.
    Over(Mark),
    /// It is none.
    Nothing,
}

impl Found {
    #[inline(always)]
    fn of(l: *mut ffi::lua_State) -> Found {
        match super::thread_of(l) {
            Some(thread) if thread.light.is_some() && thread.base.l == l => Found::Running(thread),
            Some(_) => Found::Nothing,
            None => Found::over(l),
        }
    }

    fn over(l: *mut ffi::lua_State) -> Found {
        // SAFETY: callers have it from a stack.
        match unsafe { Mark::of(l) } {
            None | Some(Mark::Abandoned) => Found::Nothing,
            Some(mark) => Found::Over(mark),
        }
    }

    /// The number of the one that spawned it.
    fn parent(&self) -> Option<i64> {
        match self {
            Found::Running(thread) => thread.light.as_ref().map(|member| member.parent),
            Found::Over(Mark::Zombie { parent, .. } | Mark::Gone { parent }) => Some(*parent),
            Found::Over(Mark::Abandoned) | Found::Nothing => None,
        }
    }
}

/// Whether the coroutine is a light thread that has ended, and that its parent
/// may still wait for.
pub(in crate::vm) fn is_zombie(l: *mut ffi::lua_State) -> bool {
    let (Found::Over(Mark::Zombie { parent, .. }), Some(thread)) = (Found::of(l), current()) else {
        return false;
    };
    let family = thread.entry().family.borrow();
    family
        .as_ref()
        .is_some_and(|family| family.has_parent(thread.entry(), parent))
}

/// The coroutine at `idx`.
fn coroutine_at(state: &State, idx: c_int) -> Result<*mut ffi::lua_State, Throw> {
    // SAFETY: the state is live.
    let l = unsafe { ffi::lua_tothread(state.raw(), idx) };
    if l.is_null() {
        return Err(Throw::argument(
            idx,
            format!("lua thread expected, got {}", state.type_name(idx)),
        ));
    }
    Ok(l)
}

/// `ngx.thread.wait(thread, ...)`: those that were waited for or killed before count only
/// if there is no other, so that the same list can be waited for until none is left.
pub fn wait(state: &mut State) -> LuaResult {
    let n = state.top();
    if n == 0 {
        return Err(Throw::error("at least one coroutine should be specified"));
    }
    let Some(thread) = current() else {
        return Err(Throw::error("no request found"));
    };
    let number = SCHED.with(|s| next(&s.waits));
    let mut any_runs = false;
    for idx in 1..=n {
        let l = coroutine_at(state, idx)?;
        let found = Found::of(l);
        let Some(parent) = found.parent() else {
            return Err(Throw::error(
                "attempt to wait on a coroutine that is not a user thread",
            ));
        };
        if !is_parent(&thread, state.raw(), parent) {
            return Err(Throw::error(
                "only the parent coroutine can wait on the thread",
            ));
        }
        match found {
            Found::Running(awaited) => {
                any_runs = true;
                if let Some(member) = &awaited.light {
                    let thread = thread.id();
                    member.waiter.set(Some(WaitId { thread, number }));
                }
            }
            Found::Over(Mark::Zombie { ok, .. }) => {
                // SAFETY: the coroutine stands on the live stack, and its mark on
                // the top of its own.
                let n = unsafe {
                    ffi::lua_settop(l, -Mark::SLOTS - 1);
                    take_results(thread.vm(), state, l, parent, ok)
                };
                return Ok(Ret::Values(n));
            }
            Found::Over(_) | Found::Nothing => {}
        }
    }
    if !any_runs {
        return Ok(Ret::Values(state.push_nil_err("already waited or killed")));
    }
    let suspended = suspend(state, Box::new(Waiting))?;
    thread.wait.set(number);
    Ok(suspended)
}

/// Waits until one of some light threads, which stand from index 1 on the
/// stack, has ended: that one hands over its results with the turn.
struct Waiting;

impl Parked for Waiting {
    fn poll(&mut self, _cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        Poll::Pending
    }

    fn may_raise(&self) -> bool {
        false
    }
}

/// Moves what the coroutine `l`, which has ended, returned, or its error, to
/// the top, behind a boolean that tells which it is. Marks `l` as one that
/// `parent` has waited for. Raises no error.
///
/// # Safety
/// `l` must be a live coroutine of `vm`, as `state` is.
pub(super) unsafe fn take_results(
    vm: &Vm,
    state: &State,
    l: *mut ffi::lua_State,
    parent: i64,
    ok: bool,
) -> c_int {
    // SAFETY: by the caller's promise. One that the scheduler failed, not its
    // code, left no error.
    let n = unsafe {
        match ok {
            true => ffi::lua_gettop(l),
            false => c_int::from(ffi::lua_status(l) > ffi::LUA_YIELD && ffi::lua_gettop(l) > 0),
        }
    };
    let fits = n < FREE_SLOTS || vm.fits(state.raw(), n + 1);
    state.push_bool(ok && fits);
    let refused = || state.push_bytes("too many results to wait for");
    if !fits && vm.protect(|_| refused()).is_ok() {
        // The message is there.
    } else if !fits || !ok && n == 0 {
        state.push_nil();
    }
    // SAFETY: as above; there is room for the results, and for the mark where
    // they have been, on a stack that has nothing else.
    unsafe {
        if fits {
            ffi::lua_xmove(l, state.raw(), n);
        }
        if ok && fits || vm.fits(l, Mark::SLOTS) {
            Mark::Gone { parent }.set(l);
        }
    }
    if ok && fits { n + 1 } else { 2 }
}

/// `ngx.thread.kill(thread)`
pub fn kill(state: &mut State) -> LuaResult {
    let l = coroutine_at(state, 1)?;
    let Some(thread) = current() else {
        return Err(Throw::error("no request found"));
    };
    let found = Found::of(l);
    let refused = match found.parent() {
        None => "not user thread",
        Some(number) if !is_parent(&thread, state.raw(), number) => "killer not parent",
        Some(parent) => match found {
            Found::Running(thread) => {
                finish(&thread, End::Cancelled);
                state.push_int(1);
                return Ok(Ret::Values(1));
            }
            Found::Over(Mark::Zombie { .. }) => {
                // SAFETY: the coroutine stands on the stack and has ended; the
                // new mark takes less room than the one before.
                unsafe {
                    ffi::lua_settop(l, -Mark::SLOTS - 1);
                    Mark::Gone { parent }.set(l);
                }
                "already terminated"
            }
            Found::Over(_) | Found::Nothing => "already waited or killed",
        },
    };
    Ok(Ret::Values(state.push_nil_err(refused)))
}

/// The handler's end waits for the running thread from now on.
pub fn join_handler() {
    let Some(thread) = current() else { return };
    let Some(member) = &thread.light else { return };
    if member.background.replace(false)
        && let Some(family) = member.entry.family.borrow_mut().as_mut()
    {
        family.awaited += 1;
    }
}
