//! `ngx.req`: the request, one file a subject.

mod body;
mod common;
pub mod headers;
mod line;
mod socket;

use super::preload;
use crate::vm::State;

/// Adds `req` to the `ngx` table on the top, and has `require` find the module `ngx.req`.
pub fn open(state: &mut State) {
    state.new_table(0, 32);
    headers::open(state);
    body::open(state);
    line::open(state);
    socket::open(state);
    state.raw_set_field(-2, "req");
    preload(state, "ngx.req", headers::load);
}
