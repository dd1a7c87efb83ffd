//! Running threads, from one wait to the next.

use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::end::{End, end_all, finish, give_up};
use super::light::{Member, WaitId, settle, take_results};
use super::{Entered, FREE_SLOTS, Life, Outcome, Request, SCHED, Thread, Turn};
use super::{make_ready, request_exit, request_spawn, waker};
use crate::rt::panic_message;
use crate::vm::ffi;
use crate::vm::function::Ret;
use crate::vm::op::Parked;
use crate::vm::protect::NO_MEMORY;
use crate::vm::resume::resume_with;
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
    /// It has started another thread, which goes first, with so many values on
    /// its stack.
    Spawned(Rc<Thread>, c_int),
    Ended(Outcome),
}

/// Lets a thread go on, and then those of its handler that may go on because
/// of that, until all of them wait (None) or the handler has ended.
pub(super) fn drive(thread: &Rc<Thread>, step: Step) -> Option<Outcome> {
    let entered = Entered::new(thread);
    let outcome = catch_panic(|| run_handler(thread, step)).unwrap_or_else(|payload| {
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

/// Lets `first` go on, and others after it.
#[inline(always)]
fn run_handler(first: &Rc<Thread>, step: Step) -> Option<Outcome> {
    let mut turn = match step {
        Step::Resume(nargs) => Ok(nargs),
        Step::Poll(op) => poll(first, op),
    };
    let mut thread = first.clone();
    loop {
        let stop = match turn {
            Ok(nargs) => run(&thread, nargs),
            Err(stop) => stop,
        };
        match stop {
            Stop::Unchanged => return None,
            Stop::Ended(outcome) if thread.is_alone() => return Some(outcome),
            Stop::Ended(outcome @ Outcome::Exit(_)) => return Some(outcome),
            Stop::Ended(Outcome::Error) if thread.light.is_none() => return Some(Outcome::Error),
            _ => {}
        }
        let Some((next, nargs)) = next_turn(&thread, stop) else {
            return suspend(thread.entry());
        };
        switch_to(&next);
        (thread, turn) = (next, Ok(nargs));
    }
}

/// Who goes on after a thread that has stopped, with so many values.
#[inline(always)]
fn next_turn(thread: &Rc<Thread>, stop: Stop) -> Option<(Rc<Thread>, c_int)> {
    let next = match (stop, &thread.light) {
        (Stop::Spawned(child, nargs), _) => Some((child, nargs)),
        (Stop::Ended(outcome), Some(member)) => end_light(thread, member, outcome == Outcome::Done),
        (Stop::Ended(_), None) => {
            finish(thread, End::Returned);
            None
        }
        (Stop::Unchanged | Stop::Waits, _) => None,
    };
    next.or_else(|| next_spawner(thread.entry()).map(|spawner| (spawner, 1)))
}

/// All threads of the handler wait, unless it is over.
fn suspend(entry: &Rc<Thread>) -> Option<Outcome> {
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
fn next_spawner(entry: &Rc<Thread>) -> Option<Rc<Thread>> {
    loop {
        let spawner = entry.family.borrow_mut().as_mut()?.next_spawner()?;
        if spawner.life.get() == Life::Alive {
            return Some(spawner);
        }
    }
}

/// Ends a light thread that has returned or (not `ok`) failed. Who has waited
/// for that goes on at once, with what it has left.
fn end_light(thread: &Rc<Thread>, member: &Member, ok: bool) -> Option<(Rc<Thread>, c_int)> {
    let Some(waiter) = member.take_waiter().and_then(waiting_thread) else {
        finish(thread, if ok { End::Returned } else { End::Failed });
        return None;
    };
    // SAFETY: both are anchored coroutines of one VM: the thread's has just
    // ended, the other one waits.
    let n = unsafe {
        let state = State::from_raw(waiter.top());
        take_results(&thread.vm, &state, thread.base.l, member.parent, ok)
    };
    finish(thread, End::Awaited);
    Some((waiter, n))
}

/// Makes another thread of the running handler the running one.
fn switch_to(thread: &Rc<Thread>) {
    let previous = SCHED.with(|s| s.current.replace(Some(thread.clone())));
    drop(previous);
}

/// Runs a new light thread until it stops, inside of the call with which its
/// parent spawns it: that saves to leave the parent and come back to it. The
/// new coroutine stands at index 1 of `state`, where its parent holds it.
pub(super) fn run_inside(
    state: &mut State,
    parent: &Rc<Thread>,
    child: &Rc<Thread>,
    nargs: c_int,
) -> Ret {
    let inside = Inside::new(parent, child);
    let stop = run(child, nargs);
    if parent.life.get() != Life::Alive {
        // The whole handler has ended meanwhile; `child` does with `inside`.
        if let Stop::Spawned(next, _) = stop {
            finish(&next, End::Cancelled);
        }
        return Ret::Yield(0);
    }
    match stop {
        Stop::Ended(Outcome::Done) => finish(child, End::Returned),
        Stop::Ended(Outcome::Error) => finish(child, End::Failed),
        _ if child.life.get() == Life::Alive => settle(state, child),
        _ => {}
    }
    drop(inside);
    match stop {
        Stop::Spawned(next, nargs) => {
            parent.go_on_later();
            child.go_on_later();
            request_spawn(next, nargs);
            Ret::Yield(1)
        }
        Stop::Ended(Outcome::Exit(status)) => {
            request_exit(status);
            Ret::Yield(0)
        }
        _ => Ret::Values(1),
    }
}

/// While it lives, a fresh thread is the running one in the place of its
/// parent. One that nobody knows of then has ended.
struct Inside<'t> {
    parent: &'t Rc<Thread>,
    child: &'t Rc<Thread>,
}

impl Inside<'_> {
    fn new<'t>(parent: &'t Rc<Thread>, child: &'t Rc<Thread>) -> Inside<'t> {
        switch_to(child);
        Inside { parent, child }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        switch_to(self.parent);
        if self.child.fresh.get() && self.child.life.get() == Life::Alive {
            finish(self.child, End::Cancelled);
        }
    }
}

/// The thread that waits for one that has just ended, and from now on does not.
fn waiting_thread(wait: WaitId) -> Option<Rc<Thread>> {
    let thread = SCHED.with(|s| s.get(wait.thread))?;
    if thread.wait.get() != wait.number {
        return None;
    }
    thread.wait.set(0);
    thread.parked.take()?;
    Some(thread)
}

/// Polls what the thread waits for: how many values it goes on with when that
/// is complete.
#[inline(always)]
fn poll(thread: &Rc<Thread>, mut op: Box<dyn Parked>) -> Result<c_int, Stop> {
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
                thread.parked.set(Some(op));
            }
            Err(Stop::Unchanged)
        }
        Ok(Poll::Ready(n)) => {
            drop(op);
            Ok(n)
        }
        Err(message) => {
            drop(op);
            Err(Stop::Ended(fail(thread, &message)))
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
#[inline(always)]
fn run(thread: &Rc<Thread>, nargs: c_int) -> Stop {
    let (status, request) = resume(thread, thread.top(), nargs);
    match stop_of(thread, status, request) {
        Some(stop) => stop,
        None => run_on(thread, status, request),
    }
}

/// Resumes `l`, the last coroutine of the thread; returns Lua's status, and
/// what is to be done.
#[inline(always)]
fn resume(thread: &Thread, l: *mut ffi::lua_State, nargs: c_int) -> (c_int, Request) {
    if SCHED.with(|s| s.gc_stress.get()) {
        thread.vm.collect_garbage();
    }
    thread.running.set(true);
    let previous = SCHED.with(|s| s.running.replace(l));
    // SAFETY: `l` is the anchored last coroutine of the chain; function
    // and arguments, or results of the yield, stand on its stack.
    let status = unsafe { resume_with(l, nargs) };
    SCHED.with(|s| s.running.set(previous));
    thread.running.set(false);
    (status, SCHED.with(|s| s.request.take()))
}

/// What the most frequent ends of a run mean.
#[inline(always)]
fn stop_of(thread: &Thread, status: c_int, request: Request) -> Option<Stop> {
    match (status, request) {
        _ if thread.life.get() != Life::Alive => None,
        (ffi::LUA_YIELD, Request::Park) => Some(Stop::Waits),
        (ffi::LUA_OK, _) if thread.top() == thread.base.l => {
            if thread.light.is_none() {
                report_result(thread);
            }
            Some(Stop::Ended(Outcome::Done))
        }
        _ => None,
    }
}

/// Goes on when the last coroutine has stopped, until the thread does.
#[inline(never)]
fn run_on(thread: &Rc<Thread>, mut status: c_int, mut request: Request) -> Stop {
    loop {
        if thread.life.get() != Life::Alive {
            discard(thread, request);
            let last = thread.chain.borrow_mut().pop();
            give_up(thread, last.unwrap_or(thread.base), End::Cancelled);
            return Stop::Waits;
        }
        let l = thread.top();
        let (next, nargs) = match (status, request) {
            (ffi::LUA_YIELD, Request::Exit(code)) => return Stop::Ended(Outcome::Exit(code)),
            (ffi::LUA_YIELD, Request::Spawn(n)) => {
                let spawned = SCHED.with(|s| s.spawned.take());
                return spawned.map_or(Stop::Waits, |child| Stop::Spawned(child, n));
            }
            (ffi::LUA_YIELD, Request::Resume(child, n)) => {
                // SAFETY: the child is anchored.
                if unsafe { ffi::lua_status(child.l) } == ffi::LUA_OK {
                    // It begins, perhaps where one stood that the collector has taken.
                    thread.coroutine_ended(child.l);
                }
                thread.enter_coroutine(child);
                (child.l, n)
            }
            (ffi::LUA_YIELD, _) => match return_to_parent(thread, true) {
                Some(parent) => parent,
                None => {
                    // The thread's own coroutine yielded: others run first.
                    // SAFETY: it waits, and has values on its stack at most.
                    unsafe { ffi::lua_settop(l, 0) };
                    thread.parked.set(Some(Box::new(Yielded)));
                    make_ready(thread.id(), Turn::AfterEvents);
                    return Stop::Waits;
                }
            },
            (status, _) => {
                let ok = status == ffi::LUA_OK;
                if status == ffi::LUA_ERRMEM {
                    // What follows needs some.
                    thread.vm.collect_garbage();
                }
                match return_to_parent(thread, ok) {
                    Some(parent) => {
                        thread.coroutine_ended(l);
                        parent
                    }
                    None => {
                        log_failure(thread, l, status);
                        return Stop::Ended(Outcome::Error);
                    }
                }
            }
        };
        (status, request) = resume(thread, next, nargs);
        if let Some(stop) = stop_of(thread, status, request) {
            return stop;
        }
    }
}

/// Logs the error that `l`, the base coroutine of the thread, has died of.
#[cold]
fn log_failure(thread: &Thread, l: *mut ffi::lua_State, status: c_int) {
    // SAFETY: the coroutine is anchored, and has its error on its stack.
    let text = thread
        .vm
        .protect(|main| unsafe { describe_error(thread.kind(), l, status, main.raw()) });
    let text = text.unwrap_or_else(|e| format!("lua {} thread aborted: {e}", thread.kind()).into());
    thread.host.log_error(&text);
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
            let parked = thread.parked.take();
            drop(parked);
        }
        Request::Resume(child, _) => thread.vm.release_coroutine(child),
        Request::Spawn(_) => {
            let spawned = SCHED.with(|s| s.spawned.take());
            spawned
                .iter()
                .for_each(|child| finish(child, End::Cancelled));
        }
        Request::Exit(_) | Request::None => {}
    }
}

/// Ends the last coroutine's turn, if another one resumed it: that goes on.
#[inline]
fn return_to_parent(thread: &Thread, ok: bool) -> Option<(*mut ffi::lua_State, c_int)> {
    let child = thread.leave_coroutine()?;
    Some(hand_over(thread, child, ok))
}

/// Moves what `child` yielded, returned or raised to the coroutine that resumed
/// it, as the results of `coroutine.resume`.
#[inline(never)]
fn hand_over(thread: &Thread, child: Coroutine, ok: bool) -> (*mut ffi::lua_State, c_int) {
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
