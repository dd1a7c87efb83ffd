//! The Lua runtime: states, a typed stack, functions, coroutines and the
//! scheduler that suspends and resumes them. Knows nothing of nginx.
//!
//! Everything here runs on the worker's only event-loop thread.

mod call;
mod chunk;
mod collector;
pub mod coroutine;
mod ffi;
mod function;
mod guard;
mod heap;
mod mark;
mod object;
mod op;
mod protect;
mod resume;
pub mod sched;
mod stack;
mod state;
mod syntax;
mod trace;
mod unwind;
mod userdata;

pub use call::Call;
pub use chunk::{Chunk, ChunkKey, LoadError};
pub use function::{Body, LuaResult, Ret, Throw};
pub use object::{Keeper, Survivors};
pub use op::{Parked, run_op};
pub use sched::light::{kill as thread_kill, spawn as thread_spawn, wait as thread_wait};
pub use sched::{Host, Outcome, Thread, ThreadId};
pub use stack::{State, Type};
pub use state::{Vm, VmOptions};
pub use syntax::syntax_check;
