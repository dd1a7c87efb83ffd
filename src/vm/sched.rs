//! The scheduler: light threads, their coroutines, and who is running.
//!
//! A [`Thread`] is a chain of coroutines: the one its handler started, and
//! above it those that are being resumed. Only the last one runs or waits.
//! An operation that waits is parked in the thread; its waker carries the
//! thread's id, so a wake that comes too late finds nothing and does nothing.
//!
//! Lua runs nested only where nginx calls a handler from inside a call that
//! Lua made. What is woken runs at once only where an event's handler has
//! nothing else to do (see [`crate::rt::wake_now`]); otherwise it is put on the
//! ready queue.
//!
//! Out here no Lua function catches errors, so calls into Lua that may raise
//! one are made inside of `protect`.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::mem::ManuallyDrop;
use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::chunk::Chunk;
use super::coroutine;
use super::ffi;
use super::function::panic_message;
use super::op::Parked;
use super::stack::State;
use super::state::{Coroutine, Vm};
use super::trace::describe_error;
use super::unwind::{Payload, catch_panic};
use crate::rt::may_run_now;

/// What a handler runs in: a request, a worker hook, a timer.
pub trait Host {
    /// Lua of this host is about to run.
    fn enter(&self);
    /// It stopped running; `enter` of another host may follow.
    fn leave(&self);
    /// Its code waits for something now.
    fn suspended(&self);
    /// A thread that had to wait has come to its end. Not called when it
    /// ends within [`start`].
    fn ended(&self, outcome: Outcome);
    /// Writes an error of the handler to error.log.
    fn log_error(&self, message: &[u8]);
}

/// How a handler's thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Lua function returned.
    Done,
    /// `ngx.exit(status)` and its like.
    Exit(i32),
    /// A Lua error; it is logged already.
    Error,
}

/// Identifies a thread; the generation tells a new thread from an ended one
/// that used the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId {
    index: u32,
    generation: u32,
}

impl ThreadId {
    fn to_token(self) -> usize {
        ((self.generation as usize) << 32) | self.index as usize
    }

    fn from_token(token: usize) -> ThreadId {
        ThreadId {
            index: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

/// A light thread.
pub struct Thread {
    id: ThreadId,
    host: Rc<dyn Host>,
    base: Coroutine,
    /// Coroutines above the base that are being resumed, each anchored in
    /// the registry while it is here.
    chain: RefCell<Vec<Coroutine>>,
    parked: RefCell<Option<Box<dyn Parked>>>,
    /// Lua code got hold of the base coroutine, so it cannot be recycled.
    escaped: Cell<bool>,
    // Dropped after everything that refers to the Lua state.
    vm: Rc<Vm>,
}

impl Thread {
    /// The thread's id.
    pub fn id(&self) -> ThreadId {
        self.id
    }

    /// The VM that the thread runs in.
    pub fn vm(&self) -> &Rc<Vm> {
        &self.vm
    }

    /// The thread's host.
    pub fn host(&self) -> &Rc<dyn Host> {
        &self.host
    }

    fn top(&self) -> *mut ffi::lua_State {
        self.chain.borrow().last().map_or(self.base.l, |co| co.l)
    }
}

struct Slot {
    generation: u32,
    thread: Option<Rc<Thread>>,
}

/// Values that a coroutine which waits has room for: Lua promises 20 slots to
/// the function that yielded, whose own values are few.
pub(super) const FREE_SLOTS: c_int = 10;

/// Why the running coroutine yielded.
enum Request {
    /// Not through a function of ours: treated as `coroutine.yield`.
    None,
    Park,
    Resume(Coroutine, c_int),
    Exit(i32),
}

#[derive(Default)]
struct Scheduler {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    current: RefCell<Option<Rc<Thread>>>,
    request: RefCell<Option<Request>>,
    ready: RefCell<VecDeque<ThreadId>>,
    /// Coroutines that are in some thread's chain, by address.
    active: RefCell<HashMap<usize, ThreadId>>,
    post: Cell<Option<fn(Turn)>>,
    /// Collect all garbage before each resume.
    gc_stress: Cell<bool>,
}

/// When the ready queue is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Once the current event is done.
    Soon,
    /// After new events were taken in.
    AfterEvents,
}

thread_local! {
    // Not dropped when the process exits: nginx has gone by then.
    static SCHED: ManuallyDrop<Scheduler> = ManuallyDrop::default();
}

/// Finds code that relies on garbage staying where it is: from now on all of
/// it is collected before Lua is resumed.
pub fn stress_collector() {
    SCHED.with(|s| s.gc_stress.set(true));
}

/// Says how to have [`run_ready`] called from the event loop.
pub fn set_poster(post: fn(Turn)) {
    SCHED.with(|s| s.post.set(Some(post)));
}

/// The running thread, if Lua runs in a handler.
pub fn current() -> Option<Rc<Thread>> {
    SCHED.with(|s| s.current.borrow().clone())
}

/// Whether Lua runs in a handler, with a scheduler above it.
pub fn in_handler() -> bool {
    SCHED.with(|s| s.current.borrow().is_some())
}

/// A waker for the running thread.
pub fn current_waker() -> Option<Waker> {
    SCHED.with(|s| s.current.borrow().as_ref().map(|t| waker(t.id)))
}

/// Starts a thread that runs `chunk`. Some(outcome) when it ended at once;
/// else the host hears of the end.
///
/// The thread is returned too, so that its owner can [`kill`] it.
pub fn start(
    vm: &Rc<Vm>,
    host: Rc<dyn Host>,
    chunk: &Chunk<'_>,
) -> Result<(Rc<Thread>, Option<Outcome>), String> {
    let base = vm.prepare(chunk)?;
    let thread = SCHED.with(|s| s.insert(vm, host, base));
    let outcome =
        catch_panic(|| run(&thread, 0)).unwrap_or_else(|payload| Some(abort(&thread, &payload)));
    Ok((thread, outcome))
}

/// Ends a thread: cancels what it waits for and abandons its coroutines.
/// Harmless for a thread that has ended.
pub fn kill(thread: &Rc<Thread>) {
    finish(thread, false);
}

/// Keeps `op` until it completes; the caller then yields.
pub(super) fn park(op: Box<dyn Parked>) {
    if let Some(thread) = current() {
        *thread.parked.borrow_mut() = Some(op);
        SCHED.with(|s| *s.request.borrow_mut() = Some(Request::Park));
    }
}

/// Ends the running handler with `status` once the caller yields.
pub fn request_exit(status: i32) {
    SCHED.with(|s| *s.request.borrow_mut() = Some(Request::Exit(status)));
}

/// Resumes the coroutine `child`, which holds `nargs` arguments, once the
/// caller yields.
pub(super) fn request_resume(child: Coroutine, nargs: c_int) {
    SCHED.with(|s| *s.request.borrow_mut() = Some(Request::Resume(child, nargs)));
}

/// Whether a coroutine is being resumed, in whatever thread.
pub(super) fn is_active(l: *mut ffi::lua_State) -> bool {
    SCHED.with(|s| s.active.borrow().contains_key(&l.addr()))
}

/// Whether `l` is what the scheduler runs, and not a coroutine that a C
/// function resumed on top of that.
pub(super) fn runs(l: *mut ffi::lua_State) -> bool {
    SCHED.with(|s| s.current.borrow().as_ref().is_some_and(|t| t.top() == l))
}

/// Lua code got hold of the running coroutine.
pub(super) fn mark_escaped(l: *mut ffi::lua_State) {
    if let Some(thread) = current()
        && thread.base.l == l
    {
        thread.escaped.set(true);
    }
}

/// Polls what the thread waits for, and resumes it when that is complete: at
/// once where that is allowed, else from the event loop.
pub fn wake(id: ThreadId) {
    if may_run_now() && !in_handler() {
        advance(id);
    } else {
        make_ready(id, Turn::Soon);
    }
}

fn make_ready(id: ThreadId, turn: Turn) {
    SCHED.with(|s| {
        s.ready.borrow_mut().push_back(id);
        if let Some(post) = s.post.get() {
            post(turn);
        }
    });
}

fn advance(id: ThreadId) {
    let Some(thread) = SCHED.with(|s| s.get(id)) else {
        return;
    };
    let Some(op) = thread.parked.borrow_mut().take() else {
        return;
    };
    let outcome =
        catch_panic(|| poll(&thread, op)).unwrap_or_else(|payload| Some(abort(&thread, &payload)));
    if let Some(outcome) = outcome {
        thread.host.ended(outcome);
    }
}

/// Polls what the thread waits for; when that is complete runs the thread
/// until it waits again (None) or ends.
fn poll(thread: &Rc<Thread>, mut op: Box<dyn Parked>) -> Option<Outcome> {
    let entered = Entered::new(thread);
    // SAFETY: the coroutine is anchored and its VM alive.
    let mut state = unsafe { State::from_raw(thread.top()) };
    let waker = waker(thread.id);
    let mut context = Context::from_waker(&waker);
    match thread.vm.protect(|_| op.poll(&mut context, &mut state)) {
        Ok(Poll::Pending) => {
            if SCHED.with(|s| s.get(thread.id)).is_some() {
                *thread.parked.borrow_mut() = Some(op);
            }
            None
        }
        Ok(Poll::Ready(n)) => {
            drop(op);
            drop(entered);
            run(thread, n)
        }
        Err(message) => {
            drop(op);
            drop(entered);
            Some(fail(thread, &message))
        }
    }
}

/// A panic ends the thread.
fn abort(thread: &Rc<Thread>, payload: &Payload) -> Outcome {
    let message = panic_message(&**payload);
    fail(thread, &format!("internal error: panicked: {message}"))
}

/// Ends the thread with an error that is not one of its code.
fn fail(thread: &Rc<Thread>, message: &str) -> Outcome {
    let text = format!("lua entry thread aborted: {message}");
    thread.host.log_error(text.as_bytes());
    finish(thread, false);
    Outcome::Error
}

/// Wakes those threads that were ready when it was called.
pub fn run_ready() {
    let count = SCHED.with(|s| s.ready.borrow().len());
    for _ in 0..count {
        let Some(id) = SCHED.with(|s| s.ready.borrow_mut().pop_front()) else {
            return;
        };
        advance(id);
    }
}

/// Runs the thread until it waits (None) or ends.
fn run(thread: &Rc<Thread>, mut nargs: c_int) -> Option<Outcome> {
    let entered = Entered::new(thread);
    let mut l = thread.top();
    let outcome = loop {
        SCHED.with(|s| *s.request.borrow_mut() = None);
        if SCHED.with(|s| s.gc_stress.get()) {
            thread.vm.collect_garbage();
        }
        // SAFETY: `l` is the anchored last coroutine of the chain; function
        // and arguments, or results of the yield, stand on its stack.
        let status = unsafe { ffi::lua_resume_(l, nargs) };
        let request = SCHED
            .with(|s| s.request.borrow_mut().take())
            .unwrap_or(Request::None);
        match (status, request) {
            (ffi::LUA_YIELD, Request::Park) => {
                thread.host.suspended();
                return None;
            }
            (ffi::LUA_YIELD, Request::Exit(code)) => break Outcome::Exit(code),
            (ffi::LUA_YIELD, Request::Resume(child, n)) => {
                thread.chain.borrow_mut().push(child);
                SCHED.with(|s| s.active.borrow_mut().insert(child.l.addr(), thread.id));
                l = child.l;
                nargs = n;
            }
            (ffi::LUA_YIELD, Request::None) => match return_to_parent(thread, true) {
                Some((parent, n)) => (l, nargs) = (parent, n),
                None => {
                    // The handler's own coroutine yielded: others run first.
                    // SAFETY: as above.
                    unsafe { ffi::lua_settop(l, 0) };
                    *thread.parked.borrow_mut() = Some(Box::new(Yielded));
                    make_ready(thread.id, Turn::AfterEvents);
                    thread.host.suspended();
                    return None;
                }
            },
            (ffi::LUA_OK, _) => match return_to_parent(thread, true) {
                Some((parent, n)) => (l, nargs) = (parent, n),
                None => break Outcome::Done,
            },
            (status, _) => {
                if thread.chain.borrow().is_empty() {
                    // SAFETY: the coroutine has just died of an error.
                    let text = thread
                        .vm
                        .protect(|main| unsafe { describe_error(l, status, main.raw()) });
                    let text =
                        text.unwrap_or_else(|e| format!("lua entry thread aborted: {e}").into());
                    thread.host.log_error(&text);
                    break Outcome::Error;
                }
                match return_to_parent(thread, false) {
                    Some((parent, n)) => (l, nargs) = (parent, n),
                    None => break Outcome::Error,
                }
            }
        }
    };
    drop(entered);
    finish(thread, outcome == Outcome::Done);
    Some(outcome)
}

/// Ends the last coroutine's turn: moves what it yielded, returned or raised
/// to the one that resumed it, as the results of `coroutine.resume`.
fn return_to_parent(thread: &Thread, ok: bool) -> Option<(*mut ffi::lua_State, c_int)> {
    let child = thread.chain.borrow_mut().pop()?;
    SCHED.with(|s| s.active.borrow_mut().remove(&child.l.addr()));
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
    thread.vm.state().release(child.anchor);
    Some((parent, n))
}

/// What `coroutine.yield` in a handler's own coroutine waits for: its turn.
struct Yielded;

impl Parked for Yielded {
    fn poll(&mut self, _cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        Poll::Ready(0)
    }
}

/// Takes the thread out of the scheduler.
fn finish(thread: &Rc<Thread>, clean: bool) {
    let known = SCHED.with(|s| s.remove(thread.id));
    if known.is_none() {
        return;
    }
    // Taken out of the cell first: dropping an operation may wake others.
    let parked = thread.parked.borrow_mut().take();
    drop(parked);
    let chain = std::mem::take(&mut *thread.chain.borrow_mut());
    for co in &chain {
        SCHED.with(|s| s.active.borrow_mut().remove(&co.l.addr()));
        // Code of the user may have it, and must not go on with it.
        coroutine::abandon(&thread.vm, *co);
        thread.vm.state().release(co.anchor);
    }
    SCHED.with(|s| s.active.borrow_mut().remove(&thread.base.l.addr()));
    if thread.escaped.get() && !clean {
        coroutine::abandon(&thread.vm, thread.base);
    }
    let reusable = clean && !thread.escaped.get();
    thread.vm.give_coroutine(thread.base, reusable);
}

impl Scheduler {
    fn insert(&self, vm: &Rc<Vm>, host: Rc<dyn Host>, base: Coroutine) -> Rc<Thread> {
        let mut slots = self.slots.borrow_mut();
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot {
                generation: 0,
                thread: None,
            });
            (slots.len() - 1) as u32
        });
        let slot = &mut slots[index as usize];
        let id = ThreadId {
            index,
            generation: slot.generation,
        };
        let thread = Rc::new(Thread {
            id,
            vm: vm.clone(),
            host,
            base,
            chain: RefCell::default(),
            parked: RefCell::default(),
            escaped: Cell::new(false),
        });
        slot.thread = Some(thread.clone());
        self.active.borrow_mut().insert(base.l.addr(), id);
        thread
    }

    fn get(&self, id: ThreadId) -> Option<Rc<Thread>> {
        let slots = self.slots.borrow();
        let slot = slots.get(id.index as usize)?;
        if slot.generation == id.generation {
            slot.thread.clone()
        } else {
            None
        }
    }

    fn remove(&self, id: ThreadId) -> Option<Rc<Thread>> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let thread = slot.thread.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.borrow_mut().push(id.index);
        Some(thread)
    }
}

/// Makes a thread the running one, and on drop the one before it again.
struct Entered {
    thread: Rc<Thread>,
    previous: Option<Rc<Thread>>,
}

impl Entered {
    fn new(thread: &Rc<Thread>) -> Entered {
        let previous = SCHED.with(|s| s.current.replace(Some(thread.clone())));
        thread.host.enter();
        Entered {
            thread: thread.clone(),
            previous,
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.thread.host.leave();
        if let Some(previous) = &self.previous {
            previous.host.enter();
        }
        let ended = SCHED.with(|s| s.current.replace(self.previous.take()));
        drop(ended);
    }
}

const WAKER: RawWakerVTable = RawWakerVTable::new(
    |token| RawWaker::new(token, &WAKER),
    |token| wake(ThreadId::from_token(token.addr())),
    |token| wake(ThreadId::from_token(token.addr())),
    |_| {},
);

fn waker(id: ThreadId) -> Waker {
    let token = std::ptr::without_provenance(id.to_token());
    // SAFETY: the token is a plain number, so the functions may be called at
    // any time and in any number; a worker has one thread only, so that the
    // waker never reaches another one.
    unsafe { Waker::from_raw(RawWaker::new(token, &WAKER)) }
}
