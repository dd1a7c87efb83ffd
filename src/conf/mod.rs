//! What the configuration file says: structures, merging, the Lua block
//! scanner, the table of directives. Plain data; `phase/` ties it to nginx.
#![forbid(unsafe_code)]

use std::cell::Cell;

use crate::rt::worker_local;

mod directives;
mod error;
mod location;
mod main;
mod parse;
mod scanner;
mod socket;
mod source;
mod ssl;

pub use directives::{Action, CodeForm, DIRECTIVES, Directive};
pub use error::DirectiveError;
pub use location::{LocConf, PhaseCode};
pub use main::MainConf;
pub use parse::{Context, SyntaxCheck, apply};
pub use scanner::{Scanner, Step, Unfinished, UnfinishedKind};
pub use socket::SocketConf;
pub use source::{LuaCode, LuaFile, LuaSource, SetVariable, file_chunk_name};
pub use ssl::SslConf;

worker_local! {
    static CURRENT: Cell<Option<&'static LocConf>> = Cell::new(None);
}

/// Settings of the location whose handler runs; None outside of requests.
pub fn current() -> Option<&'static LocConf> {
    CURRENT.get()
}

/// Says whose settings apply to the Lua code that is about to run.
pub fn set_current(conf: Option<&'static LocConf>) {
    CURRENT.set(conf);
}
