//! Panics on demand, to test that they cost a request and not the worker.
//! Only where nginx was started with `NGX_COSOCKET_FAULTS=1`.

use std::os::raw::c_int;
use std::task::{Context, Poll};

use crate::vm::{LuaResult, Parked, Ret, State, Throw, run_op};

/// Adds to the `ngx` table on the top.
pub fn open(state: &mut State) {
    if std::env::var_os("NGX_COSOCKET_FAULTS").is_some_and(|value| value == "1") {
        state.set_function("cosocket_fault", fault);
    }
}

/// `ngx.cosocket_fault(where)`: panics in the call, in an operation that
/// waits, when such an operation is dropped, or when Lua collects a value.
fn fault(state: &mut State) -> LuaResult {
    let place = state.bytes(1).unwrap_or_default().to_vec();
    match place.as_slice() {
        b"call" => panic!("fault in a call"),
        b"poll" => run_op(
            state,
            Waiting {
                polled: 0,
                drop: false,
            },
        ),
        b"drop" => run_op(
            state,
            Waiting {
                polled: 0,
                drop: true,
            },
        ),
        b"gc" => {
            state.push_userdata(PanicsOnDrop);
            Ok(Ret::Values(1))
        }
        _ => Err(Throw::argument(1, "call, poll, drop or gc expected")),
    }
}

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("fault in a drop");
    }
}

struct Waiting {
    polled: u32,
    drop: bool,
}

impl Parked for Waiting {
    fn poll(&mut self, cx: &mut Context<'_>, _state: &mut State) -> Poll<c_int> {
        self.polled += 1;
        cx.waker().wake_by_ref();
        match (self.polled, self.drop) {
            (1, _) => Poll::Pending,
            (_, true) => Poll::Ready(0),
            (_, false) => panic!("fault in a poll"),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.drop {
            drop(PanicsOnDrop);
        }
    }
}
