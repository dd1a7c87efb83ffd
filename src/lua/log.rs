//! `ngx.log`, `print` and the log levels; `require "ngx.errlog"`.

use super::preload;
use super::text::wrong_type;
use crate::sys::context;
use crate::sys::log::{self, Level};
use crate::vm::{LuaResult, Ret, State, Throw, Type};

const LEVELS: [(&str, Level); 9] = [
    ("STDERR", Level::Stderr),
    ("EMERG", Level::Emerg),
    ("ALERT", Level::Alert),
    ("CRIT", Level::Crit),
    ("ERR", Level::Error),
    ("WARN", Level::Warn),
    ("NOTICE", Level::Notice),
    ("INFO", Level::Info),
    ("DEBUG", Level::Debug),
];

/// Adds to the `ngx` table on the top, replaces the global `print`, and has `require` find the
/// module `ngx.errlog`.
pub fn open(state: &mut State) {
    for (name, level) in LEVELS {
        state.push_int(level as i64);
        state.raw_set_field(-2, name);
    }
    state.set_function("log", |state| {
        let level = state
            .number(1)
            .ok_or_else(|| wrong_type(state, 1, "number", 1))
            .map(|n| n as i64)?;
        let level = Level::from_number(level).ok_or_else(|| {
            let level = state.number(1).unwrap_or_default();
            Throw::argument(1, format!("bad log level: {level}"))
        })?;
        write(state, level, 2)
    });
    state.push_globals();
    state.set_function("print", |state| write(state, Level::Notice, 1));
    state.pop(1);
    preload(state, "ngx.errlog", load);
}

fn load(state: &mut State) -> LuaResult {
    state.new_table(0, 5);
    state.set_function("raw_log", raw_log);
    state.set_function("get_sys_filter_level", |state| {
        let current = context::current();
        let enabled = |level: &Level| match &current {
            Some(context) => context.log_enabled(*level),
            None => log::cycle_enabled(*level),
        };
        let levels = LEVELS.iter().rev().map(|(_, level)| *level);
        let lowest = levels.into_iter().find(enabled);
        state.push_int(lowest.unwrap_or(Level::Stderr) as i64);
        Ok(Ret::Values(1))
    });
    for name in ["set_filter_level", "get_logs"] {
        state.set_function(name, |state| {
            let message = "missing the capture error log patch for nginx";
            Ok(Ret::Values(state.push_nil_err(message)))
        });
    }
    state.push_bytes("0.1.0");
    state.raw_set_field(-2, "version");
    Ok(Ret::Values(1))
}

/// `raw_log(level, message)`: without a place in front.
fn raw_log(state: &mut State) -> LuaResult {
    let level = state.number(1).map(|n| n as i64);
    let level = level
        .and_then(Level::from_number)
        .ok_or_else(|| Throw::error("bad log level"))?;
    if state.type_of(2) != Type::String {
        return Err(Throw::argument(2, "must be a string"));
    }
    let message = state.bytes(2).unwrap_or_default();
    match context::current() {
        Some(context) => context.log(level, message),
        None => log::cycle(level, message),
    }
    Ok(Ret::Values(0))
}

/// Logs the arguments from `first` on, with the caller's place before them.
fn write(state: &mut State, level: Level, first: i32) -> LuaResult {
    let current = context::current();
    let enabled = match &current {
        Some(context) => context.log_enabled(level),
        None => log::cycle_enabled(level),
    };
    if !enabled {
        return Ok(Ret::Values(0));
    }
    let mut text = b"[lua] ".to_vec();
    if let Some(caller) = state.caller(1) {
        let file = caller.source.rsplit('/').next().unwrap_or_default();
        text.extend_from_slice(format!("{file}:{}: ", caller.line).as_bytes());
        if let Some(name) = caller.function {
            text.extend_from_slice(format!("{name}(): ").as_bytes());
        }
    }
    for idx in first..=state.top() {
        append(state, idx, &mut text)?;
    }
    match current {
        Some(context) => context.log(level, text),
        None => log::cycle(level, text),
    }
    Ok(Ret::Values(0))
}

fn append(state: &mut State, idx: i32, text: &mut Vec<u8>) -> Result<(), Throw> {
    match state.type_of(idx) {
        Type::Nil => text.extend_from_slice(b"nil"),
        Type::Boolean if state.to_bool(idx) => text.extend_from_slice(b"true"),
        Type::Boolean => text.extend_from_slice(b"false"),
        Type::Number | Type::String => {
            text.extend_from_slice(state.bytes(idx).unwrap_or_default());
        }
        Type::LightUserdata if state.is_null(idx) => text.extend_from_slice(b"null"),
        Type::Table => {
            if !state.call_tostring(idx)? {
                return Err(Throw::argument(
                    idx,
                    "expected table to have __tostring metamethod",
                ));
            }
            text.extend_from_slice(state.bytes(-1).unwrap_or_default());
            state.pop(1);
        }
        _ => {
            return Err(Throw::argument(
                idx,
                format!(
                    "string, number, boolean, or nil expected, got {}",
                    state.type_name(idx)
                ),
            ));
        }
    }
    Ok(())
}
