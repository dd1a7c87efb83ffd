//! What nginx calls: directives, module hooks, phase handlers.

pub mod commands;
pub mod content;
pub mod install;
pub mod module;
pub mod worker;
