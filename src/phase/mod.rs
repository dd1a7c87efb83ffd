//! What nginx calls: directives, module hooks, phase handlers.

mod balancer;
mod beside;
mod code;
pub mod commands;
mod handler;
pub mod install;
pub mod module;
pub mod runner;
mod set;
mod timer;
mod upstream;
pub mod worker;
