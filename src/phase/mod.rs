//! What nginx calls: directives, module hooks, phase handlers.

mod background;
mod balancer;
mod beside;
mod code;
pub mod commands;
mod filter;
mod handler;
mod host;
pub mod install;
mod log;
pub mod module;
mod quit;
pub mod runner;
mod set;
mod timer;
mod tls;
mod upstream;
pub mod worker;
