//! What nginx calls: directives, module hooks, phase handlers.

pub mod commands;
mod handler;
pub mod install;
pub mod module;
pub mod runner;
mod timer;
mod tls;
pub mod worker;
