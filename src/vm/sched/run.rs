//! Running threads: from one wait to the next, and to their end.

use std::collections::VecDeque;
use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::light::{Family, WaitId};
use super::{Entered, FREE_SLOTS, Life, Outcome, Request, SCHED, Thread, Turn};
use super::{make_ready, waker};
use crate::rt::panic_message;
use crate::vm::ffi;
use crate::vm::mark::Mark;
use crate::vm::op::Parked;
use crate::vm::protect::NO_MEMORY;
use crate::vm::stack::State;
use crate::vm::state::Coroutine;
use crate::vm::trace::describe_error;
use crate::vm::unwind::catch_panic;

/// What a thread is to do next.
pub(super) enum Step {
    /// Go on with this many values that stand on its stack.
    Resume(c_int),
    /// See whether what it waits for is complete.
    Poll(Box<dyn Parked>),
}

/// Why a thread stopped.
enum Stop {
    /// It waits as before.
    Unchanged,
    /// It waits, or was killed.
    Waits,
    /// It has started another thread, which goes first.
    Spawned(Rc<Thread>, c_int),
    Ended(Outcome),
}

/// How a thread came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Returned,
    Failed,
    /// From outside.
    Cancelled,
}

/// Lets a thread go on, and then those of its handler that may go on because
/// of that, until all of them wait (None) or the handler has ended.
pub(super) fn drive(thread: &Rc<Thread>, step: Step) -> Option<Outcome> {
    let entered = Entered::new(thread);
    let run = || match go_on(thread, step) {
        Stop::Unchanged => None,
        Stop::Ended(outcome) if thread.is_alone() => Some(outcome),
        Stop::Waits if thread.is_alone() => {
            thread.host.suspended();
            None
        }
        stop => run_threads(thread, stop),
    };
    let outcome = catch_panic(run).unwrap_or_else(|payload| {
        let message = panic_message(&*payload);
        Some(fail(
            thread,
            &format!("internal error: panicked: {message}"),
        ))
    });
    drop(entered);
    if let Some(outcome) = outcome {
        end_all(thread.entry(), outcome == Outcome::Done);
    }
    outcome
}

#[inline]
fn go_on(thread: &Rc<Thread>, step: Step) -> Stop {
    match step {
        Step::Resume(nargs) => run(thread, nargs),
        Step::Poll(op) => poll(thread, op),
    }
}

/// Lets others go on after a thread that has stopped.
fn run_threads(first: &Rc<Thread>, stop: Stop) -> Option<Outcome> {
    let entry = first.entry();
    // Those that have spawned others, and go on when these have had their turn.
    let mut spawners: VecDeque<Rc<Thread>> = VecDeque::new();
    let (mut thread, mut stop) = (first.clone(), stop);
    loop {
        let mut next = None;
        match stop {
            Stop::Unchanged | Stop::Waits => {}
            Stop::Spawned(child, nargs) => {
                spawners.push_back(thread);
                next = Some((child, Step::Resume(nargs)));
            }
            Stop::Ended(outcome) => match (outcome, &thread.light) {
                (Outcome::Done, None) => finish(&thread, End::Returned),
                (Outcome::Exit(_), _) | (Outcome::Error, None) => return Some(outcome),
                (_, Some(member)) => {
                    let waiter = member.take_waiter();
                    let returned = outcome == Outcome::Done;
                    finish(&thread, if returned { End::Returned } else { End::Failed });
                    next = waiter.and_then(waiting_thread);
                }
            },
        }
        let Some((now, step)) = next.or_else(|| next_spawner(&mut spawners)) else {
            break;
        };
        switch_to(&now);
        stop = go_on(&now, step);
        thread = now;
    }
    match entry.life.get() {
        Life::Cancelled => None,
        _ if entry.is_over() => Some(Outcome::Done),
        _ => {
            entry.host.suspended();
            None
        }
    }
}

/// The first that has spawned a thread and was not killed since.
fn next_spawner(spawners: &mut VecDeque<Rc<Thread>>) -> Option<(Rc<Thread>, Step)> {
    loop {
        let spawner = spawners.pop_front()?;
        if spawner.life.get() == Life::Alive {
            return Some((spawner, Step::Resume(1)));
        }
    }
}

/// Makes another thread of the running handler the running one.
fn switch_to(thread: &Rc<Thread>) {
    let previous = SCHED.with(|s| s.current.replace(Some(thread.clone())));
    drop(previous);
}

/// The thread that waits for one that has just ended.
fn waiting_thread(wait: WaitId) -> Option<(Rc<Thread>, Step)> {
    let thread = SCHED.with(|s| s.get(wait.thread))?;
    if thread.wait.get() != wait.number {
        return None;
    }
    let op = thread.parked.borrow_mut().take()?;
    Some((thread, Step::Poll(op)))
}

/// Polls what the thread waits for; when that is complete runs the thread
/// until it stops again.
#[inline(never)]
fn poll(thread: &Rc<Thread>, mut op: Box<dyn Parked>) -> Stop {
    // SAFETY: the coroutine is anchored and its VM alive.
    let mut state = unsafe { State::from_raw(thread.top()) };
    let waker = waker(thread.id());
    let mut context = Context::from_waker(&waker);
    let polled = if op.may_raise() {
        thread.vm.protect(|_| op.poll(&mut context, &mut state))
    } else {
        Ok(op.poll(&mut context, &mut state))
    };
    match polled {
        Ok(Poll::Pending) => {
            if thread.life.get() == Life::Alive {
                *thread.parked.borrow_mut() = Some(op);
            }
            Stop::Unchanged
        }
        Ok(Poll::Ready(n)) => {
            drop(op);
            run(thread, n)
        }
        Err(message) => {
            drop(op);
            Stop::Ended(fail(thread, &message))
        }
    }
}

/// Reports an error that is not one of the thread's code.
fn fail(thread: &Rc<Thread>, message: &str) -> Outcome {
    let text = format!("lua {} thread aborted: {message}", thread.kind());
    thread.host.log_error(text.as_bytes());
    if message.ends_with(NO_MEMORY) {
        thread.vm.collect_garbage();
    }
    Outcome::Error
}

/// Runs the thread until it stops.
fn run(thread: &Rc<Thread>, mut nargs: c_int) -> Stop {
    let mut l = thread.top();
    loop {
        if SCHED.with(|s| s.gc_stress.get()) {
            thread.vm.collect_garbage();
        }
        thread.running.set(true);
        // SAFETY: `l` is the anchored last coroutine of the chain; function
        // and arguments, or results of the yield, stand on its stack.
        let status = unsafe { ffi::lua_resume_(l, nargs) };
        thread.running.set(false);
        let request = SCHED.with(|s| s.request.take());
        if thread.life.get() != Life::Alive {
            seal(thread, l, End::Cancelled);
            discard(thread, request);
            return Stop::Waits;
        }
        match (status, request) {
            (ffi::LUA_YIELD, Request::Park) => return Stop::Waits,
            (ffi::LUA_YIELD, Request::Exit(code)) => return Stop::Ended(Outcome::Exit(code)),
            (ffi::LUA_YIELD, Request::Spawn(child, n)) => return Stop::Spawned(child, n),
            (ffi::LUA_YIELD, Request::Resume(child, n)) => {
                thread.chain.borrow_mut().push(child);
                SCHED.with(|s| s.active.borrow_mut().insert(child.l, thread.id()));
                l = child.l;
                nargs = n;
            }
            (ffi::LUA_YIELD, Request::None) => match return_to_parent(thread, true) {
                Some((parent, n)) => (l, nargs) = (parent, n),
                None => {
                    // The thread's own coroutine yielded: others run first.
                    // SAFETY: as above.
                    unsafe { ffi::lua_settop(l, 0) };
                    *thread.parked.borrow_mut() = Some(Box::new(Yielded));
                    make_ready(thread.id(), Turn::AfterEvents);
                    return Stop::Waits;
                }
            },
            (ffi::LUA_OK, _) => match return_to_parent(thread, true) {
                Some((parent, n)) => {
                    thread.coroutine_ended(l);
                    (l, nargs) = (parent, n);
                }
                None => {
                    if thread.light.is_none() {
                        report_result(thread);
                    }
                    return Stop::Ended(Outcome::Done);
                }
            },
            (status, _) => {
                if status == ffi::LUA_ERRMEM {
                    // What follows needs some.
                    thread.vm.collect_garbage();
                }
                if thread.chain.borrow().is_empty() {
                    // SAFETY: the coroutine has just died of an error.
                    let text = thread.vm.protect(|main| unsafe {
                        describe_error(thread.kind(), l, status, main.raw())
                    });
                    let text = text.unwrap_or_else(|e| {
                        format!("lua {} thread aborted: {e}", thread.kind()).into()
                    });
                    thread.host.log_error(&text);
                    return Stop::Ended(Outcome::Error);
                }
                match return_to_parent(thread, false) {
                    Some((parent, n)) => {
                        thread.coroutine_ended(l);
                        (l, nargs) = (parent, n);
                    }
                    None => return Stop::Ended(Outcome::Error),
                }
            }
        }
    }
}

/// Tells the host what the code of an entry thread has returned, if it has.
fn report_result(thread: &Thread) {
    // SAFETY: the coroutine has just ended, with its results on its stack.
    let state = unsafe { State::from_raw(thread.base.l) };
    if state.top() > 0 {
        thread.host.returned(state.number(1));
    }
}

/// What a thread asked for that was killed while it ran.
fn discard(thread: &Thread, request: Request) {
    match request {
        Request::Park => {
            let parked = thread.parked.borrow_mut().take();
            drop(parked);
        }
        Request::Resume(child, _) => thread.vm.release_coroutine(child),
        Request::Spawn(child, _) => finish(&child, End::Cancelled),
        Request::Exit(_) | Request::None => {}
    }
}

/// Ends the last coroutine's turn, if another one resumed it: that goes on.
#[inline]
fn return_to_parent(thread: &Thread, ok: bool) -> Option<(*mut ffi::lua_State, c_int)> {
    let child = thread.chain.borrow_mut().pop()?;
    Some(hand_over(thread, child, ok))
}

/// Moves what `child` yielded, returned or raised to the coroutine that resumed
/// it, as the results of `coroutine.resume`.
#[inline(never)]
fn hand_over(thread: &Thread, child: Coroutine, ok: bool) -> (*mut ffi::lua_State, c_int) {
    SCHED.with(|s| s.active.borrow_mut().remove(child.l));
    let parent = thread.top();
    // SAFETY: both are live coroutines of one VM: the child is anchored until
    // release() below, the parent by its own place in the chain.
    let n = unsafe {
        let n = if ok { ffi::lua_gettop(child.l) } else { 1 };
        if n <= FREE_SLOTS || thread.vm.fits(parent, n + 1) {
            ffi::lua_pushboolean(parent, ok.into());
            ffi::lua_xmove(child.l, parent, n);
            n + 1
        } else {
            ffi::lua_pushboolean(parent, 0);
            ffi::lua_pushnil(parent);
            2
        }
    };
    thread.vm.release_coroutine(child);
    (parent, n)
}

/// What `coroutine.yield` in a handler's own coroutine waits for: its turn.
struct Yielded;

impl Parked for Yielded {
    fn poll(&mut self, _cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        Poll::Ready(0)
    }

    fn may_raise(&self) -> bool {
        false
    }
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
    let known = thread.id.get().and_then(|id| SCHED.with(|s| s.remove(id)));
    drop(known);
    // Taken out of the cell first: dropping an operation may wake others.
    let parked = thread.parked.borrow_mut().take();
    drop(parked);
    let base = thread.base;
    thread.coroutine_ended(base.l);
    if thread.light.is_none() && !thread.escaped.get() && thread.chain.borrow().is_empty() {
        return thread.vm.give_coroutine(base, end == End::Returned);
    }
    abandon(thread, end);
}

/// Gives up the coroutines of a thread that has ended, of which Lua code may
/// have a hand on some.
#[inline(never)]
fn abandon(thread: &Rc<Thread>, end: End) {
    let chain = std::mem::take(&mut *thread.chain.borrow_mut());
    let base = thread.base;
    // One that runs is sealed when it stops.
    let running = thread.running.get();
    let last = chain.last().map_or(base.l, |co| co.l);
    for co in &chain {
        thread.coroutine_ended(co.l);
        SCHED.with(|s| s.active.borrow_mut().remove(co.l));
        if !(running && co.l == last) {
            seal(thread, co.l, end);
        }
        thread.vm.release_coroutine(*co);
    }
    if thread.light.is_some() || thread.escaped.get() {
        SCHED.with(|s| s.active.borrow_mut().remove(base.l));
        if !(running && base.l == last) {
            seal(thread, base.l, end);
        }
    }
    if let Some(member) = &thread.light {
        member.leave();
        // Its results, if any, stay on its stack as long as Lua has it.
        thread.vm.release_coroutine(base);
        return;
    }
    let reusable = end == End::Returned && !thread.escaped.get();
    thread.vm.give_coroutine(base, reusable);
}

/// Sees to it that nobody resumes `l`, a coroutine of a thread that has ended:
/// code of the user may have it.
fn seal(thread: &Thread, l: *mut ffi::lua_State, end: End) {
    // SAFETY: callers hold the coroutine, or it has run till now.
    let status = unsafe { ffi::lua_status(l) };
    let is_base = l == thread.base.l;
    let mark = match (&thread.light, end) {
        (Some(member), End::Cancelled) if is_base => member.gone(),
        (Some(member), _) if is_base => member.zombie(end == End::Returned),
        (None, _) if is_base && !thread.escaped.get() => return,
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
