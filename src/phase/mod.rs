//! What nginx calls: directives, module hooks, phase handlers.

mod code;
pub mod commands;
mod filter;
mod handler;
pub mod install;
pub mod module;
pub mod runner;
mod set;
mod timer;
pub mod worker;
