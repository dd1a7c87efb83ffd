//! Names of headers that most requests have: strings that Lua keeps, which take
//! less to push than those that it has to look for.

use std::os::raw::c_int;

use crate::vm::State;

const NAMES: [&str; 21] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "if-modified-since",
    "if-none-match",
    "origin",
    "range",
    "referer",
    "upgrade-insecure-requests",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

const PLACES: usize = 64;

/// Where in [`TABLE`] the name would be.
const fn place(name: &[u8]) -> usize {
    match name.last() {
        Some(&last) => (name.len() + 3 * last as usize) % PLACES,
        None => 0,
    }
}

/// Each name in a place of its own.
const TABLE: [&str; PLACES] = {
    let mut table = [""; PLACES];
    let mut i = 0;
    while i < NAMES.len() {
        let place = place(NAMES[i].as_bytes());
        assert!(table[place].is_empty(), "two names in one place");
        table[place] = NAMES[i];
        i += 1;
    }
    table
};

/// Pushes the table of names that [`push`] needs.
pub fn push_names(state: &mut State) {
    state.new_table(PLACES as c_int, 0);
    for (i, name) in (0..).zip(TABLE) {
        state.push_bytes(name);
        state.raw_seti(-2, i);
    }
}

/// Pushes a name; `names` is where the table is.
#[inline]
pub fn push(state: &State, names: c_int, name: &[u8]) {
    let place = place(name);
    if *TABLE[place].as_bytes() == *name {
        state.raw_geti(names, place as c_int);
    } else {
        state.push_bytes(name);
    }
}
