//! `ngx.ctx` and `ngx.is_subrequest`.

use super::fields::{Field, VALUE};
use super::{context, only_request};
use crate::vm::{Ret, Throw, Type};

/// `ngx.ctx`: a table of the request's own, for all its handlers. Its anchor
/// is in the VM that runs them; the handlers' owner gives it up.
pub const CTX: Field = Field {
    name: "ctx",
    get: |state| {
        let context = context()?;
        match context.lua_table() {
            Some(anchor) => state.push_anchored(anchor),
            None => {
                state.new_table(0, 4);
                state.push_value(-1);
                context.set_lua_table(Some(state.anchor()));
            }
        }
        Ok(Ret::Values(1))
    },
    set: Some(|state| {
        let context = context()?;
        if state.type_of(VALUE) != Type::Table {
            return Err(Throw::error(format!(
                "ctx should be a table while getting a {}",
                state.type_name(VALUE)
            )));
        }
        state.set_top(VALUE);
        if let Some(previous) = context.set_lua_table(Some(state.anchor())) {
            state.release(previous);
        }
        Ok(Ret::Values(0))
    }),
};

/// `ngx.is_subrequest`
pub const IS_SUBREQUEST: Field = Field {
    name: "is_subrequest",
    get: |state| {
        let request = only_request()?;
        state.push_bool(request.is_subrequest());
        Ok(Ret::Values(1))
    },
    set: None,
};
