//! What nginx calls: directives, module hooks, phase handlers.

mod code;
pub mod commands;
mod handler;
pub mod install;
pub mod module;
pub mod runner;
mod set;
mod timer;
mod tls;
pub mod worker;
