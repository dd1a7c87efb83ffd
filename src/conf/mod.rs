//! What the configuration file says: structures, merging, the Lua block
//! scanner, the table of directives. Plain data; `phase/` ties it to nginx.
#![forbid(unsafe_code)]

mod directives;
mod error;
mod location;
mod main;
mod parse;
mod scanner;
mod socket;
mod source;

pub use directives::{Action, CodeForm, DIRECTIVES, Directive};
pub use error::DirectiveError;
pub use location::LocConf;
pub use main::{MainConf, PhasesUsed};
pub use parse::{Context, SyntaxCheck, apply};
pub use scanner::{Scanner, Step, Unfinished, UnfinishedKind};
pub use socket::SocketConf;
pub use source::{CodePhase, LuaCode, LuaFile, LuaSource, file_chunk_name};
