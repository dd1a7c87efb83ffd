//! Small building blocks for waiting: plain Rust, no nginx, no Lua.
//!
//! Waiting is done with [`std::future::Future`] and [`std::task::Waker`]; a worker is
//! single-threaded, so nothing here is `Sync`. What is cancelled is dropped.
#![forbid(unsafe_code)]

mod arena;
mod deadline;
mod panic;
mod semaphore;
mod wake;

pub use arena::{Arena, Key, List};
pub use deadline::{Deadline, Millis};
pub use panic::panic_message;
pub use semaphore::{Semaphore, Wait};
pub use wake::{may_run_now, wake_all_now, wake_now};
