//! Why a directive is refused.

use core::ffi::CStr;

use crate::sys::conf::Reported;

/// Why a directive is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectiveError {
    /// nginx prints `"name" directive …` with this text.
    Directive(&'static CStr),
    /// A message of its own, blamed on `line` instead of the current one.
    Message {
        /// The text; nginx adds `in FILE:LINE`.
        text: String,
        /// The line, where it is not the current one.
        line: Option<usize>,
    },
    /// It is in the log already.
    Reported,
}

impl DirectiveError {
    /// nginx's words for a directive that came before.
    pub const DUPLICATE: Self = Self::Directive(c"is duplicate");
    /// nginx's words for a time or size that is none.
    pub const INVALID_VALUE: Self = Self::Directive(c"invalid value");
    /// nginx's words for a number that is none.
    pub const INVALID_NUMBER: Self = Self::Directive(c"invalid number");

    /// A message about the current line.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message {
            text: text.into(),
            line: None,
        }
    }
}

impl From<Reported> for DirectiveError {
    fn from(_: Reported) -> Self {
        Self::Reported
    }
}
