//! The Lua state.

mod syntax;

pub use syntax::syntax_check;
