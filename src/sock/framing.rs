//! How the received bytes are cut into results.

use crate::sock::until::Until;

/// What one read call asks for.
#[derive(Clone)]
pub enum Mode {
    /// `receive("*l")`: up to LF; LF and every CR dropped.
    Line,
    /// `receive("*a")`: up to end of file.
    All,
    /// `receive(n)`: exactly n bytes.
    Exact(usize),
    /// `receiveany(max)`: what is there, at most max (> 0) bytes.
    Any(usize),
    /// `iterator()` or `iterator(size)` of `receiveuntil`.
    Until(Until, Option<usize>),
}
