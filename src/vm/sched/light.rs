//! Light threads: `ngx.thread.spawn`, `ngx.thread.wait`, `ngx.thread.kill`.
//!
//! To Lua a light thread is its coroutine. A table in Lua's registry leads from
//! there to its [`Light`]; its keys are weak, and what a thread returned stays
//! on its own stack: one that nobody waits for costs nothing any more once the
//! collector has taken its coroutine.

use std::cell::Cell;
use std::collections::HashMap;
use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{FREE_SLOTS, SCHED, Thread, ThreadId, current};
use crate::vm::ffi;
use crate::vm::function::{LuaResult, Ret, Throw};
use crate::vm::op::{Parked, run_op};
use crate::vm::stack::{State, Type};
use crate::vm::state::Coroutine;

/// Key in the registry: coroutine to `Rc<Light>`.
const LIGHTS: &str = "cosocket.light threads";

/// What is known of a light thread, also after its end.
pub(super) struct Light {
    /// The coroutine that spawned it, by the number that the family gave it.
    parent: u64,
    fate: Cell<Fate>,
    /// The thread whose code waits for this one.
    waiter: Cell<Option<ThreadId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Running,
    /// It returned (true) or failed (false), and nobody has asked for that.
    Ended(bool),
    /// It was killed, or waited for.
    Gone,
}

impl Light {
    /// The thread has returned or failed; who waits for it?
    pub(super) fn ended(&self, ok: bool) -> Option<ThreadId> {
        self.fate.set(Fate::Ended(ok));
        self.waiter.take()
    }

    /// Gives what came of it, and stands on the coroutine at `idx`, to the
    /// one who waited.
    fn take(&self, state: &mut State, idx: c_int, ok: bool) -> c_int {
        self.fate.set(Fate::Gone);
        push_results(state, idx, ok)
    }
}

/// What makes a thread a light one.
pub(super) struct Member {
    pub(super) light: Rc<Light>,
    pub(super) entry: Rc<Thread>,
    /// The handler ends without waiting for it.
    background: Cell<bool>,
}

impl Member {
    /// The thread has ended.
    pub(super) fn leave(&self, id: ThreadId) {
        if self.light.fate.get() == Fate::Running {
            self.light.fate.set(Fate::Gone);
        }
        let mut family = self.entry.family.borrow_mut();
        let left = family.as_mut().and_then(|family| {
            let left = family.threads.remove(&id.index)?;
            if !self.background.get() {
                family.awaited -= 1;
            }
            Some(left)
        });
        drop(family);
        drop(left);
    }
}

/// The light threads of a handler.
#[derive(Default)]
pub(super) struct Family {
    /// Those that have not ended, by the index of their id.
    threads: HashMap<u32, Rc<Thread>>,
    /// How many of them the handler's end waits for.
    awaited: usize,
    /// Coroutines that have spawned some and not ended, with their numbers:
    /// an address may come to be that of another coroutine.
    parents: HashMap<usize, u64>,
}

impl Family {
    /// Whether the handler's end waits for none of them.
    pub(super) fn is_idle(&self) -> bool {
        self.awaited == 0
    }

    /// A coroutine has ended: nobody can wait for its threads any more.
    pub(super) fn forget_parent(&mut self, l: *mut ffi::lua_State) {
        self.parents.remove(&l.addr());
    }

    /// All threads that have not ended.
    pub(super) fn into_threads(self) -> impl Iterator<Item = Rc<Thread>> {
        self.threads.into_values()
    }
}

/// Whether `family` has given `number` to the coroutine at `address`.
fn is_parent(thread: &Rc<Thread>, address: usize, number: u64) -> bool {
    let family = thread.entry().family.borrow();
    family
        .as_ref()
        .is_some_and(|family| family.parents.get(&address) == Some(&number))
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
    if n > FREE_SLOTS && !parent.vm().fits(l, n) {
        return Err(Throw::error("too many arguments to spawn"));
    }
    state.insert(1);
    // SAFETY: both are live coroutines of one VM, and the new one has room.
    unsafe { ffi::lua_xmove(state.raw(), l, n) };
    let light = Rc::new(Light {
        parent: parent_number(&parent, state.raw().addr()),
        fate: Cell::new(Fate::Running),
        waiter: Cell::new(None),
    });
    remember(state, &light);
    state.push_value(1);
    let anchor = state.anchor();
    let entry = parent.entry().clone();
    let member = Member {
        light,
        entry: entry.clone(),
        background: Cell::new(background),
    };
    let thread = super::add_light(&parent, Coroutine { l, anchor }, member);
    if let Some(family) = entry.family.borrow_mut().as_mut() {
        family.threads.insert(thread.id.index, thread.clone());
        family.awaited += usize::from(!background);
    }
    super::request_spawn(thread, n - 1);
    Ok(Ret::Yield(1))
}

/// The number of the coroutine at `address`, which spawns a thread.
fn parent_number(thread: &Rc<Thread>, address: usize) -> u64 {
    let mut family = thread.entry().family.borrow_mut();
    let family = family.get_or_insert_default();
    *family.parents.entry(address).or_insert_with(|| {
        SCHED.with(|s| {
            let number = s.parents.get() + 1;
            s.parents.set(number);
            number
        })
    })
}

/// Has the coroutine at index 1 lead to `light`.
fn remember(state: &mut State, light: &Rc<Light>) {
    state.push_weak_keyed(LIGHTS);
    SCHED.with(|s| s.any_light.set(true));
    state.push_value(1);
    state.push_userdata(light.clone());
    state.raw_set(-3);
    state.pop(1);
}

/// The light thread whose coroutine stands at `idx`, if it is one.
fn light_at(state: &mut State, idx: c_int) -> Option<Rc<Light>> {
    if !SCHED.with(|s| s.any_light.get()) {
        return None;
    }
    let idx = state.abs(idx);
    let top = state.top();
    state.raw_get_field(ffi::LUA_REGISTRYINDEX, LIGHTS);
    let mut light = None;
    if state.type_of(-1) == Type::Table {
        state.push_value(idx);
        state.raw_get(-2);
        light = state.userdata::<Rc<Light>>(-1).cloned();
    }
    state.set_top(top);
    light
}

/// Whether the coroutine at `idx` is a light thread that has ended.
pub(in crate::vm) fn has_ended(state: &mut State, idx: c_int) -> bool {
    light_at(state, idx).is_some_and(|light| light.fate.get() != Fate::Running)
}

/// Whether the coroutine at `idx` is a light thread that has ended, and that
/// its parent may still wait for.
pub(in crate::vm) fn is_zombie(state: &mut State, idx: c_int) -> bool {
    let (Some(light), Some(thread)) = (light_at(state, idx), current()) else {
        return false;
    };
    let family = thread.entry().family.borrow();
    matches!(light.fate.get(), Fate::Ended(_))
        && family
            .as_ref()
            .is_some_and(|family| family.parents.values().any(|&n| n == light.parent))
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

/// `ngx.thread.wait(thread, ...)`
pub fn wait(state: &mut State) -> LuaResult {
    let n = state.top();
    if n == 0 {
        return Err(Throw::error("at least one coroutine should be specified"));
    }
    let Some(thread) = current() else {
        return Err(Throw::error("no request found"));
    };
    let mut lights = Vec::with_capacity(n as usize);
    for idx in 1..=n {
        coroutine_at(state, idx)?;
        let Some(light) = light_at(state, idx) else {
            return Err(Throw::error(
                "attempt to wait on a coroutine that is not a user thread",
            ));
        };
        if !is_parent(&thread, state.raw().addr(), light.parent) {
            return Err(Throw::error(
                "only the parent coroutine can wait on the thread",
            ));
        }
        match light.fate.get() {
            Fate::Running => lights.push(light),
            Fate::Ended(ok) => return Ok(Ret::Values(light.take(state, idx, ok))),
            Fate::Gone => {
                return Ok(Ret::Values(state.push_nil_err("already waited or killed")));
            }
        }
    }
    run_op(
        state,
        Waiting {
            lights,
            thread: thread.id(),
        },
    )
}

/// Waits until one of some light threads, which stand from index 1 on the
/// stack, has ended.
struct Waiting {
    lights: Vec<Rc<Light>>,
    thread: ThreadId,
}

impl Parked for Waiting {
    fn poll(&mut self, _cx: &mut Context<'_>, state: &mut State) -> Poll<c_int> {
        for (idx, light) in (1..).zip(&self.lights) {
            if let Fate::Ended(ok) = light.fate.get() {
                return Poll::Ready(light.take(state, idx, ok));
            }
        }
        for light in &self.lights {
            light.waiter.set(Some(self.thread));
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for light in &self.lights {
            light.waiter.set(None);
        }
    }
}

/// Moves what the thread at `idx` returned, or its error, to the top, behind
/// a boolean that tells which it is.
fn push_results(state: &mut State, idx: c_int, ok: bool) -> c_int {
    let Ok(l) = coroutine_at(state, idx) else {
        return state.push_nil_err("already waited or killed");
    };
    // SAFETY: the coroutine stands on the live stack.
    let n = if ok { unsafe { ffi::lua_gettop(l) } } else { 1 };
    let fits =
        n < FREE_SLOTS || current().is_some_and(|thread| thread.vm().fits(state.raw(), n + 1));
    if !fits {
        state.push_bool(false);
        state.push_bytes("too many results to wait for");
        return 2;
    }
    state.push_bool(ok);
    // SAFETY: both are live stacks of one VM; there is room.
    unsafe { ffi::lua_xmove(l, state.raw(), n) };
    n + 1
}

/// `ngx.thread.kill(thread)`
pub fn kill(state: &mut State) -> LuaResult {
    let l = coroutine_at(state, 1)?;
    let Some(thread) = current() else {
        return Err(Throw::error("no request found"));
    };
    let refused = match light_at(state, 1) {
        None => "not user thread",
        Some(light) if !is_parent(&thread, state.raw().addr(), light.parent) => "killer not parent",
        Some(light) => match light.fate.replace(Fate::Gone) {
            Fate::Ended(_) => "already terminated",
            Fate::Gone => "already waited or killed",
            Fate::Running => {
                super::kill_light(l);
                state.push_int(1);
                return Ok(Ret::Values(1));
            }
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
