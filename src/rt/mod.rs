//! Small building blocks for waiting: plain Rust, no nginx, no Lua.
//!
//! Waiting is done with [`std::future::Future`] and [`std::task::Waker`]; a worker is
//! single-threaded, so nothing here is `Sync`. What is cancelled is dropped.
#![deny(unsafe_code)]

mod address;
mod arena;
mod deadline;
mod decimal;
#[allow(unsafe_code)]
mod local;
#[allow(unsafe_code)]
mod memory;
mod panic;
mod recent;
mod semaphore;
mod wake;

pub use address::AddressMap;
pub use arena::{Arena, Key, List};
pub use deadline::{Deadline, Millis};
pub use decimal::decimal;
#[cfg(not(test))]
pub use local::WorkerLocal;
pub(crate) use local::worker_local;
pub use memory::WorkerMemory;
pub use panic::panic_message;
pub use recent::Recent;
pub use semaphore::{Semaphore, Wait};
pub use wake::{may_run_now, wake_all_now, wake_both_now, wake_now};
