//! The scheduler: light threads, their coroutines, and who is running.
//!
//! A [`Thread`] is a chain of coroutines: the one its handler started, and
//! above it those that are being resumed. Only the last one runs or waits.
//! An operation that waits is parked in the thread; its waker carries the
//! thread's id, so a wake that comes too late finds nothing and does nothing.
//!
//! Lua runs nested only where nginx calls a handler from inside a call that
//! Lua made; a wake that happens while Lua runs is put on the ready queue.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::os::raw::c_int;
use std::rc::Rc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use super::chunk::Chunk;
use super::ffi;
use super::op::Parked;
use super::stack::{State, Type};
use super::state::{Coroutine, Vm};

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
    // Dropped after everything that refers to the Lua state.
    vm: Rc<Vm>,
    host: Rc<dyn Host>,
    base: Coroutine,
    /// Coroutines above the base that are being resumed, each anchored in
    /// the registry while it is here.
    chain: RefCell<Vec<Coroutine>>,
    parked: RefCell<Option<Box<dyn Parked>>>,
    /// Lua code got hold of the base coroutine, so it cannot be recycled.
    escaped: Cell<bool>,
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
    post: Cell<Option<fn()>>,
    /// Lua's collector is at work: nothing may be resumed inside of it.
    deferred: Cell<bool>,
}

thread_local! {
    static SCHED: Scheduler = Scheduler::default();
}

/// Says how to have [`run_ready`] called soon, from the event loop.
pub fn set_poster(post: fn()) {
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
    let function = vm.load(chunk)?;
    let base = vm.take_coroutine();
    // SAFETY: the coroutine is anchored and belongs to the live VM.
    unsafe { State::from_raw(base.l) }.push_anchored(function);
    let thread = SCHED.with(|s| s.insert(vm, host, base));
    let outcome = run(&thread, 0);
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

/// Lua code got hold of the running coroutine.
pub(super) fn mark_escaped(l: *mut ffi::lua_State) {
    if let Some(thread) = current()
        && thread.base.l == l
    {
        thread.escaped.set(true);
    }
}

/// Runs `f` where no Lua code can run, in Lua's collector or amid nginx
/// freeing a request: whom it wakes is resumed later.
pub fn deferred<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SCHED.with(|s| s.deferred.set(self.0));
        }
    }
    let _restore = Restore(SCHED.with(|s| s.deferred.replace(true)));
    f()
}

/// Polls what the thread waits for, and resumes it when that is complete.
/// While Lua runs, it is only put on the ready queue.
pub fn wake(id: ThreadId) {
    if in_handler() || SCHED.with(|s| s.deferred.get()) {
        make_ready(id);
        return;
    }
    let Some(thread) = SCHED.with(|s| s.get(id)) else {
        return;
    };
    let Some(mut op) = thread.parked.borrow_mut().take() else {
        return;
    };
    let entered = Entered::new(&thread);
    // SAFETY: the coroutine is anchored and its VM alive.
    let mut state = unsafe { State::from_raw(thread.top()) };
    let waker = waker(id);
    let polled = op.poll(&mut Context::from_waker(&waker), &mut state);
    match polled {
        Poll::Pending => {
            *thread.parked.borrow_mut() = Some(op);
        }
        Poll::Ready(n) => {
            drop(op);
            drop(entered);
            resume(&thread, n);
        }
    }
}

/// Wakes a thread later, from the event loop.
pub fn make_ready(id: ThreadId) {
    SCHED.with(|s| {
        s.ready.borrow_mut().push_back(id);
        if let Some(post) = s.post.get() {
            post();
        }
    });
}

/// Wakes those threads that were ready when it was called.
pub fn run_ready() {
    let count = SCHED.with(|s| s.ready.borrow().len());
    for _ in 0..count {
        let Some(id) = SCHED.with(|s| s.ready.borrow_mut().pop_front()) else {
            return;
        };
        wake(id);
    }
}

fn resume(thread: &Rc<Thread>, nargs: c_int) {
    if let Some(outcome) = run(thread, nargs) {
        thread.host.ended(outcome);
    }
}

/// Runs the thread until it waits (None) or ends.
fn run(thread: &Rc<Thread>, mut nargs: c_int) -> Option<Outcome> {
    let entered = Entered::new(thread);
    let mut l = thread.top();
    let outcome = loop {
        SCHED.with(|s| *s.request.borrow_mut() = None);
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
                    make_ready(thread.id);
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
                    thread.host.log_error(&describe_error(thread, status));
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
        ffi::lua_pushboolean(parent, ok.into());
        if ffi::lua_checkstack(parent, n) == 0 {
            ffi::lua_settop(parent, -2);
            ffi::lua_pushboolean(parent, 0);
            State::from_raw(parent).push_bytes("too many results to resume");
            2
        } else {
            ffi::lua_xmove(child.l, parent, n);
            n + 1
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
        thread.vm.state().release(co.anchor);
    }
    SCHED.with(|s| s.active.borrow_mut().remove(&thread.base.l.addr()));
    let clean = clean && !thread.escaped.get();
    if clean {
        // SAFETY: the coroutine is anchored and finished.
        unsafe { ffi::lua_settop(thread.base.l, 0) };
    }
    thread.vm.give_coroutine(thread.base, clean);
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

/// Text of the error value on the top of the stack.
pub(super) fn message_of(state: &State) -> String {
    match state.bytes(-1) {
        Some(text) => String::from_utf8_lossy(text).into_owned(),
        None => "unknown reason".into(),
    }
}

/// Message handler: the error value of the running function with a traceback.
pub(super) fn traceback_of(state: &mut State) -> Vec<u8> {
    let message = message_of(state);
    let mut text = message.into_bytes();
    text.push(b'\n');
    text.extend_from_slice(&traceback(state.raw(), state.raw(), 1));
    text
}

/// LuaJIT's traceback of `of`, made on the stack `on`.
fn traceback(on: *mut ffi::lua_State, of: *mut ffi::lua_State, level: c_int) -> Vec<u8> {
    // SAFETY: both states are live; the string is taken off again.
    let mut state = unsafe {
        ffi::luaL_traceback(on, of, std::ptr::null(), level);
        State::from_raw(on)
    };
    let text = state.bytes(-1).unwrap_or_default().to_vec();
    state.pop(1);
    text
}

/// Text of the error value that a dead coroutine left on its top; an object
/// may have a `__tostring` of its own, which runs on the stack `main`.
fn error_message(dead: &State, main: &mut State) -> String {
    if dead.type_of(-1) != Type::Table || !main.reserve(4) {
        return message_of(dead);
    }
    let top = main.top();
    dead.push_value(-1);
    // SAFETY: both are live stacks of one VM with room for the value.
    unsafe { ffi::lua_xmove(dead.raw(), main.raw(), 1) };
    let message = match main.call_tostring(-1) {
        Ok(true) => message_of(main),
        Ok(false) | Err(_) => message_of(dead),
    };
    main.set_top(top);
    message
}

/// The line that error.log gets for an error that nothing caught.
fn describe_error(thread: &Thread, status: c_int) -> Vec<u8> {
    let kind = match status {
        ffi::LUA_ERRMEM => "memory allocation error",
        ffi::LUA_ERRSYNTAX => "syntax error",
        ffi::LUA_ERRERR => "error handler error",
        _ => "runtime error",
    };
    let l = thread.base.l;
    // SAFETY: the coroutine died with the error value on its top; it is
    // anchored until finish().
    let state = unsafe { State::from_raw(l) };
    let message = error_message(&state, &mut thread.vm.state());
    let mut text = format!("lua entry thread aborted: {kind}: {message}").into_bytes();
    text.extend_from_slice(b"\nstack traceback:\ncoroutine 0:");
    let trace = traceback(thread.vm.state().raw(), l, 0);
    text.extend_from_slice(trace.strip_prefix(b"stack traceback:").unwrap_or(&trace));
    text
}
